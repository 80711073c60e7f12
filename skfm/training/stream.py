"""Training on a stream of chunks: each is checked, turned into batches and forgotten."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import torch

from ..core.matrix.batches import Batch, BatchSource
from ..core.matrix.parameters import FMParameters
from ..core.matrix.standardize import Standardization
from ..core.solvers import SOLVERS, Iterate, OnlineRun, Settings, Solver, StateDict
from ..core.solvers.minibatch.batch_source import cut
from ..data.running_scales import RunningScales
from ..data.samples import Samples, SideColumns
from ..data.scaling import Scaling
from ..data.targets import Target
from ..data.validation import check_rows
from ..streaming import Chunk, Chunks, read_ahead
from .digests import AnotherRunError, ChunkDigests
from .holdout import HeldOutLoss
from .problem import TrainingProblem, describe_held_out, describe_validation
from .running_units import follow
from .scale_checks import UNITS


class Stream:
    """Chunks, checked one by one.

    The first chunk is read at once, to learn from it what all have in common. It is not read a second time in
    the same pass, because there may be only one pass.

    Parameters
    ----------
    chunks : Chunks
    check : callable
        Turns a chunk into samples; its second argument is whether the chunk is the first one read.
    """

    def __init__(self, chunks: Chunks, check: Callable[[Chunk, bool], Samples]) -> None:
        self.chunks = chunks
        self._check = check
        self._reading: Any = read_ahead(chunks.chunks())
        self._opened: list[Samples] = []
        self._first = self._first_rows = 0
        #: Applied to the samples of that chunk in every pass: sets validation samples apart.
        self.keep: Callable[[Samples], Samples] = lambda samples: samples
        self._digests: ChunkDigests | None = None

    def record_digests(self, of_another_run: Callable[[str], AnotherRunError]) -> ChunkDigests:
        """Return the digests of the chunks, which are recorded from now on. See `ChunkDigests`."""
        self._digests = ChunkDigests(of_another_run)
        return self._digests

    @property
    def n_samples(self) -> int | None:
        """Approximate number of samples, or None if it is not known."""
        n_chunks = self.chunks.n_chunks
        return None if n_chunks is None else n_chunks * self._first_rows

    def first(self) -> Samples:
        """Return the samples of the first chunk that has any."""
        for number, chunk in enumerate(self._reading):
            rows = self._rows(chunk, number, first=True)
            self._opened.append(rows)
            if len(rows.y):
                self._first, self._first_rows = number, len(rows.y)
                return rows
        raise ValueError("No chunk holds any rows with a positive weight.")

    def rows(self, start: int) -> Generator[tuple[int, Samples], None, None]:
        """Yield number and samples of each chunk from ``start`` on."""
        # Chunks that have to be read anyway are compared with those of the run that is resumed.
        is_compared = self._digests is not None and self._digests.are_expected
        first = 0 if is_compared and not self.chunks._skips_cheaply else start
        opened, self._opened = self._opened, []
        reading = self._reading
        if opened and (not first or self.chunks.has_one_pass):
            items: Iterator[Any] = islice(chain(_emptied(opened), reading), first, None)
        else:
            opened.clear()
            reading.close()
            items = reading = read_ahead(self.chunks.chunks(first))
        number = first - 1
        with closing(reading):
            for number, item in enumerate(items, first):
                rows = item if isinstance(item, Samples) else self._rows(item, number, first=False)
                if self._digests is not None:
                    self._digests.add(number, rows)
                if number >= start:
                    yield number, self.keep(rows) if number == self._first else rows
                # Release this chunk before the next one is prepared.
                del item, rows
        if self._digests is not None:
            self._digests.end_pass(number + 1)

    def _rows(self, chunk: Chunk, number: int, *, first: bool) -> Samples:
        try:
            return self._check(chunk, first)
        except (ValueError, TypeError) as error:
            raise type(error)(f"Chunk {number}: {error}") from error


class ChunkedBatches(BatchSource):
    """The batches of a stream.

    Until the end of the first epoch, the units of the run follow the chunks that it has read, see `follow`.

    Parameters
    ----------
    stream : Stream
    task : TrainingProblem
        The problem without rows, in the units of the first chunk.
    target : Target
    settings_in : callable
        Returns the settings in the units of a problem.
    settings : Settings
        Those in the units of the first chunk.
    """

    def __init__(
        self,
        stream: Stream,
        task: TrainingProblem,
        target: Target,
        settings_in: Callable[[TrainingProblem], Settings],
        settings: Settings,
    ) -> None:
        self._stream, self._first_task, self._target = stream, task, target
        self._settings_in, self._settings = settings_in, settings
        self._scales: RunningScales | None = RunningScales.empty(task.problem.design.shape[1], target)
        self._run: OnlineRun | None = None
        self._start: Start | None = None

    @property
    def n_segments(self) -> int | None:
        return self._stream.chunks.n_chunks

    def follow(self, run: OnlineRun, start: FMParameters, *, is_random: bool) -> None:
        """Let the units of a run follow the chunks.

        Parameters
        ----------
        run : OnlineRun
        start : FMParameters
            Where it starts, in the units of the first chunk.
        is_random : bool
            Whether that has been drawn, and not learned.
        """
        self._run, self._start = run, Start(start, is_random)

    @property
    def task(self) -> TrainingProblem:
        """The problem in the current units, with what is known of the scales."""
        units = None if self._run is None else self._run.units
        task = units if isinstance(units, TrainingProblem) else self._first_task
        return task._replace(scales=self._scales)

    def segments(self, epoch: int, start: int = 0) -> Iterator[list[Batch]]:
        with closing(self._stream.rows(start)) as chunks:
            for number, rows in chunks:
                if not len(rows.y):
                    yield []
                    continue
                samples = self._described(rows, epoch).problem.samples
                size, seed, shuffle = (
                    getattr(self._settings, name) for name in ("batch_size", "seed", "shuffle")
                )
                yield cut(samples, size, seed, epoch, number, shuffle=shuffle)
                del rows, samples

    def _described(self, rows: Samples, epoch: int) -> TrainingProblem:
        """Return the problem with the rows of a chunk, in units that suit them as well."""
        task = self.task
        design = task.raw_design(rows.X)
        if epoch == 0 and self._run is not None and self._start is not None:
            task, new_units = follow(task, self._target, rows, design)
            if new_units is not None:
                start, is_random = self._start.within(self._first_task, task), self._start.is_random
                self._run.change_units(new_units.change(self._settings_in(task), start, is_random=is_random))
            self._scales = task.scales
        return task.with_rows(rows, design)

    def state_dict(self) -> StateDict:
        """Return the units and the scales, with names that a run does not use. Nothing if they do not change."""
        task = self.task
        if task.scales is None:
            return StateDict({}, {})
        arrays = task.units.conditioning.arrays() | task.scales.arrays()
        coding = task.coding
        numbers = {"shift": coding.shift, "scale": coding.scale, "unit": coding.unit}
        return StateDict(
            {UNITS + name: torch.from_numpy(array) for name, array in arrays.items()},
            {"units": {**numbers, "start": coding.start.tolist()}},
        )

    def load_state_dict(self, state: StateDict) -> None:
        """Continue with the units of another run, before its state is loaded."""
        tensors, first = state.tensors, self._first_task
        if not tensors:
            # A checkpoint of an earlier version.
            self._scales = None
            return
        arrays = {name.removeprefix(UNITS): tensor.numpy() for name, tensor in tensors.items()}
        numbers = dict(state.numbers["units"])
        coding = first.coding._replace(**{**numbers, "start": np.array(numbers["start"], np.float64)})
        columns = Standardization.from_arrays(arrays)
        device = first.units.conditioning.center.device
        columns = Standardization(columns.center.to(device), columns.scale.to(device))
        task = first.in_units(columns, coding)
        if self._run is not None and self._start is not None:
            start = self._start.within(first, task)
            self._run.set_units(start, self._settings_in(task), task.problem.design.dense_columns, task)
        self._scales = RunningScales.from_arrays(arrays)


class Start(NamedTuple):
    """Where a run on a stream starts, in the units of the first chunk.

    Attributes
    ----------
    parameters : FMParameters
    is_random : bool
        Whether they have been drawn, and not learned.
    """

    parameters: FMParameters
    is_random: bool

    def within(self, first: TrainingProblem, task: TrainingProblem) -> FMParameters:
        """Return the start in the units of a problem, in which random numbers are the same as in the first units."""
        intercept = self.parameters.intercept
        if self.is_random:
            constant = torch.as_tensor(task.coding.start, dtype=torch.float64, device="cpu").to(intercept)
            return self.parameters._replace(intercept=constant * task.problem.fit_intercept)
        found = first.units.rebase(self.parameters, task.units)
        return FMParameters(*(part.to(intercept) for part in found))


def current(task: TrainingProblem) -> TrainingProblem:
    """Return a problem in the units that its run has now."""
    source = task.problem.source
    return source.task if isinstance(source, ChunkedBatches) else task


class HeldOutRows:
    """Held-out samples of a fit to a stream, whose units can change in the first epoch.

    Parameters
    ----------
    samples : Samples
    task : TrainingProblem
    """

    def __init__(self, samples: Samples, task: TrainingProblem) -> None:
        self._samples, self._task = samples, task
        self._described: tuple[Scaling, HeldOutLoss] | None = None

    def loss(self, iterate: Iterate) -> float:
        """Return the weighted mean over the samples, as `Validation` does."""
        task = current(self._task)
        if self._described is None or self._described[0] is not task.units:
            self._described = task.units, describe_validation(self._samples, task)
        return self._described[1].loss(iterate)


class ChunkedValidation:
    """Held-out chunks, read again for every evaluation.

    Parameters
    ----------
    chunks : Chunks
    check : callable
        Turns a chunk into samples, as for `Stream`.
    problem : TrainingProblem
    """

    def __init__(
        self, chunks: Chunks, check: Callable[[Chunk, bool], Samples], problem: TrainingProblem
    ) -> None:
        if chunks.has_one_pass:
            raise ValueError(
                f"X_val comes from a {type(chunks.source).__name__} object, which can be read once only, but is "
                "looked at after every sweep. Let Chunks have a function that makes a new one."
            )
        self._chunks, self._check, self._problem = chunks, check, problem

    def loss(self, iterate: Iterate) -> float:
        """Return the weighted mean over all rows, as `Validation` does."""
        loss = weight = 0.0
        with closing(Stream(self._chunks, self._check).rows(0)) as chunks:
            for _, rows in chunks:
                if len(rows.y):
                    part = describe_held_out(rows, current(self._problem))
                    share = float(part.sample_weight.sum())
                    loss, weight = loss + share * part.loss(iterate), weight + share
        if not weight:
            raise ValueError("X_val holds no rows with a positive weight.")
        return loss / weight


def _emptied(items: list) -> Iterator:
    """Yield and drop the items."""
    while items:
        yield items.pop(0)


def check_stream(solver: Solver, chunks: Chunks, y: Any, sample_weight: Any, max_iter: int | None) -> None:
    """Raise an error if ``fit`` cannot learn from these chunks."""
    if chunks.has_one_pass and (max_iter or 1) > 1:
        raise ValueError(
            f"max_iter={max_iter} epochs cannot be made of chunks from a "
            f"{type(chunks.source).__name__} object, which can be read once only. Let Chunks have a function that "
            "makes a new one, or set max_iter=1."
        )
    if y is not None or sample_weight is not None:
        raise ValueError("The chunks contain y and sample_weight. Do not pass them in addition to a stream.")
    if not solver.learns_online:
        others = ", ".join(repr(name) for name, other in SOLVERS.items() if other.learns_online)
        raise ValueError(
            f"solver={solver.name!r} needs all data at once and cannot learn from chunks. Use one of {others}."
        )


class ChunkCheck:
    """Checks chunks as ``fit`` checks arrays, the later ones against the first.

    Parameters
    ----------
    estimator : estimator
    target : Target
    classes : ndarray or None
        All labels, if the user has passed them.
    reset : bool
        Whether the columns are learned from the first chunk, rather than known from a fit before.
    """

    def __init__(self, estimator: Any, target: Target, classes: np.ndarray | None, *, reset: bool) -> None:
        self._estimator, self._target, self._classes, self._reset = estimator, target, classes, reset
        self._dtype: Any = None
        #: The columns of whose new categories the user has been warned.
        self._known_new: set[str] = set()

    def __call__(self, chunk: Chunk, first: bool) -> Samples:
        if _is_empty(chunk):
            return _no_samples(chunk)
        estimator, target = self._estimator, self._target
        rows = check_rows(
            estimator,
            *chunk,
            reset=first and self._reset,
            y_numeric=not target.are_labels,
            known_new=self._known_new,
        )
        if first:
            self._dtype = rows.X.dtype
            target.learn(rows.y if self._classes is None else self._classes)
        elif rows.X.dtype != self._dtype:
            raise ValueError(
                f"X is {rows.X.dtype}, but {self._dtype} in the first chunk. Convert all chunks to one dtype."
            )
        return rows._replace(y=target.encode(rows.y))


class ValidationChunkCheck:
    """Checks chunks of validation data against the training data.

    Parameters
    ----------
    estimator : estimator
        The columns and the labels are known by now.
    target : Target
    """

    def __init__(self, estimator: Any, target: Target) -> None:
        self._estimator, self._target = estimator, target

    def __call__(self, chunk: Chunk, first: bool) -> Samples:
        if _is_empty(chunk):
            return _no_samples(chunk)
        numeric = not self._target.are_labels
        rows = check_rows(self._estimator, *chunk, reset=False, y_numeric=numeric)
        return rows._replace(y=self._target.encode(rows.y, "y_val"))


def _is_empty(chunk: Chunk) -> bool:
    """Return whether a chunk has no samples of positive weight."""
    weight = chunk.sample_weight
    return not len(chunk.y) or (weight is not None and not weight.any())


def _no_samples(chunk: Chunk) -> Samples:
    return Samples(chunk.X[:0], np.empty(0), SideColumns(np.empty(0)))
