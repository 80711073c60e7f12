"""Observation models as the Gibbs sampler sees them: latent variables that make the rows Gaussian.

Given its latent variables a row is a Gaussian observation of the raw prediction f, with a precision omega and a
working target. A sample weight s is a power of the likelihood: a row of weight two is the row twice.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..bayes.sampling import (
    LOG_ROOT_2PI,
    log_interval,
    log_ndtr_inverse,
    ndtr,
    polya_gamma,
    truncated_normal,
)
from ..matrix.device import wide_dtype
from .cut_points import CutPoints, bounds, with_ends
from .likelihoods import LIKELIHOODS, Likelihood

#: Latent variables of a weighted row that are drawn one by one; for larger weights their sum is close to normal.
MOST_COPIES = 16


class Augmentation(ABC):
    """The latent variables of the rows of some chains.

    Parameters
    ----------
    y : Tensor of shape (n_outputs, n_samples)
    weight : Tensor of shape (n_samples,)
    generator : torch.Generator
    """

    #: Whether there is a noise precision to learn.
    has_noise: ClassVar[bool] = False
    #: What the linear weights vary by, in standard units: targets of variance one leave little to each, log odds
    #: have no such bound.
    linear_variance: ClassVar[float] = 0.1
    #: Whether the model has an intercept; otherwise something else stands for it.
    has_intercept: ClassVar[bool] = True
    #: The same model for solvers that need no latent variables, where there is one.
    likelihood: ClassVar[Likelihood | None] = None
    #: Cut-points of every output, if there are any.
    cut_points: Tensor | None = None

    def __init__(self, y: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        self.narrow, self.wide = y.dtype, wide_dtype(y.device)
        self.y, self.weight = y.to(self.wide), weight.to(self.wide)
        self.plain = bool((weight == 1).all())
        self.generator = generator

    @abstractmethod
    def draw(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Draw given the predictions, (n_outputs, n_samples); return precisions, weights included, and targets."""

    @abstractmethod
    def log_likelihood(self, raw: Tensor, noise_precision: Tensor) -> Tensor:
        """Return the weighted log likelihood of each output, (n_outputs,)."""

    @staticmethod
    @abstractmethod
    def outcome(raw: Tensor, cut_points: Tensor | None) -> Tensor:
        """Return what is averaged over draws: means or probabilities.

        Parameters
        ----------
        raw : Tensor of shape (..., n_outputs, n_samples)
        cut_points : Tensor of shape (..., n_levels - 1) or None

        Returns
        -------
        Tensor of shape (..., n_outputs, n_samples) or (..., n_levels, n_samples)
        """

    @staticmethod
    @abstractmethod
    def loss(y: Tensor, outcome: Tensor) -> Tensor:
        """Return the loss of averaged outcomes, (1, n_samples) or (n_outputs, n_samples)."""


class GaussianRows(Augmentation):
    """The rows of a regression are Gaussian as they are."""

    has_noise = True
    likelihood = LIKELIHOODS["squared_error"]

    def __init__(self, y: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        super().__init__(y, weight, generator)
        self._working = weight.expand_as(y), y

    def draw(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self._working

    def log_likelihood(self, raw: Tensor, noise_precision: Tensor) -> Tensor:
        weight, y = self._working
        # Terms in the solver's type and their sum in the wide one: a tenth of the time.
        alpha, error = noise_precision.to(self.wide), ((y - raw).square() * weight).sum(1, dtype=self.wide)
        return (self.weight.sum() * (alpha.log() - 2 * LOG_ROOT_2PI) - alpha * error) / 2

    @staticmethod
    def outcome(raw: Tensor, cut_points: Tensor | None) -> Tensor:
        return raw

    @staticmethod
    def loss(y: Tensor, outcome: Tensor) -> Tensor:
        return (y - outcome).square() / 2


class PolyaGammaRows(Augmentation):
    """Logistic regression: ``omega ~ PG(s, f)``, ``target = s (y - 1/2) / omega``, for any weight s."""

    likelihood = LIKELIHOODS["log_loss"]
    linear_variance = 0.5

    def draw(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        raw = raw.to(self.wide)
        shape = None if self.plain else self.weight.expand_as(raw).contiguous()
        # Far out a precision would be zero in the solver's type, and the target infinite.
        omega = polya_gamma(shape, raw, self.generator).clamp(min=torch.finfo(self.narrow).tiny ** 0.5)
        return omega.to(self.narrow), ((self.y - 0.5) * self.weight / omega).to(self.narrow)

    def log_likelihood(self, raw: Tensor, noise_precision: Tensor) -> Tensor:
        return logsigmoid((2 * self.y - 1) * raw) @ self.weight

    @staticmethod
    def outcome(raw: Tensor, cut_points: Tensor | None) -> Tensor:
        return torch.sigmoid(raw)

    @staticmethod
    def log_probability(raw: Tensor) -> Tensor:
        """Return log P(y = 1)."""
        return logsigmoid(raw)

    @staticmethod
    def score(log_p: Tensor, log_q: Tensor) -> Tensor:
        """Return the raw prediction of log P(y = 1) and log P(y = 0)."""
        return log_p - log_q

    @staticmethod
    def loss(y: Tensor, outcome: Tensor) -> Tensor:
        return _log_loss(y, outcome)


class LatentNormalRows(Augmentation):
    """Models of a latent variable N(f, 1) of which the row tells the interval that it falls into [1]_.

    A row of whole weight s has s of them, of which only the mean matters. A fraction r of one counts with r times
    its mean and variance, the shape of which is approximate.

    References
    ----------
    .. [1] J. H. Albert and S. Chib, "Bayesian Analysis of Binary and Polychotomous Response Data", Journal of the
       American Statistical Association 88, 1993.
    """

    @abstractmethod
    def interval(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bounds of the latent variables less their means."""

    def draw(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        raw = raw.to(self.wide)
        lower, upper = self.interval(raw)
        latent = truncated_normal(lower, upper, self.generator)
        if not self.plain:
            latent = self._mean_of_copies(latent, lower, upper)
        return self.weight.expand_as(raw).to(self.narrow), (raw + latent).to(self.narrow)

    def _mean_of_copies(self, first: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        copies = self.weight.floor().clamp(max=MOST_COPIES)
        rest = self.weight - copies
        total = torch.where(copies > 0, first, 0.0)
        for k in range(1, int(copies.max())):
            rows = (copies > k).nonzero()[:, 0]
            total[:, rows] += truncated_normal(lower[:, rows], upper[:, rows], self.generator)
        rows = (rest > 0).nonzero()[:, 0]
        if len(rows):
            lower, upper, rest = lower[:, rows], upper[:, rows], rest[rows]
            log_p = log_interval(lower, upper)
            density = [torch.exp(-x.square() / 2 - LOG_ROOT_2PI - log_p) for x in (lower, upper)]
            mean = density[0] - density[1]
            one = truncated_normal(lower, upper, self.generator)
            total[:, rows] += rest * mean + rest.sqrt() * (one - mean)
        return total / self.weight

    def log_likelihood(self, raw: Tensor, noise_precision: Tensor) -> Tensor:
        return log_interval(*self.interval(raw.to(self.wide))) @ self.weight


class ProbitRows(LatentNormalRows):
    """Probit regression: the latent variable is positive for one class, negative for the other."""

    likelihood = LIKELIHOODS["probit"]
    linear_variance = 0.5

    def interval(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        infinity = raw.new_full((), math.inf)
        return torch.where(self.y > 0, -raw, -infinity), torch.where(self.y > 0, infinity, -raw)

    @staticmethod
    def outcome(raw: Tensor, cut_points: Tensor | None) -> Tensor:
        return ndtr(raw)

    @staticmethod
    def log_probability(raw: Tensor) -> Tensor:
        """Return log P(y = 1)."""
        return torch.special.log_ndtr(raw)

    @staticmethod
    def score(log_p: Tensor, log_q: Tensor) -> Tensor:
        """Return the raw prediction of log P(y = 1) and log P(y = 0)."""
        # From the one that has more digits.
        x = log_ndtr_inverse(torch.minimum(log_p, log_q))
        return torch.where(log_p < log_q, x, -x)

    @staticmethod
    def loss(y: Tensor, outcome: Tensor) -> Tensor:
        return _log_loss(y, outcome)


class OrderedProbitRows(LatentNormalRows):
    """Ordered probit: cut-points between the levels, drawn before the latent variables and without them."""

    has_intercept = False

    def __init__(self, y: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        super().__init__(y, weight, generator)
        self._cuts = CutPoints(self.y, self.weight, int(y.max()) + 1)

    @property
    def cut_points(self) -> Tensor:
        """Of every output, (n_outputs, n_levels - 1)."""
        return self._cuts.value

    @cut_points.setter
    def cut_points(self, value: Tensor) -> None:
        self._cuts.value = value

    def draw(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        self._cuts.draw(raw.to(self.wide), self.generator)
        return super().draw(raw)

    def interval(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        return bounds(self.cut_points, self._cuts.levels, raw)

    @staticmethod
    def outcome(raw: Tensor, cut_points: Tensor | None) -> Tensor:
        assert cut_points is not None  # for the type checker
        distance = with_ends(cut_points)[..., :, None].to(raw.dtype) - raw
        # A level's probability, from the tail where it has more digits.
        lower, upper = distance[..., :-1, :], distance[..., 1:, :]
        mirror = lower + upper > 0
        left, right = torch.where(mirror, -upper, lower), torch.where(mirror, -lower, upper)
        return ndtr(right) - ndtr(left)

    @staticmethod
    def loss(y: Tensor, outcome: Tensor) -> Tensor:
        tiny = torch.finfo(outcome.dtype).tiny
        return -outcome.gather(0, y.long()).clamp(min=tiny).log()


def _log_loss(y: Tensor, p: Tensor) -> Tensor:
    tiny = torch.finfo(p.dtype).tiny
    return -(y * p.clamp(min=tiny).log() + (1 - y) * torch.log1p(-p.clamp(max=1 - torch.finfo(p.dtype).eps)))


AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "squared_error": GaussianRows,
    "log_loss": PolyaGammaRows,
    "probit": ProbitRows,
    "ordered_probit": OrderedProbitRows,
}
