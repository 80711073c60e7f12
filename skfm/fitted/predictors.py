"""The predictive distribution of a regression target: moments and quantiles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .draw_predictions import mean_outcome, raw_draws
from .draws import draws_of
from .state import (
    dtype_of,
    fitted_model,
    no_posterior,
    noise_variance,
    predict_raw,
    predict_variance,
)

#: Steps of the search for a quantile, and how far from it is near enough, in standard deviations of the noise.
STEPS, NEAR = 100, 1e-7


class Predictive(ABC):
    """The distribution of the target of new rows, given the training data."""

    def __init__(self, estimator: Any, X: Any) -> None:
        self.estimator, self.X = estimator, X

    @abstractmethod
    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and variance, each (n_samples,)."""

    @abstractmethod
    def quantiles(self, levels: Tensor) -> Tensor:
        """Return quantiles, (n_samples, n_levels)."""


class Normal(Predictive):
    """A Gaussian posterior makes it normal, nearly."""

    def moments(self) -> tuple[Tensor, Tensor]:
        variance = predict_variance(self.estimator, self.X)
        assert variance is not None  # for the type checker
        return predict_raw(self.estimator, self.X)[0], variance[0] + noise_variance(self.estimator)

    def quantiles(self, levels: Tensor) -> Tensor:
        mean, variance = self.moments()
        return mean[:, None] + variance.sqrt()[:, None] * torch.special.ndtri(levels).to(mean)


class NormalMixture(Predictive):
    """Draws of mean and noise make it a mixture of normals."""

    def _noise(self) -> Tensor:
        kept = draws_of(self.estimator)
        assert kept is not None  # for the type checker
        assert kept.noise_std is not None
        return torch.from_numpy(np.asarray(kept.noise_std, np.float64))[:, None]

    def moments(self) -> tuple[Tensor, Tensor]:
        noise = self._noise().square().mean()
        parts = [
            torch.stack([raw[:, 0].mean(0), raw[:, 0].var(0, correction=0) + noise.to(raw)])
            for raw in raw_draws(self.estimator, self.X)
        ]
        mean, variance = torch.cat(parts, 1).to("cpu").to(dtype_of(self.X))
        return mean, variance

    def quantiles(self, levels: Tensor) -> Tensor:
        parts = [
            torch.stack(
                [mixture_quantile(raw[:, 0].double(), self._noise().to(raw.device), q) for q in levels], 1
            )
            for raw in raw_draws(self.estimator, self.X)
        ]
        return torch.cat(parts).to("cpu").to(dtype_of(self.X))


class Levels(Predictive):
    """An ordered target has a probability at each of its levels."""

    def moments(self) -> tuple[Tensor, Tensor]:
        p = mean_outcome(self.estimator, self.X)
        values = self._values().to(p)[:, None]
        mean = (p * values).sum(0)
        return mean, (p * (values - mean).square()).sum(0)

    def quantiles(self, levels: Tensor) -> Tensor:
        p = mean_outcome(self.estimator, self.X)
        below = p.cumsum(0).clamp(max=1)
        # The first level up to which there is that much probability; rounding must not lead past the last.
        places = (below[:, :, None] < levels.to(p)).sum(0).clamp(max=len(p) - 1)
        return self._values().to(p)[places]

    def _values(self) -> Tensor:
        return torch.from_numpy(np.asarray(self.estimator.levels_, np.float64))


def mixture_quantile(mean: Tensor, spread: Tensor, level: Tensor) -> Tensor:
    """Return where the mean of the distribution functions of normals is ``level``.

    Newton's method, kept between bounds: a quantile of the mixture is among those of its parts.

    Parameters
    ----------
    mean : Tensor of shape (n_parts, n_samples)
    spread : Tensor of shape (n_parts, 1)
        Standard deviations.
    level : Tensor of shape ()

    Returns
    -------
    Tensor of shape (n_samples,)
    """
    parts = mean + spread * torch.special.ndtri(level.to(mean))
    low, high = parts.amin(0), parts.amax(0)
    x = parts.mean(0)
    for _ in range(STEPS):
        z = (x - mean) / spread
        excess = torch.special.ndtr(z).mean(0) - level
        low, high = torch.where(excess < 0, x, low), torch.where(excess > 0, x, high)
        density = (torch.exp(-z.square() / 2) / spread).mean(0) / (2 * torch.pi) ** 0.5
        moved = x - excess / density
        # At the root itself x is one of the bounds, and stays.
        inside = ((moved > low) & (moved < high)) | (moved == x)
        moved = torch.where(inside, moved, (low + high) / 2)
        done = (moved - x).abs() <= NEAR * spread.amin()
        x = moved
        if bool(done.all()):
            break
    return x


def predictive(estimator: Any, X: Any, purpose: str) -> Predictive:
    """Return the predictive distribution, or say that ``purpose`` needs one."""
    kept = draws_of(estimator)
    if kept is not None:
        return (NormalMixture if kept.cut_points is None else Levels)(estimator, X)
    if estimator._posterior is None:
        raise no_posterior(purpose)
    return Normal(estimator, X)


def predict_mean(estimator: Any, X: Any) -> Tensor:
    """Return the mean of the target, (n_samples,)."""
    kept = draws_of(estimator)
    if kept is not None and kept.cut_points is not None:
        return Levels(estimator, X).moments()[0]
    return fitted_model(estimator).expectation(predict_raw(estimator, X)[0])


def class_probabilities(model: Any, raw: Tensor, variance: Tensor | None) -> Tensor:
    """Return the probabilities of the classes, (n_classes, n_samples).

    Parameters
    ----------
    model : Loss or Likelihood
    raw : Tensor of shape (n_outputs, n_samples)
        Two classes have one output.
    variance : Tensor of shape (n_outputs, n_samples) or None
        Of the raw predictions under the posterior, where there is one.
    """
    if len(raw) == 1:
        # Both from the raw prediction: 1 - p has no digits left where p is close to one.
        return torch.cat([model.expectation(-raw, variance), model.expectation(raw, variance)])
    if getattr(model, "joint_outputs", False):
        return model.expectation(raw)
    if variance is not None:
        # One variance for all classes of a sample, so that the order of the classes stays.
        variance = variance.mean(0)
    p = model.expectation(raw, variance)
    total = p.sum(0)
    # Where every class is all but impossible, what is left of the ratios is that of the tails.
    return torch.where(total > torch.finfo(p.dtype).tiny * len(p), p / total, torch.softmax(raw, 0))


def check_quantiles(quantiles: Any) -> Tensor:
    """Return the levels of quantiles as a tensor, or say what is wrong with them."""
    levels = np.asarray(quantiles, np.float64)
    if levels.ndim != 1 or len(levels) == 0 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(
            f"quantiles must be a list of numbers between 0 and 1, both excluded, got {quantiles!r}."
        )
    return torch.from_numpy(levels)
