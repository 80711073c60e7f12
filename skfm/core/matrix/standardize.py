"""Numeric columns on a common scale, and the parameters back in the user's units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .design import DesignMatrix
from .parameters import FMParameters

#: Spreads, relative to the largest value of a column, below which the rounding of the mean shows in them, and up to
#: which the values of a column differ by nothing but rounding.
NARROW, ROUNDING = 1e-6, 64 * torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Standardization:
    """The map x' = (x - center) / scale of each column.

    Columns of 0/1 values are left alone, other columns get unit root mean square over their
    non-zeros, and the dense ones among these are centered first. An FM in x' is exactly an FM
    in x, see `fold`, and in the x' of other centers and scales, see `rebase`.

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
        # MPS has no float64, so the sums are made on the CPU there.
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
            mean, spread = _mean_and_spread(x, weight)
            # A constant column stays as it is: centered, it would tell nothing at all.
            varies = spread > ROUNDING
            center[place] = mean * largest_value if varies else 0.0
            scale[place] = largest_value * (spread if varies else (weight @ x.square() / weight.sum()).sqrt())
        return cls(center, scale)

    def rounded(self, dtype: torch.dtype) -> Standardization:
        """Return the same with centers that a type can hold.

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

    def fold(self, parameters: FMParameters, shift: Tensor, target_scale: Tensor) -> FMParameters:
        """Turn parameters on x' and (y - shift) / target_scale into parameters on x and y.

        With M = sum_l m_l V_l::

            V_j = v'_j / s_j,  a_j = w'_j / s_j,  w_j = a_j - <V_j, M> + m_j |V_j|^2,
            w0 = w0' - sum_j a_j m_j + 1/2 (|M|^2 - sum_j m_j^2 |V_j|^2)

        Parameters
        ----------
        parameters : FMParameters
        shift, target_scale : Tensor of shape (n_outputs,)

        Returns
        -------
        FMParameters
            On the CPU, in float64 except where the units are the same.
        """
        changes = bool((self.scale != 1).any() or (shift != 0).any() or (target_scale != 1).any())
        if not (changes or self.centers):
            # Converting a large model would take longer than all the rest.
            return FMParameters(*(t.cpu() for t in parameters))
        intercept, linear, factors = (t.to("cpu", torch.float64) for t in parameters)
        center, scale = self.center.cpu(), self.scale.cpu()
        shift, target_scale = shift.to("cpu", torch.float64), target_scale.to("cpu", torch.float64)
        a = linear / scale
        V = factors / scale[:, None]
        if self.centers:
            intercept, linear = self._shift_origin(intercept, a, V, -center)
        else:
            linear = a
        return FMParameters(
            intercept * target_scale + shift,
            linear * target_scale[:, None],
            V * target_scale.sqrt()[:, None, None],
        )

    def unfold(self, parameters: FMParameters, shift: Tensor, target_scale: Tensor) -> FMParameters:
        """Undo `fold`."""
        intercept, linear, factors = (t.to("cpu", torch.float64) for t in parameters)
        center, scale = self.center.cpu(), self.scale.cpu()
        shift, target_scale = shift.to("cpu", torch.float64), target_scale.to("cpu", torch.float64)
        intercept = (intercept - shift) / target_scale
        linear = linear / target_scale[:, None]
        V = factors / target_scale.sqrt()[:, None, None]
        if self.centers:
            intercept, linear = self._shift_origin(intercept, linear, V, center)
        return FMParameters(intercept, linear * scale, V * scale[:, None])

    def rebase(self, parameters: FMParameters, other: Standardization) -> FMParameters:
        """Turn parameters on x' into parameters on the x'' of another map.

        This takes no detour through x, whose origin may be far from the centers of both. With
        x' = r x'' + d, r = scale'' / scale' and d = (center'' - center') / scale'::

            v'' = r v',  M = sum_l d_l v'_l,  w''_j = r_j (w'_j + <v'_j, M> - d_j |v'_j|^2),
            w0'' = w0' + sum_j w'_j d_j + 1/2 (|M|^2 - sum_j d_j^2 |v'_j|^2)

        Parameters
        ----------
        parameters : FMParameters
        other : Standardization

        Returns
        -------
        FMParameters
            On the CPU in float64.
        """
        intercept, linear, factors = (t.to("cpu", torch.float64) for t in parameters)
        scale, new_scale = self.scale.cpu(), other.scale.cpu()
        by = (other.center.cpu() - self.center.cpu()) / scale
        if bool((by != 0).any()):
            intercept, linear = self._shift_origin(intercept, linear, factors, by)
        ratio = new_scale / scale
        return FMParameters(intercept, linear * ratio, factors * ratio[:, None])

    @staticmethod
    def _shift_origin(intercept: Tensor, linear: Tensor, V: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
        """Return (w0, w) of the FM that is at x what the given one is at x + by."""
        columns = by.nonzero()[:, 0]
        by = by[columns]
        some = V[:, columns]
        # The products first: squares of factors alone may exceed the range of numbers.
        moved = by[:, None] * some
        M = moved.sum(1)
        new_linear = linear + torch.einsum("bpk,bk->bp", V, M)
        new_linear[:, columns] -= (some * moved).sum(2)
        new_intercept = intercept + linear[:, columns] @ by
        return new_intercept + (M.square().sum(1) - moved.square().sum((1, 2))) / 2, new_linear

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state as numpy arrays, which travel between machines."""
        return {"center": self.center.numpy(force=True), "scale": self.scale.numpy(force=True)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Standardization:
        """Rebuild from `arrays`."""
        return cls(*(torch.from_numpy(np.array(arrays[k], np.float64)) for k in ("center", "scale")))


def _mean_and_spread(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
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
