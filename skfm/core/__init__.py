"""The numerical core: torch only, unaware of scikit-learn."""
