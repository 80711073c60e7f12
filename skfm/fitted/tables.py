"""Fitted arrays as tensors of the columns in use."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.matrix.parameters import FMParameters
from ..data.scaling import as_tensor

#: Bytes up to which a converted copy of all columns is kept. A larger one is made anew by each prediction that needs
#: all columns, and such a prediction takes several times as long as the copy.
KEPT_BYTES = 1 << 26


class Place(NamedTuple):
    """The device and the data type of a computation."""

    dtype: torch.dtype
    device: torch.device


class ColumnTable:
    """A fitted array with an entry for each column.

    The columns in use are selected before any conversion, so that the cost of a prediction for one row does not depend
    on the size of the table. A tensor of all columns shares the memory of the array where type and device allow that.

    Parameters
    ----------
    array : ndarray of shape (n_outputs, n_columns, ...)
    factor : ndarray of shape (n_outputs, n_columns), optional
        Multipliers of the entries.
    """

    def __init__(self, array: np.ndarray, factor: np.ndarray | None = None) -> None:
        self.array, self.factor = array, factor
        self._kept: tuple[Place, Tensor] | None = None

    def tensor(self, place: Place, columns: np.ndarray | None = None) -> Tensor:
        """Return the entries of some or all columns."""
        if columns is not None:
            factor = None if self.factor is None else self.factor.take(columns, 1)
            return self._convert(self.array.take(columns, 1), factor, place)
        # The attribute is read only once, because another thread may replace it at any time.
        kept = self._kept
        if kept is not None and kept[0] == place:
            return kept[1]
        tensor = self._convert(self.array, self.factor, place)
        if tensor.nbytes <= KEPT_BYTES or (
            place.device.type == "cpu" and tensor.data_ptr() == self.array.__array_interface__["data"][0]
        ):
            self._kept = place, tensor
        return tensor

    def _convert(self, array: np.ndarray, factor: np.ndarray | None, place: Place) -> Tensor:
        return as_tensor(self._multiplied(array, factor), *place)

    @staticmethod
    def _multiplied(array: np.ndarray, factor: np.ndarray | None) -> np.ndarray:
        return array if factor is None else array * factor.reshape(*factor.shape, *(1,) * (array.ndim - 2))


class DrawnFactors(ColumnTable):
    """The factors of all draws, which are stored side by side in the array.

    Its tensors have the shape (n_draws * n_outputs, n_columns, n_factors).

    Parameters
    ----------
    array : ndarray of shape (n_outputs, n_columns, n_draws * n_factors)
        Divided by the square root of the number of draws.
    factor : ndarray of shape (n_outputs, n_columns) or None
    n_draws : int
    """

    def __init__(self, array: np.ndarray, factor: np.ndarray | None, n_draws: int) -> None:
        super().__init__(array, factor)
        self.n_draws = n_draws

    def _convert(self, array: np.ndarray, factor: np.ndarray | None, place: Place) -> Tensor:
        return as_tensor(drawn(self._multiplied(array, factor), self.n_draws), *place)


class ParameterTables(NamedTuple):
    """The parameters of a factorization machine, as tensors of the columns in use.

    Attributes
    ----------
    intercept : ndarray of shape (n_outputs,)
    linear : ColumnTable of shape (n_outputs, n_columns)
    factors : ColumnTable of shape (n_outputs, n_columns, n_factors)
    """

    intercept: np.ndarray
    linear: ColumnTable
    factors: ColumnTable

    def at(self, place: Place, columns: np.ndarray | None = None) -> FMParameters:
        """Return the parameters of some or all columns."""
        return FMParameters(
            as_tensor(self.intercept, *place),
            self.linear.tensor(place, columns),
            self.factors.tensor(place, columns),
        )


def drawn(factors: np.ndarray, n_draws: int) -> np.ndarray:
    """Return factors that lie side by side draw by draw, (n_draws * n_outputs, n_columns, n_factors)."""
    n_outputs, n_columns, width = factors.shape
    stacked = factors.reshape(n_outputs, n_columns, n_draws, width // n_draws).transpose(2, 0, 1, 3)
    stacked = stacked * np.sqrt(n_draws).astype(stacked.dtype)
    return stacked.reshape(n_draws * n_outputs, n_columns, width // n_draws)
