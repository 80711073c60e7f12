"""Raw predictions against a double loop over pairs."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse

from skfm.core.interactions.pairwise import raw_prediction
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters, Posterior


def brute_force(X, intercept, linear, factors):
    """The model as it is written: (n_outputs, n_samples), and the size of its terms."""
    out = np.zeros((len(intercept), len(X)))
    size = np.zeros_like(out)
    for k, i in np.ndindex(out.shape):
        terms = [intercept[k]] + [linear[k, j] * X[i, j] for j in range(X.shape[1])]
        for a in range(X.shape[1]):
            terms += [factors[k, a] @ factors[k, b] * X[i, a] * X[i, b] for b in range(a + 1, X.shape[1])]
        out[k, i] = sum(terms)
        # The identity by squares also holds the terms of each column with itself.
        own = X[i] ** 2 @ (factors[k] ** 2).sum(1) + (abs(X[i]) @ abs(factors[k])).sum() ** 2
        size[k, i] = sum(map(abs, terms)) + own
    return out, size


@given(
    n_rows=st.integers(1, 6),
    n_features=st.integers(0, 6),
    n_outputs=st.integers(1, 3),
    n_factors=st.integers(0, 4),
    density=st.sampled_from([0.0, 0.3, 1.0]),
    values=st.sampled_from(["ones", "normal", "both"]),
    input_dtype=st.sampled_from([np.float32, np.float64]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**32 - 1),
)
def test_raw_prediction(n_rows, n_features, n_outputs, n_factors, density, values, input_dtype, dtype, seed):
    """Predictions are the sum over pairs, for any shape, sparsity and dtype."""
    rng = np.random.default_rng(seed)
    X = (rng.random((n_rows, n_features)) < density).astype(input_dtype)
    numeric = np.zeros(n_features, bool) if values == "ones" else rng.random(n_features) < 0.5
    if values == "normal":
        numeric[:] = True
    X[:, numeric] *= rng.normal(size=X.shape).astype(input_dtype)[:, numeric]
    X = X.astype(np.float32).astype(input_dtype)  # the same numbers in either dtype
    parameters = FMParameters(
        torch.tensor(rng.normal(size=n_outputs), dtype=dtype),
        torch.tensor(rng.normal(size=(n_outputs, n_features)), dtype=dtype),
        torch.tensor(rng.normal(size=(n_outputs, n_features, n_factors)), dtype=dtype),
    )
    before = parameters.clone()
    out = raw_prediction(DesignMatrix.from_array(X, dtype=dtype), parameters)
    assert out.shape == (n_outputs, n_rows)
    assert out.dtype == dtype
    expected, size = brute_force(X.astype(float), *(t.double().numpy() for t in parameters))
    assert (abs(out.double().numpy() - expected) <= 20 * torch.finfo(dtype).eps * size).all()
    assert all(torch.equal(a, b) for a, b in zip(parameters, before, strict=True))


@pytest.mark.parametrize("dense", [True, False])
def test_float32_is_close_to_float64(dense):
    """On a few hundred columns single precision keeps five digits."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 300)) * (dense or rng.random((50, 300)) < 0.1)
    parameters = [rng.normal(size=s) * 0.3 for s in ((2,), (2, 300), (2, 300, 8))]
    wide, narrow = (
        raw_prediction(
            DesignMatrix.from_array(X, dtype=dtype),
            FMParameters(*(torch.tensor(p, dtype=dtype) for p in parameters)),
        ).double()
        for dtype in (torch.float64, torch.float32)
    )
    assert not torch.equal(wide, narrow)
    assert_allclose(narrow, wide, atol=1e-5 * float(wide.abs().max()))


def test_copies_share_nothing():
    """A clone of parameters or of a posterior stays when the original changes."""
    for made in (
        FMParameters(torch.ones(1), torch.ones(1, 2), torch.ones(1, 2, 3)),
        Posterior(torch.ones(1, 2, 4), torch.ones(1), torch.ones(1)),
        Posterior(torch.ones(1, 2, 4), torch.ones(1), torch.ones(1), torch.ones(1, 2)),
    ):
        copy = made.clone()
        assert type(copy) is type(made)
        tensors = [tensor for tensor in made if tensor is not None]
        for tensor in tensors:
            tensor += 1
        copies = [tensor for tensor in copy if tensor is not None]
        assert len(copies) == len(tensors)
        assert all(bool((t == 1).all()) for t in copies)


def test_few_rows_of_many_columns_do_not_change_a_prediction():
    rng = np.random.default_rng(0)
    for n_features in (40, 400, 40_000):  # a table of all columns, marks in a list of them, sorted ones
        X = sparse.random(6, n_features, density=min(1, 10 / n_features), random_state=0, format="csr")
        X = sparse.hstack([X, rng.standard_normal((6, 2))]).tocsr()
        design = DesignMatrix.from_array(
            X, dtype=torch.float64, dense_columns=np.array([n_features, n_features + 1])
        )
        linear, factors = (
            rng.standard_normal((1, n_features + 2)),
            rng.standard_normal((1, n_features + 2, 3)),
        )
        parameters = FMParameters(
            torch.zeros(1, dtype=torch.float64), torch.tensor(linear), torch.tensor(factors)
        )
        s, squares = X @ factors[0], X.multiply(X) @ factors[0] ** 2
        expected = X @ linear[0] + (s**2 - squares).sum(1) / 2
        assert_allclose(raw_prediction(design, parameters)[0], expected, rtol=1e-10)
