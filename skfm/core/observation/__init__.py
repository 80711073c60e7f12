"""Observation models: how the target depends on the raw prediction."""
