"""The engine of a block solver: sums over rows that update whole columns in closed form.

For column j put theta_j = (w_j, v_j). In every row i that holds it the prediction is linear in it::

    yhat_i = c_i + z_i' theta_j     z_i = x_ij (1, q_i)     q_i = s_i - x_ij v_j     s_i = sum_l x_il v_l

so that with row precisions omega_i and a Gaussian prior the update needs two sums over rows::

    A_j = sum_i omega_i E[z_i z_i']        b_j = sum_i omega_i E[z_i (target_i - c_i)]

Expectations are over the posterior of the other columns; for point estimates they are plain values.
An engine returns these sums, the normal equations, for a block of columns that share no row, and stores their update.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ...bayes.variance import prediction_variance
from ...matrix.device import accum_dtype
from ...matrix.parameters import FMParameters, Posterior
from ..problem import Problem


@dataclass
class BlockState:
    """The unknowns of a block solver, which it changes in place.

    Attributes
    ----------
    intercept : Tensor of shape (n_outputs,)
    theta : Tensor of shape (n_outputs, n_features, 1 + n_factors)
        (w_j, v_j), the means if there are covariances.
    covariances : Tensor or None
        ``(n_outputs, n_features, 1 + n_factors, 1 + n_factors)``, or ``(n_outputs, n_features, 1 + n_factors)``
        for independent parameters; None for point estimates.
    intercept_variance, noise_precision : Tensor of shape (n_outputs,)
    """

    intercept: Tensor
    theta: Tensor
    covariances: Tensor | None
    intercept_variance: Tensor
    noise_precision: Tensor

    @property
    def parameters(self) -> FMParameters:
        """The parameters as views."""
        return FMParameters(self.intercept, self.theta[:, :, 0], self.theta[:, :, 1:])

    @property
    def posterior(self) -> Posterior | None:
        """The posterior, for solvers that have one."""
        if self.covariances is None:
            return None
        return Posterior(self.covariances, self.intercept_variance, self.noise_precision)


class Block(Protocol):
    """Columns that share no row."""

    @property
    def columns(self) -> Tensor:
        """Their numbers, (n_columns,)."""


class DenseLinear(NamedTuple):
    """With x = (1, the dense columns) and e = target - yhat.

    Attributes
    ----------
    columns : Tensor of shape (n_dense,)
    gram : Tensor of shape (n_outputs, 1 + n_dense, 1 + n_dense)
        sum omega x x'.
    residual : Tensor of shape (n_outputs, 1 + n_dense)
        sum omega x e.
    """

    columns: Tensor
    gram: Tensor
    residual: Tensor


class Engine(ABC):
    """Sums over rows for blocks of columns.

    An engine sums over the rows of its problem. What it returns is complete: `Problem.reduction` has added the sums
    over the rows of other processes.
    """

    def __init__(self, problem: Problem, state: BlockState) -> None:
        self.problem = problem
        self.state = state
        self.reduction = problem.reduction
        #: The relative rounding error of sums over the rows, the same for all processes.
        self.rounding = torch.finfo(state.theta.dtype).eps

    @property
    @abstractmethod
    def blocks(self) -> Sequence[Any]:
        """The blocks of a sweep, in order."""

    @abstractmethod
    def load(self, omega: Tensor, target: Tensor, mean: Tensor) -> None:
        """Take row precisions, working responses and current predictions, each (n_outputs, n_samples)."""

    @abstractmethod
    def normal_equations(self, block: Any) -> tuple[Tensor, Tensor]:
        """Return A of shape (n, size, size) and b of shape (n, size) for n = n_outputs * n_columns."""

    def _complete(self, A: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Add the normal equations of the rows of other processes."""
        return self.reduction.sum(A), self.reduction.sum(b)

    @abstractmethod
    def write_back(self, block: Any, theta: Tensor, covariances: Tensor | None) -> None:
        """Store the update of the block whose `normal_equations` were asked for last."""

    def reset(self) -> None:  # noqa: B027
        """Recompute all quantities derived from the parameters after all parameters have changed."""

    def dense_linear(self) -> DenseLinear | None:
        """Return the sums for one joint step of the intercept and the linear weights of the dense columns, if any.

        Dense columns are often correlated. Updated one at a time, they take many sweeps to settle.
        """
        return None

    def mean(self) -> Tensor:
        """Return the predictions of shape (n_outputs, n_samples)."""
        return self.problem.interaction.raw(self.problem.design, self.state.parameters)

    def variance(self) -> Tensor:
        """Return the variances of the predictions, (n_outputs, n_samples)."""
        posterior = self.state.posterior
        assert posterior is not None
        return prediction_variance(self.problem.design, self.state.parameters.factors, posterior)

    def total_variance(self, mean: Tensor, omega: Tensor) -> Tensor:
        """Return the sum over the rows of precision times variance, (n_outputs,), the intercept's part left out.

        Call it at the end of a sweep only.

        Parameters
        ----------
        mean, omega : Tensor of shape (n_outputs, n_samples)
            The current predictions, and the row precisions that the sweep began with.
        """
        variance = self.variance() - self.state.intercept_variance[:, None]
        total = (variance * omega).sum(1, dtype=accum_dtype(variance.device))
        return self.reduction.sum(total)
