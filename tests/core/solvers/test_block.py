"""The block engine: its sums against brute force, what each sweep must not do, and what it must reach."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import expit

from skfm.core.interactions.pairwise import raw_prediction
from skfm.core.matrix import tiles as layout
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.solvers import SOLVERS, Problem, Settings
from skfm.core.solvers.als import ALSRun
from skfm.core.solvers.block import run as block
from skfm.core.solvers.block import tiles
from skfm.core.solvers.block.engine import BlockState
from skfm.core.solvers.block.pairs import PairEngine
from skfm.core.solvers.block.table import TableEngine
from skfm.core.solvers.block.table_groups import find_tables
from skfm.core.solvers.block.tiles import TileEngine
from skfm.core.solvers.vb import FACTORS_SCATTER, LINEAR_VARIANCE, VBRun, _fields_to_hold, covariance_kind
from skfm.datasets import make_factorization

KINDS = ["full", "diag", "als"]
LOSSES = ["squared_error", "log_loss", "probit"]


# ------------------------------------------------------------------------------------------ problems


def one_hot(rng, n_rows, cardinality):
    columns = rng.integers(0, cardinality, n_rows)
    return sp.csr_matrix((np.ones(n_rows), (np.arange(n_rows), columns)), (n_rows, cardinality))


def bag(rng, n_rows, n_columns, density=0.2):
    X = (rng.random((n_rows, n_columns)) < density).astype(float)
    X[3] = 0
    X[:, 2] = 0
    return X


def make_matrix(name, n_rows=70, seed=0):
    rng = np.random.default_rng(seed)
    if name == "pairs":
        parts = [one_hot(rng, n_rows, 9), one_hot(rng, n_rows, 6)]
    elif name == "three":
        parts = [one_hot(rng, n_rows, c) for c in (8, 5, 4)]
    elif name == "bag":
        parts = [bag(rng, n_rows, 14)]
    elif name == "values":
        parts = [bag(rng, n_rows, 14) * rng.normal(size=(n_rows, 14))]
    elif name == "dense":
        parts = [rng.normal(size=(n_rows, 5))]
    elif name == "mixed":
        parts = [
            one_hot(rng, n_rows, 7),
            rng.normal(size=(n_rows, 2)),
            bag(rng, n_rows, 5, 0.15) * rng.gamma(2.0, 1.0, size=(n_rows, 5)),
            one_hot(rng, n_rows, 5),
            bag(rng, n_rows, 4, 0.3),
            rng.normal(size=(n_rows, 1)) * (rng.random((n_rows, 1)) < 0.6),
        ]
    return sp.csr_matrix(sp.hstack([sp.csr_matrix(part) for part in parts]))


MATRICES = ["pairs", "three", "bag", "values", "dense", "mixed"]


def take(X, dtype=torch.float64):
    """A design with a sparse numeric part wherever numeric columns are mostly zeros."""
    X = sp.csr_matrix(X)
    numeric = np.bincount(X.indices[X.data != 1], minlength=X.shape[1]) > 0
    dense_columns = np.flatnonzero(numeric & (2 * X.getnnz(0) > X.shape[0]))
    return DesignMatrix.from_array(X, dtype=dtype, dense_columns=dense_columns)


def make_problem(
    X, loss="squared_error", *, weights=True, n_outputs=2, seed=0, dtype=torch.float64, **options
):
    """A problem whose target follows an FM, with integer weights."""
    rng = np.random.default_rng([seed, 1])
    X = sp.csr_matrix(X)
    n_rows, n_features = X.shape
    w, V = rng.normal(size=(n_features, n_outputs)), rng.normal(size=(n_features, n_outputs, 2)) * 0.7
    dense = X.toarray()
    raw = dense @ w + ((np.einsum("np,pok->nok", dense, V)) ** 2).sum(2) / 2
    raw -= np.einsum("np,po->no", dense**2, (V**2).sum(2)) / 2
    raw = ((raw - raw.mean(0)) / raw.std(0)).T
    if loss == "squared_error":
        target = raw + 0.4 * rng.normal(size=raw.shape) + 0.3
    else:
        target = (rng.random(raw.shape) < expit(2 * raw + 0.5)).astype(float)
    weight = rng.integers(1, 4, n_rows).astype(float) if weights else np.ones(n_rows)
    design = take(X, dtype)
    fields = options.pop("fields", None)
    return Problem(
        design,
        torch.tensor(target, dtype=dtype),
        torch.tensor(weight, dtype=dtype),
        loss,
        layout.describe_fields(design) if fields is None else fields,
        **options,
    )


def make_start(problem, n_factors, seed=0, scale=0.3):
    rng = np.random.default_rng([seed, 2])
    n_outputs, n_features = len(problem.target), problem.design.shape[1]
    dtype = problem.design.dtype
    return FMParameters(
        torch.tensor(rng.normal(size=n_outputs) * 0.1, dtype=dtype),
        torch.zeros(n_outputs, n_features, dtype=dtype),
        torch.tensor(rng.normal(size=(n_outputs, n_features, n_factors)) * scale, dtype=dtype),
    )


def make_run(problem, kind, start, l2_linear=1.0, l2_factors=2.0):
    if kind == "als":
        return ALSRun(problem, start, l2_linear, l2_factors)
    return VBRun(problem, start, kind)


def snapshot(run, n_sweeps):
    """Sweep; return objectives and a copy of everything in the last iterate."""
    objectives = []
    for _ in range(n_sweeps):
        iterate = run.step()
        objectives.append(iterate.objective)
    tensors = [*iterate.parameters, *(iterate.posterior.tensors if iterate.posterior else [])]
    return np.array(objectives), [t.clone().numpy() for t in tensors]


def assert_same_runs(first, second, tolerance=1e-9):
    assert np.isfinite(first[0]).all()
    assert_allclose(first[0], second[0], rtol=tolerance, atol=tolerance)
    assert len(first[1]) == len(second[1])
    for a, b in zip(first[1], second[1], strict=True):
        assert np.isfinite(a).all()
        assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------------------------------- brute force


def nodes(mean, covariance):
    """Equally weighted points with the same moments, exact where no standardized variable has a power above 3."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(values.clip(0))
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=len(mean)))).reshape(-1, len(mean))
    return mean + signs @ root.T


def joint_nodes(theta, covariances, columns):
    """All combinations of the nodes of independent columns: (n_nodes, n_columns, size)."""
    if not len(columns):
        return np.zeros((1, 0, theta.shape[1]))
    sets = [nodes(theta[c], covariances[c]) for c in columns]
    grid = np.array(list(itertools.product(*[range(len(s)) for s in sets])))
    return np.stack([s[grid[:, k]] for k, s in enumerate(sets)], 1)


def predict_pairs(x, points):
    """A double loop over pairs: predictions without intercept at each node."""
    w, V = points[:, :, 0], points[:, :, 1:]
    out = w @ x
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            out = out + x[i] * x[j] * (V[:, i] * V[:, j]).sum(1)
    return out


def full_covariances(state, n_outputs):
    """The covariances of a state as matrices; zeros for point estimates."""
    theta = state.theta.numpy()
    if state.covariances is None:
        return np.zeros((*theta.shape, theta.shape[2]))
    S = state.covariances.numpy()
    return S if S.ndim == 4 else S[..., None] * np.eye(S.shape[2])


def brute_moments(X, omega, target, state, output, column):
    """E[sum omega z z'] and E[sum omega z (target - c)] by enumeration over the other columns of each row."""
    theta = state.theta[output].numpy()
    S = full_covariances(state, len(state.theta))[output]
    size = theta.shape[1]
    A, b = np.zeros((size, size)), np.zeros(size)
    for i in np.flatnonzero(X[:, column]):
        others = [c for c in np.flatnonzero(X[i]) if c != column]
        points = joint_nodes(theta, S, others)
        x = X[i, others]
        c = float(state.intercept[output]) + predict_pairs(x, points)
        q = np.einsum("mck,c->mk", points[:, :, 1:], x)
        z = X[i, column] * np.column_stack([np.ones(len(q)), q])
        A += omega[output, i] * np.einsum("mi,mj->ij", z, z) / len(z)
        b += omega[output, i] * (z * (target[output, i] - c)[:, None]).mean(0)
    return A, b


def brute_variance(X, state, output):
    """The variance of each row's prediction by enumeration, the intercept's left out."""
    theta, S = state.theta[output].numpy(), full_covariances(state, len(state.theta))[output]
    out = np.zeros(len(X))
    for i, row in enumerate(X):
        held = np.flatnonzero(row)
        out[i] = predict_pairs(row[held], joint_nodes(theta, S, held)).var()
    return out


def small_matrix(name, rng, n_rows=14):
    """At most four non-zeros a row, so that enumeration is quick."""
    if name == "pairs":
        parts = [one_hot(rng, n_rows, 4), one_hot(rng, n_rows, 3)]
    elif name == "three":
        parts = [one_hot(rng, n_rows, c) for c in (4, 3, 2)]
    elif name == "bag":
        X = np.zeros((n_rows, 8))
        for row in X[1:]:
            row[rng.choice(7, rng.integers(0, 5), replace=False)] = 1
        parts = [X]
    elif name == "values":
        X = small_matrix("bag", rng).toarray()
        parts = [X * rng.normal(size=X.shape)]
    elif name == "dense":
        parts = [rng.normal(size=(n_rows, 3))]
    elif name == "mixed":
        sparse_values = np.zeros((n_rows, 5))
        for row in sparse_values:
            row[rng.integers(5)] = rng.normal()
        parts = [one_hot(rng, n_rows, 3), rng.normal(size=(n_rows, 2)), sparse_values]
    return sp.csr_matrix(sp.hstack([sp.csr_matrix(part) for part in parts]))


def random_covariances(rng, shape, size, kind):
    if kind == "als":
        return None
    root = rng.normal(size=(*shape, size, size + 1)) * 0.5
    S = root @ np.swapaxes(root, -1, -2)
    return torch.tensor(S if kind == "full" else np.diagonal(S, axis1=-2, axis2=-1).copy())


def random_state(rng, problem, kind, n_factors):
    n_outputs, n_features, size = len(problem.target), problem.design.shape[1], 1 + n_factors
    return BlockState(
        torch.tensor(rng.normal(size=n_outputs)),
        torch.tensor(rng.normal(size=(n_outputs, n_features, size))),
        random_covariances(rng, (n_outputs, n_features), size, kind),
        torch.zeros(n_outputs, dtype=torch.float64),
        torch.ones(n_outputs, dtype=torch.float64),
    )


def make_tile_engine(problem, state):
    return TileEngine(problem, state, layout.find_colors(problem.design, problem.fields))


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of a few entries, so that classes are cut and columns are padded."""
    monkeypatch.setattr(layout, "TILE_ENTRIES", {"cpu": 8})
    monkeypatch.setattr(layout, "SMALL_TILE", 8)


ENGINES = [
    ("pairs", "pairs"),
    *((name, "tiles") for name in MATRICES),
    ("dense", "no dense"),
    ("mixed", "no dense"),
]


@pytest.mark.parametrize("n_factors", [0, 1, 2])
@pytest.mark.parametrize(
    ("name", "engine", "kind"),
    [
        *((*case, kind) for case in ENGINES for kind in KINDS),
        *((name, "tables", kind) for name in ("pairs", "three", "bag") for kind in ("full", "diag")),
    ],
)
def test_moments_are_the_expectations(name, engine, kind, n_factors, small_tiles, monkeypatch):
    """A and b of every column are E[z z'] and E[z (target - c)], before and after updates of other columns."""
    rng = np.random.default_rng([MATRICES.index(name), KINDS.index(kind), n_factors])
    X = small_matrix(name, rng)
    problem = make_problem(X)
    omega = torch.tensor(rng.gamma(2.0, 1.0, size=problem.target.shape))
    state = random_state(rng, problem, kind, n_factors)
    if engine == "pairs":
        monkeypatch.setattr("skfm.core.solvers.block.pairs.BLOCK_FLOATS", {"cpu": 1})
        built = block.make_engine(problem, state)
        assert isinstance(built, PairEngine)
    elif engine == "tables":
        colors = layout.find_colors(problem.design, problem.fields)
        built = TableEngine(problem, state, colors, find_tables(problem.design, colors))
    else:
        if engine == "no dense":
            monkeypatch.setattr(tiles, "MOST_COLUMNS", 0)
        built = make_tile_engine(problem, state)
    dense = X.toarray()
    for _ in range(2):  # the second sweep begins with what the first has left
        if kind != "als":
            built.variance()
        built.load(omega, problem.target, built.mean())
        seen = []
        for part in built.blocks:
            A, b = built.normal_equations(part)
            expected = [
                brute_moments(dense, omega.numpy(), problem.target.numpy(), state, output, column)
                for output in range(2)
                for column in part.columns.tolist()
            ]
            assert_allclose(A, np.array([a for a, _ in expected]), rtol=1e-9, atol=1e-9)
            assert_allclose(b, np.array([b for _, b in expected]), rtol=1e-9, atol=1e-9)
            theta = torch.tensor(rng.normal(size=b.shape))
            built.write_back(part, theta, random_covariances(rng, b.shape[:1], 1 + n_factors, kind))
            assert torch.equal(state.theta[:, part.columns].flatten(0, 1), theta)
            seen += part.columns.tolist()
        assert sorted(seen) == np.flatnonzero(dense.any(0)).tolist()


@pytest.mark.parametrize("n_factors", [0, 1, 2])
@pytest.mark.parametrize("kind", ["full", "diag"])
@pytest.mark.parametrize("name", MATRICES)
def test_total_variance(name, kind, n_factors):
    """At the end of a sweep the weighted sum of the variances is the one that enumeration gives."""
    rng = np.random.default_rng([MATRICES.index(name), n_factors])
    X = small_matrix(name, rng)
    problem = make_problem(X)
    run = VBRun(problem, make_start(problem, n_factors), kind)
    for _ in range(2):
        run.step()
    weight = problem.sample_weight.numpy()
    expected = [weight @ brute_variance(X.toarray(), run.state, output) for output in range(2)]
    assert_allclose(run.engine.total_variance(run.mean, run.omega), expected, rtol=1e-9)


# ------------------------------------------------------------------------------------------ monotone


def assert_monotone(run, n_sweeps=10):
    objectives = np.array([run.step().objective for _ in range(n_sweeps)])
    assert np.isfinite(objectives).all()
    rises = -1 if isinstance(run, ALSRun) else 1
    steps = rises * np.diff(objectives)
    assert (steps >= -1e-9 * np.abs(objectives[1:])).all(), objectives
    assert steps.sum() > 1e-3  # something was learned
    for tensor in run.state.parameters:
        assert bool(torch.isfinite(tensor).all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MATRICES)
def test_objective_is_monotone(name, loss, kind):
    """The als objective never rises and the vb bound never falls, to 1e-9 relative."""
    problem = make_problem(make_matrix(name), loss)
    assert_monotone(make_run(problem, kind, make_start(problem, 3)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "loss"), [("pairs", "squared_error"), *(("mixed", loss) for loss in LOSSES)]
)
@pytest.mark.parametrize(
    ("n_factors", "options"),
    [
        (0, {}),
        (1, {}),
        (2, {"fit_linear": False}),
        (2, {"fit_intercept": False}),
        (1, {"fit_linear": False, "fit_intercept": False}),
    ],
)
def test_objective_is_monotone_with_parts_left_out(name, loss, kind, n_factors, options):
    """The same without factors, linear term or intercept; what is left out stays as it was."""
    problem = make_problem(make_matrix(name), loss, weights=False, n_outputs=1, **options)
    start = make_start(problem, n_factors)
    run = make_run(problem, kind, start)
    assert_monotone(run, 8)
    if not problem.fit_linear:
        assert not run.state.theta[:, :, 0].any()
    if not problem.fit_intercept:
        assert torch.equal(run.state.intercept, start.intercept)


@given(
    n_rows=st.integers(1, 25),
    n_features=st.integers(1, 8),
    density=st.floats(0.05, 1.0),
    values=st.sampled_from(["ones", "counts", "normal"]),
    loss=st.sampled_from(LOSSES),
    kind=st.sampled_from(KINDS),
    n_factors=st.integers(0, 3),
    scale=st.sampled_from([0.01, 1.0, 3.0]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_objective_is_monotone_for_any_matrix(
    n_rows, n_features, density, values, loss, kind, n_factors, scale, seed
):
    """No matrix, weights or start makes a sweep lose ground."""
    rng = np.random.default_rng(seed)
    X = (rng.random((n_rows, n_features)) < density).astype(float)
    if values != "ones":
        X *= rng.poisson(1.5, X.shape) if values == "counts" else rng.normal(size=X.shape)
    design = DesignMatrix.from_array(X, dtype=torch.float64)
    binary = torch.tensor(rng.integers(0, 2, (1, n_rows)).astype(float))
    target = torch.tensor(rng.normal(size=(1, n_rows))) if loss == "squared_error" else binary
    weight = torch.tensor(rng.gamma(1.0, 1.0, n_rows) + 0.01)
    problem = Problem(design, target, weight, loss, layout.describe_fields(design))
    run = make_run(problem, kind, make_start(problem, n_factors, seed % 1000, scale))
    objectives = np.array([run.step().objective for _ in range(6)])
    assert np.isfinite(objectives).all()
    steps = np.diff(objectives) * (-1 if kind == "als" else 1)
    # With hardly any data an objective may pass through zero: the scale of its terms is their number.
    assert (steps >= -1e-9 * (np.abs(objectives[1:]) + n_rows + n_features)).all(), objectives


# ------------------------------------------------------------------------- objectives and fixed points


def brute_objective(X, problem, intercept, linear, factors, l2_linear, l2_factors):
    """J of DESIGN.md 2 by a double loop over pairs, in torch so that it can be differentiated."""
    raw = intercept[:, None] + linear @ X.T
    n_features = X.shape[1]
    for i in range(n_features):
        for j in range(i + 1, n_features):
            raw = raw + (factors[:, i] * factors[:, j]).sum(1)[:, None] * X[:, i] * X[:, j]
    y = problem.target
    if problem.loss == "squared_error":
        loss = (y - raw) ** 2 / 2
    elif problem.loss == "log_loss":
        loss = torch.nn.functional.binary_cross_entropy_with_logits(raw, y, reduction="none")
    else:
        loss = -torch.special.log_ndtr((2 * y - 1) * raw)
    penalty = l2_linear * (linear**2).sum() + l2_factors * (factors**2).sum()
    return (loss * problem.sample_weight).sum() + penalty / 2


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["pairs", "mixed"])
def test_als_reaches_a_stationary_point(name, loss):
    """The als objective is J, and after many sweeps its gradient is zero."""
    X = small_matrix(name, np.random.default_rng(1), 40)
    problem = make_problem(X, loss, n_outputs=2)
    dense = torch.tensor(X.toarray())

    def gradient_norm(parameters):
        leaves = [p.clone().requires_grad_() for p in parameters]
        J = brute_objective(dense, problem, *leaves, 6.0, 4.0)
        return J, torch.cat([g.flatten() for g in torch.autograd.grad(J, leaves)]).norm()

    start = make_start(problem, 2)
    _, before = gradient_norm(start)
    run = ALSRun(problem, start, 6.0, 4.0)
    for n_sweeps in (1, 1, *[50] * 12):
        objectives, parameters = snapshot(run, n_sweeps)
        J, after = gradient_norm([torch.tensor(p) for p in parameters[:3]])
        assert_allclose(objectives[-1], J.detach(), rtol=1e-12)
        if after < 5e-6 * before:
            break
    assert after < 5e-6 * before


@pytest.mark.parametrize("name", MATRICES)
def test_als_without_factors_is_ridge_regression(name):
    """A linear model with squared error ends at the closed form of weighted ridge regression."""
    X = make_matrix(name)
    problem = make_problem(X)
    run = ALSRun(problem, make_start(problem, 0), 10.0, 1.0)
    _, (intercept, linear, _) = snapshot(run, 150)
    dense = np.column_stack([np.ones(X.shape[0]), X.toarray()])
    weighted = dense * problem.sample_weight.numpy()[:, None]
    penalty = np.diag([0.0] + [10.0] * X.shape[1])
    solution = np.linalg.solve(weighted.T @ dense + penalty, weighted.T @ problem.target.numpy().T)
    assert_allclose(intercept, solution[0], atol=1e-8)
    assert_allclose(linear, solution[1:].T, atol=1e-8)


def evidence_bound(run, theta, covariances, intercept, intercept_variance, alpha):
    """The bound of one output from its definition, priors fixed, in torch so that it can be differentiated."""
    problem, design = run.problem, run.problem.design
    X = dense_of(design)
    w, V = theta[:, 0], theta[:, 1:]
    full = covariances if covariances.ndim == 3 else torch.diag_embed(covariances)
    mean, second = intercept + X @ w, torch.zeros(len(X), dtype=X.dtype)
    # E[f^2] from E[theta theta'] of each column: f - w0 = sum_a x_a w_a + sum_{a<b} x_a x_b <v_a, v_b>.
    M = full + theta[:, :, None] * theta[:, None, :]
    p = X.shape[1]
    terms = [((a,), X[:, a]) for a in range(p)]
    terms += [((a, b), X[:, a] * X[:, b]) for a in range(p) for b in range(a + 1, p)]
    for (a, b), x in (t for t in terms if len(t[0]) == 2):
        mean = mean + x * (V[a] @ V[b])
    for first, x in terms:
        for other, x_other in terms:
            if not set(first) & set(other):
                continue  # independent terms add no variance
            second = second + x * x_other * covariance_of_terms(first, other, theta, M)
    variance = second + intercept_variance
    target, weight = problem.target[0], problem.sample_weight
    if problem.loss == "squared_error":
        expected = (weight.sum() + 1) * alpha.log() / 2
        expected = expected - alpha / 2 * (1 + weight @ ((target - mean) ** 2 + variance))
    else:
        expected = weight @ run.likelihood.bound(target, mean, variance)
    entropy = torch.linalg.slogdet(full[run.used]).logabsdet.sum() / 2 + intercept_variance.log() / 2
    total = expected + entropy
    size = theta.shape[1]
    hyper = torch.tensor([LINEAR_VARIANCE * size] + [FACTORS_SCATTER] * (size - 1), dtype=theta.dtype)
    for g in range(run.priors.mean.shape[1]):
        mu, Lam = run.priors.mean[0, g], run.priors.precision[0, g]
        total = total + size / 2 * torch.logdet(Lam) - (Lam.diagonal() @ hyper + mu @ Lam @ mu) / 2
        for j in ((problem.fields == g) & run.used).nonzero()[:, 0]:
            d = theta[j] - mu
            total = total + torch.logdet(Lam) / 2 - (torch.trace(Lam @ full[j]) + d @ Lam @ d) / 2
    return total


def dense_of(design):
    return design.matmul(torch.eye(design.shape[1], dtype=design.dtype))


def covariance_of_terms(first, other, theta, M):
    """Cov of two terms w_a or <v_a, v_b> that share columns, from first and second moments."""
    w, V = theta[:, 0], theta[:, 1:]
    E = [(w[t[0]] if len(t) == 1 else V[t[0]] @ V[t[1]]) for t in (first, other)]
    if len(first) == 1 and len(other) == 1:
        product = M[first[0], 0, 0]
    elif len(first) == 1 or len(other) == 1:
        (a,), pair = (first, other) if len(first) == 1 else (other, first)
        partner = pair[1] if pair[0] == a else pair[0]
        product = M[a, 0, 1:] @ V[partner]
    elif first == other:
        product = (M[first[0], 1:, 1:] * M[first[1], 1:, 1:]).sum()
    else:
        (shared,) = set(first) & set(other)
        (a,), (b,) = set(first) - {shared}, set(other) - {shared}
        product = V[a] @ M[shared, 1:, 1:] @ V[b]
    return product - E[0] * E[1]


def bound_leaves(state):
    """The posterior of the first output, ready to be differentiated by."""
    assert state.covariances is not None
    leaves = [
        state.theta,
        state.covariances,
        state.intercept,
        state.intercept_variance,
        state.noise_precision,
    ]
    return [leaf[0].clone().requires_grad_() for leaf in leaves]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["full", "diag"])
@pytest.mark.parametrize("name", ["pairs", "mixed"])
@pytest.mark.parametrize("hold", [0, 2])
def test_bound_is_the_evidence_lower_bound(hold, name, kind, loss):
    """The reported bound is its definition up to a constant, also while priors are held, and the noise maximizes it."""
    X = small_matrix(name, np.random.default_rng(2), 15)
    problem = make_problem(X, loss, n_outputs=1)
    run = VBRun(problem, make_start(problem, 1, scale=1.0), kind, hold=hold)
    offsets = []
    for _ in range(3):
        iterate = run.step()
        leaves = bound_leaves(run.state)
        bound = evidence_bound(run, *leaves)
        offsets.append(iterate.objective - float(bound.detach()))
        if loss == "squared_error":
            (slope,) = torch.autograd.grad(bound, leaves[-1])
            assert abs(slope) < 1e-9 * problem.sample_weight.sum()
        else:
            assert float(run.state.noise_precision) == 1
    assert_allclose(offsets, offsets[0], atol=1e-9)


def one_hot_fields(sizes, n_rows, seed=0):
    rng = np.random.default_rng(seed)
    codes = [np.concatenate([np.arange(k), rng.integers(0, k, n_rows - k)]) for k in sizes]
    return sp.csr_matrix(np.hstack([np.eye(k)[c] for k, c in zip(sizes, codes, strict=True)]))


@pytest.mark.parametrize("loss", LOSSES)
def test_priors_of_categories_with_few_rows_wait(loss):
    """They are what they were for as many sweeps as are asked for, in which the bound rises and nothing converges."""
    numbers = np.random.default_rng(0).normal(size=(90, 1))
    X = sp.hstack([one_hot_fields([30, 4], 90), numbers]).tocsr()
    problem = make_problem(X, loss, n_outputs=2, weights=False)
    run = VBRun(problem, make_start(problem, 2), "full", hold=3)
    before, bounds = run.priors.precision.clone(), []
    for i in range(8):
        iterate = run.step()
        bounds.append(iterate.objective)
        assert iterate.settles == (i >= 3)
        same = (run.priors.precision == before).flatten(2).all(2)
        assert same.tolist() == [[i < 3, i < 3, False]] * 2
    assert (np.diff(bounds) > -1e-9).all()


def test_which_priors_wait():
    """Fields of categories, if any of these has few rows on average, by weight; no bags and no numbers."""

    def held(X, weight=None):
        problem = make_problem(sp.csr_matrix(X), weights=False, n_outputs=1)
        if weight is not None:
            problem = dataclasses.replace(problem, sample_weight=torch.tensor(weight, dtype=torch.float64))
        return _fields_to_hold(problem)

    few, many = one_hot_fields([20, 4], 400), one_hot_fields([5, 4], 400)
    assert held(few) == {0, 1}
    assert held(many) == frozenset()
    # Weights are repeats: 400 rows of weight two are as good as 800.
    assert held(few, np.full(400, 2.0)) == held(sp.vstack([few, few])) == frozenset()
    numbers = np.random.default_rng(0).normal(size=(400, 1))
    assert held(sp.hstack([few, numbers])) == {0, 1}
    assert held(numbers) == frozenset()
    bag = np.random.default_rng(0).random((400, 200)) < 0.05
    assert held(bag.astype(float)) == frozenset()
    assert held(few.multiply(3.0)) == frozenset()


@pytest.mark.parametrize("kind", ["full", "diag"])
@pytest.mark.parametrize("name", ["pairs", "mixed"])
def test_updates_maximize_the_bound(name, kind):
    """After the update of a block the bound is stationary in the means and covariances of its columns."""
    problem = make_problem(small_matrix(name, np.random.default_rng(3), 12), n_outputs=1)
    run = VBRun(problem, make_start(problem, 1, scale=1.0), kind)
    run.step()
    engine = run.engine
    engine.load(problem.sample_weight[None], problem.target, engine.mean())
    for part in engine.blocks:
        A, b = engine.normal_equations(part)
        engine.write_back(part, *run.update(part, A, b))
        leaves = bound_leaves(run.state)
        gradients = torch.autograd.grad(evidence_bound(run, *leaves), leaves[:2])
        for gradient in gradients:
            own = gradient[part.columns]
            # Covariances are symmetric: so is what a change of one is worth.
            own = own + own.mT if own.ndim == 3 else own
            assert own.abs().max() < 1e-8


# -------------------------------------------------------------------------------- engines agree


@pytest.mark.parametrize("options", [{}, {"fit_linear": False}])
@pytest.mark.parametrize("n_factors", [0, 3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_pair_engine_is_the_tile_engine(kind, loss, n_factors, options, monkeypatch):
    """Both engines make the same sweeps of pairs, and give the same total variance."""
    problem = make_problem(make_matrix("pairs"), loss, **options)
    start = make_start(problem, n_factors)
    fast = make_run(problem, kind, start)
    assert isinstance(fast.engine, PairEngine)
    monkeypatch.setattr(block, "find_pairs", lambda *_: None)
    monkeypatch.setattr(block, "find_tables", lambda *_: None)
    general = make_run(problem, kind, start)
    assert isinstance(general.engine, TileEngine)
    assert_same_runs(snapshot(fast, 4), snapshot(general, 4))
    if kind != "als" and loss == "squared_error":
        assert_allclose(
            fast.engine.total_variance(fast.mean, fast.omega),
            general.engine.total_variance(general.mean, general.omega),
            rtol=1e-9,
        )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["dense", "mixed"])
def test_dense_part_is_the_tile_path(name, kind, loss, monkeypatch):
    """Gram matrices of dense columns stand in for a state a row, but for the joint step that they alone have."""
    problem = make_problem(make_matrix(name), loss)
    monkeypatch.setattr(block.BlockRun, "_joint_linear_step", lambda self: None)
    start = make_start(problem, 3)
    fast = make_run(problem, kind, start)
    assert fast.engine.dense is not None
    monkeypatch.setattr(tiles, "MOST_COLUMNS", 0)
    general = make_run(problem, kind, start)
    assert general.engine.dense is None
    assert_same_runs(snapshot(fast, 4), snapshot(general, 4))


@pytest.mark.parametrize("kind", KINDS)
def test_joint_linear_step_is_an_optimum(kind):
    """After it, no linear weight of a dense column nor the intercept can gain; als without factors is done at once."""
    problem = make_problem(make_matrix("dense"))
    run = make_run(problem, kind, make_start(problem, 0))
    objectives = [run.step().objective for _ in range(2)]
    if kind == "als":
        np.testing.assert_allclose(objectives[1], objectives[0], rtol=1e-12)
    omega, e = run.omega, problem.target - run.engine.mean()
    residual = (omega * e) @ problem.design.dense.T
    if kind == "als":
        np.testing.assert_allclose(residual, run.penalty[0] * run.state.theta[:, :, 0], atol=1e-9)
    np.testing.assert_allclose((omega * e).sum(1), 0, atol=1e-9)


@pytest.mark.parametrize("name", ["pairs", "mixed"])
def test_stretching_can_only_raise_the_bound(name, monkeypatch):
    """Far too long a step is taken back, output by output, and the run goes on as if it had not been tried."""
    problem = make_problem(make_matrix(name), "log_loss")
    start = make_start(problem, 2)
    plain = make_run(problem, "full", start)
    plain._pause += 100
    monkeypatch.setattr("skfm.core.solvers.vb.FIRST_STRETCH", 1e3)
    wild = make_run(problem, "full", start)
    for _ in range(3):
        a, b = plain.step(), wild.step()
        np.testing.assert_allclose(b.objective, a.objective, rtol=1e-9)
        np.testing.assert_allclose(b.parameters.factors, a.parameters.factors, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("make", [make_matrix, lambda name: small_matrix(name, np.random.default_rng(0))])
def test_matrices_are_what_they_are_for(make):
    """The designs of this module take the paths that they are named after."""
    found = {}
    for name in MATRICES:
        problem = make_problem(make(name))
        engine = block.make_engine(problem, random_state(np.random.default_rng(0), problem, "full", 1))
        if isinstance(engine, PairEngine):
            found[name] = {"pairs"}
            continue
        if isinstance(engine, TableEngine):
            found[name] = {"tables"}
            continue
        found[name] = {"ones" if tile.values is None else "values" for tile in engine.tiles}
        if engine.dense is not None:
            found[name].add("dense")
    assert found == {
        "pairs": {"pairs"},
        "three": {"tables"},
        "bag": {"tables"},
        "values": {"values"},
        "dense": {"dense"},
        "mixed": {"ones", "values", "dense"},
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MATRICES)
def test_block_size_does_not_matter(name, kind, monkeypatch):
    """Blocks of one column or two, with and without padding, make the same sweeps as large ones."""
    problem = make_problem(make_matrix(name), "log_loss")
    start = make_start(problem, 2)
    large = make_run(problem, kind, start)
    monkeypatch.setattr(layout, "TILE_ENTRIES", {"cpu": 40})
    monkeypatch.setattr(layout, "SMALL_TILE", 8)
    monkeypatch.setattr("skfm.core.solvers.block.pairs.BLOCK_FLOATS", {"cpu": 1})
    monkeypatch.setattr("skfm.core.solvers.block.table_blocks.BLOCK_FLOATS", {"cpu": 1})
    monkeypatch.setattr("skfm.core.solvers.block.table_blocks.PIECE_FLOATS", {"cpu": 1})
    for module in ("bayes.variance", "solvers.block.row_variance"):
        monkeypatch.setattr(f"skfm.core.{module}.CHUNK", 50)
    monkeypatch.setattr("skfm.core.interactions.pairwise.ROW_FLOATS", {"cpu": 50})
    small = make_run(problem, kind, start)
    if name != "dense":
        assert len(small.engine.blocks) > len(large.engine.blocks)
    assert_same_runs(snapshot(large, 3), snapshot(small, 3))


@given(
    n_rows=st.integers(1, 30),
    n_features=st.integers(1, 12),
    density=st.floats(0, 1),
    budget=st.sampled_from([1, 8, 64, 1 << 15]),
    valued=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_tiles_hold_every_entry_once(n_rows, n_features, density, budget, valued, seed):
    """Unpadded, the tiles are the matrix; the columns of one share no row, and padding is worth nothing."""
    rng = np.random.default_rng(seed)
    X = (rng.random((n_rows, n_features)) < density).astype(float)
    if valued:
        X *= rng.normal(size=X.shape)
    design = DesignMatrix.from_array(X, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "TILE_ENTRIES", {"cpu": budget})
        patch.setattr(layout, "SMALL_TILE", budget)
        made = layout.make_tiles(design, layout.find_colors(design, layout.describe_fields(design)), 1)
    rebuilt = np.zeros((n_rows + 1, n_features))
    for tile in made:
        rows = torch.arange(n_rows)[None] if tile.rows is None else tile.rows.long()
        values = torch.ones(rows.shape, dtype=torch.float64) if tile.values is None else tile.values
        assert rows.shape == values.shape
        assert len(rows) == len(tile.columns)
        inside = rows[rows < n_rows]
        assert len(inside.unique()) == len(inside)
        if tile.values is not None:
            assert not values[rows == n_rows].any()
        np.add.at(rebuilt, (rows.numpy(), tile.columns.numpy()[:, None]), values.numpy())
    assert_allclose(rebuilt[:-1], X, rtol=1e-12, atol=0)


# ---------------------------------------------------------------------------------- same model


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["pairs", "mixed"])
def test_weights_are_repeats(name, kind, loss, monkeypatch):
    """A row of weight three is the row three times, in the same color classes, whose order goes by counts."""
    X = make_matrix(name)
    weighted = make_problem(X, loss)
    repeats = weighted.sample_weight.long()
    repeated = Problem(
        take(X[np.repeat(np.arange(X.shape[0]), repeats.numpy())]),
        weighted.target.repeat_interleave(repeats, 1),
        torch.ones(int(repeats.sum()), dtype=torch.float64),
        loss,
        weighted.fields,
    )
    classes = layout.find_colors(weighted.design, weighted.fields)
    monkeypatch.setattr(block, "find_colors", lambda *_: classes)
    start = make_start(weighted, 2)
    runs = [snapshot(make_run(problem, kind, start), 4) for problem in (weighted, repeated)]
    assert_same_runs(*runs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MATRICES)
def test_order_of_rows_does_not_matter(name, kind):
    """Permuted rows make the same sweeps."""
    X, loss = make_matrix(name), "probit"
    problem = make_problem(X, loss)
    order = np.random.default_rng(5).permutation(X.shape[0])
    permuted = Problem(
        take(X[order]),
        problem.target[:, order],
        problem.sample_weight[order],
        loss,
        problem.fields,
    )
    start = make_start(problem, 2)
    assert_same_runs(
        snapshot(make_run(problem, kind, start), 4), snapshot(make_run(permuted, kind, start), 4)
    )


@pytest.mark.parametrize("name", MATRICES)
def test_order_of_columns_does_not_matter(name):
    """Permuted columns of a convex problem have the same optimum, with the coefficients permuted."""
    X = make_matrix(name)
    problem = make_problem(X, "log_loss", n_outputs=1)
    order = np.random.default_rng(6).permutation(X.shape[1])
    permuted = Problem(
        take(X[:, order]),
        problem.target,
        problem.sample_weight,
        "log_loss",
        problem.fields[order],
    )
    start = make_start(problem, 0)
    (J, (_, linear, _)), (J_permuted, (_, linear_permuted, _)) = (
        snapshot(ALSRun(p, start, 5.0, 1.0), 80) for p in (problem, permuted)
    )
    assert_allclose(J[-1], J_permuted[-1], rtol=1e-10)
    assert_allclose(linear[:, order], linear_permuted, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_columns_do_not_matter(kind):
    """Categories of pairs in another order, the fields in the same, make the same sweeps."""
    X = make_matrix("pairs")
    problem = make_problem(X)
    rng = np.random.default_rng(7)
    order = np.concatenate([rng.permutation(9), 9 + rng.permutation(6)])
    permuted = Problem(
        take(X[:, order]),
        problem.target,
        problem.sample_weight,
        problem.loss,
        problem.fields[order],
    )
    start = make_start(problem, 2)
    moved = FMParameters(start.intercept, start.linear[:, order], start.factors[:, order])
    objective, tensors = snapshot(make_run(problem, kind, start), 4)
    expected = [t[:, order] if t.ndim > 1 else t for t in tensors]
    assert_same_runs((objective, expected), snapshot(make_run(permuted, kind, moved), 4))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["pairs", "mixed"])
def test_outputs_together_are_each_alone(name, kind, loss):
    """Outputs share the design and nothing else."""
    problem = make_problem(make_matrix(name), loss, n_outputs=3)
    start = make_start(problem, 2)
    objectives, together = snapshot(make_run(problem, kind, start), 4)
    alone = []
    for k in range(3):
        one = slice(k, k + 1)
        single = Problem(problem.design, problem.target[one], problem.sample_weight, loss, problem.fields)
        alone.append(snapshot(make_run(single, kind, FMParameters(*(t[one] for t in start))), 4))
    stacked = [np.concatenate(parts) for parts in zip(*(tensors for _, tensors in alone), strict=True)]
    assert_same_runs((objectives, together), (sum(objective for objective, _ in alone), stacked))


@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["pairs", "bag", "mixed"])
def test_float32_is_close_to_float64(name, kind, loss):
    """Single precision gives single-precision results: predictions agree to a few digits after ten sweeps."""
    X = make_matrix(name)
    predictions = []
    for dtype in (torch.float64, torch.float32):
        problem = make_problem(X, loss, dtype=dtype)
        run = make_run(problem, kind, make_start(problem, 2))
        for _ in range(10):
            parameters = run.step().parameters
        assert parameters.factors.dtype == dtype
        predictions.append(raw_prediction(problem.design, parameters).double())
    assert_allclose(predictions[1], predictions[0], atol=1e-3)


# ------------------------------------------------------------------------------------- recovery


@pytest.mark.parametrize("kind", ["full", "diag"])
@pytest.mark.parametrize(
    "shape",
    [{"cardinalities": (40, 25)}, {"cardinalities": (15, 10, 8), "n_numeric": 2}],
    ids=["pairs", "mixed"],
)
def test_planted_regression_is_recovered(shape, kind):
    """Test error within 2 % of the noise, and the noise precision with it."""
    noise = 0.5
    X, y, truth = make_factorization(
        16000, n_factors=2, noise=noise, return_parameters=True, random_state=3, **shape
    )
    train, test = slice(0, 12000), slice(12000, None)
    scale = y[train].std()
    problem = standard_problem(X[train], (y[train] - y[train].mean()) / scale)
    run = VBRun(problem, make_start(problem, 2), kind)
    for _ in range(30):
        iterate = run.step()
    design = take(X[test])
    prediction = raw_prediction(design, iterate.parameters)[0].numpy() * scale + y[train].mean()
    rmse = np.sqrt(np.mean((prediction - y[test]) ** 2))
    floor = np.sqrt(np.mean((truth.raw_prediction[test] - y[test]) ** 2))
    assert_allclose(floor, noise, rtol=0.03)
    assert rmse <= 1.02 * floor
    assert_allclose(float(iterate.posterior.noise_precision[0]) ** -0.5 * scale, noise, rtol=0.02)


@pytest.mark.parametrize("kind", ["full", "diag"])
@pytest.mark.parametrize("cardinalities", [(25, 15), (12, 10, 8)], ids=["pairs", "three"])
def test_planted_classification_is_recovered(cardinalities, kind):
    """Test logloss within 2 % of that of the planted probabilities."""
    X, y, truth = make_factorization(
        16000,
        cardinalities,
        n_factors=2,
        task="classification",
        linear_scale=1.5,
        interaction_scale=1.5,
        return_parameters=True,
        random_state=4,
    )
    train, test = slice(0, 12000), slice(12000, None)
    problem = standard_problem(X[train], y[train].astype(float), "log_loss")
    run = VBRun(problem, make_start(problem, 2), kind)
    for _ in range(40):
        iterate = run.step()
    raw = raw_prediction(take(X[test]), iterate.parameters)[0].numpy()
    model, planted = (
        np.logaddexp(0, f) @ np.ones(len(f)) - f @ y[test] for f in (raw, truth.raw_prediction[test])
    )
    assert model <= 1.02 * planted


def standard_problem(X, y, loss="squared_error"):
    design = DesignMatrix.from_array(X, dtype=torch.float64)
    ones = torch.ones(len(y), dtype=torch.float64)
    return Problem(design, torch.tensor(y[None]), ones, loss, layout.describe_fields(design))


# ------------------------------------------------------------------------------------- the rest


def test_cholesky_repairs_rounding():
    """A matrix that rounding has left just short of definite is factorized, its neighbors untouched."""
    rng = np.random.default_rng(0)
    good = rng.normal(size=(4, 4))
    good = good @ good.T + np.eye(4)
    u = rng.normal(size=(4, 1))
    bad = u @ u.T - 1e-16 * np.eye(4)
    A = torch.tensor(np.stack([good, bad, 1e8 * bad]))
    assert bool((torch.linalg.cholesky_ex(A).info[1:] > 0).all())
    L = block.cholesky(A)
    assert bool(torch.isfinite(L).all())
    assert torch.equal(L[0], torch.linalg.cholesky(A[0]))
    scale = A.abs().amax((1, 2))
    assert bool(((L @ L.mT - A).abs().amax((1, 2)) < 1e-12 * scale).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [2.0, float("nan")])
def test_cholesky_gives_up(value, dtype):
    """A matrix that is far from definite, or not finite, is an error and not a repair."""
    with pytest.raises(torch.linalg.LinAlgError, match="not positive definite"):
        block.cholesky(torch.tensor([[[1.0, value], [value, 1.0]]], dtype=dtype))


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_solvers_declare_and_sweep(name):
    """A registered solver runs every loss it declares from the public settings, and leaves the start alone."""
    solver = SOLVERS[name]
    assert solver.name == name
    for loss in sorted(solver.losses):
        n_outputs = 1 if solver.learns_online else 2
        problem = make_problem(make_matrix("mixed"), loss, n_outputs=n_outputs)
        start = make_start(problem, 2)
        copy = start.clone()
        iterate = solver.start(problem, start, Settings()).step()
        assert np.isfinite(iterate.objective)
        assert (iterate.posterior is not None or iterate.draws is not None) == solver.has_posterior
        assert all(torch.equal(a, b) for a, b in zip(start, copy, strict=True))
        assert not torch.equal(iterate.parameters.factors, start.factors)


def test_als_auto_penalties():
    """ "auto" is 1 and 10, and numbers are taken as they are."""
    problem = make_problem(make_matrix("three"))
    start = make_start(problem, 2)
    auto, named, other = (
        SOLVERS["als"].start(problem, start, Settings(l2_linear=a, l2_factors=b)).step().objective
        for a, b in [("auto", "auto"), (1.0, 10.0), (1.0, 11.0)]
    )
    assert auto == named
    assert auto != other


def test_covariance_kind():
    """ "auto" takes matrices for pairs and small problems, and vectors where matrices would cost too much."""
    assert covariance_kind(make_problem(make_matrix("pairs")), 64) == "full"
    assert covariance_kind(make_problem(make_matrix("mixed")), 8) == "full"
    rows = np.repeat(np.arange(20000), 20)
    X = sp.csr_matrix((np.ones(len(rows)), (rows, np.tile(np.arange(20), 20000))), (20000, 20))
    assert covariance_kind(standard_problem(X, np.zeros(20000)), 32) == "diag"


@pytest.mark.parametrize("kind", KINDS)
def test_columns_without_data_get_the_prior(kind):
    """Under vb an empty column has the prior of its field; als has nothing to move it from its start by."""
    X = make_matrix("bag")
    problem = make_problem(X)
    start = make_start(problem, 2)
    run = make_run(problem, kind, start)
    snapshot(run, 3)
    assert not X[:, 2].nnz
    assert run.used.tolist() == (X.getnnz(0) > 0).tolist()
    if kind == "als":
        assert torch.equal(run.state.theta[:, 2, 1:], start.factors[:, 2])
        return
    precision, shift = run.prior(torch.tensor([2]))
    mean, covariances = torch.linalg.solve(precision, shift), torch.linalg.inv(precision)
    assert_allclose(run.state.theta[:, 2], mean, rtol=1e-9)
    if kind == "diag":
        covariances = 1 / precision.diagonal(dim1=1, dim2=2)
    assert_allclose(run.state.covariances[:, 2], covariances, rtol=1e-9)
