"""What is known of the scales of the columns and the target from all rows that a model has learned from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.matrix.design import DesignMatrix
from ..core.matrix.running import ColumnMoments
from ..core.matrix.running_target import TargetMoments
from ..core.matrix.standardize import Standardization
from .samples import Samples
from .scaling import as_tensor
from .targets import Target

#: The arrays about the columns, about the target, and about a sample of the target.
OF_COLUMNS = ("total", "weight", "columns", "mean", "spread")
OF_TARGET, OF_SAMPLE = ("target",), ("sample", "dropped")


class RunningScales(NamedTuple):
    """What is known of the columns and the target from all rows so far.

    Attributes
    ----------
    columns : ColumnMoments
    target : TargetMoments or None
        None if the target has no scale.
    """

    columns: ColumnMoments
    target: TargetMoments | None

    @classmethod
    def empty(cls, n_columns: int, target: Target) -> RunningScales:
        """Return what is known from no rows."""
        loss = target.loss()
        known = None if loss is None else TargetMoments.empty(with_sample=loss.uses_medians)
        return cls(ColumnMoments.empty(n_columns), known)

    def joined(
        self,
        design: DesignMatrix,
        weight: Tensor,
        samples: Samples,
        units: Standardization | None = None,
    ) -> RunningScales:
        """Return what is known together with further rows.

        Parameters
        ----------
        design : DesignMatrix
            Of the rows in the given units, or those of the user.
        weight : Tensor of shape (n_samples,)
            The weights that count for the columns.
        samples : Samples
        units : Standardization, optional
        """
        columns, target = ColumnMoments.measure(design, weight), self.target
        if units is not None:
            columns = columns.before(units)
        if target is not None:
            target = target.joined(*(as_tensor(v, torch.float64) for v in (samples.y, samples.sample_weight)))
        return RunningScales(self.columns.joined(columns), target)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return numpy arrays."""
        return self.columns.arrays() | ({} if self.target is None else self.target.arrays())

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> RunningScales:
        """Rebuild from `arrays`."""
        target = TargetMoments.from_arrays(arrays) if "target" in arrays else None
        return cls(ColumnMoments.from_arrays({name: arrays[name] for name in OF_COLUMNS}), target)
