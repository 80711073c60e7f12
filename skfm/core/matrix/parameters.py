"""The parameters of a factorization machine and the pure functions on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from .design import DesignMatrix

#: Floats of the row sums at a time: few enough for a CPU's cache, many for a GPU.
ROW_FLOATS = {"cpu": 1 << 19, "cuda": 1 << 28, "mps": 1 << 26}


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
    """

    covariances: Tensor
    intercept_variance: Tensor
    noise_precision: Tensor

    def clone(self) -> Posterior:
        """Return a copy that shares no memory with this one."""
        return Posterior(*(t.clone() for t in self))


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all elements are finite numbers."""
    # Most of the time a sum says so, in a twentieth of the time and no memory.
    return all(bool(torch.isfinite(t.sum())) or bool(torch.isfinite(t).all()) for t in tensors)


def raw_prediction(design: DesignMatrix, parameters: FMParameters) -> Tensor:
    """Return the linear predictor of every output.

    ::

        yhat(x) = w0 + <w, x> + 1/2 sum_f [ (sum_j v_jf x_j)^2 - sum_j v_jf^2 x_j^2 ]

    Parameters
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    parameters : FMParameters
        In the same units.

    Returns
    -------
    Tensor of shape (n_outputs, n_samples)
    """
    intercept, linear, factors = parameters
    if 2 * len(design.indices) < factors.shape[1]:
        # A few rows do not need a table of all columns.
        design, columns = design.compact()
        linear, factors = linear[:, columns], factors[:, columns]
    n_outputs, n_features, n_factors = factors.shape
    half_squares = factors.square().sum(2) / 2
    only_ones = design.values is None and not len(design.dense_columns)
    if only_ones:
        # x^2 = x: the self-interactions are a linear term, and one pass over the rows does.
        linear = linear - half_squares
    table = torch.cat([linear[:, :, None], factors], 2).permute(1, 0, 2)
    table = table.reshape(n_features, n_outputs * (1 + n_factors))
    squares_table = half_squares.T.contiguous()
    out = factors.new_empty(n_outputs, design.shape[0])
    for start, part in design.pieces(ROW_FLOATS.get(design.device.type, 1 << 19) // table.shape[1]):
        sums = part.matmul(table).view(-1, n_outputs, 1 + n_factors)
        raw = intercept + sums[:, :, 0] + sums[:, :, 1:].square().sum(2) / 2
        if not only_ones and n_factors:
            raw -= part.matmul(squares_table, power=2)
        out[:, start : start + len(raw)] = raw.T
    return out
