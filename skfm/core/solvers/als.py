"""Alternating least squares: every column set to its optimum, with fixed penalties.

For the squared error this is exact coordinate descent by blocks. The other losses are replaced, once a
sweep, by the quadratic that touches them from above, so the objective falls all the same::

    theta_j = (A_j + diag(l2_linear, l2_factors, ...))^-1 b_j
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..matrix.parameters import FMParameters
from .block.run import BlockRun, BlockSolver, cholesky
from .problem import Problem, Settings

#: The value of "auto" for a standardized target.
L2_LINEAR, L2_FACTORS = 1.0, 10.0


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

    def prior(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        n = self.n_outputs * len(columns)
        precision = torch.diag(self.penalty[self.first :])
        return precision.expand(n, *precision.shape), precision.new_zeros(n, len(precision))

    def update(self, block: Any, A: Tensor, b: Tensor) -> tuple[Tensor, Tensor | None]:
        L = cholesky(A + self.prior(block.columns)[0])
        return torch.cholesky_solve(b[:, :, None], L)[:, :, 0], None

    def finish(self) -> float:
        """Return the penalized loss, summed over the outputs."""
        self.fit = self.weighted_sum(self.likelihood.loss(self.problem.target, self.mean))
        penalty = (self.state.theta.square() * self.penalty).sum(dtype=self.accum_dtype)
        return float(self.fit.sum() + penalty / 2)
