"""Factorization machines for scikit-learn, on PyTorch."""

from ._classifier import FMClassifier
from ._regressor import FMRegressor
from .fitted.posterior import PosteriorDraws

__version__ = "0.1.0.dev0"

__all__ = ["FMClassifier", "FMRegressor", "PosteriorDraws", "__version__"]
