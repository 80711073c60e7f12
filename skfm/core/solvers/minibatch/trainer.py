"""The state of a minibatch run, and the step that a batch moves it by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ...interactions.base import Interaction
from ...interactions.pairwise import PAIRWISE
from ...matrix.batches import Batch
from ...matrix.parameters import FMParameters, all_finite
from ...matrix.row_ops import put_rows, take_rows
from ...observation.parts import MinibatchLoss
from .optimizers import Optimizer, Step
from .penalties import Penalties

#: How much shorter than Newton's step for one parameter a step is where all parameters of a column move at once,
#: times the root of their number. Measured: with half of it, large batches of click logs are unstable.
MOVES = 0.5
#: Rows with this many times as many non-zeros as the average row are long: their curvature is bounded on its own.
LONG = 8


class Trainer:
    """A factorization machine that learns batch by batch.

    Parameters
    ----------
    start : FMParameters
        Initial parameters in the units of the solver, on the device of the batches.
    loss : MinibatchLoss
    optimizer : Optimizer
    penalties : Penalties
    dense_columns : LongTensor of shape (n_dense,)
        The dense columns of the batches.
    fit_intercept, fit_linear : bool
    l1_linear : float
    interaction : Interaction
    """

    def __init__(
        self,
        start: FMParameters,
        loss: MinibatchLoss,
        optimizer: Optimizer,
        penalties: Penalties,
        dense_columns: Tensor,
        *,
        fit_intercept: bool,
        fit_linear: bool,
        l1_linear: float = 0.0,
        interaction: Interaction = PAIRWISE,
    ) -> None:
        n_outputs, n_features, n_factors = start.factors.shape
        self.shape = n_outputs, n_features, 1 + n_factors
        #: The units of the parameters, in the form in which the caller has set them; None at first.
        self.units: object = None
        self.loss, self.optimizer, self.penalties = loss, optimizer, penalties
        self.interaction = interaction
        self.dense_columns = dense_columns
        self.fit_intercept, self.fit_linear, self.l1_linear = fit_intercept, fit_linear, l1_linear
        self.set_parameters(start)
        self.slots = optimizer.slots(self.theta, n_outputs)
        self.intercept_slots = optimizer.slots(self.intercept, n_outputs)
        # For each column the batches of the first pass that contained it, and its curvature over that pass.
        self.set_known(start.factors.new_zeros(n_features), start.factors.new_zeros(n_features, n_outputs))
        #: Sum of the curvatures of the rows of the first pass.
        self.total_curvature = start.factors.new_zeros(n_outputs)
        #: All batches so far that contained it, where the rule reads them.
        self.batches_seen = start.factors.new_zeros(n_features if optimizer.counts_batches else 0)
        #: Sum of the losses before each step and sum of the weights, since they were last set to zero.
        self.totals = start.factors.new_zeros(2)
        self.n_batches = 0
        #: Batches of a pass; None until the first one is over: until then, the data so far are all data.
        self.pass_batches: int | None = None
        self._mask = interaction.factor_mask(n_factors, self.theta)
        self._moves = max(1.0, MOVES * n_factors**0.5)
        self._constants = torch.zeros_like(self.intercept), torch.ones_like(self.intercept)

    def set_parameters(self, parameters: FMParameters) -> None:
        """Store parameters in new tables."""
        intercept, linear, factors = parameters
        table = torch.cat([linear[:, :, None], factors], 2).permute(1, 0, 2)
        #: Parameters, one row per column: [w, v] of every output.
        self.theta = table.reshape(self.shape[1], -1).contiguous()
        self.intercept = intercept.clone()[None]

    def set_known(self, batches_per_pass: Tensor, curvature: Tensor) -> None:
        """Store the batches and the curvature of each column in a new table."""
        self._known = torch.cat([batches_per_pass[:, None], curvature], 1)
        self.batches_per_pass, self.curvature = self._known[:, 0], self._known[:, 1:]

    def learn(self, batches: Iterable[tuple[Batch, float]]) -> None:
        """Take a step for each batch at its learning rate, and add its losses to ``totals``."""
        for batch, rate in batches:
            if self.n_batches == 0:
                self.penalties.begin(batch.entries_per_row)
            self._step(batch.to(self.theta.device), rate)
            self.n_batches += 1
            if self.penalties.learns and self.n_batches >= self.penalties.next_update:
                self.penalties.update(self.theta, self.curvature, self.total_curvature, self.n_batches)

    def end_pass(self, *, random_start: bool = False) -> None:
        """Record that all data have been seen once."""
        if self.pass_batches is not None:
            return
        self.pass_batches = self.n_batches
        if random_start:
            # These are random numbers that no data have corrected. The most likely value is the mean of the prior.
            self.theta.index_fill_(0, (self.batches_per_pass == 0).nonzero()[:, 0], 0)

    def _step(self, batch: Batch, rate: float) -> None:
        columns = batch.columns
        if len(self.dense_columns):
            columns = torch.cat([columns, self.dense_columns])
        theta = take_rows(self.theta, columns)
        raw, sums, squares = self.interaction.forward(batch, theta, self.intercept[0], self._mask)
        losses = self.loss.loss(batch.target[None], raw.T)
        slope, curve = self.loss.derivatives(batch.target[None], raw.T)
        delta, omega = (slope * batch.weight).T.contiguous(), (curve * batch.weight).T.contiguous()
        gradient, curvature = self.interaction.backward(batch, theta, sums, delta, omega)

        n_outputs, _, size = self.shape
        moments = _weighted_sums(squares, omega)
        if self.penalties.learns:
            self.penalties.sums[:, :-1] += moments
            self.penalties.sums[:, -1] += (self.loss.noise(losses, slope, curve) * batch.weight).sum(1)
        # A row of m non-zeros moves with all of them: m times less far each.
        crowd = self._moves * (batch.entries_per_row + 1)
        extra, most = None, LONG * (batch.entries_per_row + 1)
        if batch.longest_row > most:
            extra = self.interaction.bound_long_rows(batch, squares, delta, omega, most)
        spread = moments / moments[:, :1].clamp(min=torch.finfo(moments.dtype).tiny)
        if not self.fit_linear:
            gradient.view(-1, n_outputs, size)[:, :, 0] = 0
        per_pass, seen = self._count(columns, curvature, moments[:, 0])
        step = Step(
            gradient=gradient,
            curvature=curvature,
            profile=crowd * spread,
            rate=rate,
            penalty=self.penalties.share(columns, per_pass.reciprocal(), curvature),
            passes=(seen / per_pass).clamp_(min=1) if self.optimizer.counts_batches else seen,
            batches_seen=seen,
            l2=self.penalties.linear(columns) if self.optimizer.reads_l2 else None,
            l1_linear=self.l1_linear,
            extra=extra,
        )
        slots = [take_rows(slot, columns) for slot in self.slots]
        self.optimizer.update(theta, slots, step)
        put_rows(self.theta, columns, theta)
        for slot, rows in zip(self.slots, slots, strict=True):
            put_rows(slot, columns, rows)
        if self.fit_intercept:
            self._move_intercept(delta.sum(0), omega.sum(0), crowd, rate)
        self.totals += torch.stack([(losses @ batch.weight).sum(), batch.weight.sum()])

    def _count(self, columns: Tensor, curvature: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        """Count a batch; return the batches per pass that contain each column, and all so far, (n_columns, 1)."""
        if self.pass_batches is None:
            known = take_rows(self._known, columns)
            known[:, 0] += 1
            known[:, 1:] += curvature
            put_rows(self._known, columns, known)
            per_pass = known[:, 0]
            self.total_curvature += total
        else:
            per_pass = self.batches_per_pass.index_select(0, columns)
        seen = per_pass
        if self.optimizer.counts_batches:
            seen = self.batches_seen.index_select(0, columns).add_(1)
            self.batches_seen.index_copy_(0, columns, seen)
        # A column can be new after the first pass.
        return per_pass.clamp(min=1)[:, None], seen[:, None]

    def _move_intercept(self, gradient: Tensor, curvature: Tensor, crowd: float, rate: float) -> None:
        nothing, ones = self._constants
        once = ones[:, :1]
        step = Step(
            gradient=gradient[None],
            curvature=curvature[None],
            profile=ones.T * crowd,
            rate=rate,
            penalty=nothing,
            passes=once,
            batches_seen=once * (self.n_batches + 1),
            l2=nothing,
        )
        self.optimizer.update(self.intercept, self.intercept_slots, step)

    def mean_loss(self, batch: Batch, theta: Tensor | None = None, intercept: Tensor | None = None) -> Tensor:
        """Return the mean loss of a batch under the current parameters, or under others of the columns of the batch."""
        batch = batch.to(self.theta.device)
        if theta is None or intercept is None:
            theta = self.theta.index_select(0, torch.cat([batch.columns, self.dense_columns]))
            intercept = self.intercept[0]
        raw = self.interaction.forward(batch, theta, intercept, self._mask).raw
        return self.loss.loss(batch.target[None], raw.T).sum(0) @ batch.weight / batch.weight.sum()

    def parameters(self) -> FMParameters:
        """Return the parameters as views of the tables."""
        n_outputs, n_features, size = self.shape
        table = self.theta.view(n_features, n_outputs, size)
        return FMParameters(self.intercept[0], table[:, :, 0].T, table[:, :, 1:].permute(1, 0, 2))

    def is_finite(self) -> bool:
        """Return whether all parameters are finite numbers."""
        return all_finite((self.theta, self.intercept))

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors that are needed to continue, not copied, under the names that saved models have."""
        named = {"theta": self.theta, "intercept": self.intercept}
        named |= {"held": self.batches_per_pass, "curvature": self.curvature, "visits": self.batches_seen}
        named["total_curvature"] = self.total_curvature
        named |= {f"slot_{i}": slot for i, slot in enumerate(self.slots)}
        named |= {f"intercept_slot_{i}": slot for i, slot in enumerate(self.intercept_slots)}
        return named | self.penalties.tensors()

    def numbers(self) -> dict[str, Any]:
        """Return all numbers that are needed to continue."""
        return {
            "n_batches": self.n_batches,
            "pass_batches": self.pass_batches,
            "next_update": self.penalties.next_update,
        }

    def load_step_sizes(self, tensors: dict[str, Tensor]) -> None:
        """Take over the slots for step sizes among the `tensors` of another trainer, where the shapes agree."""
        for name, slots in (("slot", self.slots), ("intercept_slot", self.intercept_slots)):
            for i, slot in enumerate(slots[: self.optimizer.n_portable]):
                other = tensors.get(f"{name}_{i}")
                if other is not None and other.shape == slot.shape:
                    slot.copy_(other)

    def move_to(self, parameters: FMParameters) -> None:
        """Continue from other parameters, with the current step sizes."""
        if all(torch.equal(mine, other) for mine, other in zip(self.parameters(), parameters, strict=True)):
            return
        for mine, other in zip(self.parameters(), parameters, strict=True):
            mine.copy_(other)
        kept = self.optimizer.n_portable
        for table, slots in ((self.theta, self.slots), (self.intercept, self.intercept_slots)):
            for slot, fresh in zip(
                slots[kept:], self.optimizer.slots(table, self.shape[0])[kept:], strict=True
            ):
                slot.copy_(fresh)
                self.batches_seen.zero_()

    def load(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Continue from `tensors` and `numbers` of another trainer of the same shape, which are copied."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        self.n_batches, self.pass_batches = numbers["n_batches"], numbers["pass_batches"]
        self.penalties.next_update = numbers["next_update"]


def _weighted_sums(squares: Tensor, omega: Tensor) -> Tensor:
    """Return the sums over the rows of squares of shape (n_rows, n_outputs, size), weighted by (n_rows, n_outputs)."""
    if squares.shape[1] == 1:
        return omega.T @ squares[:, 0]
    # A batched product makes one call per output.
    return (squares * omega[:, :, None]).sum(0)
