"""The parameters of a factorization machine, and their posterior."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class FMParameters(NamedTuple):
    """Weights of ``n_outputs`` factorization machines over the same columns.

    Attributes
    ----------
    intercept : Tensor of shape (n_outputs,)
    linear : Tensor of shape (n_outputs, n_features)
    factors : Tensor of shape (n_outputs, n_features, n_factors)
    """

    intercept: Tensor
    linear: Tensor
    factors: Tensor

    def clone(self) -> FMParameters:
        """Return a copy that shares no memory with this one."""
        return FMParameters(*(t.clone() for t in self))


class Posterior(NamedTuple):
    """Gaussian posterior of each column's (w_j, v_j), means being the parameters.

    Attributes
    ----------
    covariances : Tensor
        ``(n_outputs, n_features, 1 + n_factors, 1 + n_factors)`` if full, else the variances,
        ``(n_outputs, n_features, 1 + n_factors)``.
    intercept_variance : Tensor of shape (n_outputs,)
    noise_precision : Tensor of shape (n_outputs,)
        Of the observation noise; one where the likelihood has none.
    noise_ratio : Tensor of shape (n_outputs, n_features) or None
        If the noise differs between the categories of a field: the noise precision of rows with a category, divided by
        `noise_precision`. One for the columns of other fields.
    """

    covariances: Tensor
    intercept_variance: Tensor
    noise_precision: Tensor
    noise_ratio: Tensor | None = None

    def clone(self) -> Posterior:
        """Return a copy that shares no memory with this one."""
        return Posterior(*(t.clone() for t in self.tensors))

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors that there are, in their order."""
        return [tensor for tensor in self if tensor is not None]


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all elements are finite numbers."""
    # Usually a finite sum proves it, in a twentieth of the time and without additional memory.
    return all(bool(torch.isfinite(t.sum())) or bool(torch.isfinite(t).all()) for t in tensors)
