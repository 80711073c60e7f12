"""Predictions of fitted models, depending on the available form of their posterior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.observation.classes import class_probabilities
from ..core.solvers import SOLVERS
from .state import FittedModel


class Predictor(ABC):
    """Predictions of a fitted model.

    Rows X are arrays or CSR matrices of numbers, as ``encode`` returns them. Results are tensors on the CPU in the
    dtype of X. A predictor raises a ValueError for predictions that its model cannot provide.

    Parameters
    ----------
    model : FittedModel
    """

    def __init__(self, model: FittedModel) -> None:
        self.model = model

    def raw(self, X: Any) -> Tensor:
        """Return raw predictions, (n_outputs, n_samples)."""
        return self.model.raw(self.model.rows(X))

    def mean(self, X: Any) -> Tensor:
        """Return the mean of the target of a regression, (n_samples,)."""
        mean: Tensor = self.model.link.expectation(self.raw(X)[0])
        return mean

    @abstractmethod
    def variance(self, X: Any) -> Tensor:
        """Return the variance of the raw predictions, noise excluded, (n_outputs, n_samples)."""

    @abstractmethod
    def moments(self, X: Any) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the target of a regression, noise included, each (n_samples,)."""

    @abstractmethod
    def quantiles(self, X: Any, levels: Any) -> Tensor:
        """Return quantiles of the target of a regression, (n_samples, n_levels)."""

    @abstractmethod
    def probabilities(self, X: Any) -> Tensor:
        """Return the probabilities of the classes, (n_classes, n_samples)."""

    def scores(self, X: Any) -> Tensor:
        """Return the decision function of a classifier, (1, n_samples) or (n_classes, n_samples)."""
        return self.raw(X)

    def classes(self, X: Any) -> Tensor:
        """Return the number of the class with the highest score, (n_samples,)."""
        return most_likely(self.scores(X))


class Point(Predictor):
    """A model without a posterior."""

    def variance(self, X: Any) -> Tensor:
        raise no_posterior("The variance of a prediction")

    def moments(self, X: Any) -> tuple[Tensor, Tensor]:
        raise no_posterior("return_std=True")

    def quantiles(self, X: Any, levels: Any) -> Tensor:
        raise no_posterior("quantiles")

    def probabilities(self, X: Any) -> Tensor:
        return class_probabilities(self.model.link, self.raw(X), None)


class Gaussian(Predictor):
    """A model with a Gaussian posterior, under which a target with Gaussian noise is approximately normal."""

    def variance(self, X: Any) -> Tensor:
        return self._variance(self.model.rows(X))

    def moments(self, X: Any) -> tuple[Tensor, Tensor]:
        rows, scale = self.model.rows(X), float(self.model.scaling.scale[0])
        variance = self.model.standard_variance(rows)[0].double() + self.model.noise_variances(rows)
        return self.model.raw(rows)[0], (variance.sqrt() * scale).to(rows.dtype)

    def quantiles(self, X: Any, levels: Any) -> Tensor:
        at = torch.special.ndtri(check_quantiles(levels))
        mean, std = self.moments(X)
        return mean[:, None] + std[:, None] * at.to(mean)

    def probabilities(self, X: Any) -> Tensor:
        rows = self.model.rows(X)
        return class_probabilities(self.model.link, self.model.raw(rows), self._variance(rows))

    def scores(self, X: Any) -> Tensor:
        rows = self.model.rows(X)
        # All classes of a sample share one variance, as in their probabilities.
        variance = self._variance(rows).mean(0)
        return self.model.link.averaged_score(self.model.raw(rows), variance)

    def classes(self, X: Any) -> Tensor:
        # The average over the posterior changes neither the sign nor the order of the scores of a sample.
        return most_likely(self.raw(X))

    def _variance(self, rows: Any) -> Tensor:
        variance = self.model.standard_variance(rows)
        return (variance * self.model.scaling.scale[:, None].square()).to(rows.dtype)


def most_likely(scores: Tensor) -> Tensor:
    """Return the number of the class with the highest score, where two classes have one score."""
    return (scores[0] > 0).long() if len(scores) == 1 else scores.argmax(0)


def no_posterior(purpose: str) -> ValueError:
    """Return the error for a model that was fitted without a posterior."""
    names = " or ".join(f"solver={name!r}" for name, solver in SOLVERS.items() if solver.has_posterior)
    return ValueError(
        f"{purpose} needs a posterior, and this model was fitted without one. Fit it with {names}."
    )


def check_quantiles(quantiles: Any) -> Tensor:
    """Return the levels of quantiles as a tensor, or raise the error that names what is wrong with them."""
    levels = np.asarray(quantiles, np.float64)
    if levels.ndim != 1 or len(levels) == 0 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(
            f"quantiles must be a list of numbers between 0 and 1, both excluded, got {quantiles!r}."
        )
    return torch.from_numpy(levels)
