"""Minibatch solvers with default settings and few rows: they reach the optimum, and weights are repeats."""

import numpy as np
import pytest
from scipy import sparse

from skfm import FMClassifier, FMRegressor

SOLVERS = ["adagrad", "adam", "ftrl", "sgd"]


def one_hot(rng, n_rows, size):
    return sparse.csr_matrix(np.eye(size)[rng.integers(0, size, n_rows)])


@pytest.mark.parametrize("n_rows", [60, 256, 257, 1000])
@pytest.mark.parametrize("solver", SOLVERS)
def test_additive_effects_are_found(solver, n_rows):
    rng = np.random.default_rng(n_rows)
    X = sparse.hstack([one_hot(rng, n_rows, 12), one_hot(rng, n_rows, 9)]).tocsr()
    y = X @ rng.normal(size=21) + 0.05 * rng.normal(size=n_rows)
    assert FMRegressor(4, solver=solver, random_state=0).fit(X, y).score(X, y) > 0.99


def make_problem(seed):
    """A planted problem of 50 to 2,000 rows, of categories, numbers or both, with integer weights from 0 on."""
    rng = np.random.default_rng(seed)
    n_rows = int(np.exp(rng.uniform(np.log(50), np.log(2000))))
    if seed % 3 == 2:
        X = sparse.csr_matrix(rng.normal(size=(n_rows, 4)) * [1, 10, 0.1, 1] + [0, 50, 0, 0])
    else:
        parts = [one_hot(rng, n_rows, int(rng.integers(3, 5 + n_rows // 15))) for _ in range(2)]
        if seed % 3:
            parts.append(sparse.csr_matrix(rng.normal(size=(n_rows, 2))))
        X = sparse.hstack(parts).tocsr()
    Z = X.toarray()
    Z = (Z - Z.mean(0)) / (Z.std(0) + 1e-12)
    V = 0.3 * rng.normal(size=(Z.shape[1], 2))
    raw = 0.7 * Z @ rng.normal(size=Z.shape[1]) + ((Z @ V) ** 2 - Z**2 @ V**2).sum(1) / 2
    y = (raw / raw.std() + 0.5 * rng.normal(size=n_rows)) > 0
    return X, y, rng.integers(0, 3, n_rows)


@pytest.mark.parametrize(
    "seed", [*range(3), *(pytest.param(s, marks=pytest.mark.slow) for s in range(3, 20))]
)
@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_are_repeats(solver, seed):
    X, y, weight = make_problem(seed)
    which = np.repeat(np.arange(len(y)), weight)
    model = FMClassifier(4, solver=solver, random_state=0)
    weighted = model.fit(X, y, sample_weight=weight).decision_function(X)
    repeated = model.fit(X[which], y[which]).decision_function(X)
    slope = np.cov(weighted, repeated)[0, 1] / np.var(repeated, ddof=1)
    assert slope == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("solver", ["adagrad"])
def test_weights_are_repeats_in_several_batches(solver):
    """With more rows, the batches are not the same ones, but there are as many, and as many epochs."""
    rng = np.random.default_rng(0)
    X, n_rows = rng.normal(size=(3000, 3)), 3000
    y, weight = X @ [1, 2, 3] + rng.normal(size=n_rows), rng.integers(0, 4, n_rows)
    which = np.repeat(np.arange(n_rows), weight)
    model = FMRegressor(2, solver=solver, random_state=0)
    weighted = model.fit(X, y, sample_weight=weight).predict(X)
    n_epochs = model.n_iter_
    repeated = model.fit(X[which], y[which]).predict(X)
    assert model.n_iter_ == n_epochs
    assert np.cov(weighted, repeated)[0, 1] / np.var(repeated, ddof=1) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("solver", SOLVERS)
def test_class_weights_count_like_sample_weights(solver):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 3))
    y = X[:, 0] + rng.normal(size=150) > 0
    by_class = FMClassifier(2, solver=solver, class_weight={False: 1, True: 3}, random_state=0).fit(X, y)
    by_sample = FMClassifier(2, solver=solver, random_state=0).fit(X, y, sample_weight=np.where(y, 3, 1))
    np.testing.assert_allclose(by_class.decision_function(X), by_sample.decision_function(X), rtol=1e-9)
    assert by_class.n_iter_ == by_sample.n_iter_
