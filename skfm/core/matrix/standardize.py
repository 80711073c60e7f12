"""Numeric columns on a common scale, and the parameters back in the user's units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .design import DesignMatrix
from .spread import NARROW, narrow_moments

#: The smallest positive number. A scale below it would be zero.
SMALLEST = math.ulp(0.0)
#: Scales below this multiple of the smallest normal number of a type are too small to divide by.
TINY = 2.0**64


@dataclass(frozen=True)
class Standardization:
    """The map x' = (x - center) / scale of each column.

    Columns of 0/1 values are left unchanged, other columns get unit root mean square over their
    non-zeros, and the dense ones among these are centered first. An FM in x' is exactly an FM
    in x, see `skfm.core.interactions.units`, and in the x' of other centers and scales, see `rebase`.

    Attributes
    ----------
    center, scale : Tensor of shape (n_features,)
        float64.
    """

    center: Tensor
    scale: Tensor

    @classmethod
    def measure(cls, design: DesignMatrix, sample_weight: Tensor) -> Standardization:
        """Measure the columns of a design, with weights that mean repeats."""
        n_features = design.shape[1]
        # MPS has no float64, so the sums are computed on the CPU in that case.
        home = design.device if design.device.type != "mps" else torch.device("cpu")
        weight = sample_weight.to(home, torch.float64)
        center = torch.zeros(n_features, dtype=torch.float64, device=home)
        scale = torch.ones(n_features, dtype=torch.float64, device=home)
        if design.values is not None:
            values, columns = design.values.to(home, torch.float64), design.indices.to(home).long()
            numeric = torch.zeros(n_features, dtype=torch.bool, device=home)
            numeric[columns[values != 1]] = True
            row_weight = weight.repeat_interleave(design.indptr.to(home).long().diff())
            # Dividing by the largest value first keeps squares of very small or large numbers finite.
            largest = torch.zeros_like(scale).scatter_reduce_(0, columns, values.abs(), "amax")
            relative = (values / largest[columns]).square_().mul_(row_weight)
            squares = torch.zeros_like(scale).index_add_(0, columns, relative)
            total = torch.zeros_like(scale).index_add_(0, columns, row_weight)
            scale = torch.where(numeric & (squares > 0), largest * (squares / total).sqrt(), scale)
        for k in design.dense_numeric().nonzero()[:, 0].tolist():
            place, x = int(design.dense_columns[k]), design.dense[k]
            center[place], scale[place] = _center_and_scale(x.to(home, torch.float64), weight)
        return cls(center, scale)

    def rounded(self, dtype: torch.dtype) -> Standardization:
        """Return the same map with centers that are representable in a type.

        Differences from such centers are as exact as the values are, whereas the rounding of a center far from zero
        would be a different center in training than in predictions of another type.
        """
        return Standardization(self.center.to(dtype).to(self.center.dtype), self.scale)

    def take(self, columns: Tensor) -> Standardization:
        """Return the map of some columns."""
        columns = columns.to(self.center.device)
        return Standardization(self.center.index_select(0, columns), self.scale.index_select(0, columns))

    @property
    def centers(self) -> bool:
        """Whether any column is centered."""
        return bool((self.center != 0).any())

    def apply(self, design: DesignMatrix, *, in_place: bool = False) -> DesignMatrix:
        """Return the design in x'; centered columns must be dense in it.

        Parameters
        ----------
        design : DesignMatrix
        in_place : bool
            Whether the dense columns of the design may be overwritten.
        """
        # A scale next to the smallest number of the type would be rounded, or zero. A power of two changes no digit.
        is_tiny = self.scale < TINY * torch.finfo(design.dtype).tiny
        power = torch.ones_like(self.scale).masked_fill_(is_tiny, TINY)
        center, scale, power = (
            t.to(design.device, design.dtype) for t in (self.center, self.scale * power, power)
        )
        columns, values, dense = design.dense_columns, design.values, design.dense
        is_scaled = (self.scale != 1).to(design.device)
        has_tiny = bool(is_tiny.any())
        if bool((center[columns] != 0).any()):
            dense = torch.sub(dense, center[columns, None], out=dense if in_place else None)
        if bool(is_scaled[columns].any()):
            dense = dense * power[columns, None] if has_tiny else dense
            dense = torch.div(dense, scale[columns, None], out=dense if in_place else None)
        if len(design.indices) and bool(is_scaled.index_fill(0, columns, False).any()):
            columns_scale = scale.index_select(0, design.indices)
            if values is not None or bool((columns_scale != 1).any()):
                values = torch.ones_like(columns_scale) if values is None else values
                values = values * power.index_select(0, design.indices) if has_tiny else values
                values = values / columns_scale
        return design.replace(values, dense)

    def without_centers(self) -> Standardization:
        """Return the map of columns that are centered already."""
        return Standardization(torch.zeros_like(self.center), self.scale)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state as numpy arrays, which travel between machines."""
        return {"center": self.center.numpy(force=True), "scale": self.scale.numpy(force=True)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Standardization:
        """Rebuild from `arrays`."""
        return cls(*(torch.from_numpy(np.array(arrays[k], np.float64)) for k in ("center", "scale")))


def mean_and_spread(x: Tensor, weight: Tensor) -> tuple[float, float]:
    """Return the weighted mean and standard deviation of numbers of any size.

    Parameters
    ----------
    x, weight : Tensor of shape (n,)
        In float64, not empty.

    Returns
    -------
    mean, spread : float
        The spread is zero if the numbers differ by their rounding alone.
    """
    # Dividing by the largest value first keeps squares of very small or large numbers finite.
    largest = float(x.abs().max())
    if largest == 0:
        return 0.0, 0.0
    share, relative = weight / weight.sum(), x / largest
    mean = share @ relative
    spread = float((share @ (relative - mean).square()).sqrt())
    return narrow_moments(x, weight) if spread < NARROW else (float(mean) * largest, spread * largest)


def _center_and_scale(x: Tensor, weight: Tensor) -> tuple[float, float]:
    """Return the center and the scale of a dense column that is not zero, both (n_samples,) in float64."""
    center, spread = mean_and_spread(x, weight)
    if spread > 0:
        return center, max(spread, SMALLEST)
    # A constant column is left unchanged: centered, it would carry no information.
    return 0.0, abs(center)
