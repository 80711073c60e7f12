"""The user's units and the solver's: conditioned columns, a standardized target."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.matrix.design import DesignMatrix
from ..core.matrix.parameters import FMParameters
from ..core.matrix.standardize import Standardization
from .target_transform import TargetTransform


class Scaling(NamedTuple):
    """The map between both.

    Attributes
    ----------
    conditioning : Standardization
        Of the columns.
    shift, scale : Tensor of shape (n_outputs,)
        Of the raw predictions, in float64 on the CPU.
    """

    conditioning: Standardization
    shift: Tensor
    scale: Tensor

    @classmethod
    def measure(
        cls,
        design: DesignMatrix,
        sample_weight: Tensor,
        coding: TargetTransform,
        *,
        center: bool,
    ) -> Scaling:
        """Measure the columns of the training data.

        Parameters
        ----------
        design : DesignMatrix of shape (n_samples, n_features)
        sample_weight : Tensor of shape (n_samples,)
        coding : TargetTransform
        center : bool
            Whether columns may be centered: that moves the intercept and the linear term, so a
            model must have both.
        """
        measured = Standardization.measure(design, sample_weight)
        if not center:
            # mean^2 + variance: the columns get unit root mean square about zero instead.
            spread = torch.hypot(measured.center, measured.scale)
            measured = Standardization(torch.zeros_like(measured.center), spread)
        raw = (as_tensor(values, torch.float64) for values in (coding.raw_shift, coding.raw_scale))
        return cls(measured, *raw)

    def design(
        self, X: Any, dtype: torch.dtype, device: torch.device, dense_columns: np.ndarray | None = None
    ) -> DesignMatrix:
        """Return rows in the solver's units, with the given columns dense or those that are centered."""
        if dense_columns is None:
            dense_columns = np.flatnonzero(self.conditioning.center.numpy(force=True))
        design = DesignMatrix.from_array(X, dtype=dtype, device=device, dense_columns=dense_columns)
        return self.conditioning.apply(design)

    def repeated(self, times: int) -> Scaling:
        """Return the units of so many repetitions of all outputs."""
        return self._replace(shift=self.shift.repeat(times), scale=self.scale.repeat(times))

    def to_user(self, parameters: FMParameters) -> FMParameters:
        """Return solver parameters in the user's units, on the CPU."""
        return self.conditioning.fold(parameters, self.shift, self.scale)

    def to_solver(self, parameters: FMParameters) -> FMParameters:
        """Return the user's parameters in the solver's units, in float64 on the CPU."""
        return self.conditioning.unfold(parameters, self.shift, self.scale)

    def to_columns(self, parameters: FMParameters) -> FMParameters:
        """Return the user's parameters on the columns of the solver, with raw predictions in the user's units.

        Products with conditioned columns are exact, where those with columns far from zero are differences of large
        numbers; and main effects there are those at the means of the centered columns.
        """
        intercept, linear, factors = self.to_solver(parameters)
        scale = self.scale[:, None]
        return FMParameters(
            self.shift + self.scale * intercept, scale * linear, scale.sqrt()[:, :, None] * factors
        )

    def attributes(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the private fitted attribute that holds the units of the columns, as numpy arrays."""
        return {"_conditioning": self.conditioning.arrays()}

    @classmethod
    def of(cls, estimator: Any) -> Scaling:
        """Rebuild the units of a fitted estimator."""
        coding = TargetTransform(**estimator._coding)
        raw = (as_tensor(values, torch.float64) for values in (coding.raw_shift, coding.raw_scale))
        return cls(Standardization.from_arrays(estimator._conditioning), *raw)


def user_design(estimator: Any, X: Any, dtype: torch.dtype, device: torch.device) -> DesignMatrix:
    """Return rows in the user's units, those columns dense that the fit has centered.

    The values at hand must not decide that: rows would be summed in another order in another batch.
    """
    dense = np.asarray(estimator._dense_columns)
    centered = dense[estimator._conditioning["center"][dense] != 0]
    return DesignMatrix.from_array(X, dtype=dtype, device=device, dense_columns=centered)


def as_tensor(array: Any, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Return a tensor, which shares the memory of the array where torch can hold that."""
    # torch has no read-only tensors, and arrays that joblib maps from a file are read-only.
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(dtype).to(device)


def finite(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Return an array in another type, or say that it does not fit."""
    with np.errstate(over="ignore"):
        array = array.astype(dtype)
    if not np.isfinite(array).all():
        raise ValueError(
            f"The fitted parameters do not fit into {array.dtype} in the units of X and y. Look for extreme "
            "values in both, or scale them (for example with sklearn.preprocessing.StandardScaler)."
        )
    return array
