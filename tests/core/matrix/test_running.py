"""Running moments: those of all rows, however these come in chunks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.running import ColumnMoments, Moments
from skfm.core.matrix.running_target import SAMPLE, TargetMoments
from skfm.core.matrix.standardize import Standardization
from skfm.core.observation.gaussian import SquaredErrorLoss
from skfm.core.observation.robust import HuberLoss

DENSE = np.arange(6, 10)


def columns_of_all_kinds(rng, n_rows=40):
    """Two columns of zeros and ones, four sparse ones, and four dense ones, one of them constant."""
    X = np.zeros((n_rows, 10))
    X[:, :2] = rng.random((n_rows, 2)) < 0.4
    X[:, 2:6] = rng.gamma(2.0, 3.0, (n_rows, 4)) * (rng.random((n_rows, 4)) < 0.4)
    X[:, 6:9] = rng.normal(size=(n_rows, 3)) * [1.0, 1e-3, 1.0] + [0.0, 300.0, -2.0]
    X[rng.random(n_rows) < 0.2, 8] = 0
    X[:, 9] = 7.0
    return X


def design_of(X):
    return DesignMatrix.from_array(X, dtype=torch.float64, dense_columns=DENSE)


def moments_of(X, weight, cuts=()):
    found = ColumnMoments.empty(X.shape[1])
    for rows, w in zip(np.split(X, cuts), np.split(weight, cuts), strict=True):
        found = found.joined(ColumnMoments.measure(design_of(rows), torch.tensor(w)))
    return found


def assert_same_moments(found, expected, rtol=1e-9):
    assert_allclose(found.total, expected.total, rtol=1e-12)
    for part, other in zip(found.rows(), expected.rows(), strict=True):
        assert torch.isfinite(part).all()
        assert_allclose(part, other, rtol=rtol)
    used = expected.weight > 0
    for part, other in zip(found.nonzeros, expected.nonzeros, strict=True):
        assert_allclose(part[used], other[used], rtol=rtol)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sets(st.integers(1, 39), max_size=39), st.sampled_from([-300, 0, 300]))
def test_chunks_do_not_matter(seed, cuts, exponent):
    rng = np.random.default_rng(seed)
    X, weight = columns_of_all_kinds(rng), rng.uniform(0.1, 3, 40)
    X[:, 2:] *= 10.0**exponent
    whole = moments_of(X, weight)
    assert_same_moments(moments_of(X, weight, sorted(cuts)), whole)
    scale = np.abs(X).max(0)
    scale[scale == 0] = 1
    relative = X / scale
    mean = np.average(relative, axis=0, weights=weight)
    _, found_mean, found_spread = whole.rows()
    assert_allclose(found_mean.numpy() / scale, mean, rtol=1e-12, atol=1e-15)
    expected = np.sqrt(np.average((relative - mean) ** 2, axis=0, weights=weight))
    assert_allclose(found_spread.numpy() / scale, expected, rtol=1e-9, atol=1e-15)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_the_units_are_those_of_all_rows(seed, center):
    rng = np.random.default_rng(seed)
    X, weight = columns_of_all_kinds(rng), rng.uniform(0.1, 3, 40)
    X[:, 5] = 0
    X[0, 2:5] = 2.5
    found = moments_of(X, weight, [1, 3, 20]).standardization(torch.tensor(DENSE), center=center)
    expected = Standardization.measure(design_of(X), torch.tensor(weight))
    if not center:
        scale = torch.hypot(expected.center, expected.scale)
        expected = Standardization(torch.zeros_like(scale), scale)
    assert_allclose(found.center, expected.center, rtol=1e-9, atol=1e-12)
    assert_allclose(found.scale, expected.scale, rtol=1e-9)
    assert_array_equal(found.scale[:2], 1)


def test_weights_are_repeats():
    rng = np.random.default_rng(0)
    X, weight = columns_of_all_kinds(rng), rng.integers(1, 4, 40)
    repeated = np.repeat(X, weight, axis=0)
    assert_same_moments(
        moments_of(X, weight.astype(float), [7]), moments_of(repeated, np.ones(len(repeated)))
    )


def test_columns_that_become_numbers():
    X = columns_of_all_kinds(np.random.default_rng(0))
    X[:, 2] = X[:, 2] != 0
    X[:, 9] = 1
    ones = moments_of(X[:30, [0, 1, 2, 9] + [0] * 6], np.ones(30))
    assert ones.mean is None
    assert not ones.are_numeric.any()
    X[30:, 2] *= 3
    X[35:, 9] = 2
    found = moments_of(X, np.ones(40), [30])
    assert found.are_numeric[[2, 9]].all()
    assert_same_moments(found, moments_of(X, np.ones(40)))
    assert_array_equal(moments_of(X[:30], np.ones(30)).have_varied()[[0, 9]], [True, False])


def test_moments_of_standardized_columns():
    rng = np.random.default_rng(0)
    X, weight = columns_of_all_kinds(rng), torch.tensor(rng.uniform(0.1, 3, 40))
    units = Standardization.measure(design_of(X), weight)
    found = ColumnMoments.measure(units.apply(design_of(X)), weight).before(units)
    expected = ColumnMoments.measure(design_of(X), weight)
    for part, other in zip(found.rows(), expected.rows(), strict=True):
        assert_allclose(part, other, rtol=1e-9, atol=1e-12)
    assert_array_equal(found.are_numeric, expected.are_numeric)


def test_a_round_trip():
    X = columns_of_all_kinds(np.random.default_rng(0))
    for columns in (X, X[:, [0, 1] * 5]):
        found = moments_of(columns, np.ones(40), [10])
        again = ColumnMoments.from_arrays(found.arrays())
        assert (found.mean is None) == (again.mean is None)
        for part, other in zip(found, again, strict=True):
            assert part is other is None or torch.equal(part, other)


# ---------------------------------------------------------------------------------------- targets


def target_of(y, weight, cuts=(), *, with_sample):
    found = TargetMoments.empty(with_sample=with_sample)
    for part, w in zip(np.split(y, cuts), np.split(weight, cuts), strict=True):
        found = found.joined(torch.tensor(part), torch.tensor(w))
    return found


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sets(st.integers(1, 59), max_size=9),
    st.sampled_from([1e-150, 1.0, 1e150]),
    st.booleans(),
)
def test_location_and_scale_of_targets(seed, cuts, factor, center):
    rng = np.random.default_rng(seed)
    y, weight = (rng.gamma(2.0, size=60) + 3) * factor, rng.uniform(0.1, 3, 60)
    whole = torch.tensor(y), torch.tensor(weight)
    for loss in (SquaredErrorLoss(), HuberLoss()):
        known = target_of(y, weight, sorted(cuts), with_sample=loss.uses_medians)
        found = loss.location_and_scale(*known.representatives(), center=center)
        assert_allclose(found, loss.location_and_scale(*whole, center=center), rtol=1e-9)
        again = TargetMoments.from_arrays(known.arrays())
        assert torch.equal(again.representatives()[0], known.representatives()[0])
        assert known.has_varied


@pytest.mark.parametrize("cuts", [(), (1, 2, 3, 8000), range(100, 20_000, 100)])
def test_a_sample_of_many_targets(cuts):
    rng = np.random.default_rng(0)
    y = rng.standard_cauchy(20_000)
    weight = np.where(y > 0, 3.0, 0.5)
    known = target_of(y, weight, list(cuts), with_sample=True)
    values, w = known.representatives()
    assert len(values) == SAMPLE
    # The sum of all weights is estimated without bias, and quantiles with the error of such a sample.
    assert_allclose(w.sum(), weight.sum(), rtol=0.05)
    found = HuberLoss().location_and_scale(values, w, center=True)
    expected = HuberLoss().location_and_scale(torch.tensor(y), torch.tensor(weight), center=True)
    assert_allclose(found, expected, rtol=0.15)
    again = TargetMoments.from_arrays(known.arrays())
    more = torch.tensor(rng.normal(size=50)), torch.ones(50, dtype=torch.float64)
    for part, other in zip(
        known.joined(*more).representatives(), again.joined(*more).representatives(), strict=True
    ):
        assert torch.equal(part, other)


@pytest.mark.parametrize("value", [0.0, 5.0, 1e9 + 0.1, -1e300])
def test_constant_targets_have_not_varied(value):
    known = target_of(np.full(30, value), np.linspace(0.1, 2, 30), [3, 10], with_sample=False)
    assert not known.has_varied
    assert known.joined(
        *torch.tensor([[value + abs(value) / 1e3 + 1e-9], [1.0]], dtype=torch.float64)
    ).has_varied


def test_moments_of_nothing():
    zero = torch.zeros(3, dtype=torch.float64)
    nothing, some = Moments(zero, zero, zero), Moments(zero + 2, zero + 5, zero + 1)
    for found in (nothing.joined(some), some.joined(nothing)):
        for part, other in zip(found, some, strict=True):
            assert torch.equal(part, other)
    assert not nothing.varies.any()
