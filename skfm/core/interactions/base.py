"""The interface of interactions for the solvers and for predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from ..matrix.batches import Batch
from ..matrix.design import DesignMatrix
from ..matrix.parameters import FMParameters


class Forward(NamedTuple):
    """The raw predictions of the rows of a batch, and their sums of factors.

    Attributes
    ----------
    raw : Tensor of shape (n_rows, n_outputs)
    sums, squares : Tensor of shape (n_rows, n_outputs, 1 + n_factors)
        ``[1, s]`` of each row and output, and their squares.
    """

    raw: Tensor
    sums: Tensor
    squares: Tensor


class Backward(NamedTuple):
    """Sums over the rows of a batch, one row per distinct column: the sparse ones first, then the dense ones.

    Attributes
    ----------
    gradient : Tensor of shape (n_columns, n_outputs * (1 + n_factors))
    curvature : Tensor of shape (n_columns, n_outputs)
        Of the linear weights.
    """

    gradient: Tensor
    curvature: Tensor


class Interaction(ABC):
    """The form of the raw prediction: which products of columns it contains, and with which weights.

    Instances have no state.
    """

    @abstractmethod
    def raw(self, design: DesignMatrix, parameters: FMParameters) -> Tensor:
        """Return the raw predictions, (n_outputs, n_samples)."""

    @abstractmethod
    def forward(self, batch: Batch, theta: Tensor, intercept: Tensor, mask: Tensor) -> Forward:
        """Return the raw predictions of a batch, and the sums that `backward` needs.

        Parameters
        ----------
        batch : Batch
        theta : Tensor of shape (n_columns, n_outputs * (1 + n_factors))
            Parameters of the columns of the batch, the dense ones last.
        intercept : Tensor of shape (n_outputs,)
        mask : Tensor
            From `factor_mask`.
        """

    @abstractmethod
    def backward(self, batch: Batch, theta: Tensor, sums: Tensor, delta: Tensor, omega: Tensor) -> Backward:
        """Return gradient and curvature of the columns of a batch.

        Parameters
        ----------
        batch : Batch
        theta : Tensor
            As in `forward`.
        sums : Tensor of shape (n_rows, n_outputs, 1 + n_factors)
            From `forward`.
        delta, omega : Tensor of shape (n_rows, n_outputs)
            Derivative and curvature of the loss with respect to the raw prediction, times the weight.
        """

    @abstractmethod
    def bound_long_rows(
        self, batch: Batch, squares: Tensor, delta: Tensor, omega: Tensor, most_entries: float
    ) -> Tensor:
        """Return a bound of the curvature of the rows of a batch with many non-zeros, if all parameters move at once.

        Parameters
        ----------
        batch : Batch
        squares : Tensor of shape (n_rows, n_outputs, 1 + n_factors)
            From `forward`.
        delta, omega : Tensor
            As in `backward`.
        most_entries : float
            Rows with more non-zeros are long; the others are left out of the sums.

        Returns
        -------
        Tensor of shape (n_columns, n_outputs * (1 + n_factors))
        """

    @abstractmethod
    def factor_mask(self, n_factors: int, like: Tensor) -> Tensor:
        """Return the matrix that sums the factors of an output, (1 + n_factors, 1)."""

    @abstractmethod
    def shift_origin(
        self, intercept: Tensor, linear: Tensor, factors: Tensor, by: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return intercept and linear term of the model whose value at x is that of the given model at x + by.

        Parameters
        ----------
        intercept : Tensor of shape (n_outputs,)
        linear : Tensor of shape (n_outputs, n_features)
        factors : Tensor of shape (n_outputs, n_features, n_factors)
            They stay the same.
        by : Tensor of shape (n_features,)
        """
