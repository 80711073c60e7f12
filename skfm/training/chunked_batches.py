"""The batches of a stream of chunks, in units that follow the chunks of the first epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch

from ..core.matrix.batches import Batch, BatchSource
from ..core.matrix.parameters import FMParameters
from ..core.matrix.standardize import Standardization
from ..core.solvers import OnlineRun, Settings, StateDict
from ..core.solvers.minibatch.batch_source import cut
from ..data.running_scales import RunningScales
from ..data.samples import Samples
from ..data.targets import Target
from .problem import TrainingProblem
from .running_units import follow
from .scale_checks import UNITS
from .stream import Stream


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
