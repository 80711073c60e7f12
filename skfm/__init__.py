"""Factorization machines for scikit-learn, on PyTorch."""

from ._classifier import FMClassifier
from ._posterior import PosteriorDraws
from ._regressor import FMRegressor

__version__ = "0.1.0.dev0"

__all__ = ["FMClassifier", "FMRegressor", "PosteriorDraws", "__version__"]
