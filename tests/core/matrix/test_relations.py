"""Rows as pairs of parts: which data are, and that the sums are those over the rows."""

import numpy as np
import pytest
import torch
from scipy import sparse

from skfm.core.interactions.pairwise import raw_prediction
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.matrix.relations import find_relations
from skfm.core.matrix.tiles import describe_fields, find_colors
from skfm.core.solvers import SOLVERS
from skfm.core.solvers.base import Problem, Settings
from skfm.core.solvers.block.engine import BlockState
from skfm.core.solvers.block.pairs import PairEngine
from skfm.core.solvers.block.relational import RelationalEngine
from skfm.core.solvers.block.run import make_engine
from skfm.core.solvers.block.tiles import TileEngine

N_USERS, N_ITEMS, N_ROWS = 12, 9, 400


def make_parts(seed=0):
    """Return what is known of users (two categories) and items (a bag of words with counts), ids first."""
    rng = np.random.default_rng(seed)
    users = np.hstack(
        [np.eye(N_USERS), np.eye(3)[np.arange(N_USERS) % 3], np.eye(2)[rng.integers(0, 2, N_USERS)]]
    )
    words = (rng.random((N_ITEMS, 5)) < 0.5) * rng.integers(1, 4, (N_ITEMS, 5))
    words[0, :] = 1  # no column without data
    return users, np.hstack([np.eye(N_ITEMS), words])


def make_rows(seed=0):
    rng = np.random.default_rng(seed)
    user = np.concatenate([np.arange(N_USERS), rng.integers(0, N_USERS, N_ROWS - N_USERS)])
    item = np.concatenate([np.arange(N_ITEMS), rng.integers(0, N_ITEMS, N_ROWS - N_ITEMS)])
    return user, item


def make_array(seed=0):
    users, items = make_parts(seed)
    user, item = make_rows(seed)
    return np.hstack([users[user], items[item]])


def as_design(X):
    # However full a bag of words may be, it is one here.
    none = np.empty(0, np.intp)
    return DesignMatrix.from_array(sparse.csr_array(X), dtype=torch.float64, dense_columns=none)


def relations_of(X):
    design = as_design(X)
    return find_relations(design, find_colors(design, describe_fields(design)))


def make_problem(X, loss="squared_error", n_outputs=2, seed=1):
    design, rng = as_design(X), np.random.default_rng(seed)
    y = rng.standard_normal((n_outputs, len(X)))
    y = y if loss == "squared_error" else (y > 0).astype(float)
    weight = torch.from_numpy(rng.uniform(0.5, 2, len(X)))
    return Problem(design, torch.from_numpy(y), weight, loss, describe_fields(design))


def make_state(problem, n_factors=3):
    generator = torch.Generator().manual_seed(0)
    shape = len(problem.target), problem.design.shape[1], n_factors + 1
    theta = torch.randn(shape, generator=generator, dtype=torch.float64)
    ones = torch.ones(shape[0], dtype=torch.float64)
    return BlockState(
        torch.randn(shape[0], generator=generator, dtype=torch.float64), theta, None, 0 * ones, ones
    )


def test_parts_are_found():
    users, items = make_parts()
    relations = relations_of(make_array())
    width = users.shape[1]
    found = [
        part.matmul(torch.eye(width + items.shape[1], dtype=torch.float64)).numpy()
        for part in relations.parts
    ]
    np.testing.assert_array_equal(found[0][:, :width], users)
    np.testing.assert_array_equal(found[1][:, width:], items)
    assert not found[0][:, width:].any()
    assert not found[1][:, :width].any()
    columns = torch.cat([c for side in relations.colors for c in side])
    assert sorted(columns.tolist()) == list(range(width + items.shape[1]))


def test_every_row_is_its_pair_of_parts():
    pairs = relations_of(make_array()).pairs
    for side, own, other in ((0, *make_rows()), (1, *make_rows()[::-1])):
        rows = pairs.rows[side].numpy()
        np.testing.assert_array_equal(
            own[rows], np.repeat(np.arange(own.max() + 1), np.diff(pairs.bounds[side]))
        )
        np.testing.assert_array_equal(other[rows], pairs.partners[side].numpy())


@pytest.mark.parametrize(
    "change",
    [
        "a column of the row",
        "one value",
        "one user",
        "no keys",
        "few rows",
    ],
)
def test_other_rows_are_not_pairs(change):
    X = make_array()
    rng = np.random.default_rng(2)
    if change == "a column of the row":
        X = np.hstack([X, rng.integers(0, 2, (len(X), 1))])
    elif change == "one value":
        X[np.flatnonzero(X[:, -1])[-1], -1] += 1
    elif change == "one user":
        # A single row of hundreds, which probes of some rows may miss.
        row = len(X) // 2
        X[row, N_USERS : N_USERS + 3] = np.roll(X[row, N_USERS : N_USERS + 3], 1)
    elif change == "no keys":
        X = X[:, N_USERS:]
    else:
        X = X[: 3 * N_USERS]
    assert relations_of(X) is None


def test_engines_are_chosen_by_the_data():
    X = make_array()
    problem = make_problem(X)
    assert isinstance(make_engine(problem, make_state(problem)), RelationalEngine)
    pairs = make_problem(np.hstack([X[:, :N_USERS], X[:, N_USERS + 5 : N_USERS + 5 + N_ITEMS]]))
    assert isinstance(make_engine(pairs, make_state(pairs)), PairEngine)
    state = make_state(problem)
    state.covariances = torch.ones_like(state.theta)
    assert isinstance(make_engine(problem, state), TileEngine)


@pytest.mark.parametrize("n_factors", [0, 3])
def test_sums_are_those_over_the_rows(n_factors):
    """In the middle of a sweep too: what has changed so far is in the sums."""
    X = make_array()
    problem = make_problem(X)
    state = make_state(problem, n_factors)
    engine = make_engine(problem, state)
    assert isinstance(engine, RelationalEngine)
    rng = torch.Generator().manual_seed(3)
    omega = problem.sample_weight * torch.rand(problem.target.shape, generator=rng, dtype=torch.float64)
    dense = torch.from_numpy(X)
    for _ in range(2):
        engine.load(omega, problem.target, engine.mean())
        seen = []
        for block in engine.blocks:
            A, b = (part.unflatten(0, (len(omega), -1)) for part in engine.normal_equations(block))
            raw = raw_prediction(problem.design, state.parameters)
            for o, theta in enumerate(state.theta):
                sums = dense @ theta[:, 1:]
                for place, j in enumerate(block.columns.tolist()):
                    x = dense[:, j, None]
                    z = x * torch.cat([torch.ones_like(x), sums - x * theta[j, 1:]], 1)
                    weighted = omega[o, :, None] * z
                    torch.testing.assert_close(A[o, place], weighted.T @ z)
                    target = problem.target[o] - raw[o] + z @ theta[j]
                    torch.testing.assert_close(b[o, place], weighted.T @ target)
            seen += block.columns.tolist()
            new = torch.randn(A.shape[0] * A.shape[1], A.shape[2], generator=rng, dtype=torch.float64)
            engine.write_back(block, new, None)
        assert sorted(seen) == list(range(X.shape[1]))
        torch.testing.assert_close(engine.mean(), raw_prediction(problem.design, state.parameters))


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "probit"])
def test_als_objective_falls(loss):
    problem = make_problem(make_array(), loss)
    state = make_state(problem)
    start = FMParameters(state.intercept, state.theta[:, :, 0], 0.1 * state.theta[:, :, 1:])
    run = SOLVERS["als"].start(problem, start, Settings())
    objectives = [run.step().objective for _ in range(30)]
    assert (np.diff(objectives) <= 1e-9 * np.abs(objectives[0])).all()
    assert objectives[-1] < 0.9 * objectives[0]
