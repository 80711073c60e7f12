"""Stochastic solvers: a step for every batch of rows, epoch after epoch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from torch import Tensor

from ...matrix.batches import Batch, BatchSource, TensorSamples
from ...matrix.parameters import FMParameters
from ...observation.parts import MinibatchLoss
from ...observation.registry import losses_with, make_loss
from ..base import DivergenceError, Iterate, Problem, Settings, Solver
from .batch_source import PlannedBatches, auto_batch_size, auto_epochs
from .optimizers import Optimizer
from .penalties import Penalties
from .trainer import Trainer

#: A mean loss this far above that of the start is a blow-up.
BLOW_UP = 3.0
#: Where the schedule of the learning rate ends, so that the last step is still one.
LAST = 0.999
#: How much smaller steps get after one, and how often that is tried.
SHRINK, RETRIES = 0.25, 6


class MinibatchSolver(Solver):
    """A solver on the minibatch engine; what tells them apart is the update rule."""

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

    def sweeps(self, problem: Problem, start: FMParameters, settings: Settings) -> MinibatchRun:
        return MinibatchRun(self.optimizer, problem, start, settings)


class MinibatchRun(Iterator[Iterate]):
    """A run, epoch by epoch, which can be stopped after each segment of one and taken up again.

    Attributes
    ----------
    trainer : Trainer
    after_segment : callable or None
        Called when a segment is done and `state` has all that it takes to go on from there.
    """

    def __init__(
        self, optimizer: Optimizer, problem: Problem, start: FMParameters, settings: Settings
    ) -> None:
        self.problem, self.settings = problem, settings
        self._optimizer, self._start = optimizer, start
        self.trainer = self._new_trainer()
        rate = settings.learning_rate
        self.rate = optimizer.learning_rate if isinstance(rate, str) else float(rate)
        self.after_segment: Callable[[], None] | None = None
        self._epoch = self._segment = self._retries = 0
        self._n_segments: int | None = None
        self._base = math.inf
        #: Sums over the epoch so far: losses and weights.
        self._totals = [0.0, 0.0]
        #: The state to go back to, None for that of the start.
        self._good: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self._rows_since_good = 0

    def _new_trainer(self) -> Trainer:
        """Return a trainer that has learned nothing yet."""
        problem, settings, start = self.problem, self.settings, self._start
        n_outputs, _, n_factors = start.factors.shape
        penalties = Penalties(
            settings.l2_linear, settings.l2_factors, problem.fields, n_outputs, n_factors, start.factors
        )
        return Trainer(
            start,
            make_loss(problem.loss, n_outputs, quantile=settings.quantile),
            self._optimizer,
            penalties,
            problem.design.dense_columns.to(start.factors.device),
            fit_intercept=problem.fit_intercept,
            fit_linear=problem.fit_linear,
            l1_linear=settings.l1_linear,
        )

    @cached_property
    def source(self) -> BatchSource:
        """Where the batches come from."""
        if self.problem.source is not None:
            return self.problem.source
        problem, settings = self.problem, self.settings
        size = settings.batch_size
        if isinstance(size, str):
            size = auto_batch_size(problem.design.shape[0])
        rows = TensorSamples(problem.design, problem.target[0], problem.sample_weight)
        on_device = problem.design.device == self.trainer.theta.device
        return PlannedBatches(rows, size, settings.seed, shuffle=settings.shuffle, pin=not on_device)

    def __next__(self) -> Iterate:
        """Run an epoch, or what is left of it."""
        for batches in self.source.segments(self._epoch, self._segment):
            self._learn(batches)
            self._segment += 1
            n_rows = sum(len(batch.target) for batch in batches)
            self._rows_since_good += n_rows
            if self.problem.source is not None and self._rows_since_good >= len(self.trainer.theta):
                # A copy of the model costs little beside so many rows, and all of them would be lost without.
                self._good, self._rows_since_good = self._snapshot(), 0
            if self.source.on_rows is not None:
                self.source.on_rows(n_rows)
            if self.after_segment is not None:
                self.after_segment()
        self.trainer.end_pass(random_start=self.settings.start == "random")
        iterate = self.iterate()
        self._n_segments = self._segment
        if self._epoch + 1 != self.settings.max_iter:
            self._good = self._snapshot()
        self._epoch, self._segment, self._totals = self._epoch + 1, 0, [0.0, 0.0]
        return iterate

    def learn_chunk(self, batches: list[Batch]) -> Iterate:
        """Learn from some more data of an endless stream."""
        self._totals = [0.0, 0.0]
        self._learn(batches)
        return self.iterate()

    def iterate(self) -> Iterate:
        """Return the state as it is, with the mean loss of the epoch so far."""
        losses, weights = (a + b for a, b in zip(self._totals, self.trainer.totals.tolist(), strict=True))
        return Iterate(
            self.trainer.parameters(), self.settings.unit * losses / weights if weights else math.nan
        )

    @property
    def has_learned(self) -> bool:
        """Whether any batch has been seen."""
        return self.trainer.n_batches > 0

    def _learn(self, batches: list[Batch]) -> None:
        """Take the steps of a segment, with smaller ones if they blow up."""
        if self._base == math.inf and batches:
            # The factors to begin with can be far off by themselves where rows have many non-zeros.
            self._base = max(self._constant_loss(batches[0]), float(self.trainer.mean_loss(batches[0])))
        while True:
            self.trainer.learn(self._with_rates(batches))
            losses, weights = self.trainer.totals.tolist()
            mean = losses / weights if weights else 0.0
            if self._is_fit(mean, batches) and self.trainer.is_finite() and self._holds(batches):
                break
            self._retreat()
        self.trainer.totals.zero_()
        self._totals = [self._totals[0] + losses, self._totals[1] + weights]

    def _with_rates(self, batches: list[Batch]) -> Iterator[tuple[Batch, float]]:
        schedule = self.settings.learning_rate_schedule
        n_segments = self._n_segments or self.source.n_segments if schedule == "linear" else None
        for i, batch in enumerate(batches):
            done = 0.0
            if schedule == "linear":
                here = 0.0 if n_segments is None else (self._segment + i / len(batches)) / n_segments
                done = min((self._epoch + here) / self.settings.max_iter, LAST)
            yield batch, self.rate * (1 - done)

    def _is_fit(self, mean: float, batches: list[Batch]) -> bool:
        """Tell whether a mean loss of a segment is one of a fit: not far above that of a constant."""
        if mean < _limit(self._base):
            return True
        # The segment may hold outliers that the first batch did not have.
        weights = [float(batch.weight.sum()) for batch in batches]
        losses = (weight * self._constant_loss(batch) for weight, batch in zip(weights, batches, strict=True))
        return mean < _limit(max(self._base, sum(losses) / sum(weights)))

    def _holds(self, batches: list[Batch]) -> bool:
        """Tell whether the last step has left a fit: the losses so far are from before each step."""
        if not batches:
            return True
        limit = _limit(max(self._base, self._constant_loss(batches[-1])))
        return float(self.trainer.mean_loss(batches[-1])) < limit

    def _constant_loss(self, batch: Batch) -> float:
        raw = self._start.intercept[:, None].expand(-1, len(batch.target)).to(batch.target.device)
        losses = self.trainer.loss.loss(batch.target[None], raw).sum(0)
        return float(losses @ batch.weight / batch.weight.sum())

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
            self._good = fresh.tensors(), fresh.numbers()
        self.trainer.load(*self._good)
        self.trainer.totals.zero_()
        self.rate *= SHRINK
        warnings.warn(
            f"Training blew up in epoch {self._epoch + 1}. It goes on from the last good state with a learning "
            f"rate of {self.rate:.3g}. Set a smaller learning_rate to avoid this.",
            stacklevel=2,
        )

    def _snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        trainer = self.trainer
        return {name: t.clone() for name, t in trainer.tensors().items()}, trainer.numbers()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and numbers that `resume` goes on from."""
        run = {
            "epoch": self._epoch,
            "segment": self._segment,
            "retries": self._retries,
            "base": self._base,
            "totals": self._totals,
            "n_segments": self._n_segments,
        }
        return self.trainer.tensors(), {**self.trainer.numbers(), "run": run}

    def resume(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Go on from where another run of the same problem was."""
        run = numbers["run"]
        self.trainer.load(tensors, numbers)
        self.trainer.penalties.restore_given()
        self._epoch, self._segment, self._totals = run["epoch"], run["segment"], list(run["totals"])
        self._n_segments = run["n_segments"]
        self._retries, self._base = run["retries"], run["base"]
        # Of another learning rate, if the user has set one since.
        self.rate *= SHRINK**self._retries
        self._good = self._snapshot()


def _limit(loss: float) -> float:
    """Return where a mean loss is a blow-up, given that of a constant model."""
    return loss + BLOW_UP * (1 + abs(loss))
