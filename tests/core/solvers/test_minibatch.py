"""Minibatch solvers: weights are repeats, runs can be taken up again, blow-ups are survived."""

import collections
import copy
import dataclasses
import itertools
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from torch.utils._python_dispatch import TorchDispatchMode

from skfm import FMClassifier, FMRegressor
from skfm.core.interactions.pairwise import raw_prediction
from skfm.core.matrix.batches import make_batches
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.observation.registry import make_loss
from skfm.core.solvers import SOLVERS
from skfm.core.solvers.base import DivergenceError, Problem, Settings, StateDict
from skfm.core.solvers.minibatch import batch_source as sources
from skfm.core.solvers.minibatch import run as minibatch
from skfm.core.solvers.minibatch.batch_source import (
    BatchSource,
    PlannedBatches,
    auto_batch_size,
    auto_epochs,
    cut,
    effective_rows,
    rows_per_batch,
    shuffled,
)
from skfm.core.solvers.minibatch.optimizers import OPTIMIZERS, SGD
from skfm.core.solvers.minibatch.run import MinibatchRun
from skfm.core.solvers.minibatch.trainer import MOVES
from skfm.datasets import make_factorization
from tests.helpers.slow import parametrize

REGRESSION = ["squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma"]
CLASSIFICATION = ["log_loss", "hinge", "squared_hinge"]
ALL = pytest.mark.parametrize("solver", sorted(OPTIMIZERS))
LOSSES = pytest.mark.parametrize("loss", REGRESSION + CLASSIFICATION)


def draw(loss, n_rows=60):
    """Two categories and two numbers, targets in the range of the loss, weights of 1 to 3."""
    rng = np.random.default_rng(0)
    flags = np.hstack([np.eye(c)[rng.integers(0, c, n_rows)] for c in (6, 4)])
    X = np.hstack([flags, rng.normal(size=(n_rows, 2))])
    raw = X @ rng.normal(size=X.shape[1])
    if loss in CLASSIFICATION:
        y = np.digitize(raw, np.quantile(raw, [0.3, 0.7]))
    else:
        y = rng.gamma(2.0, np.exp(raw / 3)) if loss == "gamma" else raw + rng.normal(size=n_rows)
        y = np.floor(np.abs(y)) if loss == "poisson" else y
    return X, y, rng.integers(1, 4, n_rows)


def fit(solver, loss, X, y, weight=None, **options):
    kind = FMClassifier if loss in CLASSIFICATION else FMRegressor
    options = {"max_iter": 8, "batch_size": 256, "random_state": 0, "n_factors": 3} | options
    return kind(solver=solver, loss=loss, **options).fit(X, y, sample_weight=weight)


def outputs(model, X):
    return model.decision_function(X) if isinstance(model, FMClassifier) else model.predict(X)


@LOSSES
@ALL
def test_weights_are_repeats(solver, loss):
    """In one batch, a row of weight three is three rows."""
    X, y, weight = draw(loss)
    weighted = fit(solver, loss, X, y, weight)
    repeated = fit(solver, loss, np.repeat(X, weight, 0), np.repeat(y, weight))
    assert_allclose(outputs(weighted, X), outputs(repeated, X), rtol=1e-9, atol=1e-9)


@LOSSES
@ALL
def test_order_and_container_do_not_matter(solver, loss):
    """In one batch rows come in any order, and a sparse matrix is an array."""
    X, y, weight = draw(loss)
    expected = outputs(fit(solver, loss, X, y, weight), X)
    order = np.random.default_rng(1).permutation(len(X))
    permuted = fit(solver, loss, X[order], y[order], weight[order])
    assert_allclose(outputs(permuted, X), expected, rtol=1e-9, atol=1e-9)
    assert_allclose(
        outputs(fit(solver, loss, sp.csr_matrix(X), y, weight), X), expected, rtol=1e-9, atol=1e-9
    )


def make_run(solver, l2="auto"):
    """A run over several batches an epoch."""
    X, y, weight = draw("squared_error")
    design = DesignMatrix.from_array(X, dtype=torch.float64)
    rng = np.random.default_rng(2)
    start = FMParameters(
        torch.zeros(1, dtype=torch.float64),
        torch.zeros(1, X.shape[1], dtype=torch.float64),
        torch.tensor(rng.normal(size=(1, X.shape[1], 3)) * 0.1),
    )
    fields = torch.tensor([0] * 6 + [1] * 4 + [2] * 2)
    problem = Problem(
        design, torch.tensor(y)[None], torch.tensor(weight, dtype=torch.float64), "squared_error", fields
    )
    settings = Settings(l2_linear=l2, l2_factors=l2, batch_size=16, max_iter=8)
    return SOLVERS[solver].start(problem, start, settings)


@pytest.mark.parametrize("l2", ["auto", 0.5])
@ALL
def test_resumed_run_goes_on_identically(solver, l2):
    """Between two epochs nothing is lost: the bits of the next ones are the same."""
    straight = make_run(solver, l2)
    for _ in range(3):
        straight.step()
    tensors, numbers = straight.state_dict()
    tensors = {name: t.clone() for name, t in tensors.items()}
    resumed = make_run(solver, l2)
    resumed.load_state_dict(StateDict(tensors, numbers))
    for _ in range(4):
        one, other = straight.step(), resumed.step()
        assert one.objective == other.objective
        assert all(torch.equal(a, b) for a, b in zip(one.parameters, other.parameters, strict=True))


@LOSSES
@ALL
def test_huge_learning_rate(solver, loss):
    """Whatever the step size, there is a finite model or an error that says so."""
    X, y, weight = draw(loss)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = fit(solver, loss, X, y, weight, learning_rate=1e12, batch_size=16, max_iter=3)
        except ValueError as error:
            if "learning rate" not in str(error):
                raise
        else:
            assert np.isfinite(outputs(model, X)).all()


@ALL
def test_long_fit_is_ridge(solver):
    """Given penalties, a linear model comes within 1 % of the minimum of the penalized loss."""
    X, y, weight = draw("squared_error")
    X = X[:, :10]
    l2 = 2.0
    model = fit(
        solver, "squared_error", X, y, weight, n_factors=0, l2_linear=l2, l2_factors=1.0, max_iter=2000, tol=0
    )

    def objective(intercept, coef):
        return weight @ (y - intercept - X @ coef) ** 2 / 2 + l2 / 2 * coef @ coef

    A = np.column_stack([np.ones(len(X)), X])
    penalty = l2 * np.diag([0.0] + [1.0] * X.shape[1])
    best = np.linalg.solve(A.T @ (weight[:, None] * A) + penalty, A.T @ (weight * y))
    least = objective(best[0], best[1:])
    found = objective(np.ravel(model.intercept_)[0], np.ravel(model.coef_))
    assert least * (1 - 1e-9) <= found <= 1.01 * least


# ------------------------------------------------------------------------------------- the core alone

CONTAINERS = ["ones", "values", "dense", "mixed"]


def make_matrix(container, rng, n_rows):
    """Flags, sparse numbers, columns that are dense and all of these."""
    flags = np.hstack([np.eye(c)[rng.integers(0, c, n_rows)] for c in (5, 4)])
    sparse_values = (rng.random((n_rows, 4)) < 0.4) * rng.normal(size=(n_rows, 4))
    numbers = rng.normal(size=(n_rows, 3))
    return {
        "ones": flags,
        "values": np.hstack([flags, sparse_values]),
        "dense": numbers,
        "mixed": np.hstack([flags, numbers, sparse_values]),
    }[container]


def core_problem(
    loss, container="ones", *, n_rows=48, n_outputs=1, dense=True, seed=0, rows=None, repeats=False, **options
):
    """A problem with integer weights, some rows of it, or the one whose rows are repeated instead."""
    rng = np.random.default_rng([seed, 3])
    X = make_matrix(container, rng, n_rows)
    raw = X @ rng.normal(size=(X.shape[1], n_outputs)) + 0.3 * rng.normal(size=(n_rows, n_outputs))
    raw = (raw - raw.mean(0)) / raw.std(0)
    if loss in CLASSIFICATION:
        y = raw.argmax(1) if n_outputs > 1 else (raw[:, 0] > 0).astype(int)
    else:
        y = raw[:, 0]
        if loss in ("poisson", "gamma"):
            y = rng.poisson(np.exp(y)) if loss == "poisson" else rng.gamma(2.0, np.exp(y) / 2) + 1e-3
    weight = rng.integers(1, 4, n_rows)
    rows = np.arange(n_rows) if rows is None else rows
    if repeats:
        rows, weight = np.repeat(rows, weight[rows]), np.ones_like(weight)
    dense_columns = {"dense": [0, 1, 2], "mixed": [9, 10, 11]}.get(container, []) if dense else []
    fields = torch.zeros(X.shape[1], dtype=torch.long)
    if container != "dense":
        fields[5:9], fields[9:] = 1, 2
    return Problem(
        DesignMatrix.from_array(
            sp.csr_matrix(X[rows]), dtype=torch.float64, dense_columns=np.array(dense_columns, dtype=int)
        ),
        torch.tensor(y[rows], dtype=torch.float64)[None],
        torch.tensor(weight[rows], dtype=torch.float64),
        loss,
        fields,
        **options,
    )


def core_start(problem, n_factors=2, n_outputs=1, seed=0):
    rng = np.random.default_rng([seed, 4])
    n_features = problem.design.shape[1]
    return FMParameters(
        torch.tensor(rng.normal(size=n_outputs) * 0.01),
        torch.zeros(n_outputs, n_features, dtype=torch.float64),
        torch.tensor(rng.normal(size=(n_outputs, n_features, n_factors)) * 0.2),
    )


def core_run(solver, problem, *, n_factors=2, n_outputs=1, rule=None, **options):
    options = {"batch_size": 10**6, "max_iter": 12} | options
    start = core_start(problem, n_factors, n_outputs)
    return MinibatchRun(rule or OPTIMIZERS[solver], problem, start, Settings(**options))


def epochs(run, n, after_segment=None):
    """Run; return the objectives and a copy of the parameters."""
    objectives = [run.step(after_segment).objective for _ in range(n)]
    return np.array(objectives), run.trainer.parameters().clone()


def copied_state(run):
    """The state of a run, which further epochs do not change."""
    tensors, numbers = run.state_dict()
    return StateDict({name: t.clone() for name, t in tensors.items()}, copy.deepcopy(numbers))


def assert_close_runs(first, second, tolerance=1e-9):
    assert np.isfinite(first[0]).all()
    assert_allclose(first[0], second[0], rtol=tolerance, atol=tolerance)
    for a, b in zip(first[1], second[1], strict=True):
        assert bool(torch.isfinite(a).all())
        assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def assert_same_bits(first, second):
    assert first[0].tolist() == second[0].tolist()
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))


class ChunkSource(BatchSource):
    """A stream in three segments of a few batches, in the order of the epoch."""

    n_segments = None

    def __init__(self, problem):
        rows = problem.samples
        batches = list(make_batches(rows, 6))
        self.chunks = [batches[:3], batches[3:5], batches[5:]]
        self.started = []

    def segments(self, epoch, start=0):
        self.started.append((epoch, start))
        order = [(i + epoch) % 3 for i in range(3)]
        for i in order[start:]:
            yield self.chunks[i]


def with_source(problem):
    return dataclasses.replace(problem, source=ChunkSource(problem))


# ---------------------------------------------------------------------------------------------- steps


class Spy(SGD):
    """A rule that counts batches and takes down what it is told, with the penalties of that moment."""

    counts_batches = reads_l2 = True

    def __init__(self):
        self.trainer, self.seen = None, []

    def update(self, theta, slots, step):
        penalties = self.trainer.penalties
        self.seen.append((step, penalties.l2.clone(), penalties.neighbor_variance.clone()))
        copied = [t.clone() if isinstance(t, torch.Tensor) else t for t in step]
        super().update(theta, slots, type(step)(*copied))


@pytest.mark.parametrize("l2", ["auto", 0.7])
@pytest.mark.parametrize(("loss", "n_outputs"), [("log_loss", 3), ("squared_hinge", 1)])
def test_what_a_rule_is_told(loss, n_outputs, l2):
    """Gradient, curvature, the least r, penalties and counts of each step, over two passes and a half."""
    problem = core_problem(loss, "mixed", n_outputs=n_outputs)
    run = core_run(
        "sgd", problem, rule=Spy(), n_outputs=n_outputs, l2_linear=l2, l2_factors=l2, l1_linear=0.2
    )
    trainer, spy, size = run.trainer, run.trainer.optimizer, 3
    spy.trainer = trainer
    rows = problem.samples
    batches = list(make_batches(rows, 10))
    X = problem.design.matmul(torch.eye(problem.design.shape[1], dtype=torch.float64))
    held, visits = torch.zeros(2, len(X.T), dtype=torch.float64)
    for number in range(12):
        batch, place = batches[number % 5], 10 * (number % 5)
        x, weight = X[place : place + 10], rows.weight[place : place + 10, None]
        columns = torch.cat([batch.columns, problem.design.dense_columns])
        used, parameters = x[:, columns], trainer.parameters().clone()
        raw = raw_prediction(problem.design.rows(place, place + len(x)), parameters)
        slope, curve = (t.T * weight for t in trainer.loss.derivatives(batch.target[None], raw))
        s = torch.einsum("np,bpk->nbk", x, parameters.factors)
        sums = torch.cat([torch.ones_like(s[:, :, :1]), s], 2)
        spy.seen.clear()
        trainer.learn([(batch, 0.01)])
        if number == 4:
            trainer.end_pass()
        (step, l2_table, neighbors), (of_intercept, *_) = spy.seen

        assert_allclose(step.curvature, used.square().T @ curve, rtol=1e-9)
        gradient = torch.einsum("np,nb,nbk->pbk", used, slope, sums)
        v = parameters.factors[:, columns].permute(1, 0, 2)
        gradient[:, :, 1:] -= v * (used.square().T @ slope)[:, :, None]
        assert_allclose(step.gradient.view(gradient.shape), gradient, rtol=1e-9, atol=1e-11)
        moments = torch.einsum("nb,nbk->bk", curve, sums.square())
        crowd = max(1.0, MOVES * v.shape[2] ** 0.5) * (batch.entries_per_row + 1)
        assert_allclose(step.profile, crowd * moments / moments[:, :1], rtol=1e-9)
        assert (step.rate, step.l1_linear) == (0.01, 0.2)
        visits[columns] += 1
        if number < 5:
            held[columns] += 1
        assert torch.equal(step.batches_seen[:, 0], visits[columns])
        assert_allclose(step.passes[:, 0], (visits / held)[columns].clamp(min=1), rtol=1e-12)
        fields = problem.fields[columns] if l2 == "auto" else torch.zeros_like(columns)
        whole = l2_table[fields]
        linear = whole[:, ::size]
        assert torch.equal(step.l2.expand_as(linear), linear)
        by_curvature = neighbors[fields] * step.curvature.repeat_interleave(size, 1)
        assert_allclose(step.penalty, whole / held[columns, None] + by_curvature, rtol=1e-12)
        assert bool(neighbors.any()) == (l2 == "auto" and number > 7)

        assert_allclose(of_intercept.gradient[0], slope.sum(0), rtol=1e-9, atol=1e-12)
        assert_allclose(of_intercept.curvature[0], curve.sum(0), rtol=1e-9)
        assert_allclose(of_intercept.profile, np.full((n_outputs, 1), crowd), rtol=1e-9)
        assert not of_intercept.penalty.any()
        assert not of_intercept.l2.any()
        assert of_intercept.l1_linear == 0
        assert of_intercept.batches_seen.tolist() == [[number + 1]]
        assert of_intercept.passes.tolist() == [[1]]


# ----------------------------------------------------------------------------------------- invariances


@parametrize(
    ("container", "solver", "loss"),
    list(itertools.product(CONTAINERS, sorted(OPTIMIZERS), REGRESSION + CLASSIFICATION)),
    fast=lambda container, solver, loss: container == "mixed" or loss in ("squared_error", "log_loss"),
)
def test_engine_invariances(container, solver, loss):
    """In one batch weights are repeats, rows may be permuted and dense columns may be sparse, penalties learned."""
    n_outputs = 3 if loss in CLASSIFICATION and container in ("ones", "mixed") else 1
    options = {"loss": loss, "container": container, "n_outputs": n_outputs}
    settings = {"n_outputs": n_outputs, "max_iter": 11, "l1_linear": 0.3, "quantile": 0.3}

    def found(**changes):
        return epochs(core_run(solver, core_problem(**options, **changes), **settings), 11)

    expected = found()
    assert not np.allclose(expected[0], expected[0][0])
    assert_close_runs(found(repeats=True), expected)
    assert_close_runs(found(rows=np.random.default_rng(5).permutation(48)), expected)
    if container in ("dense", "mixed"):
        assert_close_runs(found(dense=False), expected)


@ALL
def test_batches_of_dense_columns_are_those_of_sparse_ones(solver):
    """Also batch by batch."""
    found = [
        epochs(core_run(solver, core_problem("log_loss", "mixed", dense=dense), batch_size=10), 4)
        for dense in (True, False)
    ]
    assert_close_runs(*found)


@ALL
def test_order_of_columns_does_not_matter(solver):
    """Columns may be permuted with their fields and starting points."""
    problem = core_problem("squared_error", "mixed")
    order = torch.tensor(np.random.default_rng(6).permutation(problem.design.shape[1]))
    X = problem.design.matmul(torch.eye(len(order), dtype=torch.float64)).numpy()[:, order]
    dense_columns = np.flatnonzero(torch.isin(order, problem.design.dense_columns))
    design = DesignMatrix.from_array(X, dtype=torch.float64, dense_columns=dense_columns)
    other = dataclasses.replace(problem, design=design, fields=problem.fields[order])
    start, settings = core_start(problem), Settings(batch_size=10, max_iter=5)
    moved = start._replace(linear=start.linear[:, order], factors=start.factors[:, order])
    expected = epochs(MinibatchRun(OPTIMIZERS[solver], problem, start, settings), 5)
    found = epochs(MinibatchRun(OPTIMIZERS[solver], other, moved, settings), 5)
    back = expected[1]._replace(linear=expected[1].linear[:, order], factors=expected[1].factors[:, order])
    assert_close_runs(found, (expected[0], back))


@ALL
@pytest.mark.parametrize(("fit_intercept", "fit_linear"), [(False, True), (True, False), (False, False)])
def test_parts_that_are_left_out(fit_intercept, fit_linear, solver):
    """They stay exactly zero, and the others move."""
    problem = core_problem("log_loss", "mixed", fit_intercept=fit_intercept, fit_linear=fit_linear)
    start = core_start(problem)
    start = start._replace(intercept=torch.zeros_like(start.intercept))
    run = MinibatchRun(OPTIMIZERS[solver], problem, start, Settings(batch_size=10, max_iter=3))
    _, (intercept, linear, factors) = epochs(run, 3)
    assert bool(intercept.any()) == fit_intercept
    assert bool(linear.any()) == fit_linear
    assert bool((factors != start.factors).all())


@ALL
def test_start_is_not_changed(solver):
    """A run has copies."""
    problem = core_problem("squared_error", "mixed")
    start = core_start(problem)
    before = start.clone()
    epochs(MinibatchRun(OPTIMIZERS[solver], problem, start, Settings(batch_size=10)), 2)
    assert all(torch.equal(a, b) for a, b in zip(start, before, strict=True))


# ------------------------------------------------------------------------------------------- optimum


def objective(problem, parameters, l2_linear, l2_factors):
    """J, from the raw prediction that has nothing to do with the engine."""
    n_outputs = len(parameters.intercept)
    loss = make_loss(problem.loss, n_outputs)
    raw = raw_prediction(problem.design, parameters)
    total = (loss.loss(problem.target, raw).sum(0) * problem.sample_weight).sum()
    return (
        total
        + (l2_linear * parameters.linear.square().sum() + l2_factors * parameters.factors.square().sum()) / 2
    )


def smallest(problem, l2_linear, n_outputs):
    """The minimum of J without factors and where it is, by scipy."""
    p = problem.design.shape[1]

    def unpack(leaf):
        table = leaf.view(n_outputs, p + 1)
        return FMParameters(table[:, 0], table[:, 1:], torch.zeros(n_outputs, p, 0, dtype=torch.float64))

    def value(x):
        leaf = torch.tensor(x, requires_grad=True)
        J = objective(problem, unpack(leaf), l2_linear, 0.0)
        (slope,) = torch.autograd.grad(J, leaf)
        return float(J.detach()), slope.numpy()

    found = minimize(value, np.zeros(n_outputs * (p + 1)), jac=True, options={"gtol": 1e-9})
    return found.fun, unpack(torch.tensor(found.x))


@pytest.mark.parametrize(("loss", "n_outputs"), [("squared_error", 1), ("log_loss", 3), ("poisson", 1)])
@ALL
def test_linear_models_reach_the_minimum_of_the_objective(solver, loss, n_outputs):
    """With penalties that are given, long runs in one batch end at the minimum of J."""
    problem = core_problem(loss, "values", n_outputs=n_outputs)
    options = {
        "l2_linear": 2.0,
        "l2_factors": 1.0,
        "learning_rate_schedule": "constant",
        "learning_rate": 1.0,
    }
    run = core_run(solver, problem, n_factors=0, n_outputs=n_outputs, **options)
    epochs(run, 700 if loss == "squared_error" else 300)
    least, _ = smallest(problem, 2.0, n_outputs)
    found = float(objective(problem, run.trainer.parameters(), 2.0, 1.0))
    assert least - 1e-6 * abs(least) <= found <= least + 1e-3 * abs(least)
    if loss == "squared_error":
        als = SOLVERS["als"].start(problem, core_start(problem, 0), Settings(l2_linear=2.0, l2_factors=1.0))
        for _ in range(100):
            iterate = als.step()
        assert_allclose(iterate.objective, least, rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "n_outputs"),
    [
        *((name, 1) for name in ("squared_error", "huber", "poisson", "gamma", "log_loss", "squared_hinge")),
        ("log_loss", 3),
        ("squared_hinge", 3),
    ],
)
@ALL
def test_the_minimum_of_the_objective_is_where_a_run_rests(solver, loss, n_outputs):
    """A run that begins at the minimum of J stays there."""
    problem = core_problem(loss, "mixed", n_outputs=n_outputs)
    least, start = smallest(problem, 2.0, n_outputs)
    settings = Settings(l2_linear=2.0, l2_factors=1.0, batch_size=100, max_iter=25, learning_rate=1.0)
    run = MinibatchRun(OPTIMIZERS[solver], problem, start, settings)
    _, parameters = epochs(run, 25)
    assert float(start.linear.abs().max()) > 0.1
    for a, b in zip(parameters, start, strict=True):
        assert_allclose(a, b, atol=1e-5)
    assert_allclose(float(objective(problem, parameters, 2.0, 1.0)), least, rtol=1e-8)


@pytest.mark.parametrize("solver", ["adagrad", "adam", "sgd"])
@pytest.mark.parametrize(("loss", "n_outputs"), [("squared_error", 1), ("log_loss", 1), ("log_loss", 3)])
def test_factorization_machines_end_where_the_objective_stands_still(solver, loss, n_outputs):
    """With factors the gradient of J is zero at the end, in one batch."""
    problem = core_problem(loss, "values", n_outputs=n_outputs)
    options = {
        "l2_linear": 2.0,
        "l2_factors": 3.0,
        "learning_rate_schedule": "constant",
        "learning_rate": 1.0,
    }
    run = core_run(solver, problem, n_outputs=n_outputs, **options)
    size = []
    for n in (1, 900 if loss == "squared_error" else 700):
        epochs(run, n)
        leaves = [t.clone().requires_grad_() for t in run.trainer.parameters()]
        J = objective(problem, FMParameters(*leaves), 2.0, 3.0)
        size.append(max(float(g.abs().max()) for g in torch.autograd.grad(J, leaves)))
    assert size[1] < 1e-3 * size[0]


def test_objective_of_an_epoch_is_the_mean_loss():
    """Before each step; in the unit of the user; over all batches by weight."""
    problem = core_problem("squared_error", "mixed")
    run = core_run("sgd", problem, batch_size=7, learning_rate=1e-30, unit=3.0)
    J = float(objective(problem, core_start(problem), 0.0, 0.0) / problem.sample_weight.sum())
    for _ in range(2):
        assert_allclose(run.step().objective, 3 * J, rtol=1e-9)


@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_learning_rates(schedule):
    """Fall to nearly nothing over the run, by as much at each step, or stay; never below a part of the first."""
    problem = core_problem("squared_error")
    seen = []

    class Rates(SGD):
        def update(self, theta, slots, step):
            if theta.shape[1] > 1:
                seen.append(step.rate)
            super().update(theta, slots, step)

    run = core_run(
        "sgd",
        problem,
        rule=Rates(),
        batch_size=12,
        max_iter=3,
        learning_rate=0.5,
        learning_rate_schedule=schedule,
    )
    epochs(run, 4)
    expected = 0.5 * np.ones(16)
    if schedule == "linear":
        expected *= np.maximum(1 - np.arange(16) / 12, 0.001)
    assert_allclose(seen, expected, rtol=1e-9)


# ------------------------------------------------------------------------------------- determinism


@ALL
def test_seeds(solver):
    """The same seed gives the same bits, another one another order, and no shuffling no randomness at all."""
    problem = core_problem("squared_error", "mixed")
    found = {
        (seed, shuffle): [
            epochs(core_run(solver, problem, batch_size=10, seed=seed, shuffle=shuffle), 3) for _ in range(2)
        ]
        for seed in (0, 1)
        for shuffle in (True, False)
    }
    for first, second in found.values():
        assert_same_bits(first, second)
    assert not torch.equal(found[0, True][0][1].factors, found[1, True][0][1].factors)
    assert_same_bits(found[0, False][0], found[1, False][0])


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


def test_order_of_the_batches():
    """All batches once an epoch, in an order of its own; without shuffling as they come."""
    problem = core_problem("squared_error")
    rows = problem.samples._replace(target=torch.arange(48).double())

    def order(source, epoch, **options):
        ((*batches,),) = source.segments(epoch, **options)
        return [batch.target.tolist() for batch in batches]

    source, again = (PlannedBatches(rows, 5, 3, shuffle=True) for _ in range(2))
    other, plain = PlannedBatches(rows, 5, 4, shuffle=True), PlannedBatches(rows, 5, 3, shuffle=False)
    seen = [order(source, epoch) for epoch in range(3)]
    assert seen == [order(again, epoch) for epoch in range(3)]
    assert len({tuple(map(tuple, s)) for s in seen}) == 3
    for found in seen:
        assert sorted(flat(found)) == list(range(48))
        assert flat(found) != list(range(48))
        assert sorted(found) == sorted(seen[0])  # laid out once
    assert sorted(order(other, 0)) != sorted(seen[0])
    assert flat(order(plain, 0)) == flat(order(plain, 1)) == list(range(48))
    assert list(source.segments(0, 1)) == []
    assert source.n_segments == 1
    # One batch is never shuffled.
    assert order(PlannedBatches(rows, 48, 3, shuffle=True), 0) == [list(range(48))]


def test_permutations():
    """Every number once, the same for the same seeds and another for each other one."""
    found = [
        tuple(shuffled(30, *seed).tolist()) for seed in ((0, 1), (1, 1), (0, 2), (2, 1), (1, 2), (2**40, 5))
    ]
    assert len(set(found)) == 6
    assert all(sorted(f) == list(range(30)) for f in found)
    assert found[0] == tuple(shuffled(30, 0, 1).tolist())


def test_cut_of_a_chunk():
    """The size is that for streams if it is "auto"; a chunk that is one batch keeps its order."""
    problem = core_problem("squared_error")
    rows = problem.samples._replace(target=torch.arange(48).double())
    (only,) = cut(rows, "auto", 0, shuffle=True)
    assert only.target.tolist() == list(range(48))
    batches = cut(rows, 20, 0, shuffle=True)
    assert [len(batch.target) for batch in batches] == [20, 20, 8]
    assert sorted(torch.cat([batch.target for batch in batches]).tolist()) == list(range(48))
    assert auto_batch_size(None) == sources.STREAM_BATCH_SIZE < auto_batch_size(10**6)


def test_the_numbers_of_epochs_are_those_of_the_documentation():
    numbers = [auto_epochs(n) for n in (None, 10**6, 10**5, 10**4, sources.SMALL, 256)]
    assert numbers == [3, 3, 8, 19, 215, 100]
    text = " ".join(FMRegressor.__doc__.split())
    stated = (
        "3 for a million rows or more, 8 for 100,000 rows, 19 for 10,000, and 100 to 215 for 2,560 or fewer"
    )
    assert stated in text


@given(n=st.integers(1, 10**9), more=st.integers(0, 10**8))
def test_automatic_sizes(n, more):
    """Few rows are one batch and take some hundred steps; batches of more rows grow with them, and epochs get fewer."""
    size, n_epochs = auto_batch_size(n), auto_epochs(n)
    if n <= sources.SMALL:
        assert size == sources.SMALL
        assert (
            sources.FEW_EPOCHS
            <= n_epochs
            <= auto_epochs(min(n + more, sources.SMALL))
            < 3 * sources.FEW_EPOCHS
        )
        return
    assert size % sources.BATCH_SIZES[0] == 0
    assert sources.BATCH_SIZES[0] <= size <= sources.BATCH_SIZES[1]
    assert sources.EPOCHS <= auto_epochs(n + more) <= n_epochs
    assert auto_batch_size(n + more) >= size
    if n >= 10**6:
        assert n_epochs == auto_epochs(None) == sources.EPOCHS
    else:
        assert 400 <= n_epochs * n / size <= 1200 or size == sources.BATCH_SIZES[0]


@given(n=st.integers(1, 10**8), repeats=st.floats(0.001, 1e300))
def test_rows_count_by_their_weights(n, repeats):
    """Weights between one and ten on average are repeats; others have another scale."""
    found = effective_rows(n, repeats * n)
    assert n <= found <= sources.MOST_REPEATS * n
    if 1 <= repeats <= sources.MOST_REPEATS:
        assert found == round(repeats * n)
    size = auto_batch_size(found)
    # As many batches as those of the repeats, as far as there are rows for them.
    n_batches = -(-n // rows_per_batch(n, found, size))
    assert n_batches <= -(-found // size)
    assert n_batches >= min(n, -(-found // size)) / 2
    assert rows_per_batch(n, n, size) == size


@given(n_steps=st.integers(1, 10**6), more=st.integers(0, 10**6))
def test_few_steps_of_adam_are_longer(n_steps, more):
    """The automatic learning rate of adam falls with the number of steps, the others do not depend on it."""
    for rule in OPTIMIZERS.values():
        rate = rule.auto_rate(n_steps)
        assert rate >= rule.auto_rate(n_steps + more) >= rule.learning_rate == rule.auto_rate(None)
        assert rate == rule.learning_rate or (rule.name == "adam" and n_steps < 1000)


# ----------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("l2", ["auto", 0.5])
@pytest.mark.parametrize("schedule", ["linear", "constant"])
@ALL
def test_taken_up_again_anywhere(solver, schedule, l2):
    """After any segment of any epoch the state has all it takes: the bits of what follows are the same."""
    problem = core_problem("log_loss", "mixed", n_outputs=3)
    options = {
        "n_outputs": 3,
        "max_iter": 4,
        "learning_rate_schedule": schedule,
        "l2_linear": l2,
        "l2_factors": l2,
        "l1_linear": 0.1,
    }
    straight = core_run(solver, with_source(problem), **options)
    states = []

    def keep(n_rows):
        states.append(copied_state(straight))

    expected = epochs(straight, 4, keep)
    assert len(states) == 12
    for i in (0, 1, 2, 4, 7, 8):
        resumed = core_run(solver, with_source(problem), **options)
        saved = {name: t.clone() for name, t in states[i][0].items()}
        resumed.load_state_dict(states[i])
        found = epochs(resumed, 4 - i // 3)
        assert_same_bits(found, (expected[0][i // 3 :], expected[1]))
        assert resumed.problem.source.started[0] == (i // 3, i % 3 + 1)
        for name, t in saved.items():
            assert torch.equal(t, states[i][0][name])  # copied, not taken


@ALL
def test_state_has_every_tensor_and_number(solver):
    """Nothing that a step changes is missing from it."""
    run = core_run(solver, core_problem("log_loss", "mixed"), batch_size=10)
    epochs(run, 1)

    def tensors_of(thing):
        return {
            name: t.clone()
            for name, t in vars(thing).items()
            if isinstance(t, torch.Tensor) and name not in ("totals", "intercept", "theta")
        }

    def everything():
        return tensors_of(run.trainer) | {
            f"penalties.{n}": t for n, t in tensors_of(run.trainer.penalties).items()
        }

    before = everything()
    epochs(run, 3)
    changed = [name for name, t in everything().items() if not torch.equal(t, before[name])]
    saved = [t.data_ptr() for t in run.state_dict().tensors.values()]
    for name in changed:
        owner, attribute = (
            (run.trainer.penalties, name[10:]) if name.startswith("penalties.") else (run.trainer, name)
        )
        assert getattr(owner, attribute).data_ptr() in saved, name
    assert run.trainer.theta.data_ptr() in saved
    assert run.trainer.intercept.data_ptr() in saved
    assert len(run.trainer.slots) == sum(name.startswith("slot_") for name in run.state_dict().tensors)


@ALL
def test_segments(solver):
    """After each segment there is a call with its rows; an epoch is the same whether cut or not."""
    problem = core_problem("squared_error", "mixed")
    seen, rows = [], []
    run = core_run(
        solver, with_source(problem), learning_rate_schedule="constant", l2_linear=1.0, l2_factors=1.0
    )

    def keep(n_rows):
        seen.append(run.trainer.n_batches)
        rows.append(n_rows)

    found = epochs(run, 1, keep)
    assert seen == [3, 5, 8]
    assert rows == [18, 12, 18]
    assert run.has_learned
    plain = core_run(
        solver,
        problem,
        learning_rate_schedule="constant",
        l2_linear=1.0,
        l2_factors=1.0,
        batch_size=6,
        shuffle=False,
    )
    assert not plain.has_learned
    expected = epochs(plain, 1)
    assert_allclose(found[0], expected[0], rtol=1e-12)
    assert all(torch.equal(a, b) for a, b in zip(found[1], expected[1], strict=True))


@ALL
def test_chunks_of_an_endless_stream(solver):
    """Chunk by chunk is batch by batch, the objective is that of each chunk, and the first pass never ends."""
    problem = core_problem("log_loss", "mixed")
    options = {"learning_rate_schedule": "constant"}
    source = ChunkSource(problem)
    run, whole = core_run(solver, problem, **options), core_run(solver, problem, **options)
    for chunk in source.chunks:
        parameters = run.trainer.parameters().clone()
        iterate = run.learn_chunk(chunk)
        assert run.trainer.pass_batches is None
        assert np.isfinite(iterate.objective)
        if len(chunk) == 1:
            loss = make_loss("log_loss", 1)
            raw = raw_prediction(chunk_design(chunk[0], problem), parameters)
            expected = (loss.loss(chunk[0].target[None], raw)[0] @ chunk[0].weight) / chunk[0].weight.sum()
            assert_allclose(iterate.objective, expected, rtol=1e-9)
    whole.learn_chunk([batch for chunk in source.chunks for batch in chunk])
    assert all(
        torch.equal(a, b) for a, b in zip(run.trainer.parameters(), whole.trainer.parameters(), strict=True)
    )
    # A state between two chunks is enough.
    straight, states = core_run(solver, problem, **options), []
    for chunk in source.chunks:
        other = core_run(solver, problem, **options)
        if states:
            other.load_state_dict(states[-1])
        other.learn_chunk(chunk)
        states.append(copied_state(other))
        straight.learn_chunk(chunk)
    assert all(
        torch.equal(a, b) for a, b in zip(other.trainer.parameters(), whole.trainer.parameters(), strict=True)
    )


def chunk_design(batch, problem):
    """The rows of a batch as a design."""
    return DesignMatrix(
        (len(batch.target), problem.design.shape[1]),
        batch.offsets,
        batch.columns[batch.local.long()].int(),
        batch.values,
        batch.dense.T.contiguous(),
        problem.design.dense_columns,
    )


def test_mean_loss_of_a_batch():
    """The loss of the parameters as they are."""
    problem = core_problem("log_loss", "mixed", n_outputs=3)
    run = core_run("adagrad", problem, n_outputs=3)
    epochs(run, 2)
    rows = problem.samples
    (batch,) = make_batches(rows, 100)
    expected = objective(problem, run.trainer.parameters(), 0.0, 0.0) / problem.sample_weight.sum()
    assert_allclose(run.trainer.mean_loss(batch), expected, rtol=1e-9)


def test_load_step_sizes():
    """Step sizes can be taken over, where they fit."""
    problem = core_problem("squared_error", "mixed")
    run = core_run("adagrad", problem)
    epochs(run, 3)
    other = core_run("adagrad", problem)
    theta = other.trainer.theta.clone()
    other.trainer.load_step_sizes(run.state_dict().tensors)
    assert torch.equal(other.trainer.slots[0], run.trainer.slots[0])
    assert torch.equal(other.trainer.intercept_slots[0], run.trainer.intercept_slots[0])
    assert torch.equal(other.trainer.theta, theta)
    wider = core_run("adagrad", core_problem("squared_error", "values"))
    wider.trainer.load_step_sizes(run.state_dict().tensors)
    assert bool((wider.trainer.slots[0] == 1).all())
    wider.trainer.load_step_sizes({})
    # What belongs to the weights of another model stays there.
    run, other = (core_run("ftrl", problem) for _ in range(2))
    epochs(run, 3)
    own = [slot.clone() for slot in other.trainer.slots]
    other.trainer.load_step_sizes(run.state_dict().tensors)
    assert torch.equal(other.trainer.slots[0], run.trainer.slots[0])
    assert all(torch.equal(a, b) for a, b in zip(other.trainer.slots[1:], own[1:], strict=True))


# -------------------------------------------------------------------------------------------- blow-ups


class Broken(SGD):
    """A rule that breaks some of its steps."""

    def __init__(self, how, steps):
        self.how, self.steps, self.n = how, steps, 0

    def update(self, theta, slots, step):
        super().update(theta, slots, step)
        if theta.shape[1] > 1:  # not the intercept
            if self.n in self.steps:
                theta[:] = self.how
            self.n += 1


@pytest.mark.parametrize("how", [float("nan"), float("inf"), 1e8])
@pytest.mark.parametrize("batch_size", [12, 100])
def test_a_blow_up_is_undone(batch_size, how):
    """A step of the third epoch breaks: the run goes on from the state before that epoch, with smaller steps."""
    problem = core_problem("squared_error", "mixed")
    n_batches = -(-48 // batch_size)
    options = {"batch_size": batch_size, "learning_rate": 0.5, "learning_rate_schedule": "constant"}
    run = core_run("sgd", problem, rule=Broken(how, [3 * n_batches - 1]), **options)
    epochs(run, 2)
    state = copied_state(run)
    with pytest.warns(UserWarning, match=r"diverged in epoch 3.* learning rate of 0\.125\. Set a smaller"):
        found = epochs(run, 1)
    assert run.rate == 0.125
    expected = core_run("sgd", problem, **options)
    expected.load_state_dict(state)
    expected.rate = 0.125
    assert_same_bits(found, epochs(expected, 1))
    assert_same_bits(epochs(run, 2), epochs(expected, 2))


def test_a_blow_up_in_a_stream():
    """What the chunks before have taught is kept, if they had more rows than there are columns."""
    problem = core_problem("squared_error", "ones")
    options = {"learning_rate": 0.5, "learning_rate_schedule": "constant"}
    run = core_run("sgd", with_source(problem), rule=Broken(float("nan"), [10]), **options)
    states = []

    def keep(n_rows):
        states.append(copied_state(run))

    epochs(run, 1, keep)
    with pytest.warns(UserWarning, match="diverged in epoch 2"):
        found = epochs(run, 1, keep)
    # The step is in the second of the segments, of two, three and three batches; a state after the first is there.
    expected = core_run("sgd", with_source(problem), **options)
    expected.load_state_dict(states[3])
    expected.rate = 0.125
    assert_same_bits(found, epochs(expected, 1))


@pytest.mark.parametrize("l2", ["auto", 1.0])
@pytest.mark.parametrize("step", [0, 1, 3])
def test_a_blow_up_of_the_first_epoch(step, l2):
    """From the start, as if the learning rate had been smaller from the first."""
    problem = core_problem("log_loss", "mixed")
    options = {"batch_size": 12, "l2_linear": l2, "l2_factors": l2}
    run = core_run("sgd", problem, rule=Broken(float("nan"), [step]), learning_rate=0.4, **options)
    with pytest.warns(UserWarning, match="diverged in epoch 1"):
        found = epochs(run, 3)
    assert_same_bits(found, epochs(core_run("sgd", problem, learning_rate=0.1, **options), 3))


def test_a_blow_up_of_the_last_step_does_not_pass():
    """Finite parameters whose loss is only seen by the next epoch are no good state, nor the result."""
    problem = core_problem("squared_error", "mixed")
    run = core_run("sgd", problem, rule=Broken(1e4, [0]))
    with pytest.warns(UserWarning, match="diverged in epoch 1"):
        run.step()
    J = objective(problem, run.trainer.parameters(), 0.0, 0.0) / problem.sample_weight.sum()
    assert float(J) < 5


@pytest.mark.parametrize("how", [float("nan"), 1e8])
def test_blow_ups_without_end(how):
    """After some tries there is an error that says what to do, and the learning rate of the last."""
    run = core_run(
        "sgd", core_problem("squared_error", "mixed"), rule=Broken(how, range(10**6)), learning_rate=1.0
    )
    with (
        pytest.warns(UserWarning, match="diverged") as warned,
        pytest.raises(DivergenceError, match=r"learning rate of 0\.000244; .* smaller learning_rate"),
    ):
        run.step()
    assert len(warned) == minibatch.RETRIES == 6
    assert run.state_dict().numbers["run"]["retries"] == 7


class Plain(SGD):
    """Gradient steps of any length."""

    def update(self, theta, slots, step):
        theta -= step.rate * step.gradient


def test_a_learning_rate_that_is_too_large():
    """Becomes one that is not: the loss falls; a hopeless one is an error."""
    problem = core_problem("squared_error", "mixed")
    run = core_run("sgd", problem, rule=Plain(), learning_rate=3.0, max_iter=40)
    with pytest.warns(UserWarning, match="diverged"):
        objectives, parameters = epochs(run, 40)
    assert run.rate < 3.0
    assert objectives[-1] < 0.7 * objectives[0]
    assert all(bool(torch.isfinite(t).all()) for t in parameters)
    run = core_run("sgd", problem, rule=Plain(), learning_rate=1e12)
    with pytest.warns(UserWarning, match="diverged"), pytest.raises(DivergenceError):
        epochs(run, 40)


@LOSSES
@ALL
def test_huge_steps_end_in_finite_parameters(solver, loss):
    """The curvature bounds the steps, and what it does not bound is undone: no run is worse than a constant."""
    problem = core_problem(loss, "mixed")
    run = core_run(solver, problem, learning_rate=1e6, batch_size=12, max_iter=5)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The loss diverged")
        try:
            objectives, parameters = epochs(run, 5)
        except DivergenceError:
            return
    assert np.isfinite(objectives).all()
    assert all(bool(torch.isfinite(t).all()) for t in parameters)
    rows = problem.samples
    (batch,) = make_batches(rows, 100)
    assert float(run.trainer.mean_loss(batch)) < 1e3


def test_an_outlier_is_no_blow_up():
    """A batch that is far off under any model is learned from all the same, the last one too."""
    problem = core_problem("squared_error", "ones", n_rows=20000)
    weight = problem.sample_weight
    for place in (10000, 19999):
        target = problem.target.clone()
        target[0, place] = 1e6
        share = weight / weight.sum()
        target -= share @ target[0]
        target /= (share @ target[0].square()).sqrt()  # standardized, as targets come
        assert float(target.max()) > 100
        run = core_run("adagrad", dataclasses.replace(problem, target=target), batch_size=64, shuffle=False)
        objectives, _ = epochs(run, 1)
        assert_allclose(objectives, 0.5, atol=0.2)
        assert run._retries == 0


# ---------------------------------------------------------------------------------------------- speed


@pytest.mark.parametrize("n_outputs", [1, 3])
@ALL
def test_steps_wait_for_nothing(solver, n_outputs, monkeypatch):
    """No number is read from a tensor within a step, so a GPU is never waited for; no batch is much work."""
    ops = collections.Counter()

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            ops[function.overloadpacket.__name__] += 1
            return function(*args, **(kwargs or {}))

    run = core_run(solver, core_problem("log_loss", "mixed", n_outputs=n_outputs), n_outputs=n_outputs)
    updates = []
    monkeypatch.setattr(run.trainer.penalties, "update", lambda *args: updates.append(args))
    rows = run.problem.samples
    batches = list(make_batches(rows, 4))
    with monkeypatch.context() as patch, Count():
        for name in ("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__"):
            patch.setattr(torch.Tensor, name, lambda *args, name=name: pytest.fail(name))
        run.trainer.learn((batch, 0.1) for batch in batches)
    assert len(batches) == 12
    assert len(updates) == 5  # of penalties, whose schedule the stand-in does not move on
    assert ops["_embedding_bag"] + ops["_embedding_bag_forward_only"] == 5 * len(batches)
    waiting = {
        "_local_scalar_dense",
        "item",
        "nonzero",
        "masked_select",
        "equal",
        "is_nonzero",
        "_unique2",
        "sort",
    }
    assert not waiting & set(ops)
    assert not [name for name in ops if name.startswith(("unique", "nonzero"))]
    views = (
        "view",
        "select",
        "slice",
        "permute",
        "t",
        "transpose",
        "expand",
        "unsqueeze",
        "_unsafe_view",
        "detach",
    )
    assert sum(n for name, n in ops.items() if name not in views) / len(batches) < 165


# ------------------------------------------------------------------------------------------- recovery


@parametrize(
    ("solver", "task"),
    list(itertools.product(sorted(OPTIMIZERS), ["regression", "classification"])),
    fast=lambda solver, task: solver == "adagrad" or task == "classification",
)
def test_a_planted_model_is_recovered(solver, task):
    """Far better than the linear model and close to the truth on new rows, nothing tuned."""
    X, y, truth = make_factorization(
        8000, (20, 15, 10), n_factors=2, task=task, linear_scale=0.5, interaction_scale=1.5, noise=0.3,
        return_parameters=True, random_state=0,
    )  # fmt: skip
    loss = "squared_error" if task == "regression" else "log_loss"
    n_train = 6000
    design = DesignMatrix.from_array(X, dtype=torch.float64)
    target = torch.tensor(y, dtype=torch.float64)[None]
    fields = torch.arange(3).repeat_interleave(torch.tensor([20, 15, 10]))
    weight = torch.ones(n_train, dtype=torch.float64)
    problem = Problem(design.rows(0, n_train), target[:, :n_train], weight, loss, fields)
    test, held_out = design.rows(n_train, 8000), target[:, n_train:]

    def error(parameters):
        return float(make_loss(loss, 1).loss(held_out, raw_prediction(test, parameters)).mean())

    scores = {}
    for n_factors in (0, 4):
        n_epochs = auto_epochs(n_train)
        run = core_run(solver, problem, n_factors=n_factors, batch_size="auto", max_iter=n_epochs)
        scores[n_factors] = error(epochs(run, n_epochs)[1])
    planted = (
        torch.tensor(t, dtype=torch.float64)[None] for t in (truth.intercept, truth.coef, truth.factors)
    )
    best = error(FMParameters(*planted))
    assert scores[4] - best < 0.15 * (scores[0] - best)
