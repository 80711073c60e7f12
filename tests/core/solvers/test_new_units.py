"""A run in other units: the same predictions, and an optimizer that has not forgotten what it knew."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skfm.core.interactions.pairwise import raw_prediction
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.matrix.standardize import Standardization
from skfm.core.solvers import SOLVERS, Problem, Settings
from skfm.core.solvers.minibatch.new_units import UnitChange

from ...helpers.minibatch import MINIBATCH

N_ROWS, N_FEATURES = 60, 5


def numbers(seed=0):
    return np.random.default_rng(seed).normal(size=(N_ROWS, N_FEATURES))


def design_of(X):
    return DesignMatrix.from_array(X, dtype=torch.float64, dense_columns=np.arange(N_FEATURES))


def run_of(solver, n_outputs=1, **settings):
    rng = np.random.default_rng(0)
    X = numbers()
    y = X[:, 0] + X[:, 1] * X[:, 2] if n_outputs == 1 else rng.integers(n_outputs, size=N_ROWS)
    problem = Problem(
        design_of(X),
        torch.tensor(y, dtype=torch.float64)[None],
        torch.ones(N_ROWS, dtype=torch.float64),
        "squared_error" if n_outputs == 1 else "log_loss",
        torch.tensor([0, 0, 1, 1, 1]),
    )
    shapes = (n_outputs,), (n_outputs, N_FEATURES), (n_outputs, N_FEATURES, 3)
    start = FMParameters(*(torch.tensor(0.3 * rng.normal(size=shape)) for shape in shapes))
    run = SOLVERS[solver].start(problem, start, Settings(batch_size=10, max_iter=9, **settings))
    for _ in range(4):
        run.step()
    return run


def change_of(run, **other):
    n_outputs = len(run.iterate().parameters.intercept)
    rng = np.random.default_rng(1)
    ones = torch.ones(N_FEATURES, dtype=torch.float64)
    centers, scales = (
        torch.tensor(rng.normal(size=(2, N_FEATURES))),
        torch.tensor(rng.gamma(2, size=(2, N_FEATURES))),
    )
    ratio = 0.3 if n_outputs == 1 else 1.0
    parts = {
        "columns": Standardization(centers[0], scales[0]),
        "new_columns": Standardization(centers[1], scales[1]),
        "dense_columns": torch.arange(N_FEATURES),
        "ratio": torch.full((n_outputs,), ratio, dtype=torch.float64),
        "shift": torch.full((n_outputs,), 1.5, dtype=torch.float64),
        "loss": ratio**2,
        "slope": ratio,
        "curvature": 1.0,
        "squares": torch.tensor(rng.gamma(2, size=N_FEATURES)),
        "reach": ones,
        "are_new": ones < 0,
        "start": None,
        "restarts": False,
        "settings": run.settings,
        "units": "new",
    }
    return UnitChange(**(parts | other))


def predictions(run, units, X):
    return raw_prediction(units.apply(design_of(X)), run.iterate().parameters)


@MINIBATCH
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("options", [{}, {"l2_linear": 0.1, "l2_factors": 0.2}])
def test_predictions_are_the_same(solver, n_outputs, options):
    if solver == "ftrl":
        options = {**options, "l1_linear": 0.5}
    run = run_of(solver, n_outputs, **options)
    change, X = change_of(run), numbers(1)
    before = change.ratio[:, None] * predictions(run, change.columns, X) + change.shift[:, None]
    old = {name: tensor.clone() for name, tensor in run.state_dict().tensors.items()}
    trainer = run.trainer
    run.change_units(change)
    assert_allclose(predictions(run, change.new_columns, X), before, rtol=1e-9, atol=1e-9)
    assert run.units == "new"
    # The state of the old trainer is as it was.
    assert all(torch.equal(tensor, old[name]) for name, tensor in trainer.tensors().items())
    state = run.state_dict().tensors
    assert {name: t.shape for name, t in state.items()} == {name: t.shape for name, t in old.items()}
    for name, tensor in state.items():
        assert torch.isfinite(tensor).all(), name
        assert name in run.signed_tensors or (tensor >= 0).all(), name
    assert np.isfinite(run.step().objective)


def test_the_weights_of_ftrl_follow_from_its_sums():
    run = run_of("ftrl", l1_linear=0.5, l2_linear=0.1, l2_factors=0.1)
    run.change_units(change_of(run))
    trainer = run.trainer
    _, z, r = trainer.slots
    passes = (trainer.batches_seen / trainer.batches_per_pass).clamp(min=1)[:, None]
    beyond = (z.abs() - 0.5 * passes).clamp(min=0)
    assert_allclose(-torch.sign(z) * beyond / (r + 0.1 * passes), trainer.theta[:, :1], atol=1e-12)
    _, z, r = trainer.intercept_slots
    assert_allclose(-z / r, trainer.intercept, rtol=1e-12)


@MINIBATCH
def test_units_that_are_the_same_change_nothing(solver):
    run, other = run_of(solver), run_of(solver)
    ones = torch.ones(N_FEATURES, dtype=torch.float64)
    units, one = Standardization(0 * ones, ones), torch.ones(1, dtype=torch.float64)
    run.change_units(
        change_of(
            run, columns=units, new_columns=units, ratio=one, shift=0 * one, loss=1.0, slope=1.0, squares=ones
        )
    )
    for _ in range(2):
        run.step(), other.step()
    for found, expected in zip(run.iterate().parameters, other.iterate().parameters, strict=True):
        assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@MINIBATCH
def test_a_restart_begins_as_a_run_does(solver):
    run = run_of(solver)
    start = FMParameters(*(part.clone() for part in run_of(solver).iterate().parameters))
    change = change_of(run, start=start, restarts=True)
    run.change_units(change)
    for found, expected in zip(run.iterate().parameters, start, strict=True):
        assert_array_equal(found, expected)
    fresh = run.trainer.optimizer.slots(run.trainer.theta, 1)
    for slot, begun in zip(run.trainer.slots, fresh, strict=True):
        assert_allclose(slot, begun)


@MINIBATCH
def test_parameters_shrink_where_they_are_extrapolated(solver):
    run = run_of(solver)
    far = torch.ones(N_FEATURES, dtype=torch.float64)
    far[1] = 1e8
    units = Standardization(torch.zeros_like(far), torch.ones_like(far))
    wide = Standardization(torch.zeros_like(far), far.sqrt())
    before = FMParameters(*(part.clone() for part in run.iterate().parameters))
    run.change_units(
        change_of(
            run, columns=units, new_columns=wide, reach=far, squares=1 / far, ratio=torch.ones(1).double()
        )
    )
    found = run.iterate().parameters
    assert abs(found.linear[0, 1]) < 0.1 * abs(before.linear[0, 1])
    assert_allclose(found.factors[0, 1], before.factors[0, 1], rtol=1e-9)
    others = [0, 2, 3, 4]
    assert_allclose(found.factors[0, others], before.factors[0, others], rtol=1e-9)
