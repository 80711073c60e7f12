"""State and predictions of fitted estimators."""
