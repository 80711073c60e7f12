"""The user's units and the solver's: conditioned columns, a standardized target."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .core.conditioning import Conditioning
from .core.design import DesignMatrix
from .core.parameters import FMParameters


class Units(NamedTuple):
    """The map between both.

    Attributes
    ----------
    conditioning : Conditioning
        Of the columns.
    shift, scale : Tensor of shape (n_outputs,)
        Of the target, in float64 on the CPU.
    """

    conditioning: Conditioning
    shift: Tensor
    scale: Tensor

    @classmethod
    def measure(
        cls,
        design: DesignMatrix,
        sample_weight: Tensor,
        shift: np.ndarray,
        scale: np.ndarray,
        *,
        center: bool,
    ) -> Units:
        """Measure the columns of the training data.

        Parameters
        ----------
        design : DesignMatrix of shape (n_samples, n_features)
        sample_weight : Tensor of shape (n_samples,)
        shift, scale : ndarray of shape (n_outputs,)
            Of the target.
        center : bool
            Whether columns may be centered: that moves the intercept and the linear term, so a
            model must have both.
        """
        measured = Conditioning.measure(design, sample_weight)
        if not center:
            # mean^2 + variance: the columns get unit root mean square about zero instead.
            spread = torch.hypot(measured.center, measured.scale)
            measured = Conditioning(torch.zeros_like(measured.center), spread)
        return cls(measured, as_tensor(shift, torch.float64), as_tensor(scale, torch.float64))

    def design(self, X: Any, dtype: torch.dtype, device: torch.device) -> DesignMatrix:
        """Return rows in the solver's units."""
        center = self.conditioning.center.numpy(force=True)
        return self.conditioning.apply(user_design(X, center, dtype, device))

    def to_user(self, parameters: FMParameters) -> FMParameters:
        """Return solver parameters in the user's units, in float64 on the CPU."""
        return self.conditioning.fold(parameters, self.shift, self.scale)

    def to_solver(self, parameters: FMParameters) -> FMParameters:
        """Return the user's parameters in the solver's units, in float64 on the CPU."""
        return self.conditioning.unfold(parameters, self.shift, self.scale)

    def attributes(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the private fitted attributes that hold the units, as numpy arrays."""
        target = {"shift": self.shift.numpy(), "scale": self.scale.numpy()}
        return {"_conditioning": self.conditioning.arrays(), "_target": target}

    @classmethod
    def of(cls, estimator: Any) -> Units:
        """Rebuild the units of a fitted estimator."""
        target = (as_tensor(estimator._target[name], torch.float64) for name in ("shift", "scale"))
        return cls(Conditioning.from_arrays(estimator._conditioning), *target)


def user_design(X: Any, center: np.ndarray, dtype: torch.dtype, device: torch.device) -> DesignMatrix:
    """Return rows in the user's units, those columns dense that the fit has centered.

    The values at hand must not decide that: rows would be summed in another order in another batch.
    """
    return DesignMatrix.from_array(X, dtype=dtype, device=device, dense_columns=np.flatnonzero(center))


def as_tensor(array: Any, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Return a tensor, which shares the memory of the array where torch can hold that."""
    # torch has no read-only tensors, and arrays that joblib maps from a file are read-only.
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(dtype).to(device)
