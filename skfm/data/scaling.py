"""The map between the units of the user and those of the solver, which standardizes columns and the target."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.interactions.units import fold, rebase, unfold
from ..core.matrix.design import DesignMatrix
from ..core.matrix.parameters import FMParameters
from ..core.matrix.standardize import Standardization
from .target_transform import TargetTransform


class Scaling(NamedTuple):
    """The map between the units of the user and those of the solver.

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
        if center:
            measured = measured.rounded(design.dtype)
        else:
            # mean^2 + variance: the columns get unit root mean square about zero instead.
            spread = torch.hypot(measured.center, measured.scale)
            measured = Standardization(torch.zeros_like(measured.center), spread)
        return cls(measured, *_of_raw_predictions(coding))

    def with_target(self, coding: TargetTransform) -> Scaling:
        """Return the same units of the columns with those of another target."""
        return Scaling(self.conditioning, *_of_raw_predictions(coding))

    def design(
        self, X: Any, dtype: torch.dtype, device: torch.device, dense_columns: np.ndarray | None = None
    ) -> DesignMatrix:
        """Return rows in the solver's units, with the given columns dense or those that are centered."""
        if dense_columns is None:
            dense_columns = np.flatnonzero(self.conditioning.center.numpy(force=True))
        design = DesignMatrix.from_array(X, dtype=dtype, device=device, dense_columns=dense_columns)
        return self.conditioning.apply(design)

    def repeated(self, times: int) -> Scaling:
        """Return the units of all outputs, repeated the given number of times."""
        return self._replace(shift=self.shift.repeat(times), scale=self.scale.repeat(times))

    def to_user(self, parameters: FMParameters) -> FMParameters:
        """Return solver parameters in the user's units, on the CPU."""
        return fold(self.conditioning, parameters, self.shift, self.scale)

    def to_solver(self, parameters: FMParameters) -> FMParameters:
        """Return the user's parameters in the solver's units, in float64 on the CPU."""
        return unfold(self.conditioning, parameters, self.shift, self.scale)

    def rebase(self, parameters: FMParameters, other: Scaling) -> FMParameters:
        """Return solver parameters in the units of another fit, in float64 on the CPU."""
        intercept, linear, factors = rebase(self.conditioning, parameters, other.conditioning)
        ratio = self.scale / other.scale
        return FMParameters(
            ratio * intercept + (self.shift - other.shift) / other.scale,
            ratio[:, None] * linear,
            ratio.sqrt()[:, None, None] * factors,
        )

    def to_columns(self, parameters: FMParameters) -> FMParameters:
        """Return solver parameters on the same columns, with raw predictions in the user's units.

        Products with standardized columns are exact, where those with columns far from zero are differences of large
        numbers; and main effects there are those at the means of the centered columns.
        """
        intercept, linear, factors = (t.to("cpu", torch.float64) for t in parameters)
        scale = self.scale[:, None]
        return FMParameters(
            self.shift + self.scale * intercept, scale * linear, scale.sqrt()[:, :, None] * factors
        )

    def is_within(self, dtype: Any) -> bool:
        """Return whether all scales are so moderate that squares in the user's units are far inside a type's range."""
        limit = float(np.finfo(dtype).max) ** 0.25
        scales = (self.conditioning.scale, self.scale)
        return all(bool((s <= limit).all()) and bool((s >= 1 / limit).all()) for s in scales if len(s))

    def without_scales(self) -> Scaling:
        """Return units that share the centers of the columns and are the user's otherwise."""
        zero, one = (torch.tensor([number], dtype=torch.float64, device="cpu") for number in (0.0, 1.0))
        center = self.conditioning.center
        columns = Standardization(center, one.to(center.device).expand_as(center))
        return Scaling(columns, zero.expand_as(self.shift), one.expand_as(self.scale))

    def attributes(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the private fitted attribute that holds the units of the columns, as numpy arrays."""
        return {"_conditioning": self.conditioning.arrays()}

    @classmethod
    def of(cls, estimator: Any) -> Scaling:
        """Rebuild the units of a fitted estimator."""
        coding = TargetTransform(**estimator._coding)
        return cls(Standardization.from_arrays(estimator._conditioning), *_of_raw_predictions(coding))


class LocatedParameters(NamedTuple):
    """Parameters and the units that they are in.

    Attributes
    ----------
    parameters : FMParameters
        Of one or several repetitions of all outputs.
    scaling : Scaling or None
        Of the outputs once. None stands for the user's units.
    """

    parameters: FMParameters
    scaling: Scaling | None = None

    def within(self, units: Scaling) -> FMParameters:
        """Return the parameters in the units of a solver, in float64 on the CPU."""
        times = len(self.parameters.intercept) // len(units.shift)
        if self.scaling is None:
            return units.repeated(times).to_solver(self.parameters)
        return self.scaling.repeated(times).rebase(self.parameters, units.repeated(times))


def _of_raw_predictions(coding: TargetTransform) -> tuple[Tensor, Tensor]:
    """Return the shift and the scale of the raw predictions."""
    return as_tensor(coding.raw_shift, torch.float64), as_tensor(coding.raw_scale, torch.float64)


def as_tensor(array: Any, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Return a tensor, which shares the memory of the array where torch can hold that."""
    # torch has no read-only tensors, and arrays that joblib maps from a file are read-only.
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(dtype).to(device)


def finite(array: np.ndarray, dtype: Any, reason: str = "") -> np.ndarray:
    """Return an array in another type. If its numbers do not fit into it, raise an error that contains the reason."""
    with np.errstate(over="ignore"):
        array = array.astype(dtype)
    if not np.isfinite(array).all():
        raise ValueError(
            f"The fitted parameters do not fit into {array.dtype} in the units of X and y{reason}. Look for extreme "
            "values in both, or scale them (for example with sklearn.preprocessing.StandardScaler)."
        )
    return array
