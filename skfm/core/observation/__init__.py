"""Observation models: how the target depends on the raw prediction. Each is one file, and `registry` finds them."""
