"""Data with planted models, and models worked out by hand, for the tests of the estimators."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from skfm import FMRegressor

#: Short runs of several chains, of which nobody expects that they have mixed.
SHORT = pytest.mark.filterwarnings("ignore:The (chains|halves of the chain) disagree")


def one_hot(n_samples=150, sizes=(6, 5), seed=0):
    rng = np.random.default_rng(seed)
    codes = [np.r_[np.arange(size), rng.integers(0, size, n_samples - size)] for size in sizes]
    return sparse.csr_matrix(
        np.hstack([np.eye(size)[rng.permutation(c)] for size, c in zip(sizes, codes, strict=True)])
    )


def three_fields():
    return one_hot(sizes=(6, 5, 4))


def bag():
    """Few values of no particular scale in each row."""
    rng = np.random.default_rng(0)
    return sparse.csr_matrix(rng.gamma(2, 30, (150, 12)) * (rng.random((150, 12)) < 0.2))


def numeric():
    """Columns far from zero, of very different scales."""
    return np.random.default_rng(0).standard_normal((150, 4)) * [1e3, 1e-3, 5, 1] + [1e5, 2, -100, 0]


KINDS = pytest.mark.parametrize("make_X", [one_hot, three_fields, bag, numeric])


def plant(X, seed=1, noise=0.3):
    """A target that an FM explains, about 50 +- 20."""
    rng = np.random.default_rng(seed)
    Z = X.toarray() if sparse.issparse(X) else X
    Z = (Z - Z.mean(0)) / Z.std(0)
    V = rng.standard_normal((Z.shape[1], 2)) * 0.4
    raw = Z @ rng.standard_normal(Z.shape[1]) + ((Z @ V) ** 2 - Z**2 @ V**2).sum(1) / 2
    return 10 * (raw + noise * rng.standard_normal(len(Z))) + 50


def levels(y, n_levels):
    return np.digitize(y, np.quantile(y, np.arange(1, n_levels) / n_levels))


def brute_force(X, intercept, coef, factors):
    """Raw prediction by a double loop over pairs of columns."""
    X = X.toarray() if sparse.issparse(X) else X
    out = intercept + X @ coef
    for i in range(X.shape[1]):
        for j in range(i):
            out = out + (factors[i] @ factors[j]) * X[:, i] * X[:, j]
    return out


def raw_draws(model, X):
    """The raw prediction of every draw, (n_draws, n_samples) or (n_draws, n_classes, n_samples)."""
    P = model.posterior_
    p, K = P.factors.shape[-2:]
    parts = P.intercept.ravel(), P.coef.reshape(-1, p), P.factors.reshape(-1, p, K)
    raw = np.array([brute_force(X, *draw) for draw in zip(*parts, strict=True)])
    return raw.reshape(-1, *P.intercept.shape[2:], X.shape[0])


def sampler(kind=FMRegressor, n_factors=2, max_iter=20, **options):
    options = {"solver": "mcmc", "select_factors": False, "random_state": 0, **options}
    return kind(n_factors, max_iter=max_iter, **options)


def assert_same_draws(a, b, **tolerance):
    a, b = a.posterior_.to_dict(), b.posterior_.to_dict()
    assert a.keys() == b.keys()
    for name in a:
        if name != "factors":
            assert_allclose(a[name], b[name], **tolerance)
    # The same draws, so the factors agree one by one, but they cross zero.
    assert_allclose(a["factors"], b["factors"], atol=1e-6 * np.abs(b["factors"]).max(), **tolerance)
