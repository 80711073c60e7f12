"""The state of a minibatch run in other units of the columns and of the target.

Further rows can show that the scales that were measured on the first rows are not typical. With x' = r x'' + d and
f'' = t f' + c, the parameters in the new units predict the same as before, see `skfm.core.interactions.units.rebase`.
What the optimizer has summed up follows them: a gradient by a linear weight is multiplied by s q, where s is the factor
of the slope of the loss and q^2 the ratio of the mean squares of x'' and x' over the rows so far.

A column whose values spread further than those so far is another matter, because its parameters were learned from a
small part of its range: their errors grow with the range, and can dominate all predictions. A parameter is therefore
multiplied by what a prior of precision one in either units makes of the same data. With the curvature H in the old
units, and rows that reach e^2 = E[x'^2] there, this is the factor (1 + H) / (e^2 + H): about one where there are many
rows or e is about one.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from ...interactions.units import rebase
from ...matrix.parameters import FMParameters
from ...matrix.standardize import Standardization
from ..problem import Settings
from .penalties import FIRST_UPDATE
from .trainer import Trainer

#: Standard deviation of the factors that a column begins with which has not varied before, at most.
START = 0.1


class UnitChange(NamedTuple):
    """Other units of a run.

    Attributes
    ----------
    columns, new_columns : Standardization
        Before and after.
    dense_columns : Tensor of int
        The columns that are dense from now on.
    ratio, shift : Tensor of shape (n_outputs,)
        Raw predictions are multiplied by the first, then the second is added.
    loss, slope, curvature : float
        The factors of losses, and of their first and second derivatives by the raw prediction.
    squares : Tensor of shape (n_features,)
        Mean squares of the columns over the rows so far in the new units, divided by those in the old units.
    reach : Tensor of shape (n_features,)
        Mean squares of the columns over all rows, those to come included, divided by those over the rows so far, in
        the old units.
    are_new : Tensor of bool of shape (n_features,)
        Columns that had the same value in all rows so far.
    start : FMParameters or None
        Where the run starts in the new units. None if it starts where it is.
    restarts : bool
        Whether to return to the start, because the rows so far had only one target.
    settings : Settings
    units : object
        Kept by the trainer for the caller.
    """

    columns: Standardization
    new_columns: Standardization
    dense_columns: Tensor
    ratio: Tensor
    shift: Tensor
    loss: float
    slope: float
    curvature: float
    squares: Tensor
    reach: Tensor
    are_new: Tensor
    start: FMParameters | None
    restarts: bool
    settings: Settings
    units: object


def changed_trainer(trainer: Trainer, change: UnitChange) -> Trainer:
    """Return a trainer that continues in other units, and leave the given one as it is."""
    new = copy.copy(trainer)
    like, n_outputs = trainer.theta, trainer.shape[0]
    restarts = change.restarts and change.start is not None
    parameters = _parameters(trainer, change)
    if restarts and change.start is not None:
        parameters = change.start
    new.set_parameters(FMParameters(*(t.to(like.device, like.dtype) for t in parameters)))
    new.dense_columns = change.dense_columns.to(like.device)
    squares = change.squares.to(like.device)
    gradient = change.slope * squares.sqrt()[:, None]
    ratio = change.ratio.to(like.device).repeat_interleave(trainer.shape[2])
    is_linear = torch.zeros_like(ratio, dtype=torch.bool)
    is_linear[:: trainer.shape[2]] = True
    factor = gradient * torch.where(is_linear, 1.0, ratio.sqrt())
    new.penalties = trainer.penalties.in_units(
        change.ratio.to(like), change.slope, change.curvature, squares != 1, change.settings
    )
    if restarts:
        new.penalties.restart()
    if restarts or bool((squares != 1).any()):
        new.penalties.next_update = min(trainer.penalties.next_update, trainer.n_batches + FIRST_UPDATE)
    new.slots = trainer.optimizer.slots_in_units(trainer.slots, new.theta, factor.to(like), n_outputs)
    new.intercept_slots = trainer.optimizer.slots_in_units(
        trainer.intercept_slots, new.intercept, torch.full_like(new.intercept, change.slope), n_outputs
    )
    new.set_known(
        trainer.batches_per_pass, trainer.curvature * (change.curvature * squares.to(like))[:, None]
    )
    new.total_curvature = trainer.total_curvature * change.curvature
    new.batches_seen, new.totals = trainer.batches_seen.clone(), trainer.totals.clone()
    again = torch.ones_like(change.are_new) if restarts else change.are_new
    _forget(new, again.to(like.device), intercept=restarts)
    new.l1_linear, new.units = change.settings.l1_linear, change.units
    if not restarts:
        _settle(new, (new.theta != trainer.theta).any(1))
    return new


def _parameters(trainer: Trainer, change: UnitChange) -> FMParameters:
    """Return the parameters in other units, and closer to zero where they are extrapolated."""
    intercept, linear, factors = (t.to("cpu", torch.float64) for t in trainer.parameters())
    # (n_outputs, n_features)
    H = trainer.curvature.T.to("cpu", torch.float64)
    reach = change.reach.clamp(min=1)
    linear = linear * ((1 + H) / (reach + H))
    r = change.new_columns.scale.cpu() / change.columns.scale.cpu()
    # Both factors of a pair are multiplied by it. Without any data, factors are the random numbers of a start.
    caution = ((1 + H) / (reach.square() + H)).sqrt()
    factors = factors * torch.maximum(caution, r.reciprocal().clamp(max=1))[:, :, None]
    found = rebase(change.columns, FMParameters(intercept, linear, factors), change.new_columns)
    ratio = change.ratio.cpu()
    new_factors = ratio.sqrt()[:, None, None] * found.factors
    if bool(change.are_new.any()):
        size = factors.norm(dim=2, keepdim=True)
        most = START * max(1, factors.shape[2]) ** 0.5
        begun = factors * (most / size.clamp(min=most))
        new_factors = torch.where(change.are_new[:, None], begun, new_factors)
    return FMParameters(
        ratio * found.intercept + change.shift.cpu(), ratio[:, None] * found.linear, new_factors
    )


def _forget(trainer: Trainer, columns: Tensor, *, intercept: bool) -> None:
    """Let the step sizes of columns begin anew."""
    if bool(columns.any()):
        fresh = trainer.optimizer.slots(trainer.theta, trainer.shape[0])
        for slot, begun in zip(trainer.slots, fresh, strict=True):
            slot[columns] = begun[columns]
        if len(trainer.batches_seen):
            trainer.batches_seen[columns] = 0
    if intercept:
        trainer.intercept_slots = trainer.optimizer.slots(trainer.intercept, trainer.shape[0])


def _settle(trainer: Trainer, columns: Tensor) -> None:
    """Let the slots of columns from which their parameters follow fit to the parameters."""
    which = columns.nonzero()[:, 0]
    passes = torch.ones_like(which, dtype=trainer.theta.dtype)
    if len(trainer.batches_seen):
        passes = (trainer.batches_seen[which] / trainer.batches_per_pass[which].clamp(min=1)).clamp(min=1)
    slots = [slot[which] for slot in trainer.slots]
    l2 = trainer.penalties.linear(which)
    trainer.optimizer.settle(trainer.theta[which], slots, passes[:, None], l2, trainer.l1_linear)
    for slot, settled in zip(trainer.slots, slots, strict=True):
        slot[which] = settled
    once = torch.ones_like(trainer.intercept[:, :1])
    trainer.optimizer.settle(trainer.intercept, trainer.intercept_slots, once, 0 * once, 0.0)
