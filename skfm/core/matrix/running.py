"""Running moments of columns and targets, from which scales follow that do not depend on how rows come in chunks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .design import DENSITY, DesignMatrix
from .spread import ROUNDING
from .standardize import Standardization, mean_and_spread

#: Share of zeros of a column below which there are none: sums of weights are rounded.
NO_ZEROS = 1e-12


class Moments(NamedTuple):
    """Weighted moments of some numbers, elementwise for several sets of them.

    Attributes
    ----------
    weight, mean, spread : Tensor
        Sum of the weights, mean and standard deviation, in float64 on the CPU. The last two mean nothing where the
        weight is zero.
    """

    weight: Tensor
    mean: Tensor
    spread: Tensor

    def joined(self, other: Moments) -> Moments:
        """Return the moments of both sets together, by the formula of Chan, Golub and LeVeque."""
        # An empty set takes the moments of the other one.
        self, other = (
            Moments(a.weight, *(torch.where(a.weight > 0, *pair) for pair in zip(a[1:], b[1:], strict=True)))
            for a, b in ((self, other), (other, self))
        )
        weight = self.weight + other.weight
        share = torch.where(weight > 0, other.weight / weight.clamp(min=torch.finfo(weight.dtype).tiny), 0.0)
        # Dividing by the largest number first keeps squares of very small or large numbers finite.
        unit = torch.stack([abs(part) for part in (*self[1:], *other[1:])]).amax(0)
        unit = torch.where(unit > 0, unit, 1.0)
        (mean, spread), (mean_b, spread_b) = ([part / unit for part in m[1:]] for m in (self, other))
        apart = mean_b - mean
        within = (1 - share) * spread.square() + share * spread_b.square()
        variance = within + share * (1 - share) * apart.square()
        return Moments(weight, (mean + share * apart) * unit, variance.sqrt() * unit)

    @classmethod
    def of(cls, values: Tensor, weight: Tensor) -> Moments:
        """Return the moments of a vector in float64, not empty."""
        mean, spread = (
            torch.tensor(x, dtype=torch.float64, device="cpu") for x in mean_and_spread(values, weight)
        )
        return cls(weight.sum().cpu(), mean, spread)

    @property
    def varies(self) -> Tensor:
        """Whether the numbers differ by more than rounding."""
        return (self.weight > 0) & (self.spread > ROUNDING * torch.maximum(self.mean.abs(), self.spread))


class ColumnMoments(NamedTuple):
    """Moments of the columns of all rows so far.

    Attributes
    ----------
    total : Tensor of shape ()
        Sum of the weights of the rows.
    weight : Tensor of shape (n_features,)
        Sum of the weights of the rows where a column is not zero.
    mean, spread : Tensor of shape (n_features,) or None
        Mean and standard deviation of its non-zeros. None if all non-zeros of all columns are one.
    """

    total: Tensor
    weight: Tensor
    mean: Tensor | None = None
    spread: Tensor | None = None

    @classmethod
    def empty(cls, n_features: int) -> ColumnMoments:
        """Return the moments of no rows."""
        zeros = torch.zeros(1 + n_features, dtype=torch.float64, device="cpu")
        return cls(zeros[0], zeros[1:])

    @classmethod
    def measure(cls, design: DesignMatrix, sample_weight: Tensor) -> ColumnMoments:
        """Return the moments of the rows of a design in the user's units."""
        n_features = design.shape[1]
        home = design.device if design.device.type != "mps" else torch.device("cpu")
        weight = sample_weight.to(home, torch.float64)
        zeros = torch.zeros(n_features, dtype=torch.float64, device=home)
        columns = design.indices.to(home).long()
        row_weight = weight.repeat_interleave(design.indptr.to(home).long().diff())
        count, mean, spread = zeros.index_add(0, columns, row_weight), zeros + 1, zeros.clone()
        if design.values is not None:
            values = design.values.to(home, torch.float64)
            numeric = torch.zeros_like(zeros, dtype=torch.bool).index_fill_(0, columns[values != 1], True)
            largest = zeros.scatter_reduce(0, columns, values.abs(), "amax")
            relative = values / largest[columns]
            divisor = torch.where(count > 0, count, 1.0)
            average = zeros.index_add(0, columns, relative * row_weight) / divisor
            squares = (relative - average[columns]).square_().mul_(row_weight)
            deviation = (zeros.index_add(0, columns, squares) / divisor).sqrt()
            mean = torch.where(numeric, average * largest, mean)
            spread = torch.where(numeric, deviation * largest, spread)
        for k, place in enumerate(design.dense_columns.tolist()):
            x = design.dense[k].to(home, torch.float64)
            used = x != 0
            found, w = (x, weight) if bool(used.all()) else (x[used], weight[used])
            count[place] = w.sum()
            if bool((found != 1).any()):
                _, mean[place], spread[place] = Moments.of(found, w)
        count, mean, spread = (t.cpu() for t in (count, mean, spread))
        has_numbers = bool(((mean != 1) | (spread != 0)).any())
        return cls(weight.sum().cpu(), count, *((mean, spread) if has_numbers else ()))

    def joined(self, other: ColumnMoments) -> ColumnMoments:
        """Return the moments of the rows of both."""
        total = self.total + other.total
        if self.mean is None and other.mean is None:
            return ColumnMoments(total, self.weight + other.weight)
        return ColumnMoments(total, *self.nonzeros.joined(other.nonzeros))

    def before(self, units: Standardization) -> ColumnMoments:
        """Return the moments before standardization by these units, given those after it.

        Zeros of columns that were centered count as non-zeros, which does not change the moments over all rows.
        """
        center, scale = units.center.cpu(), units.scale.cpu()
        rows, centered = self.rows(), center != 0
        weight, mean, spread = (
            torch.where(centered, *pair) for pair in zip(rows, self.nonzeros, strict=True)
        )
        mean, spread = mean * scale + center, spread * scale
        has_numbers = bool(((mean != 1) | (spread != 0)).any())
        return ColumnMoments(self.total, weight, *((mean, spread) if has_numbers else ()))

    @property
    def nonzeros(self) -> Moments:
        """The moments of the non-zeros of each column."""
        if self.mean is None or self.spread is None:
            return Moments(self.weight, torch.ones_like(self.weight), torch.zeros_like(self.weight))
        return Moments(self.weight, self.mean, self.spread)

    @property
    def are_numeric(self) -> Tensor:
        """Which columns have held numbers other than 0 and 1."""
        _, mean, spread = self.nonzeros
        return (self.weight > 0) & ((mean != 1) | (spread != 0))

    def rows(self) -> Moments:
        """Return the moments of each column over all rows, zeros included."""
        weight, mean, spread = self.nonzeros
        total = self.total if self.total > 0 else torch.ones_like(self.total)
        zeros = (1 - weight / total).clamp(min=0)
        zeros = torch.where(zeros > NO_ZEROS, zeros, 0.0)
        share = 1 - zeros
        deviation = share.sqrt() * torch.hypot(spread, zeros.sqrt() * mean)
        return Moments(self.total.expand_as(weight), share * mean, deviation)

    def have_varied(self) -> Tensor:
        """Return which columns have held two different numbers."""
        return self.rows().varies

    def mostly_dense(self) -> Tensor:
        """Return which columns hold numbers other than 0 and 1, and zero in few rows."""
        return self.are_numeric & (self.total < DENSITY * self.weight)

    def standardization(self, dense_columns: Tensor, *, center: bool) -> Standardization:
        """Return the map that `Standardization.measure` would find on all rows together.

        Parameters
        ----------
        dense_columns : Tensor of int
            The columns that may be centered.
        center : bool
            Whether any column may be centered.
        """
        _, mean, spread = self.nonzeros
        numeric = self.are_numeric
        size = torch.hypot(mean, spread)
        zero = torch.zeros_like(size)
        location, scale = zero.clone(), torch.where(numeric & (size > 0), size, 1.0)
        dense = dense_columns.cpu()[numeric[dense_columns.cpu()]]
        weight, row_mean, row_spread = (part[dense] for part in self.rows())
        varies = Moments(weight, torch.maximum(row_mean.abs(), size[dense]), row_spread).varies
        root_mean_square = torch.hypot(row_mean, row_spread)
        location[dense] = torch.where(varies, row_mean, 0.0)
        scale[dense] = torch.where(varies, row_spread, root_mean_square)
        if not center:
            location, scale = zero, torch.hypot(location, scale)
        return Standardization(location, scale)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return numpy arrays, with the means and spreads of numeric columns only."""
        columns = self.are_numeric.nonzero()[:, 0]
        _, mean, spread = self.nonzeros
        found = {"total": self.total[None], "weight": self.weight, "columns": columns}
        found |= {"mean": mean[columns], "spread": spread[columns]}
        return {name: np.array(tensor.numpy()) for name, tensor in found.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ColumnMoments:
        """Rebuild from `arrays`."""
        parts = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        total, weight, columns = parts["total"][0], parts["weight"], parts["columns"]
        if not len(columns):
            return cls(total, weight)
        mean, spread = torch.ones_like(weight), torch.zeros_like(weight)
        mean[columns], spread[columns] = parts["mean"], parts["spread"]
        return cls(total, weight, mean, spread)
