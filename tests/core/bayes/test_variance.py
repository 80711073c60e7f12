"""The variance of a prediction against exact enumeration and against the sum over pairs of terms."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from skfm.core.bayes.variance import prediction_variance
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters, Posterior


def random_posterior(rng, n_outputs, n_features, n_factors, kind):
    size = 1 + n_factors
    means = rng.normal(size=(n_outputs, n_features, size))
    root = rng.normal(size=(n_outputs, n_features, size, size)) * 0.7
    S = root @ root.swapaxes(2, 3)
    if kind == "diag":
        S = S * np.eye(size)
    stored = S if kind == "full" else np.diagonal(S, axis1=2, axis2=3).copy()
    intercept_variance = rng.gamma(1.0, 1.0, n_outputs)
    parameters = FMParameters(
        torch.tensor(rng.normal(size=n_outputs)), torch.tensor(means[:, :, 0]), torch.tensor(means[:, :, 1:])
    )
    posterior = Posterior(
        torch.tensor(stored), torch.tensor(intercept_variance), torch.ones(n_outputs, dtype=torch.float64)
    )
    return parameters, posterior, means, S


def raw(x, theta):
    """A double loop over pairs, without intercept; theta of shape (..., n_features, size)."""
    out = theta[..., 0] @ x
    for a, b in itertools.combinations(range(len(x)), 2):
        out = out + x[a] * x[b] * (theta[..., a, 1:] * theta[..., b, 1:]).sum(-1)
    return out


def enumerated_variance(x, means, S):
    """Exact: predictions are linear in each column, so two points a direction carry all the moments there are."""
    size = means.shape[1]
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=means.size))).reshape(-1, *means.shape)
    root = np.linalg.cholesky(S + 1e-300 * np.eye(size))
    return raw(x, means + np.einsum("pij,npj->npi", root, signs)).var()


@given(
    values=st.sampled_from(["ones", "normal", "mixed"]),
    n_outputs=st.integers(1, 2),
    shape=st.sampled_from([(1, 0), (3, 0), (1, 3), (2, 2), (3, 2), (5, 1)]),
    density=st.sampled_from([0.5, 1.0]),
    kind=st.sampled_from(["full", "diag"]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_enumeration(values, n_outputs, shape, density, kind, seed):
    """The variance over independent Gaussian columns, by enumeration."""
    n_features, n_factors = shape
    rng = np.random.default_rng(seed)
    X = (rng.random((4, n_features)) < density).astype(float)
    numeric = rng.random(n_features) < {"ones": 0.0, "normal": 1.0, "mixed": 0.5}[values]
    X[:, numeric] *= rng.normal(size=(4, numeric.sum()))
    parameters, posterior, means, S = random_posterior(rng, n_outputs, n_features, n_factors, kind)
    expected = [
        [enumerated_variance(x, means[b], S[b]) + float(posterior.intercept_variance[b]) for x in X]
        for b in range(n_outputs)
    ]
    for dense_columns in (None, [], np.arange(n_features)):
        design = DesignMatrix.from_array(X, dtype=torch.float64, dense_columns=dense_columns)
        assert_allclose(prediction_variance(design, parameters.factors, posterior), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_sum_over_pairs_of_terms(kind, monkeypatch):
    """Larger rows and factors, against the covariances of the terms w_a and <v_a, v_b>; worked off in pieces."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(7, 9)) * (rng.random((7, 9)) < 0.7)
    parameters, posterior, means, S = random_posterior(rng, 1, 9, 5, kind)
    m, C = means[0, :, 1:], S[0]
    expected = []
    for x in X:
        total = float(posterior.intercept_variance[0])
        for a in range(9):
            # Linear and quadratic in column a: z = x_a (1, q), with q the sum over the other columns.
            q = x @ m - x[a] * m[a]
            z = x[a] * np.append(1.0, q)
            total += z @ C[a] @ z
            for b in range(a):
                # Both columns away from their means.
                total += (x[a] * x[b]) ** 2 * np.trace(C[a, 1:, 1:] @ C[b, 1:, 1:])
        expected.append(total)
    design = DesignMatrix.from_array(X, dtype=torch.float64, dense_columns=[1, 4])
    whole = prediction_variance(design, parameters.factors, posterior)
    assert_allclose(whole[0], expected, rtol=1e-12)
    monkeypatch.setattr("skfm.core.bayes.variance.CHUNK", 40)
    assert_allclose(prediction_variance(design, parameters.factors, posterior), whole, rtol=1e-12)


def test_no_uncertainty_no_variance():
    """Without covariances only the intercept's variance is left, and rounding makes none of it negative."""
    rng = np.random.default_rng(0)
    parameters, posterior, *_ = random_posterior(rng, 2, 4, 3, "full")
    certain = posterior._replace(covariances=torch.zeros_like(posterior.covariances))
    design = DesignMatrix.from_array(rng.normal(size=(6, 4)), dtype=torch.float64)
    variance = prediction_variance(design, parameters.factors, certain)
    assert torch.equal(variance, posterior.intercept_variance[:, None].expand(2, 6))
    tiny = posterior._replace(
        covariances=posterior.covariances * 1e-14, intercept_variance=torch.zeros(2, dtype=torch.float64)
    )
    assert bool((prediction_variance(design, parameters.factors, tiny) >= 0).all())
