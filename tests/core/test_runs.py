"""Runs of all solvers: another run that loads the state of one continues with the same bits."""

import copy
import json

import numpy as np
import pytest
import torch
from scipy import sparse

from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.matrix.tiles import describe_fields
from skfm.core.solvers import SOLVERS, OnlineRun, Problem, Run, Settings, StateDict


def one_hot(rng, n_rows, size):
    codes = rng.integers(0, size, n_rows)
    return sparse.csr_matrix((np.ones(n_rows), (np.arange(n_rows), codes)), (n_rows, size))


def matrix(kind, rng, n_rows=80):
    """Pairs, relations and mixed data have engines of their own. The last column has no data."""
    user, item = one_hot(rng, n_rows, 5), one_hot(rng, n_rows, 4)
    parts = [user, item, sparse.csr_matrix((n_rows, 1))]
    if kind == "relations":
        groups = one_hot(rng, 5, 2)
        parts.insert(1, user @ groups)
    elif kind == "mixed":
        rare = rng.gamma(2.0, size=(n_rows, 3)) * (rng.random((n_rows, 3)) < 0.2)
        parts += [rng.normal(size=(n_rows, 2)), rare]
    return sparse.csr_matrix(sparse.hstack([sparse.csr_matrix(part) for part in parts]))


def make_problem(kind, loss, dtype=torch.float64):
    rng = np.random.default_rng(0)
    X = matrix(kind, rng)
    design = DesignMatrix.from_array(X, dtype=dtype)
    y = rng.normal(size=X.shape[0])
    if loss == "ordered_probit":
        y = np.digitize(y, [-0.5, 0.5])
    elif loss != "squared_error":
        y = y > 0
    weight = torch.tensor(rng.integers(1, 4, X.shape[0]), dtype=dtype)
    target = torch.tensor(np.asarray(y, float), dtype=dtype)[None]
    return Problem(design, target, weight, loss, describe_fields(design))


def make_run(solver, kind="mixed", loss="squared_error", **options):
    problem = make_problem(kind, loss)
    rng = np.random.default_rng(1)
    n_features = problem.design.shape[1]
    parameters = FMParameters(
        torch.zeros(1, dtype=torch.float64),
        torch.zeros(1, n_features, dtype=torch.float64),
        torch.tensor(rng.normal(size=(1, n_features, 2)) * 0.1),
    )
    options = {"max_iter": 40, "batch_size": 16} | options
    return SOLVERS[solver].start(problem, parameters, Settings(**options))


def copied(state):
    """A state that the run cannot change, whose numbers have gone through JSON."""
    numbers = json.loads(json.dumps(state.numbers))
    return StateDict({name: t.clone() for name, t in state.tensors.items()}, numbers)


def flat(iterate):
    """All tensors of an iterate."""
    tensors = [*iterate.parameters, *(iterate.posterior.tensors if iterate.posterior else [])]
    if iterate.draws is not None:
        latest, stacked = iterate.draws.latest, iterate.draws.stacked()
        tensors += [*latest.tensors().values(), *stacked.tensors().values()]
    return [t.clone() for t in tensors]


def numbers_of(iterate):
    report = iterate.report or {}
    return np.array([iterate.objective, iterate.fit or 0.0, iterate.settles, *report.values()], float)


CASES = [
    *(("als", kind, "squared_error", {}) for kind in ("pairs", "relations", "mixed")),
    ("als", "mixed", "log_loss", {}),
    *(
        ("vb", kind, loss, {"covariance_type": covariances})
        for kind in ("pairs", "mixed")
        for loss in ("squared_error", "log_loss")
        for covariances in ("full", "diag")
    ),
    *(
        ("mcmc", kind, loss, {"n_chains": 2, "burn_in": burn_in})
        for kind in ("pairs", "relations", "mixed")
        for loss in ("squared_error", "log_loss", "ordered_probit")
        for burn_in in (0, 7, 30)
    ),
    ("mcmc", "mixed", "squared_error", {"n_draws": 3, "covariance_type": "diag"}),
    *(
        (solver, "mixed", loss, {})
        for solver in ("adagrad", "adam", "sgd", "ftrl")
        for loss in ("huber", "log_loss")
    ),
]


@pytest.mark.parametrize("n_before", [0, 9])
@pytest.mark.parametrize(("solver", "kind", "loss", "options"), CASES)
def test_a_run_continues_from_a_state(solver, kind, loss, options, n_before):
    straight = make_run(solver, kind, loss, **options)
    for _ in range(n_before):
        straight.step()
    state = copied(straight.state_dict())
    loaded = copy.deepcopy(state)
    other = make_run(solver, kind, loss, **options)
    other.load_state_dict(loaded)
    if n_before:
        np.testing.assert_array_equal(numbers_of(other.iterate()), numbers_of(straight.iterate()))
    # A sampler makes its second start before the seventh or the twentieth sweep.
    for _ in range(12 if solver == "mcmc" else 5):
        one, two = straight.step(), other.step()
        np.testing.assert_array_equal(numbers_of(one), numbers_of(two))
        assert all(torch.equal(a, b) for a, b in zip(flat(one), flat(two), strict=True))
    # The state is copied, not taken.
    assert all(torch.equal(t, state.tensors[name]) for name, t in loaded.tensors.items())
    assert loaded.numbers == state.numbers


@pytest.mark.parametrize("solver", SOLVERS)
def test_what_a_run_is(solver):
    run = make_run(solver)
    assert isinstance(run, Run)
    assert isinstance(run, OnlineRun) == SOLVERS[solver].learns_online
    assert not run.reads_stream
    assert not run.has_learned
    segments = []
    iterate = run.step(segments.append)
    # A sweep of a block solver has no segments, and an epoch over data in memory is one.
    assert segments == ([80] if isinstance(run, OnlineRun) else [])
    assert run.has_learned == isinstance(run, OnlineRun)
    assert iterate.objective == run.iterate().objective or isinstance(run, OnlineRun)


@pytest.mark.parametrize("solver", ["vb", "als"])
def test_block_solvers_need_a_target_per_output(solver):
    problem = make_problem("mixed", "squared_error")
    zero = torch.zeros(3, problem.design.shape[1], 2, dtype=torch.float64)
    parameters = FMParameters(zero[:, 0, 0], zero[:, :, 0], zero)
    with pytest.raises(ValueError, match="need a target per output, got 1 for 3"):
        SOLVERS[solver].start(problem, parameters, Settings())


def test_minibatch_solvers_need_a_shared_target():
    problem = make_problem("mixed", "squared_error")
    assert problem.samples.target.shape == (80,)
    two = Problem(problem.design, problem.target.repeat(2, 1), problem.sample_weight, "huber", problem.fields)
    with pytest.raises(ValueError, match="share no target"):
        _ = two.samples
