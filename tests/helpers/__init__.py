"""Data, small models and comparisons that several tests share."""
