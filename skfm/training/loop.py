"""The loop over sweeps: when to stop, what to report, which state to keep."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from ..core.matrix.batches import BatchSource
from ..core.matrix.parameters import FMParameters, all_finite
from ..core.solvers.base import DivergenceError, Iterate, Problem, Settings, Solver
from .callbacks import NoCallbacks
from .checkpoint import Checkpoint
from .holdout import Validation

#: Sweeps after its burn-in that a sampler makes at least: the loss of an average of a few draws goes up and down.
FEWEST_SWEEPS = 20


class History:
    """What a run leaves behind: the numbers of every sweep and the state worth keeping.

    The state is that of the lowest validation loss, or the last one where there is no
    validation. It is copied before the next sweep, which changes the tensors in place. Of a sampler all draws are kept.

    Attributes
    ----------
    history : dict of list
        One entry a sweep.
    failure : Exception or None
        What ended a run that had learned something before.
    """

    def __init__(self, objective_name: str, *, validated: bool) -> None:
        self.objective: list[float] = []
        self.validation: list[float] = []
        self.history = {objective_name: self.objective}
        if validated:
            self.history["validation_loss"] = self.validation
        self.failure: Exception | None = None
        self._kept: Iterate | None = None
        self._is_borrowed = False
        self._best = 0
        self._fit = 0.0
        self._settles = True

    @property
    def n_iter(self) -> int:
        """Number of sweeps that came to an end."""
        return len(self.objective)

    @property
    def kept(self) -> Iterate:
        """The state worth keeping."""
        if self._kept is None:
            raise LookupError("No sweep has come to an end.")
        return self._kept

    def add(self, iterate: Iterate, validation_loss: float | None) -> None:
        """Take down a sweep."""
        if validation_loss is not None:
            self.validation.append(validation_loss)
        self.objective.append(iterate.objective)
        for name, value in (iterate.report or {}).items():
            self.history.setdefault(name, []).append(value)
        self._fit = iterate.objective if iterate.fit is None else iterate.fit
        self._settles = iterate.settles
        if iterate.draws is not None:
            # Draws are kept as they come, and a burn-in is neither good nor bad.
            self._kept = iterate
            is_best = validation_loss is None or validation_loss < self.validation[self._best]
            if is_best or not iterate.draws.is_warm:
                self._best = self.n_iter - 1
        elif self._kept is None or validation_loss is None or validation_loss < self.validation[self._best]:
            self._best = self.n_iter - 1
            self.keep(iterate)

    def keep(self, iterate: Iterate) -> None:
        """Take a state as the one worth keeping."""
        self._kept, self._is_borrowed = iterate, True

    def secure(self) -> None:
        """Copy the state worth keeping, if the next sweep writes over it."""
        if self._kept is None or not self._is_borrowed:
            return
        posterior = None if self._kept.posterior is None else self._kept.posterior.clone()
        self._kept = self._kept._replace(parameters=self._kept.parameters.clone(), posterior=posterior)
        self._is_borrowed = False

    def converged(self, tol: float) -> bool:
        """Whether the last two sweeps each changed the objective by less than the ``tol``-th part of the fit.

        Two, because a fit may rest for a sweep before its factors find their direction.
        """
        if self.n_iter < 3 or not self._settles:
            return False
        before_last, last, current = self.objective[-3:]
        return max(abs(current - last), abs(last - before_last)) < tol * abs(self._fit)

    def stale(self, n_iter_no_change: int) -> bool:
        """Whether the validation loss has not fallen for so many sweeps."""
        draws = None if self._kept is None else self._kept.draws
        if draws is not None and draws.n_seen < draws.burn_in + FEWEST_SWEEPS:
            return False
        return bool(self.validation) and self.n_iter - 1 - self._best >= n_iter_no_change

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and numbers that `restore` goes on from."""
        history = {name: list(values) for name, values in self.history.items()}
        numbers = {"history": history, "best": self._best, "kept": None}
        if self._kept is None or not self.validation:
            return {}, numbers
        numbers["kept"] = self._kept.objective
        return {f"kept_{i}": t for i, t in enumerate(self._kept.parameters)}, numbers

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, Any], like: Tensor) -> None:
        """Take up the record of an interrupted run."""
        for name, values in self.history.items():
            values[:] = numbers["history"][name]
        self._best = numbers["best"]
        if numbers["kept"] is not None:
            kept = FMParameters(*(tensors[f"kept_{i}"].to(like) for i in range(3)))
            self._kept = Iterate(kept, numbers["kept"])

    def latest(self) -> dict[str, str]:
        """Return the numbers of the last sweep, for a progress bar."""
        return {name: f"{values[-1]:.6g}" for name, values in self.history.items()}


@torch.no_grad()
def train(
    problem: Problem,
    solver: Solver,
    start: FMParameters,
    settings: Settings,
    *,
    max_iter: int,
    tol: float,
    validation: Validation | None = None,
    n_iter_no_change: int = 5,
    callbacks: NoCallbacks | None = None,
    checkpoint: Checkpoint | None = None,
    prepare: Callable[[Any], None] | None = None,
    verbose: int | bool = 0,
) -> History:
    """Sweep until the objective settles, the validation loss stops falling or somebody says stop.

    Parameters
    ----------
    problem, solver, start, settings
        What to solve, how and from where.
    max_iter : int
        Sweeps at most.
    tol : float
        Stop when two sweeps in a row change the objective by less than this share of its part that is the loss.
    validation : Validation, optional
        Rows that decide which state is kept.
    n_iter_no_change : int
        Stop after so many sweeps without a lower validation loss.
    callbacks : NoCallbacks, optional
        Told of every sweep.
    checkpoint : Checkpoint, optional
        Where to save the run, and to go on from if there is one. Only for runs of minibatch solvers.
    prepare : callable, optional
        Called with the run before its first sweep.
    verbose : int or bool
        Whether to draw a progress bar.

    Returns
    -------
    History
        With a state to keep, always: without one there is an error.
    """
    callbacks = callbacks or NoCallbacks()
    record = History(solver.objective_name, validated=validation is not None)
    sweeps = solver.sweeps(problem, start, settings)
    if prepare is not None:
        prepare(sweeps)
    if checkpoint is not None:
        _connect(checkpoint, sweeps, record)
    learned = functools.partial(_add_what_was_learned, sweeps, record, validation)
    try:
        with _progress_bar(verbose, max_iter, solver, problem.source) as bar:
            while record.n_iter < max_iter:
                callbacks.begin_sweep()
                record.secure()
                iterate = _next_finite(sweeps)
                record.add(iterate, None if validation is None else validation.loss(iterate))
                if bar is not None:
                    bar.set_postfix(record.latest(), refresh=False)
                    if problem.source is None:
                        bar.update()
                    else:
                        bar.set_description_str(f"epoch {min(record.n_iter + 1, max_iter)} of {max_iter}")
                stop = callbacks.end_sweep(iterate, record)
                if stop or record.converged(tol) or record.stale(n_iter_no_change):
                    break
    except KeyboardInterrupt:
        if not learned():
            raise
        warnings.warn(
            f"Training was interrupted after {record.n_iter} sweeps. The model is the best so far.",
            stacklevel=2,
        )
        # Whoever wants to can go on from the checkpoint later.
        return record
    except DivergenceError as trouble:
        if record.n_iter == 0:
            raise ValueError(
                f"The fit failed in its first sweep: {trouble}. Look for extreme values in X, y and "
                "sample_weight, or scale them (for example with sklearn.preprocessing.StandardScaler)."
            ) from trouble
        warnings.warn(
            f"Training stopped after {record.n_iter} sweeps, because in the next one {trouble}. The model is "
            "the last good one. Look for extreme values in X, y and sample_weight, or penalize more.",
            ConvergenceWarning,
            stacklevel=2,
        )
    except Exception as error:
        # Reading a stream can fail at any time.
        if problem.source is None:
            raise
        # Of before the epoch is taken down, which a later run goes on with.
        state = _whole_state(sweeps, record)
        if not learned():
            raise
        if checkpoint is not None:
            checkpoint.save(*state)
        record.failure = error
        return record
    if checkpoint is not None:
        checkpoint.remove()
    return record


def _whole_state(run: Any, record: History) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, numbers = run.state()
    kept, history = record.state()
    return {**tensors, **kept}, {**numbers, "record": history}


def _connect(checkpoint: Checkpoint, run: Any, record: History) -> None:
    """Go on from a checkpoint, and write new ones."""
    found = checkpoint.load()
    if found is not None:
        tensors, numbers = found
        run.resume(tensors, numbers)
        record.restore(tensors, numbers["record"], run.trainer.theta)
        if record.n_iter and not record.validation:
            record.keep(run.iterate())
    run.after_segment = lambda: checkpoint.save_if_due(lambda: _whole_state(run, record))


def _add_what_was_learned(run: Any, record: History, validation: Validation | None) -> bool:
    """Take down an epoch that did not end, if nothing better is known; return whether there is anything."""
    if record.n_iter == 0 and getattr(run, "has_learned", False):
        iterate = run.iterate()
        if all_finite(iterate.parameters):
            loss = None
            if validation is not None:
                try:
                    loss = validation.loss(iterate)
                except Exception:  # it may be what has failed before
                    loss = math.nan
            record.add(iterate, loss)
    return record.n_iter > 0


def _next_finite(sweeps: Iterator[Iterate]) -> Iterate:
    try:
        iterate = next(sweeps)
    except torch.linalg.LinAlgError as error:
        raise DivergenceError("a matrix could not be factorized") from error
    if not all_finite((*iterate.parameters, *(iterate.posterior or ()))):
        raise DivergenceError("parameters became infinite or not a number")
    if not math.isfinite(iterate.objective):
        raise DivergenceError(f"the objective became {iterate.objective}")
    return iterate


def _progress_bar(verbose: int | bool, max_iter: int, solver: Solver, source: BatchSource | None) -> Any:
    if not verbose:
        return nullcontext()
    # Here, because importing it takes time that only those who want a bar should spend.
    from tqdm.auto import tqdm

    if source is None:
        return tqdm(total=max_iter, desc="fit", unit=" epochs" if solver.learns_online else " sweeps")
    bar = tqdm(desc=f"epoch 1 of {max_iter}", unit=" rows", unit_scale=True)
    source.on_rows = bar.update
    return bar
