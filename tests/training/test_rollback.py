"""Interrupts at any place of a fit: the estimator is as before, or it is fitted, and nothing in between."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skfm import FMRegressor
from tests.helpers.interrupts import at_line

FILES = ("skfm/_base.py", "training/rollback.py", "training/fit.py", "training/result.py", "training/loop.py")


def fit_until(stop_at, model, X, y):
    """Fit, with an interrupt at a line of the steps of a fit; return the number of lines, and whether it was raised."""
    is_interrupted = False
    with at_line(stop_at, FILES) as n_lines:
        try:
            model.fit(X, y)
        except KeyboardInterrupt:
            is_interrupted = True
    return n_lines[0], is_interrupted


@pytest.mark.parametrize(("solver", "is_fitted"), [("als", False), ("adagrad", True)])
def test_an_interrupt_at_any_line_of_a_fit(solver, is_fitted):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    start = FMRegressor(1, solver=solver, max_iter=2, tol=0, random_state=0)
    if is_fitted:
        start.fit(-X, y)
    whole = clone(start).fit(X, y)
    n_lines, _ = fit_until(None, clone(start), X, y)
    n_sweeps = []
    for stop_at in range(1, n_lines + 1):
        model = clone(start)
        model.__dict__.update(vars(start))
        before = dict(vars(model))
        _, is_interrupted = fit_until(stop_at, model, X, y)
        if not is_interrupted:
            continue
        if vars(model).keys() == before.keys() and all(vars(model)[name] is before[name] for name in before):
            n_sweeps.append(0)
            continue
        n_sweeps.append(model.n_iter_)
        assert vars(model).keys() == vars(whole).keys()
        assert {len(numbers) for numbers in model.history_.values()} == {model.n_iter_}
        if model.n_iter_ == 2:
            assert_array_equal(model.factors_, whole.factors_)
            assert_array_equal(model.coef_, whole.coef_)
    # Nothing that has been learned is lost at a later line.
    assert n_sweeps == sorted(n_sweeps)
    assert set(n_sweeps) == {0, 1, 2}
