"""Columns of long rows are updated together: their number of blocks, the objective, and the optimum."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose

from skfm.core.bayes.variance import prediction_variance
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.matrix.tiles import describe_fields
from skfm.core.solvers import SOLVERS, Problem, Settings
from skfm.core.solvers.block import long_rows, run
from skfm.core.solvers.block.long_rows import LongRowEngine, SharedTile, find_long_rows
from skfm.core.solvers.block.tiles import TileEngine
from tests.core.solvers.test_block import KINDS, random_state


@pytest.fixture
def short(monkeypatch):
    """Rows of few non-zeros are long, and tiles have a few columns."""
    monkeypatch.setattr(long_rows, "LEAST_LENGTH", 8)
    monkeypatch.setattr(long_rows, "LENGTH_RATIO", 2)
    monkeypatch.setattr(long_rows, "LEAST_COLUMNS", 5)
    monkeypatch.setattr(long_rows, "SHARED_TILES", 3)


def make_rows(n_long, has_values, has_dense, n_rows=60, n_columns=20, seed=0):
    """One-hot rows, some of them with a second column, and a few rows with most columns."""
    rng = np.random.default_rng(seed)
    X = np.zeros((n_rows + n_long, n_columns))
    X[np.arange(n_rows), rng.integers(0, n_columns, n_rows)] = 1
    X[::3, 1] = 1
    X[n_rows:] = rng.random((n_long, n_columns)) < 0.9
    if has_values:
        X = X * rng.gamma(5.0, 0.2, X.shape)
    if has_dense:
        X = np.c_[X, rng.normal(size=(len(X), 2))]
    order = rng.permutation(len(X))
    return sp.csr_matrix(X[order]), rng.normal(size=len(X))


def make_problem(X, y, n_outputs=1, loss="squared_error"):
    target = torch.from_numpy(np.stack([y, -y][:n_outputs]))
    target = target if loss == "squared_error" else (target > 0).double()
    design = DesignMatrix.from_array(X, dtype=torch.float64)
    weight = torch.linspace(0.5, 1.5, len(y), dtype=torch.float64)
    return Problem(design, target, weight, loss, describe_fields(design))


def load(engine, problem, omega):
    engine.load(omega, problem.target, engine.mean())


CASES = pytest.mark.parametrize(
    ("n_long", "has_values", "has_dense", "n_outputs"),
    [(1, False, False, 1), (2, True, False, 2), (2, False, True, 1), (1, True, True, 2)],
)


@CASES
@pytest.mark.parametrize("n_factors", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_costs_of_a_joint_update(kind, n_factors, n_long, has_values, has_dense, n_outputs, short):
    """The rows that a move returns are those of an engine that starts there, and the cost is the expected loss."""
    X, y = make_rows(n_long, has_values, has_dense)
    problem, rng = make_problem(X, y, n_outputs), np.random.default_rng(1)
    state = random_state(rng, problem, kind, n_factors)
    other = random_state(rng, problem, kind, n_factors)
    omega = torch.tensor(rng.gamma(2.0, 1.0, size=problem.target.shape))
    omega[0, 0] = 0
    engine = LongRowEngine(problem, state, find_long_rows(problem.design))
    load(engine, problem, omega)
    if engine.dense is not None and engine.row_variance is not None:
        engine.row_variance.add_dense()

    def expected_loss():
        squares = (problem.target - engine.mean()).square()
        if state.covariances is not None:
            squares = squares + prediction_variance(problem.design, state.parameters.factors, state.posterior)
        return (omega * squares).sum(1) / 2

    shared = [block for block in engine.blocks if isinstance(block, SharedTile)]
    assert len(shared) >= 3
    for block in shared:
        before, cost = expected_loss(), engine.current(block).cost
        theta = other.theta[:, block.columns].flatten(0, 1)
        S = None if kind == "als" else other.covariances[:, block.columns].flatten(0, 1)
        moved = engine.move(block, theta, S)
        engine.store(block, moved, theta, S)
        assert_allclose(moved.cost - cost, expected_loss() - before, rtol=1e-9, atol=1e-9)
        found = [engine.rows[:, :-1].clone()]
        if engine.row_variance is not None:
            found += [engine.row_variance.T[:, :-1].clone(), engine.row_variance.h[:, :-1].clone()]
        load(engine, problem, omega)
        expected = [engine.rows[:, :-1].clone()]
        if engine.row_variance is not None:
            engine.row_variance.refresh()
            if engine.dense is not None:
                engine.row_variance.add_dense()
            expected += [engine.row_variance.T[:, :-1], engine.row_variance.h[:, :-1]]
        for a, b in zip(found, expected, strict=True):
            assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def start(problem, kind, n_factors, settings=None):
    """Return a run from a random start."""
    n_outputs, n_features = len(problem.target), problem.design.shape[1]
    factors = 0.3 * torch.randn(
        n_outputs, n_features, n_factors, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    parameters = FMParameters(factors.new_zeros(n_outputs), factors.new_zeros(n_outputs, n_features), factors)
    if kind == "als":
        return SOLVERS["als"].start(problem, parameters, Settings())
    return SOLVERS["vb"].start(problem, parameters, Settings(covariance_type=kind, noise="common"))


def start_one_by_one(problem, kind, n_factors):
    """Return the same run with an engine that updates the columns of long rows one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "find_long_rows", lambda design: None)
        made = start(problem, kind, n_factors)
    assert not isinstance(made.engine, LongRowEngine)
    return made


@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
@pytest.mark.parametrize("fit_linear", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_objective_is_monotone(kind, fit_linear, loss, short):
    """Whatever the values and the number of long rows, sweeps raise the bound and lower the objective."""
    for has_values, has_dense, n_long in ((False, False, 1), (True, True, 3)):
        X, y = make_rows(n_long, has_values, has_dense, seed=n_long)
        problem = dataclasses.replace(make_problem(X, y, 2, loss), fit_linear=fit_linear)
        made = start(problem, kind, 3)
        assert isinstance(made.engine, LongRowEngine)
        objective = np.array([made.step().objective for _ in range(12)])
        sign = -1 if kind == "als" else 1
        assert (sign * np.diff(objective) >= -1e-9 * np.abs(objective[1:])).all()
        assert sign * (objective[-1] - objective[0]) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_would_raise_the_objective_is_shortened(kind, short, monkeypatch):
    """Without damping and with large factors, full steps are far too long."""
    monkeypatch.setattr(long_rows, "DAMPING", 0.0)
    monkeypatch.setattr(long_rows, "SHARED_TILES", 1)
    monkeypatch.setattr(long_rows, "LEAST_COLUMNS", 100)
    X, y = make_rows(1, False, False)
    moves, move = [], LongRowEngine.move
    monkeypatch.setattr(LongRowEngine, "move", lambda *args: moves.append(0) or move(*args))
    made = start(make_problem(X, 30 * y), kind, 3)
    made.state.theta *= 10
    made.engine.reset()
    objective = np.array([made.step().objective for _ in range(8)])
    shared = sum(isinstance(block, SharedTile) for block in made.engine.blocks)
    assert len(moves) > 8 * shared
    sign = -1 if kind == "als" else 1
    assert (sign * np.diff(objective) >= -1e-9 * np.abs(objective[1:])).all()
    if kind != "als":
        expected = made._log_det(made.state.covariances)
        assert_allclose(made.log_det, expected, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_optimum_of_a_linear_model_is_that_of_single_updates(kind, short):
    X, y = make_rows(2, True, False)
    problem = make_problem(X, y)
    runs = start_one_by_one(problem, kind, 0), start(problem, kind, 0)
    single, joint = ([run.step() for _ in range(60)][-1] for run in runs)
    assert_allclose(runs[1].mean, runs[0].mean, rtol=0, atol=1e-5)
    assert joint.objective == pytest.approx(single.objective, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_joint_updates_stay_where_single_updates_stay(kind, short):
    """Near a stationary point of single updates, a sweep of joint updates does not move further than one of these."""
    X, y = make_rows(2, True, False, n_rows=40, n_columns=12)
    single = start_one_by_one(make_problem(X, y), kind, 2)
    for _ in range(100):
        single.step()
    joint = start(single.problem, kind, 2)
    assert any(isinstance(block, SharedTile) for block in joint.engine.blocks)
    joint.load_state_dict(single.state_dict())
    before = single.mean.clone()
    single.step()
    joint.step()
    moved, least = ((run.mean - before).abs().max() for run in (joint, single))
    assert least < 1e-2
    assert moved < 2 * least + 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_blocks_is_bounded(kind):
    """A row of any length adds few blocks; a shared tile has no row that a column could not share."""
    n_blocks = []
    for length in (1000, 8000):
        rng = np.random.default_rng(0)
        rows = sp.csr_matrix((np.ones(500), (np.arange(500), rng.integers(0, length, 500))), (500, length))
        problem = make_problem(sp.vstack([rows, np.ones((1, length))]).tocsr(), rng.normal(size=501))
        made = start(problem, kind, 2)
        n_blocks.append(len(made.engine.blocks))
        columns = torch.cat([block.columns for block in made.engine.blocks])
        assert torch.equal(columns.sort().values, torch.arange(length))
    assert max(n_blocks) <= 2 * long_rows.SHARED_TILES


def test_rows_of_like_lengths_are_not_long():
    rng = np.random.default_rng(0)
    X = sp.csr_matrix((rng.random((100, 300)) < 0.6).astype(float))
    assert find_long_rows(DesignMatrix.from_array(X, dtype=torch.float64)) is None
    problem = make_problem(X, rng.normal(size=100))
    assert type(start(problem, "als", 1).engine) is TileEngine


def test_a_sampler_draws_columns_one_after_the_other():
    """Joint steps are not draws from the posterior."""
    X = sp.vstack([sp.identity(300), np.ones((1, 300))]).tocsr()
    problem = make_problem(X, np.random.default_rng(0).normal(size=301))
    zeros = torch.zeros(1, 300, dtype=torch.float64)
    parameters = FMParameters(zeros[:, 0], zeros, zeros[:, :, None].repeat(1, 1, 2))
    made = SOLVERS["mcmc"].start(problem, parameters, Settings(max_iter=2))
    assert type(made.engine) is TileEngine
    assert isinstance(start(problem, "full", 2).engine, LongRowEngine)
