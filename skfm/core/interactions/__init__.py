"""Kinds of interactions: what depends on the form of the raw prediction."""
