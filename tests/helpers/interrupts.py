"""Interrupts by real signals: fits in a process of its own, and what they leave behind.

The functions `alone` and `search` run in a process that `run` starts, and print one line of JSON per interrupt.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from skfm import FMRegressor
from skfm.core.solvers import SOLVERS
from tests.helpers.streams import ROOT, data


@contextmanager
def at_line(stop_at, files):
    """Raise a KeyboardInterrupt at the n-th line that is executed in some files; yield a list with the number of lines.

    Parameters
    ----------
    stop_at : int or None
        None only counts the lines.
    files : tuple of str
        The ends of their paths.
    """
    n_lines = [0]

    def trace(frame, event, arg):
        if event == "line":
            n_lines[0] += 1
            if n_lines[0] == stop_at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace if frame.f_code.co_filename.endswith(files) else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield n_lines
    finally:
        sys.settrace(before)


def run(*calls, seconds):
    """Make calls (name, arguments, options) of functions of this module in a process group of its own.

    Return the objects that they have printed.
    """
    call = f"from tests.helpers import interrupts; interrupts.several(*{calls!r})"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT}
    with subprocess.Popen(
        [sys.executable, "-c", call],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def estimator(solver):
    """An endless fit. A sampler needs a finite number of sweeps to plan its draws."""
    options = {"max_iter": 10**6, "tol": 0}
    if SOLVERS[solver].samples:
        options["max_iter"] = 10**5
    elif SOLVERS[solver].learns_online:
        options["learning_rate_schedule"] = "constant"
    return FMRegressor(2, solver=solver, random_state=0, **options)


def interrupted(call, after, *, group=False):
    """Send SIGINT after some seconds of a call; return how long it took to end the call, None if it was not raised."""
    # Python ignores exceptions in callbacks of weak references. Those of the fits before must not be called now.
    gc.collect()
    parent, target = os.getpid(), (os.killpg, os.getpgrp()) if group else (os.kill, os.getpid())
    begin = time.monotonic()
    child = os.fork()
    if not child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Less than this can end before the call begins.
        time.sleep(0.002 + after)
        if os.getppid() == parent:
            target[0](target[1], signal.SIGINT)
        os._exit(0)
    try:
        call()
    except KeyboardInterrupt:
        return time.monotonic() - begin - after
    finally:
        os.waitpid(child, 0)
    return None


def state_of(model, X, before, expected):
    """Describe an estimator after an interrupt of the same fit as that of another model."""
    if not hasattr(model, "factors_"):
        return {"n_iter": 0, "is_as_before": vars(model) == before}
    sweeps = {name: len(numbers) for name, numbers in model.history_.items()}
    n_common = min(model.n_iter_, expected.n_iter_)
    ours, theirs = ([numbers[:n_common] for numbers in m.history_.values()] for m in (model, expected))
    return {
        "n_iter": model.n_iter_,
        "has_whole_sweeps": set(sweeps.values()) == {model.n_iter_},
        "is_finite": bool(np.isfinite(model.predict(X)).all()),
        "is_the_same_fit": np.array_equal(ours, theirs, equal_nan=True),
    }


def alone(solvers, n_interrupts, longest, *, seed=0, in_pipeline=False):
    """Interrupt fits of each solver at random moments."""
    X, y = data()
    rng = np.random.default_rng(seed)
    for solver in solvers:
        model = estimator(solver)
        expected, seconds = clone(model), longest + 0.1
        while not hasattr(expected, "n_iter_"):
            interrupted(lambda expected=expected: expected.fit(X, y), seconds)
            seconds *= 2  # on a machine that is busy
        for after in rng.uniform(0, longest, n_interrupts):
            model = clone(model)
            before = dict(vars(model))
            fitted = make_pipeline(MaxAbsScaler(), model) if in_pipeline else model
            took = interrupted(lambda fitted=fitted: fitted.fit(X, y), after)
            found = state_of(model, X, before, expected)
            print(json.dumps({"solver": solver, "after": after, "took": took, **found}), flush=True)


def search(solver, n_interrupts, longest, n_jobs, *, seed=0):
    """Interrupt searches at random moments. If there are several processes, all of them get the signal."""
    X, y = data()
    rng = np.random.default_rng(seed)
    for after in rng.uniform(0, longest, n_interrupts):
        grid = GridSearchCV(estimator(solver), {"n_factors": [1, 2, 3]}, n_jobs=n_jobs, cv=2)
        # A signal while joblib starts its processes kills these with an error of their own.
        Parallel(n_jobs)(delayed(time.sleep)(0.05) for _ in range(2 * n_jobs))
        took = interrupted(lambda grid=grid: grid.fit(X, y), after, group=n_jobs > 1)
        is_fitted = hasattr(grid, "best_estimator_")
        print(json.dumps({"after": after, "took": took, "is_fitted": is_fitted}), flush=True)


def several(*calls):
    """Call several of these functions in one process."""
    # A process that a shell has started in the background ignores the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, arguments, options in calls:
        globals()[name](*arguments, **options)
