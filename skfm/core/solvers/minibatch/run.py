"""Stochastic solvers: a step for every batch of rows, epoch after epoch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from ...matrix.batches import Batch, BatchSource
from ...matrix.device import accum_dtype
from ...matrix.parameters import FMParameters
from ...observation.parts import MinibatchLoss
from ...observation.registry import losses_with, make_loss
from ..base import Solver
from ..problem import Problem, Settings
from ..run import AfterSegment, DivergenceError, Iterate, OnlineRun, StateDict
from .batch_source import PlannedBatches, auto_batch_size, auto_epochs, effective_rows, rows_per_batch
from .loss_limit import LossLimit
from .new_units import UnitChange, changed_trainer
from .optimizers import Optimizer
from .penalties import Penalties
from .trainer import Trainer

#: The end of the schedule of the learning rate, chosen so that the last step is not zero.
LAST = 0.999
#: The factor of the learning rate after a blow-up, and the maximum number of such reductions.
SHRINK, RETRIES = 0.25, 6
#: How far sums of weights have to stay below the root of the largest number.
WEIGHT_MARGIN = 1e3


class MinibatchSolver(Solver):
    """A solver on the minibatch engine. These solvers differ in their update rule."""

    losses = losses_with("loss")
    objective_name = "training_loss"
    objective_rises = False
    converges = False
    learns_online = True

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.name = optimizer.name
        self.options = optimizer.options | {
            "l2_linear",
            "l2_factors",
            "learning_rate",
            "learning_rate_schedule",
            "batch_size",
            "shuffle",
            "checkpoint",
        }

    def model(self, loss: str, n_outputs: int, quantile: float = 0.5) -> MinibatchLoss:
        return make_loss(loss, n_outputs, quantile=quantile)

    def default_max_iter(self, n_samples: int | None) -> int:
        return auto_epochs(n_samples)

    def start(self, problem: Problem, parameters: FMParameters, settings: Settings) -> MinibatchRun:
        return MinibatchRun(self.optimizer, problem, parameters, settings)


class MinibatchRun(OnlineRun):
    """A run, epoch by epoch, which can be saved after each segment of an epoch and continued from there.

    Attributes
    ----------
    trainer : Trainer
    """

    def __init__(
        self, optimizer: Optimizer, problem: Problem, start: FMParameters, settings: Settings
    ) -> None:
        _check_range(problem.sample_weight)
        self.problem, self.settings = problem, settings
        self.reads_stream = problem.source is not None
        slots = (f"{kind}_{i}" for kind in ("slot", "intercept_slot") for i in optimizer.signed_slots)
        self.signed_tensors = frozenset({"theta", "intercept", *slots})
        self._optimizer, self._start = optimizer, start
        self._dense_columns = problem.design.dense_columns
        self.trainer = self._new_trainer()
        rate = settings.learning_rate
        self.rate = optimizer.auto_rate(self._n_steps()) if isinstance(rate, str) else float(rate)
        self._epoch = self._segment = self._retries = 0
        self._n_segments: int | None = None
        self._limit = LossLimit(self.trainer, start)
        #: Sums over the epoch so far: losses and weights.
        self._totals = [0.0, 0.0]
        #: The state to go back to, None for that of the start.
        self._good: StateDict | None = None
        self._rows_since_good = 0

    def _new_trainer(self) -> Trainer:
        """Return a trainer that has learned nothing yet."""
        problem, settings, start = self.problem, self.settings, self._start
        n_outputs, _, n_factors = start.factors.shape
        penalties = Penalties(
            settings.l2_linear,
            settings.l2_factors,
            problem.fields,
            n_outputs,
            n_factors,
            start.factors,
            problem.reduction,
        )
        return Trainer(
            start,
            make_loss(problem.loss, n_outputs, quantile=settings.quantile),
            self._optimizer,
            penalties,
            self._dense_columns.to(start.factors.device),
            fit_intercept=problem.fit_intercept,
            fit_linear=problem.fit_linear,
            l1_linear=settings.l1_linear,
            interaction=problem.interaction,
        )

    @cached_property
    def _batch_size(self) -> int:
        """Number of rows per batch if the rows are in memory."""
        size = self.settings.batch_size
        if not isinstance(size, str):
            return size
        n_samples, weight = self.problem.design.shape[0], self.problem.sample_weight
        n_effective = effective_rows(n_samples, float(weight.sum(dtype=accum_dtype(weight.device))))
        return rows_per_batch(n_samples, n_effective, auto_batch_size(n_effective))

    def _n_steps(self) -> int | None:
        """Return the planned number of steps, None if it is not known or training can continue."""
        if self.problem.source is not None or self.settings.learning_rate_schedule != "linear":
            return None
        return self.settings.max_iter * -(-self.problem.design.shape[0] // self._batch_size)

    @cached_property
    def source(self) -> BatchSource:
        """Where the batches come from."""
        if self.problem.source is not None:
            return self.problem.source
        problem, settings, size = self.problem, self.settings, self._batch_size
        on_device = problem.design.device == self.trainer.theta.device
        return PlannedBatches(
            problem.samples, size, settings.seed, shuffle=settings.shuffle, pin=not on_device
        )

    def step(self, after_segment: AfterSegment | None = None) -> Iterate:
        """Run an epoch, or the rest of it."""
        for batches in self.source.segments(self._epoch, self._segment):
            self._learn(batches)
            self._segment += 1
            n_rows = sum(len(batch.target) for batch in batches)
            self._rows_since_good += n_rows
            if self.problem.source is not None and self._rows_since_good >= len(self.trainer.theta):
                # A copy of the model costs little compared to this number of rows, which would be lost without it.
                self._good, self._rows_since_good = self._snapshot(), 0
            if after_segment is not None:
                after_segment(n_rows)
        self.trainer.end_pass(random_start=self.settings.start == "random")
        iterate = self.iterate()
        self._n_segments = self._segment
        if self._epoch + 1 != self.settings.max_iter:
            self._good = self._snapshot()
        self._epoch, self._segment, self._totals = self._epoch + 1, 0, [0.0, 0.0]
        return iterate

    def learn_chunk(self, batches: list[Batch]) -> Iterate:
        self._totals = [0.0, 0.0]
        self._learn(batches)
        return self.iterate()

    def iterate(self) -> Iterate:
        """Return the current state, with the mean loss of the epoch so far."""
        losses, weights = (a + b for a, b in zip(self._totals, self.trainer.totals.tolist(), strict=True))
        # The sum in the unit of the user can leave the range of numbers where the mean does not.
        mean = self.settings.unit * (losses / weights) if weights else math.nan
        return Iterate(self.trainer.parameters(), mean)

    @property
    def has_learned(self) -> bool:
        """Whether any batch has been seen."""
        return self.trainer.n_batches > 0

    def load_step_sizes(self, tensors: dict[str, Tensor]) -> None:
        self.trainer.load_step_sizes(tensors)

    def move_to(self, parameters: FMParameters) -> None:
        self.trainer.move_to(parameters)

    @property
    def units(self) -> object:
        return self.trainer.units

    def change_units(self, change: UnitChange) -> None:
        trainer = changed_trainer(self.trainer, change)
        start = change.start
        if start is None:
            start = FMParameters(*(part.clone() for part in trainer.parameters()))
        self._totals = [self._totals[0] * change.loss, self._totals[1]]
        # An interrupt finds either the old parameters with the old units, or the new ones with the new units.
        self.trainer = trainer
        self.set_units(start, change.settings, change.dense_columns, change.units)
        # The losses so far say nothing about rows of another kind.
        self._limit = LossLimit(trainer, self._start)
        self._good, self._rows_since_good = self._snapshot(), 0

    def set_units(
        self, start: FMParameters, settings: Settings, dense_columns: Tensor, units: object
    ) -> None:
        trainer, like = self.trainer, self.trainer.theta
        self.settings = settings
        self._start = FMParameters(*(part.to(like.device, like.dtype) for part in start))
        self._dense_columns = dense_columns
        trainer.dense_columns, trainer.units = dense_columns.to(like.device), units
        trainer.l1_linear = settings.l1_linear
        trainer.penalties.give(settings)
        self._limit = LossLimit(trainer, self._start)

    def _learn(self, batches: list[Batch]) -> None:
        """Take the steps of a segment, with smaller ones if they blow up."""
        self._limit.begin(batches)
        while True:
            self.trainer.learn(self._with_rates(batches))
            losses, weights = self.trainer.totals.tolist()
            mean = losses / weights if weights else 0.0
            if self._limit.is_fit(mean, batches) and self.trainer.is_finite() and self._limit.holds(batches):
                break
            self._retreat()
        self.trainer.totals.zero_()
        self._totals = [self._totals[0] + losses, self._totals[1] + weights]

    def _with_rates(self, batches: list[Batch]) -> Iterator[tuple[Batch, float]]:
        schedule = self.settings.learning_rate_schedule
        n_segments = self._n_segments or self.source.n_segments if schedule == "linear" else None
        rate = self.rate
        if self.reads_stream and n_segments is not None and isinstance(self.settings.learning_rate, str):
            # Only now is the number of steps known.
            n_steps = self.settings.max_iter * n_segments * len(batches)
            rate *= self._optimizer.auto_rate(n_steps) / self._optimizer.learning_rate
        for i, batch in enumerate(batches):
            done = 0.0
            if schedule == "linear":
                here = 0.0 if n_segments is None else (self._segment + i / len(batches)) / n_segments
                done = min((self._epoch + here) / self.settings.max_iter, LAST)
            yield batch, rate * (1 - done)

    def _retreat(self) -> None:
        """Go back to the last good state, with smaller steps from there on."""
        self._retries += 1
        if self._retries > RETRIES:
            raise DivergenceError(
                f"the loss grew without bound, down to a learning rate of {self.rate:.3g}; look for extreme "
                "values, or set a smaller learning_rate"
            )
        if self._good is None:
            fresh = self._new_trainer()
            self._good = StateDict(fresh.tensors(), fresh.numbers())
        self.trainer.load(*self._good)
        self.trainer.totals.zero_()
        self.rate *= SHRINK
        warnings.warn(
            f"The loss diverged in epoch {self._epoch + 1}. Training resumes from the last good state with a learning "
            f"rate of {self.rate:.3g}. Set a smaller learning_rate to avoid this.",
            stacklevel=2,
        )

    def _snapshot(self) -> StateDict:
        """Return a copy of the state of the trainer."""
        trainer = self.trainer
        return StateDict({name: t.clone() for name, t in trainer.tensors().items()}, trainer.numbers())

    def state_dict(self) -> StateDict:
        run = {
            "epoch": self._epoch,
            "segment": self._segment,
            "retries": self._retries,
            "base": self._limit.base,
            "totals": self._totals,
            "n_segments": self._n_segments,
        }
        return StateDict(self.trainer.tensors(), {**self.trainer.numbers(), "run": run})

    def load_state_dict(self, state: StateDict) -> None:
        tensors, numbers = state
        run = numbers["run"]
        self.trainer.load(tensors, numbers)
        self.trainer.penalties.restore_given()
        self._epoch, self._segment, self._totals = run["epoch"], run["segment"], list(run["totals"])
        self._n_segments = run["n_segments"]
        self._retries, self._limit.base = run["retries"], run["base"]
        # The user may have changed the learning rate since then.
        self.rate *= SHRINK**self._retries
        self._good = self._snapshot()


def _check_range(weight: Tensor) -> None:
    """Raise an error if squares of gradients would leave the range of floating point numbers."""
    total, limit = float(weight.sum()), torch.finfo(weight.dtype).max ** 0.5 / WEIGHT_MARGIN
    if not total <= limit:
        raise ValueError(
            f"The sample weights sum to {total:.3g}, and the minibatch solvers compute squares of gradients, which "
            "would overflow. Divide sample_weight by a constant, for example by its mean."
        )
