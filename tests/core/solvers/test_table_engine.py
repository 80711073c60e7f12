"""The table engine: it makes the sweeps of the tile engine, on designs of one-hot fields."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.matrix.tiles import describe_fields, find_colors
from skfm.core.solvers import Problem
from skfm.core.solvers.als import ALSRun
from skfm.core.solvers.block import run as block
from skfm.core.solvers.block import table_blocks, table_groups
from skfm.core.solvers.block.table import TableEngine, row_dtype
from skfm.core.solvers.block.table_groups import find_tables, make_tables
from skfm.core.solvers.block.tiles import TileEngine
from skfm.core.solvers.vb import VBRun

LOSSES = ["squared_error", "log_loss", "probit"]


def one_hot(rng, n_rows, n_levels, missing=0.0):
    """A field with an entry in most rows, and levels of very different numbers of rows."""
    codes = np.minimum(rng.geometric(2 / (1 + n_levels), n_rows) - 1, n_levels - 1)
    held = rng.random(n_rows) >= missing
    return sparse.csr_matrix((np.ones(held.sum()), (np.flatnonzero(held), codes[held])), (n_rows, n_levels))


def make_problem(rng, X, loss, *, n_outputs=1, dtype=torch.float64, n_dense=0, **options):
    """A problem with the given fields and some numeric columns before and after them."""
    numbers = rng.normal(size=(X.shape[0], n_dense)) * rng.gamma(2.0, size=n_dense)
    X = sparse.hstack([numbers[:, :1], X, numbers[:, 1:]]).tocsr()
    columns = np.r_[np.arange(min(n_dense, 1)), np.arange(X.shape[1] - max(n_dense - 1, 0), X.shape[1])]
    design = DesignMatrix.from_array(X, dtype=dtype, dense_columns=columns)
    target = rng.normal(size=(n_outputs, X.shape[0]))
    target = target if loss == "squared_error" else (target > 0.3).astype(float)
    weight = rng.gamma(2.0, size=X.shape[0]) + 0.1
    tensors = (torch.tensor(t, dtype=dtype) for t in (target, weight))
    return Problem(design, *tensors, loss, describe_fields(design), **options)


def make_start(rng, problem, n_factors):
    n_outputs, n_features = len(problem.target), problem.design.shape[1]
    dtype = problem.design.dtype
    return FMParameters(
        torch.tensor(rng.normal(size=n_outputs) * 0.1, dtype=dtype),
        torch.zeros(n_outputs, n_features, dtype=dtype),
        torch.tensor(rng.normal(size=(n_outputs, n_features, n_factors)) * 0.3, dtype=dtype),
    )


def make_run(problem, kind, start, engine, dtype=None):
    """A run with the engine of the given class."""

    def make(problem, state, **options):
        colors = find_colors(problem.design, problem.fields)
        if engine is TileEngine:
            return TileEngine(problem, state, colors)
        return TableEngine(problem, state, colors, find_tables(problem.design, colors), dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block, "make_engine", make)
        run = VBRun(problem, start, kind)
    assert isinstance(run.engine, engine)
    return run


def tensors_of(run):
    posterior = run.state.posterior.tensors
    return [*run.state.parameters, *posterior, run.mean, run.engine.mean(), run.engine.variance()]


def fields_of(rng, sizes, n_rows, missing=0.0):
    return sparse.hstack([one_hot(rng, n_rows, size, missing) for size in sizes]).tocsr()


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    n_rows=st.integers(1, 80),
    missing=st.sampled_from([0.0, 0.2, 0.7]),
    n_factors=st.integers(0, 4),
    kind=st.sampled_from(["full", "diag"]),
    loss=st.sampled_from(LOSSES),
    n_outputs=st.integers(1, 2),
    n_dense=st.sampled_from([0, 0, 1, 3]),
    fit_linear=st.booleans(),
    fit_intercept=st.booleans(),
    limit=st.sampled_from([1, 8, 64]),
    small=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_sweeps_are_those_of_the_tile_engine(
    sizes,
    n_rows,
    missing,
    n_factors,
    kind,
    loss,
    n_outputs,
    n_dense,
    fit_linear,
    fit_intercept,
    limit,
    small,
    seed,
):
    """The bound, the posterior, the predictions and their variances agree, whatever the groups and the pieces."""
    rng = np.random.default_rng(seed)
    X = fields_of(rng, sizes, n_rows, missing)
    if not X.nnz:
        return
    parts = {"fit_linear": fit_linear or not n_factors, "fit_intercept": fit_intercept}
    problem = make_problem(rng, X, loss, n_outputs=n_outputs, n_dense=n_dense, **parts)
    start = make_start(rng, problem, n_factors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_groups, "FEW_COMBINATIONS", limit)
        if small:
            patch.setattr(table_blocks, "PIECE_FLOATS", {"cpu": 60})
            patch.setattr(table_blocks, "BLOCK_FLOATS", {"cpu": 60})
        table = make_run(problem, kind, start, TableEngine)
        tiles = make_run(problem, kind, start, TileEngine)
        for _ in range(4):
            one, other = table.step().objective, tiles.step().objective
            assert_allclose(one, other, rtol=1e-9, atol=1e-9 * n_rows)
        assert_allclose(
            table.engine.total_variance(table.mean, table.omega),
            tiles.engine.total_variance(tiles.mean, tiles.omega),
            rtol=1e-9,
        )
        for a, b in zip(tensors_of(table), tensors_of(tiles), strict=True):
            assert bool(torch.isfinite(a).all())
            assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_dense", [0, 2])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["full", "diag"])
def test_another_run_continues_with_the_same_bits(kind, loss, n_dense):
    """A run that loads the state of one between two sweeps makes the same sweeps, although its engine has made none."""
    rng = np.random.default_rng(0)
    problem = make_problem(rng, fields_of(rng, [7, 5, 3], 90, 0.1), loss, n_outputs=2, n_dense=n_dense)
    start = make_start(rng, problem, 3)
    straight, other = (make_run(problem, kind, start, TableEngine) for _ in range(2))
    for _ in range(5):
        straight.step()
    other.load_state_dict(copy.deepcopy(straight.state_dict()))
    for _ in range(5):
        assert straight.step().objective == other.step().objective
        for a, b in zip(tensors_of(straight), tensors_of(other), strict=True):
            assert torch.equal(a, b)


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=7),
    n_rows=st.integers(1, 300),
    missing=st.sampled_from([0.0, 0.3]),
    few=st.integers(1, 64),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_tables_hold_the_columns_of_every_row(sizes, n_rows, missing, few, seed):
    """A row's table rows list its columns, each field once; groups of several fields have few combinations."""
    rng = np.random.default_rng(seed)
    n_features = sum(sizes)
    starts = np.cumsum([0, *sizes[:-1]])
    columns = np.array([rng.integers(0, size, n_rows) + at for at, size in zip(starts, sizes, strict=True)])
    columns[rng.random(columns.shape) < missing] = n_features
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_groups, "FEW_COMBINATIONS", few)
        groups, codes = make_tables(torch.tensor(columns, dtype=torch.int32), n_features)
    found = np.full_like(columns, -1)
    for k, group in enumerate(groups):
        assert group.start == (groups[k - 1].stop if k else 0)
        code = codes[:-1, k].numpy() - group.start
        assert np.unique(code).tolist() == list(range(group.stop - group.start))
        if len(group.members) > 1:
            assert group.stop - group.start <= max(few, n_rows // table_groups.SHARE_OF_ROWS)
        for field, members in group.members.items():
            assert (found[field] == -1).all()
            found[field] = members.numpy()[code]
    assert_array_equal(found, columns)
    assert (codes[-1] == groups[-1].stop).all()


def test_the_engine_is_chosen_for_one_hot_fields_and_covariances():
    """Three fields of ones take tables; other values, and solvers without covariances, the engines that they had."""
    rng = np.random.default_rng(0)
    X = fields_of(rng, [6, 5, 4], 100, 0.1)
    problem = make_problem(rng, X, "log_loss")
    start = make_start(rng, problem, 2)
    for kind in ("full", "diag"):
        assert isinstance(VBRun(problem, start, kind).engine, TableEngine)
    assert isinstance(ALSRun(problem, start, 1.0, 1.0).engine, TileEngine)
    assert isinstance(VBRun(make_problem(rng, X * 2.5, "log_loss"), start, "full").engine, TileEngine)


@pytest.mark.parametrize("n_dense", [0, 2])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["full", "diag"])
def test_rows_of_float32_are_as_good(kind, loss, n_dense):
    """With rows of float32, a float64 problem has the same predictions within 5e-5, and the bound rises."""
    rng = np.random.default_rng(0)
    problem = make_problem(rng, fields_of(rng, [90, 20, 5, 3], 2000, 0.05), loss, n_dense=n_dense)
    start = make_start(rng, problem, 4)
    narrow, wide = (make_run(problem, kind, start, TableEngine, t) for t in (None, torch.float64))
    assert narrow.engine.layout.dtype == torch.float32
    bounds = np.array([[run.step().objective for run in (narrow, wide)] for _ in range(15)])
    assert_allclose(bounds[:, 0], bounds[:, 1], rtol=1e-7)
    assert (np.diff(bounds[:, 0]) >= -1e-8 * abs(bounds[-1, 0])).all()
    assert all(tensor.dtype == torch.float64 for tensor in tensors_of(narrow))
    assert_allclose(narrow.mean, wide.mean, atol=5e-5)
    assert_allclose(narrow.engine.variance(), wide.engine.variance(), rtol=1e-4, atol=1e-6)
    exact = problem.interaction.raw(problem.design, narrow.state.parameters)
    assert_allclose(narrow.mean, exact, atol=1e-5)


@pytest.mark.parametrize(
    ("n_rows", "value", "weight", "dtype"),
    [
        (1000, 1.0, 1.0, torch.float64),
        (1100, 1.0, 1.0, torch.float32),
        (1100, 1e3, 1.0, torch.float64),
        (1100, 1.0, 1e20, torch.float64),
    ],
)
def test_rows_are_float32_for_many_rows_of_moderate_numbers(n_rows, value, weight, dtype):
    rng = np.random.default_rng(0)
    problem = make_problem(rng, fields_of(rng, [5, 4], n_rows), "log_loss", n_dense=1)
    design = problem.design.replace(None, problem.design.dense * value)
    weight = problem.sample_weight * weight
    assert row_dtype(dataclasses.replace(problem, design=design, sample_weight=weight)) == dtype
    single = make_problem(rng, fields_of(rng, [5, 4], n_rows), "log_loss", dtype=torch.float32)
    assert row_dtype(single) == torch.float32


def test_many_fields_have_a_state_per_row(monkeypatch):
    rng = np.random.default_rng(0)
    problem = make_problem(rng, fields_of(rng, [6, 5, 4, 30], 100), "log_loss")
    start = make_start(rng, problem, 2)
    n_groups = len(VBRun(problem, start, "full").engine.groups)
    assert 1 < n_groups < 4
    monkeypatch.setattr(table_groups, "MOST_GROUPS", n_groups - 1)
    assert isinstance(VBRun(problem, start, "full").engine, TileEngine)
    monkeypatch.setattr(table_groups, "MOST_GROUPS", n_groups)
    monkeypatch.setattr(table_groups, "MOST_FIELDS", 3)
    assert isinstance(VBRun(problem, start, "full").engine, TileEngine)
