"""The loop over sweeps: stopping rules and the handling of failed runs."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import torch
from sklearn.exceptions import ConvergenceWarning

from ..core.matrix.parameters import all_finite
from ..core.solvers import DivergenceError, Iterate, Run
from .digests import AnotherRunError
from .events import Ending, Events
from .history import History, n_sweeps
from .holdout import HeldOutLoss


class Outcome(NamedTuple):
    """The result of a training run.

    Attributes
    ----------
    history : History
        History with a state to keep.
    failure : Exception, KeyboardInterrupt or None
        The error that ended a run on a stream after it had learned something, or the interrupt of the user.
    exhausted : bool
        Whether the run made all its sweeps and no stopping rule applied.
    """

    history: History
    failure: Exception | KeyboardInterrupt | None = None
    exhausted: bool = False


@torch.no_grad()
def train(
    run: Run,
    *,
    objective_name: str,
    max_iter: int,
    tol: float,
    validation: HeldOutLoss | None = None,
    n_iter_no_change: int = 5,
    events: Events | None = None,
) -> Outcome:
    """Sweep until the objective settles, the validation loss stops falling or an observer stops the run.

    Parameters
    ----------
    run : Run
        Run of a solver at its start.
    objective_name : str
        Name of the objective in the history.
    max_iter : int
        Maximum number of sweeps.
    tol : float
        Stop when two successive sweeps change the objective by less than this share of its part that is the loss.
    validation : HeldOutLoss, optional
        Decides which state is kept.
    n_iter_no_change : int
        Number of sweeps without a lower validation loss before stopping.
    events : Events, optional
        Called during the run.

    Returns
    -------
    Outcome
        It always has a state to keep; otherwise an error or a KeyboardInterrupt is raised.
    """
    history, events = History(objective_name, validated=validation is not None), events or Events()
    # An interrupt while the state of an earlier run is loaded leaves that run to be resumed later.
    events.begin(run, history)
    try:
        return _train(run, history, max_iter, tol, validation, n_iter_no_change, events)
    except KeyboardInterrupt as interrupt:
        history.discard_incomplete()
        if not _has_model(run, history):
            raise
        if history.n_iter == 0:
            # The validation loss could take long, and the user wants to stop now.
            history.add(run.iterate(), None if validation is None else math.nan)
        return Outcome(history, interrupt)


def _train(
    run: Run,
    history: History,
    max_iter: int,
    tol: float,
    validation: HeldOutLoss | None,
    n_iter_no_change: int,
    events: Events,
) -> Outcome:
    """Train until a stopping rule applies, an error ends the run, or the user interrupts it."""
    ending, exhausted = Ending.INTERRUPTED, False
    error: Exception | None = None
    try:
        while history.n_iter < max_iter:
            events.before_sweep()
            history.secure()
            iterate = _finite_step(run, events)
            history.add(iterate, None if validation is None else validation.loss(iterate))
            stop = events.after_sweep(iterate, history)
            if stop or history.converged(tol) or history.stale(n_iter_no_change):
                break
        else:
            exhausted = True
        ending = Ending.COMPLETE
    except DivergenceError as caught:
        if history.n_iter == 0:
            raise ValueError(
                f"The fit failed in its first sweep: {caught}. Look for extreme values in X, y and "
                "sample_weight, or scale them (for example with sklearn.preprocessing.StandardScaler)."
            ) from caught
        ending, error = Ending.COMPLETE, caught
    except AnotherRunError:
        raise
    except Exception as caught:
        # Reading a stream can fail at any time. Other errors are bugs or leave an incomplete step.
        if not run.reads_stream or not _has_model(run, history):
            raise
        ending, error = Ending.BETWEEN_SEGMENTS, caught
    finally:
        events.end(ending)
    if isinstance(error, DivergenceError):
        warnings.warn(
            f"Training stopped after {n_sweeps(history.n_iter)}, because in the next one {error}. The model is "
            "the last good one. Look for extreme values in X, y and sample_weight, or penalize more.",
            ConvergenceWarning,
            stacklevel=3,
        )
        return Outcome(history)
    if error is not None and history.n_iter == 0:
        _add_partial_epoch(run, history, validation)
    return Outcome(history, error, exhausted)


def _finite_step(run: Run, events: Events) -> Iterate:
    """Make a step, and raise an error unless all that it returns is finite."""
    try:
        iterate = run.step(events.after_segment)
    except torch.linalg.LinAlgError as error:
        raise DivergenceError("a matrix could not be factorized") from error
    posterior = [] if iterate.posterior is None else iterate.posterior.tensors
    if not all_finite([*iterate.parameters, *posterior]):
        raise DivergenceError("parameters became infinite or not a number")
    if not math.isfinite(iterate.objective):
        raise DivergenceError(f"the objective became {iterate.objective}")
    return iterate


def _has_model(run: Run, history: History) -> bool:
    """Return whether a run that failed has a model: of a sweep that ended, or of a part of a stream."""
    if history.n_iter > 0:
        return True
    return run.reads_stream and run.has_learned and all_finite(run.iterate().parameters)


def _add_partial_epoch(run: Run, history: History, validation: HeldOutLoss | None) -> None:
    """Record the part of the first epoch that a failed run has learned from."""
    iterate, loss = run.iterate(), None
    if validation is not None:
        try:
            loss = validation.loss(iterate)
        except Exception:  # the same operation may have failed before
            loss = math.nan
    history.add(iterate, loss)
