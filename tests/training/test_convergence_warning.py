"""The warning of a fit that used up its sweeps before it converged."""

import re
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning

from skfm import FMClassifier, FMRegressor
from skfm.core.solvers import SOLVERS

from ..helpers.problems import one_hot, plant

CONVERGING = sorted(name for name, solver in SOLVERS.items() if solver.converges)
X = one_hot()
Y = plant(X)
LABELS = (np.digitize(Y, [40, 60]), Y.mean() < Y)


def convergence_warnings(model, *args, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(*args, **kwargs)
    return [str(w.message) for w in caught if issubclass(w.category, ConvergenceWarning)]


def test_the_solvers_that_converge():
    assert CONVERGING == ["als", "vb"]


@pytest.mark.parametrize("solver", CONVERGING)
@pytest.mark.parametrize("y", [Y, *LABELS], ids=["numbers", "three classes", "two classes"])
def test_too_few_sweeps_are_reported(solver, y):
    make = FMRegressor if y is Y else FMClassifier
    model = make(4, solver=solver, max_iter=8, tol=1e-9, random_state=0)
    (message,) = convergence_warnings(model, X, y)
    found = re.fullmatch(
        rf"solver='{solver}' reached the maximum number of sweeps, 8, before it converged, and the .* still changed by "
        r"a share of (\S+) in a sweep \(tol=1e-09\)\. Increase max_iter, or increase tol if .*\.",
        message,
    )
    # The number is the tolerance from which the fit would have counted as converged.
    change = float(found[1])
    assert not convergence_warnings(model.set_params(tol=change * 1.1), X, y)
    assert convergence_warnings(model.set_params(tol=change * 0.9), X, y)


@pytest.mark.parametrize("solver", CONVERGING)
@pytest.mark.parametrize("max_iter", [1, 2])
def test_sweeps_that_are_too_few_to_tell(solver, max_iter):
    (message,) = convergence_warnings(FMRegressor(2, solver=solver, max_iter=max_iter, random_state=0), X, Y)
    assert f"sweeps, {max_iter}, " in message
    assert "nan" not in message


@pytest.mark.parametrize("solver", CONVERGING)
def test_defaults_converge(solver):
    assert not convergence_warnings(
        FMRegressor(solver=solver, random_state=0), *load_diabetes(return_X_y=True)
    )
    assert not convergence_warnings(FMClassifier(solver=solver, random_state=0), *load_iris(return_X_y=True))


@pytest.mark.parametrize("solver", sorted(SOLVERS))
def test_no_warning_without_a_promise_to_converge(solver):
    model = FMRegressor(2, solver=solver, max_iter=3, random_state=0)
    if solver not in CONVERGING:
        assert not convergence_warnings(model, X, Y)
        return
    assert not convergence_warnings(model.set_params(tol=0), X, Y)
    model.set_params(tol=1e-9)
    assert not convergence_warnings(model, X, Y, X_val=X, y_val=Y)
    model.set_params(early_stopping=True)
    assert not convergence_warnings(model, X, Y)
    model.set_params(early_stopping=False, warm_start=True)
    for _ in range(2):
        assert not convergence_warnings(model, X, Y)


@pytest.mark.parametrize("solver", CONVERGING)
def test_a_run_that_was_stopped_gives_no_warning(solver, monkeypatch):
    from skfm.core.solvers.block.run import BlockRun

    step, n_steps = BlockRun.step, []

    def interrupted(self, *args):
        n_steps.append(1)
        if len(n_steps) == 3:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(BlockRun, "step", interrupted)
    model = FMRegressor(2, solver=solver, max_iter=3, tol=1e-9, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, Y)
