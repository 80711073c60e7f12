"""Sums over rows in several shards: with the sums of all, every shard makes the updates of the whole."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse

from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.matrix.reduce import LOCAL, Reduction
from skfm.core.matrix.tiles import describe_fields
from skfm.core.solvers import SOLVERS, Problem, Settings
from skfm.core.solvers.block.pairs import PairEngine
from skfm.core.solvers.block.relational import RelationalEngine
from skfm.core.solvers.block.table import TableEngine
from skfm.core.solvers.block.tiles import TileEngine
from skfm.core.solvers.minibatch.penalties import Penalties
from skfm.training.holdout import Validation

N_SHARDS, ROWS = 2, 60


class Exchange:
    """What the reductions of several threads have in common."""

    def __init__(self):
        self.barrier = threading.Barrier(N_SHARDS, timeout=60)
        self.slots = [None] * N_SHARDS


class Shard(Reduction):
    """Adds the tensors of all threads, in the same order in each of them."""

    def __init__(self, exchange, number):
        self.exchange, self.number, self.calls = exchange, number, 0

    def sum(self, local):
        self.calls += 1
        self.exchange.slots[self.number] = local.clone()
        self.exchange.barrier.wait()
        total = sum(self.exchange.slots[1:], self.exchange.slots[0].clone())
        self.exchange.barrier.wait()
        # The caller must not use what it has passed.
        return local.fill_(float("nan")).copy_(total) if local.is_floating_point() else total


def in_threads(function):
    """Call a function with the reduction of each shard; return what each returns."""
    exchange = Exchange()
    reductions = [Shard(exchange, number) for number in range(N_SHARDS)]

    def call(reduction):
        try:
            return function(reduction)
        except BaseException:
            exchange.barrier.abort()
            raise

    with ThreadPoolExecutor(N_SHARDS) as pool:
        found = list(pool.map(call, reductions))
    assert all(reduction.calls for reduction in reductions)
    return found


def one_hot(rng, size):
    codes = np.r_[np.arange(size), rng.integers(0, size, ROWS - size)]
    return sparse.csr_matrix((np.ones(ROWS), (np.arange(ROWS), rng.permutation(codes))), (ROWS, size))


def pattern(kind, rng):
    """The columns of a shard, with a column that has no data."""
    user, item = one_hot(rng, 6), one_hot(rng, 4)
    parts = [user, item, sparse.csr_matrix((ROWS, 1))]
    if kind == "relations":
        parts.append(user @ one_hot(rng, 3)[:6])
    elif kind != "pairs":
        parts.append(one_hot(rng, 5))
    if kind == "mixed":
        parts += [rng.normal(size=(ROWS, 2)), rng.gamma(2.0, size=(ROWS, 1)) * (rng.random((ROWS, 1)) < 0.2)]
    return sparse.csr_matrix(sparse.hstack([sparse.csr_matrix(part) for part in parts]))


def problems(kind, loss):
    """The problems of the shards, and that of the whole.

    The shards have their non-zeros in the same places, so that they have the same blocks, and differ in all else.
    """
    rng = np.random.default_rng(0)
    X = pattern(kind, rng)
    parts = []
    for _ in range(N_SHARDS):
        part = X.copy()
        part.data = np.where(X.data == 1, 1.0, X.data * rng.uniform(0.5, 2.0, X.nnz))
        parts.append(part)
    y = rng.normal(size=(N_SHARDS, 2, ROWS)) + 0.3
    y = y if loss == "squared_error" else (y > 0).astype(float)
    weight = rng.integers(1, 4, (N_SHARDS, ROWS)).astype(float)
    fields = describe_fields(DesignMatrix.from_array(sparse.vstack(parts), dtype=torch.float64))

    def make(part, target, weight):
        design = DesignMatrix.from_array(part, dtype=torch.float64)
        return Problem(design, torch.tensor(target), torch.tensor(weight), loss, fields)

    shards = [make(*arguments) for arguments in zip(parts, y, weight, strict=True)]
    return shards, make(sparse.vstack(parts), np.concatenate(y, 1), weight.ravel())


def start_of(problem):
    rng = np.random.default_rng(1)
    n_features = problem.design.shape[1]
    return FMParameters(
        torch.zeros(2, dtype=torch.float64),
        torch.zeros(2, n_features, dtype=torch.float64),
        torch.tensor(rng.normal(size=(2, n_features, 2)) * 0.3),
    )


ENGINES = {"pairs": PairEngine, "relations": RelationalEngine, "three": TileEngine, "mixed": TileEngine}
SETTINGS = [
    ("als", {"l2_linear": 1.0, "l2_factors": 2.0}),
    ("vb", {"covariance_type": "full"}),
    ("vb", {"covariance_type": "diag"}),
]


@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize(("solver", "options"), SETTINGS)
def test_shards_make_the_updates_of_the_whole(solver, options, kind, loss):
    shards, whole = problems(kind, loss)
    settings = Settings(max_iter=20, **options)

    def sweeps(problem):
        run = SOLVERS[solver].start(problem, start_of(whole), settings)
        if solver == "als":
            assert isinstance(run.engine, ENGINES[kind])
        elif kind != "relations":
            assert isinstance(run.engine, PairEngine if kind == "pairs" else TableEngine)
        found = []
        for _ in range(10):
            iterate = run.step()
            tensors = [*iterate.parameters, *(iterate.posterior.tensors if iterate.posterior else [])]
            found.append((iterate.objective, iterate.fit, [t.clone() for t in tensors]))
        return found

    def of_shard(reduction):
        return sweeps(dataclasses.replace(shards[reduction.number], reduction=reduction))

    expected = sweeps(whole)
    for found in in_threads(of_shard):
        for one, other in zip(found, expected, strict=True):
            assert_allclose(one[:2], other[:2], rtol=1e-8)
            for a, b in zip(one[2], other[2], strict=True):
                assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def test_without_the_sums_of_the_other_shards_updates_are_others():
    shards, whole = problems("three", "squared_error")
    alone, together = (
        SOLVERS["als"].start(p, start_of(whole), Settings()).step() for p in (shards[0], whole)
    )
    assert not np.allclose(alone.parameters.linear, together.parameters.linear, rtol=1e-2)


def test_entries_per_row():
    shards, whole = problems("mixed", "squared_error")

    def of_shard(reduction):
        return dataclasses.replace(shards[reduction.number], reduction=reduction).entries_per_row()

    assert_allclose(in_threads(of_shard), whole.entries_per_row(), rtol=1e-12)


def test_the_loss_on_validation_samples():
    shards, whole = problems("three", "log_loss")

    def loss(problem, reduction):
        likelihood = SOLVERS["als"].model("log_loss", 2)
        parts = problem.design, problem.target, problem.sample_weight, likelihood
        iterate = SOLVERS["als"].start(whole, start_of(whole), Settings()).iterate()
        return Validation(*parts, reduction=reduction).loss(iterate)

    expected = loss(whole, LOCAL)
    assert_allclose(in_threads(lambda r: loss(shards[r.number], r)), expected, rtol=1e-12)


def test_the_sums_of_learned_penalties():
    """Each shard has the sums over its own rows, and the gradients and curvatures of all."""
    rng = np.random.default_rng(0)
    fields, like = torch.tensor([0, 0, 1, 1]), torch.zeros(1, dtype=torch.float64)
    theta, curvature = torch.tensor(rng.normal(size=(4, 3))), torch.tensor(rng.gamma(2.0, size=(4, 1)))
    sums = torch.tensor(rng.gamma(2.0, size=(N_SHARDS, 1, 4)))

    def learned(own, reduction):
        penalties = Penalties("auto", "auto", fields, 1, 2, like, reduction)
        penalties.begin(3.0)
        penalties.sums.copy_(own)
        penalties.update(theta, curvature, curvature.sum(0), 8)
        assert not penalties.sums.any()
        return penalties.l2

    expected = learned(sums.sum(0), LOCAL)
    for found in in_threads(lambda r: learned(sums[r.number], r)):
        assert_allclose(found, expected, rtol=1e-12)


def test_the_identity_returns_what_it_gets():
    tensor = torch.ones(3)
    assert LOCAL.sum(tensor) is tensor
    assert type(LOCAL) is Reduction
