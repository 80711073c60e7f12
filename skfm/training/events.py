"""Events of a training run and their observers.

Progress bars are defined here, and checkpoints and the callbacks of scikit-learn in modules of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from ..core.solvers import Iterate, Run, Solver
from .history import History


class Ending(Enum):
    """How a training run ended."""

    #: It made all of its sweeps, converged, or was stopped after a sweep.
    COMPLETE = "complete"
    #: Reading its data failed. Its state is that after the last segment.
    BETWEEN_SEGMENTS = "between segments"
    #: The user or an error interrupted it at any place. Its state may be that of half a step.
    INTERRUPTED = "interrupted"


class Events:
    """What `train` calls while it runs. These methods do nothing; an observer overrides some of them."""

    def begin(self, run: Run, history: History) -> None:
        """Act before the first sweep. The state of an earlier run may be loaded into both arguments."""

    def before_sweep(self) -> None:
        """Act before a sweep."""

    def after_segment(self, n_rows: int) -> None:
        """Act after a segment of an epoch: the run can be saved now."""

    def after_sweep(self, iterate: Iterate, history: History) -> bool:
        """Act after a sweep, which the history contains; return whether to stop."""
        return False

    def end(self, ending: Ending) -> None:
        """Act after the last sweep, in all cases in which `begin` has returned."""


class EventList(Events):
    """Several observers, called one after the other.

    Parameters
    ----------
    observers : sequence of Events
    """

    def __init__(self, observers: Sequence[Events]) -> None:
        self._observers = observers

    def begin(self, run: Run, history: History) -> None:
        for observer in self._observers:
            observer.begin(run, history)

    def before_sweep(self) -> None:
        for observer in self._observers:
            observer.before_sweep()

    def after_segment(self, n_rows: int) -> None:
        for observer in self._observers:
            observer.after_segment(n_rows)

    def after_sweep(self, iterate: Iterate, history: History) -> bool:
        stop = False
        for observer in self._observers:
            stop = observer.after_sweep(iterate, history) or stop
        return stop

    def end(self, ending: Ending) -> None:
        for observer in self._observers:
            observer.end(ending)


class ProgressBar(Events):
    """A bar on stderr that counts sweeps.

    Parameters
    ----------
    max_iter : int
    unit : str
        The word for several sweeps.
    """

    def __init__(self, max_iter: int, unit: str) -> None:
        self.max_iter, self.unit = max_iter, unit
        self.bar: Any = None

    def begin(self, run: Run, history: History) -> None:
        self.bar = self._make_bar()

    def after_sweep(self, iterate: Iterate, history: History) -> bool:
        self.bar.set_postfix(history.latest(), refresh=False)
        self._advance(history)
        return False

    def end(self, ending: Ending) -> None:
        self.bar.close()

    def _make_bar(self) -> Any:
        # tqdm is imported here because the import takes time and is needed only for a bar.
        from tqdm.auto import tqdm

        return tqdm(total=self.max_iter, desc="fit", unit=f" {self.unit}")

    def _advance(self, history: History) -> None:
        self.bar.update()


class StreamProgressBar(ProgressBar):
    """A bar on stderr that counts the rows of a stream.

    Parameters
    ----------
    max_iter : int
    """

    def __init__(self, max_iter: int) -> None:
        super().__init__(max_iter, "epochs")

    def after_segment(self, n_rows: int) -> None:
        self.bar.update(n_rows)

    def _make_bar(self) -> Any:
        from tqdm.auto import tqdm

        return tqdm(desc=f"epoch 1 of {self.max_iter}", unit=" rows", unit_scale=True)

    def _advance(self, history: History) -> None:
        number = min(history.n_iter + 1, self.max_iter)
        self.bar.set_description_str(f"epoch {number} of {self.max_iter}")


def progress_bar(max_iter: int, solver: Solver, *, is_stream: bool) -> Events:
    """Return the progress bar of a fit."""
    if is_stream:
        return StreamProgressBar(max_iter)
    return ProgressBar(max_iter, "epochs" if solver.learns_online else "sweeps")
