"""Numeric columns on a common scale, and the parameters back in the user's units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .design import DesignMatrix

#: Spreads, relative to the largest value of a column, below which the rounding of the mean shows in them, and up to
#: which the values of a column differ by nothing but rounding.
NARROW, ROUNDING = 1e-6, 64 * torch.finfo(torch.float64).eps


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
            x = x.to(home, torch.float64)
            largest_value = x.abs().max()
            x = x / largest_value
            mean, spread = mean_and_spread(x, weight)
            # A constant column is left unchanged: centered, it would carry no information.
            varies = spread > ROUNDING
            center[place] = mean * largest_value if varies else 0.0
            scale[place] = largest_value * (spread if varies else (weight @ x.square() / weight.sum()).sqrt())
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
        center, scale = (t.to(design.device, design.dtype) for t in (self.center, self.scale))
        columns, values, dense = design.dense_columns, design.values, design.dense
        is_scaled = (self.scale != 1).to(design.device)
        if bool((center[columns] != 0).any()):
            dense = torch.sub(dense, center[columns, None], out=dense if in_place else None)
        if bool(is_scaled[columns].any()):
            dense = torch.div(dense, scale[columns, None], out=dense if in_place else None)
        if len(design.indices) and bool(is_scaled.index_fill(0, columns, False).any()):
            columns_scale = scale.index_select(0, design.indices)
            if values is not None or bool((columns_scale != 1).any()):
                values = (torch.ones_like(columns_scale) if values is None else values) / columns_scale
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


def mean_and_spread(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean and standard deviation of numbers between -1 and 1."""
    total = weight.sum()
    mean = (weight @ x) / total
    spread = ((weight @ (x - mean).square()) / total).sqrt()
    if spread < NARROW:
        # Differences of numbers that are close to each other are exact.
        apart = x - x[0]
        offset = (weight @ apart) / total
        mean, spread = x[0] + offset, ((weight @ (apart - offset).square()) / total).sqrt()
    return mean, spread
