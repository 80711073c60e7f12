"""Alternating least squares: every column set to its optimum, with fixed penalties.

For the squared error this is exact coordinate descent by blocks. The other losses are replaced, once a
sweep, by the quadratic that touches them from above, so the objective falls all the same::

    theta_j = (A_j + diag(l2_linear, l2_factors, ...))^-1 b_j

Without penalties, A_j is singular for many columns, for example where the factors of all columns that share rows with
column j span fewer dimensions than n_factors. The update is then a proximal step, ::

    theta_j += (A_j + P + R)^-1 (b_j - (A_j + P) theta_j)        P = diag(l2_linear, l2_factors, ...)

with a small R. It has the same fixed points and does not raise the objective either, but it stays where it is in the
directions that the data do not determine.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from ..matrix.parameters import FMParameters
from .block.run import BlockRun, BlockSolver
from .problem import Problem, Settings
from .run import AfterSegment, Iterate

#: The value of "auto" for a standardized target.
L2_LINEAR, L2_FACTORS = 1.0, 10.0
#: Up to this loss per row, in units of the squared precision, a fit is exact up to rounding.
ROUNDING = 1e6


class ALS(BlockSolver):
    """Alternating least squares on the block engine."""

    name = "als"
    options = frozenset({"l2_linear", "l2_factors"})
    objective_name = "objective"
    objective_rises = False

    def start(self, problem: Problem, parameters: FMParameters, settings: Settings) -> ALSRun:
        l2_linear = L2_LINEAR if settings.l2_linear == "auto" else float(settings.l2_linear)
        l2_factors = L2_FACTORS if settings.l2_factors == "auto" else float(settings.l2_factors)
        run = ALSRun(problem, parameters, l2_linear, l2_factors)
        if settings.start == "random":
            # The objective depends on columns without data by their penalty alone.
            run.state.theta[:, ~run.used] = 0
        return run


class ALSRun(BlockRun):
    """The state of a run."""

    def __init__(self, problem: Problem, start: FMParameters, l2_linear: float, l2_factors: float) -> None:
        super().__init__(problem, start, None)
        n_factors = start.factors.shape[2]
        self.penalty = start.factors.new_tensor([l2_linear, *[l2_factors] * n_factors])
        #: Whether further sweeps cannot improve the fit, because it is exact or limited by rounding.
        self._at_limit = False
        #: The loss of a constant for standardized targets, up to a factor.
        self._total_weight = float(self.row_sum(problem.sample_weight.expand_as(self.mean)).sum())

    def prior(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        n = self.n_outputs * len(columns)
        precision = torch.diag(self.penalty[self.first :])
        return precision.expand(n, *precision.shape), precision.new_zeros(n, len(precision))

    def update(self, block: Any, A: Tensor, b: Tensor) -> tuple[Tensor, Tensor | None]:
        A = A + self.prior(block.columns)[0]
        L, info = torch.linalg.cholesky_ex(A)
        weight = self.column_weight
        optimum = torch.cholesky_solve(b[:, :, None], L)[:, :, 0]
        singular = is_singular(A, L, info, weight)
        if not bool(singular.any()):
            return optimum, None
        theta = self.state.theta[:, block.columns, self.first :].flatten(0, 1)
        slope = b - (A @ theta[:, :, None])[:, :, 0]
        moved = theta + proximal_step(A, slope, weight, n_linear=1 - self.first)
        return torch.where(singular[:, None], moved, optimum), None

    def conditional_step(self, A: Tensor, b: Tensor) -> Tensor:
        L, info = torch.linalg.cholesky_ex(A)
        weight = A.diagonal(dim1=1, dim2=2).amax(1)
        if bool(is_singular(A, L, info, weight).any()):
            return proximal_step(A, b, weight, n_linear=A.shape[1])
        return self.conditional_value(L, b)

    def finish(self) -> float:
        """Return the penalized loss, summed over the outputs."""
        self.fit = self.weighted_sum(self.likelihood.loss(self.problem.target, self.mean))
        penalty = (self.state.theta.square() * self.penalty).sum(dtype=self.accum_dtype)
        return float(self.fit.sum() + penalty / 2)

    def step(self, after_segment: AfterSegment | None = None) -> Iterate:
        if self._at_limit:
            return self.iterate()
        if math.isnan(self.objective):
            self.objective = self.finish()
        before = self.state_dict()
        before = before._replace(tensors={name: t.clone() for name, t in before.tensors.items()})
        iterate = super().step(after_segment)
        lowest, eps = before.numbers["objective"], torch.finfo(self.mean.dtype).eps
        exact = ROUNDING * eps**2 * self._total_weight
        if iterate.objective <= lowest + eps**0.5 * abs(lowest) + exact:
            self._at_limit = iterate.objective <= exact
            return iterate
        if not math.isfinite(iterate.objective):
            return iterate
        # In exact arithmetic, no update raises the objective. This is the limit of the precision.
        self.load_state_dict(before)
        self._at_limit = True
        if lowest > eps * self._total_weight:
            warnings.warn(
                f"Training with solver='als' ended early: rounding errors raised the objective from {lowest:.6g} to "
                f"{iterate.objective:.6g}, and the model is the one before. Set larger l2_linear and l2_factors.",
                stacklevel=2,
            )
        return self.iterate()


def is_singular(A: Tensor, L: Tensor, info: Tensor, weight: Tensor) -> Tensor:
    """Return which matrices are singular up to rounding.

    Solutions have relative errors of eps over the smallest pivot, in units of the diagonal. They accumulate over the
    sweeps where there is no penalty. Factors of a column without neighbors have nothing but rounding errors on their
    diagonal.

    Parameters
    ----------
    A, L : Tensor of shape (n, size, size)
        The matrices and their Cholesky factors.
    info : Tensor of shape (n,)
        Whether the factorization has failed, as `torch.linalg.cholesky_ex` returns it.
    weight : Tensor of shape (n,)
        Sums of omega x^2, the diagonal entry of a linear weight.
    """
    pivots, diagonal = L.diagonal(dim1=1, dim2=2), A.diagonal(dim1=1, dim2=2)
    limit = torch.finfo(A.dtype).eps ** (2 / 3)
    return (info > 0) | ~(pivots.square() > limit * torch.maximum(diagonal, weight[:, None])).all(1)


def proximal_step(A: Tensor, slope: Tensor, weight: Tensor, *, n_linear: int) -> Tensor:
    """Return the steps (A + R)^-1 slope, with a small diagonal matrix R.

    R is relative to the diagonal entries of the linear weights, and at least as large for all factors of a column.
    Up to terms of the order of R, a step is then the shortest one to a minimum of the quadratic.

    Parameters
    ----------
    A : Tensor of shape (n, size, size)
        Positive semidefinite up to rounding.
    slope : Tensor of shape (n, size)
    weight : Tensor of shape (n,)
        As for `is_singular`.
    n_linear : int
        The number of linear weights, which come first.

    Returns
    -------
    Tensor of shape (n, size)
    """
    share, diagonal = torch.finfo(A.dtype).eps ** 0.5, A.diagonal(dim1=1, dim2=2)
    ridge = weight[:, None].expand_as(diagonal).clone()
    if n_linear < A.shape[1]:
        ridge[:, n_linear:] = torch.maximum(weight, diagonal[:, n_linear:].amax(1))[:, None]
    # A column without weight has no slope and stays.
    ridge = torch.where(ridge > 0, share * ridge, 1.0)
    L = torch.linalg.cholesky(A + torch.diag_embed(ridge))
    return torch.cholesky_solve(slope[:, :, None], L)[:, :, 0]
