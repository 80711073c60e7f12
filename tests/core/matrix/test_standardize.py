"""Columns on a common scale: an exact change of units, and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skfm.core.interactions.pairwise import raw_prediction
from skfm.core.interactions.units import fold, unfold
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.matrix.standardize import Standardization


def make_design(rng, n_rows=30, dtype=torch.float64, factor=1.0):
    """Binary, sparse numeric, dense and constant columns: 3, 3, 3 and 1 of them."""
    X = np.zeros((n_rows, 10))
    X[:, :3] = rng.random((n_rows, 3)) < 0.4
    X[:, 3:6] = rng.gamma(2.0, 3.0, (n_rows, 3)) * (rng.random((n_rows, 3)) < 0.3)
    X[:, 6:9] = rng.normal(size=(n_rows, 3)) * [1.0, 100.0, 0.01] + [0.0, 300.0, -2.0]
    X[:, 9] = 7.0
    X[0, 3:6] = 2.5
    X[:, 3:] *= factor
    return X, DesignMatrix.from_array(X, dtype=dtype, dense_columns=np.arange(6, 10))


def to_dense(design):
    return design.matmul(torch.eye(design.shape[1], dtype=torch.float64)).numpy()


def random_parameters(rng, n_outputs, n_features, n_factors):
    shapes = (n_outputs,), (n_outputs, n_features), (n_outputs, n_features, n_factors)
    return FMParameters(*(torch.tensor(rng.normal(size=shape)) for shape in shapes))


def random_weight(rng, n_rows):
    return torch.tensor(rng.integers(1, 4, n_rows).astype(float))


@given(n_outputs=st.integers(1, 3), n_factors=st.integers(0, 4), seed=st.integers(0, 2**32 - 1))
def test_folding_is_exact(n_outputs, n_factors, seed):
    """Folded parameters predict on x what the originals predict on x', in the units of the target."""
    rng = np.random.default_rng(seed)
    X, design = make_design(rng)
    conditioning = Standardization.measure(design, random_weight(rng, len(X)))
    assert conditioning.centers
    parameters = random_parameters(rng, n_outputs, X.shape[1], n_factors)
    shift, scale = torch.tensor(rng.normal(size=n_outputs) * 5), torch.tensor(rng.gamma(2.0, 3.0, n_outputs))
    expected = raw_prediction(conditioning.apply(design), parameters) * scale[:, None] + shift[:, None]
    folded = raw_prediction(design, fold(conditioning, parameters, shift, scale))
    size = float(expected.abs().max()) + 1
    # Centers of 300 units of width 100 are squared on the way: a few digits go.
    assert_allclose(folded, expected, rtol=0, atol=1e-9 * size)


@given(n_outputs=st.integers(1, 3), n_factors=st.integers(0, 4), seed=st.integers(0, 2**32 - 1))
def test_unfolding_undoes_folding(n_outputs, n_factors, seed):
    """There and back again, both ways."""
    rng = np.random.default_rng(seed)
    conditioning = Standardization(
        torch.tensor(rng.normal(size=5) * (rng.random(5) < 0.5)), torch.tensor(rng.gamma(2.0, 1.0, 5) + 0.1)
    )
    parameters = random_parameters(rng, n_outputs, 5, n_factors)
    units = torch.tensor(rng.normal(size=n_outputs)), torch.tensor(rng.gamma(2.0, 3.0, n_outputs) + 0.1)
    for there, back in ((fold, unfold), (unfold, fold)):
        middle = there(conditioning, parameters, *units)
        for a, b in zip(back(conditioning, middle, *units), parameters, strict=True):
            assert_allclose(
                a, b, rtol=1e-10, atol=1e-10 * max(1, *(float(t.abs().amax()) for t in middle if t.numel()))
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_conditioning_does(dtype):
    """Dense columns: mean zero and variance one. Sparse numbers: unit mean square of the non-zeros. 0/1: nothing."""
    rng = np.random.default_rng(0)
    X, design = make_design(rng, 60, dtype)
    weight = random_weight(rng, 60)
    conditioning = Standardization.measure(design, weight)
    assert conditioning.center.dtype == conditioning.scale.dtype == torch.float64
    new = conditioning.apply(design)
    assert new.dtype == dtype
    Z, w = to_dense(new), weight.numpy()
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    assert_array_equal(Z[:, :3], X[:, :3])
    assert_array_equal(Z[:, 3:6] != 0, X[:, 3:6] != 0)
    assert_array_equal(conditioning.center[:6], 0)
    for z in Z.T[3:6]:
        assert_allclose((w @ z**2) / w[z != 0].sum(), 1, rtol=tolerance)
    assert_allclose(w @ Z[:, 6:9] / w.sum(), 0, atol=tolerance)
    assert_allclose(w @ Z[:, 6:9] ** 2 / w.sum(), 1, rtol=tolerance)
    assert_allclose(Z[:, 9], 1, rtol=tolerance)  # a constant is scaled and kept
    assert conditioning.center[9] == 0
    assert_array_equal(new.indices, design.indices)


@given(seed=st.integers(0, 2**32 - 1))
def test_weights_are_repeats(seed):
    """A row of weight three counts as three rows."""
    rng = np.random.default_rng(seed)
    X, design = make_design(rng)
    weight = random_weight(rng, len(X))
    repeated = DesignMatrix.from_array(
        np.repeat(X, weight.long().numpy(), 0), dtype=torch.float64, dense_columns=np.arange(6, 10)
    )
    first = Standardization.measure(design, weight)
    second = Standardization.measure(repeated, torch.ones(repeated.shape[0], dtype=torch.float64))
    assert_allclose(first.center, second.center, rtol=1e-12, atol=1e-12)
    assert_allclose(first.scale, second.scale, rtol=1e-12)


@pytest.mark.parametrize("factor", [1e-200, 1e-6, 3.0, -2.0, 1e6, 1e200])
def test_units_do_not_matter(factor):
    """Numeric columns in other units give the same conditioned design, up to sign, and finite scales."""
    X, design = make_design(np.random.default_rng(1))
    weight = random_weight(np.random.default_rng(2), len(X))
    _, other = make_design(np.random.default_rng(1), factor=factor)
    first, second = (Standardization.measure(d, weight) for d in (design, other))
    assert bool(torch.isfinite(second.scale).all())
    assert bool((second.scale > 0).all())
    sign = np.ones(10)
    sign[3:] = np.sign(factor)
    assert_allclose(to_dense(second.apply(other)), to_dense(first.apply(design)) * sign, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("value", [7.0, -1e-3, 0.1, 1e8])
def test_constant_columns_keep_their_value(value):
    """Rounding does not make a constant look like a signal."""
    off = 0.0
    for seed in range(20):
        weight = torch.tensor(np.random.default_rng(seed).gamma(1.0, 1.0, 1001))
        ones = torch.ones_like(weight)
        off = max(off, abs(float(weight @ ones / weight.sum() - 1)))
        design = DesignMatrix.from_array(value * ones[:, None].numpy(), dtype=torch.float64)
        conditioning = Standardization.measure(design, weight)
        assert not conditioning.centers
        assert_allclose(abs(to_dense(conditioning.apply(design))), 1, rtol=1e-12)
    assert off > 0  # rounding does move some of the means


@pytest.mark.parametrize("dense_columns", [[], [1, 4]])
def test_binary_designs_are_left_alone(dense_columns):
    """Without numeric columns nothing is stored, scaled or centered, be the columns kept sparse or dense."""
    X = (np.random.default_rng(0).random((20, 6)) < 0.4).astype(float)
    design = DesignMatrix.from_array(X, dtype=torch.float64, dense_columns=dense_columns)
    conditioning = Standardization.measure(design, random_weight(np.random.default_rng(1), 20))
    assert_array_equal(conditioning.center, 0)
    assert_array_equal(conditioning.scale, 1)
    new = conditioning.apply(design)
    assert new.values is None
    assert new.indices.data_ptr() == design.indices.data_ptr()
    assert_array_equal(to_dense(new), X)


def test_new_data_on_the_old_scale():
    """Scales found on training data apply to binary-looking new data, whose values are all one."""
    X = np.zeros((20, 2))
    X[:3, 0], X[4:9, 1] = [2.0, 4.0, 1.0], 1
    conditioning = Standardization.measure(
        DesignMatrix.from_array(X, dtype=torch.float64, dense_columns=[]), torch.ones(20, dtype=torch.float64)
    )
    assert_allclose(conditioning.scale, [np.sqrt(7), 1])
    new = DesignMatrix.from_array(np.eye(2), dtype=torch.float64, dense_columns=[])
    assert new.values is None
    assert_allclose(to_dense(conditioning.apply(new)), np.diag([1 / np.sqrt(7), 1]))


def test_arrays_and_back():
    """The numpy state rebuilds the same map."""
    conditioning = Standardization(torch.tensor([0.0, 1.5]).double(), torch.tensor([1.0, 2.0]).double())
    arrays = conditioning.arrays()
    assert all(isinstance(a, np.ndarray) and a.dtype == np.float64 for a in arrays.values())
    again = Standardization.from_arrays(arrays)
    assert torch.equal(again.center, conditioning.center)
    assert torch.equal(again.scale, conditioning.scale)
