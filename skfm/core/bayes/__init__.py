"""Priors, sampling, draws and variances."""
