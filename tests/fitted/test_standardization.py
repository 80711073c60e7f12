"""The map of the columns: measured where that is hard, and from one map to another."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skfm.core.interactions.pairwise import raw_prediction
from skfm.core.interactions.units import fold
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.matrix.standardize import Standardization
from skfm.data.scaling import LocatedParameters, Scaling


def random_parameters(rng, n_outputs, n_columns, n_factors):
    shapes = (n_outputs,), (n_outputs, n_columns), (n_outputs, n_columns, n_factors)
    return FMParameters(*(torch.tensor(rng.normal(size=shape)) for shape in shapes))


def random_map(rng, n_columns, center=0.0):
    centered = rng.random(n_columns) < 0.6
    centers = np.where(centered, center + rng.normal(size=n_columns), 0)
    return Standardization(torch.tensor(centers), torch.tensor(rng.gamma(2.0, 1.0, n_columns) + 0.1))


def random_scaling(rng, n_columns, n_outputs, center=0.0):
    return Scaling(
        random_map(rng, n_columns, center),
        torch.tensor(rng.normal(size=n_outputs)),
        torch.tensor(rng.gamma(2.0, 3.0, n_outputs) + 0.1),
    )


def predict(X, scaling, parameters):
    """Raw predictions of numbers, in long double and the user's units."""
    columns = scaling.conditioning
    Z = (X - columns.center.numpy().astype(np.longdouble)) / columns.scale.numpy()
    w0, w, V = (t.numpy().astype(np.longdouble) for t in parameters)
    raw = [
        w0[b] + Z @ w[b] + (((Z @ V[b]) ** 2).sum(1) - (Z**2 @ V[b] ** 2).sum(1)) / 2 for b in range(len(w0))
    ]
    return np.array(raw) * scaling.scale.numpy()[:, None] + scaling.shift.numpy()[:, None]


SHAPES = {"n_outputs": st.integers(1, 3), "n_factors": st.integers(0, 4), "seed": st.integers(0, 2**32 - 1)}


@given(**SHAPES, center=st.sampled_from([0.0, 1e3, 1e9, 1e15]))
def test_parameters_move_from_one_fit_to_another(n_outputs, n_factors, seed, center):
    """To the digits of numbers near the centers, however far these are from zero."""
    rng = np.random.default_rng(seed)
    first, second = random_scaling(rng, 5, n_outputs, center), random_scaling(rng, 5, n_outputs, center)
    # The same columns are centered, or the other one is at zero.
    both = (first.conditioning.center != 0) & (second.conditioning.center != 0)
    first, second = (
        s._replace(conditioning=Standardization(s.conditioning.center * both, s.conditioning.scale))
        for s in (first, second)
    )
    parameters = random_parameters(rng, n_outputs, 5, n_factors)
    moved = LocatedParameters(parameters, first).within(second)
    X = np.where(both, center, 0) + rng.normal(size=(20, 5)).astype(np.longdouble)
    expected = predict(X, first, parameters)
    size = np.abs(expected).max() + 1
    assert_allclose(
        predict(X, second, moved).astype(float), expected.astype(float), rtol=0, atol=1e-10 * size
    )
    back = LocatedParameters(moved, second).within(first)
    for a, b in zip(back, parameters, strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-9 * size)


@given(**SHAPES)
def test_the_same_scaling_moves_nothing(n_outputs, n_factors, seed):
    rng = np.random.default_rng(seed)
    scaling, parameters = random_scaling(rng, 4, n_outputs), random_parameters(rng, n_outputs, 4, n_factors)
    for found, expected in zip(scaling.rebase(parameters, scaling), parameters, strict=True):
        assert_array_equal(found, expected)


@given(**SHAPES)
def test_the_units_of_the_user_are_a_scaling_too(n_outputs, n_factors, seed):
    """And so is every other path between two of them."""
    rng = np.random.default_rng(seed)
    scaling, parameters = random_scaling(rng, 4, n_outputs), random_parameters(rng, n_outputs, 4, n_factors)
    nothing = Scaling(
        Standardization(*(torch.full((4,), v, dtype=torch.float64) for v in (0.0, 1.0))),
        *(torch.full((n_outputs,), v, dtype=torch.float64) for v in (0.0, 1.0)),
    )
    user = scaling.to_user(parameters)
    for a, b in zip(scaling.rebase(parameters, nothing), user, strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    solver = LocatedParameters(user).within(scaling)
    for a, b in zip(nothing.rebase(user, scaling), solver, strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    # Without scales nothing is left but the centers.
    centers = scaling.without_scales()
    assert_array_equal(centers.conditioning.center, scaling.conditioning.center)
    for a, b in zip(scaling.rebase(parameters, centers).factors, user.factors, strict=True):
        assert_allclose(a, b, rtol=1e-12)


def test_several_chains_move_together():
    rng = np.random.default_rng(0)
    first, second = random_scaling(rng, 3, 2), random_scaling(rng, 3, 2)
    chains = [random_parameters(rng, 2, 3, 2) for _ in range(3)]
    together = FMParameters(*(torch.cat(parts) for parts in zip(*chains, strict=True)))
    for scaling in (first, None):
        alone = [LocatedParameters(chain, scaling).within(second) for chain in chains]
        found = LocatedParameters(together, scaling).within(second)
        for parts, part in zip(zip(*alone, strict=True), found, strict=True):
            assert_allclose(part, torch.cat(parts), rtol=1e-12)


# ------------------------------------------------------------------------------ measured


def measure(X, weight=None, dtype=torch.float64):
    X = np.asarray(X, float)
    X = X[:, None] if X.ndim == 1 else X
    design = DesignMatrix.from_array(X, dtype=dtype, dense_columns=np.arange(X.shape[1]))
    weight = torch.ones(len(X), dtype=torch.float64) if weight is None else torch.tensor(weight)
    return design, Standardization.measure(design, weight)


@pytest.mark.parametrize("spread", [1e-13, 1e-12, 1e-9, 1e-6, 1.0])
@pytest.mark.parametrize("at", [1.0, -3.7, 1e9, 1e-200, 1e200])
def test_narrow_columns(at, spread):
    """Columns that are far from zero by their own spread have the center and scale of their numbers."""
    rng = np.random.default_rng(0)
    X = at + at * spread * rng.standard_normal(200)
    weight = rng.gamma(1, 1, 200)
    design, found = measure(X, weight)
    x, w = X.astype(np.longdouble), weight.astype(np.longdouble)
    mean = (w @ x) / w.sum()
    scale = np.sqrt((w @ ((x - mean) / at) ** 2) / w.sum()) * abs(np.longdouble(at))
    # The scale is that about the center, which is rounded.
    assert abs((found.center[0].item() - mean) / scale) < 1e-2
    assert_allclose(float(found.scale[0] / at), float(scale / at), rtol=1e-3 if spread < 1e-12 else 1e-4)
    z = found.apply(design).dense[0]
    assert bool(torch.isfinite(z).all())
    assert_allclose(torch.tensor(weight) @ z.square() / weight.sum(), 1, rtol=0.02)


@pytest.mark.parametrize("n", [2, 1000, 300_000])
@pytest.mark.parametrize("value", [0.1, 1e-300, -1e300, 123456789.123])
def test_constant_columns_are_never_centered(value, n):
    """However many rows there are: the rounding of sums is no spread."""
    weight = np.random.default_rng(n).gamma(1, 1, n)
    assert not measure(np.full(n, value), weight)[1].centers
    # Neither is that of the numbers.
    X = np.full(n, value)
    X[::2] = np.nextafter(value, np.inf)
    assert not measure(X, weight)[1].centers


@pytest.mark.parametrize("factor", [1e-300, 1e-155, 1e155, 1e300])
def test_numbers_whose_squares_are_none(factor):
    """Sparse and dense columns at the ends of the range."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 4)) * (rng.random((50, 4)) < [1, 1, 0.2, 0.2]) + [3, 0, 0, 0]
    for dense_columns in ([0, 1], [0, 1, 2, 3], []):
        maps = []
        for numbers in (X, X * factor):
            design = DesignMatrix.from_array(numbers, dtype=torch.float64, dense_columns=dense_columns)
            maps.append((design, Standardization.measure(design, torch.ones(50, dtype=torch.float64))))
        assert_allclose(maps[1][1].scale / factor, maps[0][1].scale, rtol=1e-12)
        assert_allclose(maps[1][1].center / factor, maps[0][1].center, rtol=1e-12)
        (_, plain), (_, moved) = maps
        folded = fold(
            moved,
            random_parameters(rng, 1, 4, 2),
            *(torch.full((1,), v, dtype=torch.float64) for v in (0.0, 1.0)),
        )
        assert plain.centers == moved.centers
        if factor < 1e300:
            assert all(bool(torch.isfinite(part).all()) for part in folded)


def test_centers_are_numbers_of_the_type_of_the_columns():
    """So that single precision is centered at the same place in training and in any prediction."""
    rng = np.random.default_rng(0)
    X = (1e5 + rng.standard_normal((50, 1))).astype(np.float32)
    design = DesignMatrix.from_array(X, dtype=torch.float32, dense_columns=[0])
    found = Standardization.measure(design, torch.ones(50)).rounded(torch.float32)
    center = found.center.item()
    assert center == np.float32(center)
    z = found.apply(design).dense[0].numpy()
    exact = (X[:, 0].astype(float) - center) / found.scale.item()
    assert_allclose(z, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dense_columns", [[], [0, 1]])
@pytest.mark.parametrize("scale", [3e-46, 2.3e-42, 1.2e-38])
def test_scales_that_are_rounded_or_zero_in_single_precision(scale, dense_columns):
    """The quotients have all digits nevertheless."""
    rng = np.random.default_rng(0)
    X = (rng.integers(1, 9000, (50, 2)) * [1e-45, 1]).astype(np.float32)
    design = DesignMatrix.from_array(X, dtype=torch.float32, dense_columns=np.array(dense_columns, int))
    columns = Standardization(
        torch.zeros(2, dtype=torch.float64), torch.tensor([scale, 3.0], dtype=torch.float64)
    )
    found = columns.apply(design).matmul(torch.eye(2))
    scales = np.array([float(s) for s in columns.scale])
    assert_allclose(found, X.astype(float) / scales, rtol=2e-7)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("centers", [False, True])
def test_a_design_is_overwritten_only_if_it_may_be(centers, in_place):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 3)) + 5 * centers
    design = DesignMatrix.from_array(X, dtype=torch.float64, dense_columns=np.arange(3))
    found = Standardization(torch.full((3,), 5.0 * centers).double(), torch.tensor([1.0, 2.0, 3.0]).double())
    before, storage = design.dense.clone(), design.dense.data_ptr()
    new = found.apply(design, in_place=in_place)
    assert (new.dense.data_ptr() == storage) == in_place
    if not in_place:
        assert torch.equal(design.dense, before)
    assert_allclose(new.dense, (before - 5 * centers) / found.scale[:, None], rtol=1e-15)


def test_some_columns_of_a_map():
    rng = np.random.default_rng(0)
    found = random_map(rng, 6)
    X = rng.standard_normal((10, 6))
    design = DesignMatrix.from_array(X, dtype=torch.float64, dense_columns=np.arange(6))
    part = DesignMatrix.from_array(X[:, [1, 4]], dtype=torch.float64, dense_columns=np.arange(2))
    taken = found.take(torch.tensor([1, 4]))
    assert_array_equal(taken.apply(part).dense, found.apply(design).dense[[1, 4]])


def test_moderate_scales():
    """Which are so by the type."""
    one = torch.ones(2, dtype=torch.float64)
    for scale, single, double in (
        (1.0, True, True),
        (1e12, False, True),
        (1e-12, False, True),
        (1e90, False, False),
    ):
        for scaling in (
            Scaling(Standardization(0 * one, one * scale), 0 * one, one),
            Scaling(Standardization(0 * one, one), 0 * one, one * scale),
        ):
            assert scaling.is_within(np.float32) == single
            assert scaling.is_within(np.float64) == double


@given(**SHAPES)
def test_parameters_on_standardized_columns_in_the_units_of_the_target(n_outputs, n_factors, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((10, 4))
    scaling, parameters = random_scaling(rng, 4, n_outputs), random_parameters(rng, n_outputs, 4, n_factors)
    design = DesignMatrix.from_array(X, dtype=torch.float64, dense_columns=np.arange(4))
    found = raw_prediction(scaling.conditioning.apply(design), scaling.to_columns(parameters))
    expected = predict(X.astype(np.longdouble), scaling, parameters).astype(float)
    assert_allclose(found, expected, rtol=0, atol=1e-11 * (1 + np.abs(expected).max()))
