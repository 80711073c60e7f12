"""Units that follow the rows that a model learns from one after the other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.matrix.design import DesignMatrix
from ..core.matrix.parameters import FMParameters
from ..core.matrix.running import ColumnMoments
from ..core.matrix.standardize import Standardization
from ..core.solvers import Settings
from ..core.solvers.minibatch.new_units import UnitChange
from ..data.samples import Samples
from ..data.target_transform import TargetTransform
from ..data.targets import NumericTarget, Target
from .problem import TrainingProblem

#: Units are kept while each scale is within this factor of that of all rows, and each center within this share of a
#: scale: the solvers need scales that are about right, and parameters in other units are rounded.
SCALE, CENTER = 1.5, 0.5


class NewUnits(NamedTuple):
    """Other units of a problem.

    Attributes
    ----------
    before, after : TrainingProblem
    restarts : bool
        Whether all rows so far had the same target, and further ones have others.
    are_new : Tensor of bool of shape (n_features,)
        Columns whose units change and that had the same value in all rows so far.
    squares, reach : Tensor of shape (n_features,)
        See `UnitChange`.
    """

    before: TrainingProblem
    after: TrainingProblem
    restarts: bool
    are_new: Tensor
    squares: Tensor
    reach: Tensor

    def change(self, settings: Settings, start: FMParameters | None, *, is_random: bool) -> UnitChange:
        """Return the change of a run.

        Parameters
        ----------
        settings : Settings
            Those in the new units.
        start : FMParameters or None
            Where the run starts, in the new units. None if it starts where it is.
        is_random : bool
            Whether all that the model has learned comes from the rows so far.
        """
        coding, old, new = self.after.coding, self.before.units, self.after.units
        # Losses are proportional to a power of the target, and raw predictions to the target or not at all.
        scale = self.before.coding.scale / coding.scale
        loss = scale ** getattr(self.after.model, "degree", 0)
        return UnitChange(
            columns=old.conditioning,
            new_columns=new.conditioning,
            dense_columns=self.after.problem.design.dense_columns,
            ratio=old.scale / new.scale,
            shift=(old.shift - new.shift) / new.scale,
            loss=loss,
            slope=loss / scale if coding.identity_link else loss,
            curvature=1.0 if coding.identity_link else loss,
            squares=self.squares,
            reach=self.reach if is_random else torch.ones_like(self.reach),
            are_new=self.are_new if is_random else torch.zeros_like(self.are_new),
            start=start,
            restarts=self.restarts,
            settings=settings,
            units=self.after,
        )


def follow(
    task: TrainingProblem, target: Target, samples: Samples, raw_design: DesignMatrix
) -> tuple[TrainingProblem, NewUnits | None]:
    """Return a problem with the scales of further rows as well, in other units where those are not typical any more.

    Parameters
    ----------
    task : TrainingProblem
        The problem in the current units, with the scales of the rows so far.
    target : Target
    samples : Samples
        The further rows.
    raw_design : DesignMatrix
        Their columns in the user's units.
    """
    if task.scales is None:
        return task, None
    before = task.scales
    scales = before.joined(raw_design, task.weight(samples), samples)
    known = task._replace(scales=scales)
    if not before.columns.total > 0:
        # The units are those of these rows.
        return known, None
    columns, squares, reach = _columns(task, before.columns, scales.columns)
    coding, restarts = task.coding, False
    if isinstance(target, NumericTarget) and before.target is not None and scales.target is not None:
        wanted = target.transform(*scales.target.representatives(), more_follow=True)
        restarts = scales.target.has_varied and not before.target.has_varied
        if restarts or _moved(coding, wanted):
            coding = wanted
    if columns is None and coding is task.coding:
        return known, None
    if columns is None:
        columns = task.units.conditioning
    after = known.in_units(columns, coding)
    are_new = ~before.columns.have_varied() & (squares != 1)
    return after, NewUnits(task, after, restarts, are_new, squares, reach)


def _moved(before: TargetTransform, wanted: TargetTransform) -> bool:
    """Return whether the location or the scale of the target is far from that of the units."""
    far = abs(wanted.shift - before.shift) > CENTER * wanted.scale
    return far or not 1 / SCALE <= wanted.scale / before.scale <= SCALE


def _columns(
    task: TrainingProblem, before: ColumnMoments, now: ColumnMoments
) -> tuple[Standardization | None, Tensor, Tensor]:
    """Return other units of the columns, None if none moves, with the numbers of `UnitChange` about them."""
    core, old = task.problem, task.units.conditioning
    center, scale = old.center.cpu(), old.scale.cpu()
    nothing = torch.ones_like(scale)
    if now.mean is None:
        return None, nothing, nothing
    dense = torch.zeros_like(scale, dtype=torch.bool)
    dense[core.design.dense_columns.cpu()] = True
    # A column that had the same value in the first rows could not be known to be dense.
    dense |= now.mostly_dense() & ~before.are_numeric
    can_center = core.fit_intercept and core.fit_linear
    wanted = now.standardization(dense.nonzero()[:, 0], center=can_center)
    if can_center:
        wanted = wanted.rounded(core.design.dtype)
    ratio = wanted.scale / scale
    moved = (ratio > SCALE) | (ratio < 1 / SCALE)
    moved |= (wanted.center - center).abs() > CENTER * wanted.scale
    if not bool(moved.any()):
        return None, nothing, nothing
    new_center, new_scale = (
        torch.where(moved, *pair) for pair in ((wanted.center, center), (wanted.scale, scale))
    )
    # Without centers, the share of zeros does not matter.
    centered = (center != 0) | (new_center != 0)
    past = _root_mean_square(before, center, scale, centered)
    squares = (_root_mean_square(before, new_center, new_scale, centered) / past).square()
    reach = (_root_mean_square(now, center, scale, centered) / past).square()
    has_past = moved & (past > 0)
    squares = torch.where(has_past, squares, torch.where(moved, ratio.reciprocal().square(), 1.0))
    # The squares of ratios that are extreme by themselves are kept finite.
    most = 1e30
    squares, reach = squares.clamp(max=most), torch.where(has_past, reach, 1.0).clamp(max=most)
    old_like = old.center
    return Standardization(new_center.to(old_like.device), new_scale.to(old_like.device)), squares, reach


def _root_mean_square(moments: ColumnMoments, center: Tensor, scale: Tensor, centered: Tensor) -> Tensor:
    """Return that of the standardized columns over all rows, or over their non-zeros."""
    rows, nonzeros = moments.rows(), moments.nonzeros
    mean, spread = (torch.where(centered, *pair) for pair in zip(rows[1:], nonzeros[1:], strict=True))
    found = torch.hypot((mean - center) / scale, spread / scale)
    return torch.where(moments.weight > 0, found, 0.0)
