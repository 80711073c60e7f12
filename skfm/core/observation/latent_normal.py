"""Latent normal variables that are known to lie in an interval, for the Gibbs sampler."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ..bayes.sampling import LOG_ROOT_2PI, log_interval, truncated_normal
from .parts import LatentVariables

#: Latent variables of a weighted row that are drawn one by one; for larger weights their sum is close to normal.
MOST_COPIES = 16


class LatentNormalRows(LatentVariables):
    """Models of a latent variable N(f, 1), where y determines the interval that it falls into [1]_.

    A row of whole weight s has s latent variables, and only their mean matters. A fraction r of one contributes r times
    its mean and variance, which is exact in these two moments only.

    References
    ----------
    .. [1] J. H. Albert and S. Chib, "Bayesian Analysis of Binary and Polychotomous Response Data", Journal of the
       American Statistical Association 88, 1993.
    """

    @abstractmethod
    def interval(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bounds of the latent variables less their means."""

    def draw(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        raw = raw.to(self.accum_dtype)
        lower, upper = self.interval(raw)
        latent = truncated_normal(lower, upper, self.generator)
        if not self.has_unit_weights:
            latent = self._mean_of_copies(latent, lower, upper)
        return self.weight.expand_as(raw).to(self.dtype), (raw + latent).to(self.dtype)

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
        return log_interval(*self.interval(raw.to(self.accum_dtype))) @ self.weight
