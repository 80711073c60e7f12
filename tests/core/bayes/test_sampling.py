"""Draws of whole tensors: each against its closed form, its moments or scipy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import log_ndtr

from skfm.core.bayes.sampling import (
    log_interval,
    log_ndtr_inverse,
    normal,
    polya_gamma,
    polya_gamma_terms,
    truncated_normal,
    uniform,
)

TILTS = (0.0, 1e-3, 0.0999, 0.1001, 0.7, 1.0, 10.0, 100.0, 1000.0)
REGIONS = {
    "middle": (-0.5, 1.5),
    "upper_tail": (8.0, 8.3),
    "far_lower_tail": (-math.inf, -45.0),
    "half_line": (-1.0, math.inf),
}


def tensor(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def log_cosh(x):
    return abs(x) + math.log1p(math.exp(-2 * abs(x))) - math.log(2)


def cdf_between(x, lower, upper):
    """The distribution function of a truncated normal, from scipy's logarithms."""
    if lower + upper > 0:
        return 1 - cdf_between(-x, -upper, -lower)
    low = np.exp(log_ndtr(lower) - log_ndtr(upper))
    return (np.exp(log_ndtr(x) - log_ndtr(upper)) - low) / (1 - low)


@pytest.mark.parametrize("c", TILTS)
@pytest.mark.parametrize(
    ("t", "tolerance"), [(0.01, 1e-11), (0.1, 1e-11), (1.0, 2e-10), (5.0, 2e-8), (100.0, 2e-4)]
)
def test_polya_gamma_laplace_transform(c, t, tolerance):
    """E[exp(-t omega)] of the gamma variables, the rest as one of them, is that of the distribution."""
    weights, mean, variance = polya_gamma_terms(tensor(c))
    got = -sum(torch.log1p(t * weight) for weight in weights)
    got = float(got - mean.square() / variance * torch.log1p(t * variance / mean))
    expected = log_cosh(c / 2) - log_cosh(math.sqrt(c**2 / 4 + t / 2))
    assert abs(got - expected) < tolerance


@pytest.mark.parametrize("shape", [None, 0.3, 1.0, 2.5, 7.0])
def test_polya_gamma_moments(shape):
    """Mean b tanh(c / 2) / (2 c), and the variance, whichever way the gamma variables are drawn."""
    n, b = 40_000, 1.0 if shape is None else shape
    for seed, c in enumerate((-3.0, 1e-4, 0.5, 20.0)):
        tilt = torch.full((n,), c, dtype=torch.float64)
        shapes = None if shape is None else torch.full_like(tilt, shape)
        x = polya_gamma(shapes, tilt, seeded(seed)).numpy()
        assert (x > 0).all()
        mean = b * math.tanh(c / 2) / (2 * c)
        assert abs(x.mean() - mean) < 5 * x.std() / math.sqrt(n)
        # The variance is minus the slope of the mean, over c: checked by differences, for all but the least c.
        if abs(c) > 0.1:
            means = [b * math.tanh(z / 2) / (2 * z) for z in (c - 1e-4, c + 1e-4)]
            variance = -(means[1] - means[0]) / 2e-4 / c
            square = (x - x.mean()) ** 2
            assert abs(square.mean() - variance) < 5 * square.std() / math.sqrt(n)


@pytest.mark.parametrize("c", [0.0, 2.0, 1000.0])
@pytest.mark.parametrize("shape", [None, 0.3, 3.0])
def test_polya_gamma_draws_have_the_laplace_transform(c, shape):
    """Of the numbers drawn, at a few places; float32 rows, which some devices need, are good enough too."""
    n, b = 40_000, 1.0 if shape is None else shape
    for dtype in (torch.float64, torch.float32):
        tilt = torch.full((n,), c, dtype=dtype)
        shapes = None if shape is None else torch.full_like(tilt, shape)
        x = polya_gamma(shapes, tilt, seeded(1))
        assert x.dtype == dtype
        x = x.double().numpy()
        for t in (1.0, 20.0, 2000.0):
            expected = math.exp(b * (log_cosh(c / 2) - log_cosh(math.sqrt(c**2 / 4 + t / 2))))
            values = np.exp(-t * x)
            # Far out the variables are as good as a constant, where float32 has some of its own error.
            assert abs(values.mean() - expected) < 5 * values.std() / math.sqrt(n) + 1e-6


def test_polya_gamma_of_shape_one():
    """Ones draw as None does, in other ways."""
    for seed, c in enumerate((0.0, -2.0, 30.0)):
        tilt = torch.full((20_000,), c, dtype=torch.float64)
        plain = polya_gamma(None, tilt, seeded(seed))
        ones = polya_gamma(torch.ones_like(tilt), tilt, seeded(seed + 100))
        assert not torch.equal(plain, ones)
        assert stats.ks_2samp(plain.numpy(), ones.numpy()).pvalue > 1e-3


def test_polya_gamma_of_mixed_rows():
    """Every row has its own shape and tilt, in any layout."""
    shape = tensor(0.5, 3.0)[:, None, None].expand(2, 2, 20_000).contiguous()
    tilt = tensor(0.5, 4.0)[None, :, None].expand(2, 2, 20_000).contiguous()
    x = polya_gamma(shape, tilt, seeded(3))
    expected = tensor(0.5, 3.0)[:, None] * torch.tanh(tensor(0.5, 4.0) / 2) / (2 * tensor(0.5, 4.0))
    assert bool(((x.mean(2) - expected).abs() < 5 * x.std(2) / math.sqrt(20_000)).all())


bound = st.one_of(st.floats(-60, 60), st.sampled_from([-math.inf, math.inf]))


@given(a=bound, b=bound, seed=st.integers(0, 2**32 - 1))
@example(a=0.0, b=5e-324, seed=0)
@example(a=60.0, b=math.nextafter(60.0, 61.0), seed=0)
@example(a=-60.0, b=60.0, seed=0)
@example(a=60.0, b=math.inf, seed=0)
@example(a=-math.inf, b=math.inf, seed=0)
def test_truncated_normal_is_inside(a, b, seed):
    """Draws are finite and between the bounds, however far out or close together these are."""
    lower, upper = min(a, b), max(a, b)
    assume(lower < upper)
    like = torch.zeros(50, dtype=torch.float64)
    x = truncated_normal(like + lower, like + upper, seeded(seed))
    assert bool(torch.isfinite(x).all())
    assert bool(((x >= lower) & (x <= upper)).all())


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("mirrored", [False, True])
def test_truncated_normal_distribution(region, mirrored):
    lower, upper = REGIONS[region]
    if mirrored:
        lower, upper = -upper, -lower
    like = torch.zeros(20_000, dtype=torch.float64)
    x = truncated_normal(like + lower, like + upper, seeded(11)).numpy()
    assert stats.kstest(x, lambda q: cdf_between(q, lower, upper)).pvalue > 1e-3


def test_log_interval():
    """As scipy has it where scipy has digits, in both tails, and as the density times the width if narrow."""
    rng = np.random.default_rng(0)
    lower = rng.uniform(-30, 30, 500)
    upper = lower + 10 ** rng.uniform(-2, 1.5, 500)
    lower[:20], upper[20:40] = -np.inf, np.inf
    flip = lower + upper > 0
    left, right = np.where(flip, -upper, lower), np.where(flip, -lower, upper)
    expected = log_ndtr(right) + np.log(-np.expm1(log_ndtr(left) - log_ndtr(right)))
    got = log_interval(torch.from_numpy(lower), torch.from_numpy(upper))
    assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("exponent", [-10, -15, -20, -30, -38])
def test_log_interval_of_narrow_intervals(exponent):
    """The density in the middle times the width, and the next term; bounds that are numbers without rounding."""
    middle, width = np.linspace(-30, 30, 13), 2.0**exponent
    got = log_interval(torch.from_numpy(middle - width / 2), torch.from_numpy(middle + width / 2))
    expected = stats.norm.logpdf(middle) + math.log(width) + (middle**2 - 1) * width**2 / 24
    assert_allclose(got, expected, rtol=0, atol=1e-8)


@given(a=st.floats(-60, 60), width=st.floats(1e-6, 60))
def test_log_interval_of_mirrored_intervals(a, width):
    lower, upper = tensor(a), tensor(a + width)
    got = log_interval(lower, upper)
    assert bool(torch.isfinite(got).all())
    assert_allclose(log_interval(-upper, -lower), got, rtol=1e-14)


def test_log_ndtr_inverse_round_trip():
    """Inverse of log Phi, to where the probability is no number any more, with no seam between the formulas."""
    x = torch.cat([torch.linspace(-1e3, -30, 2000), torch.linspace(-40, 5, 2000)]).double()
    assert_allclose(log_ndtr_inverse(torch.special.log_ndtr(x)), x, rtol=1e-9, atol=1e-8)
    log_p = -torch.logspace(-12, 5, 2000, dtype=torch.float64)
    # Close to one a probability has digits of 1e-16, of which log p is the last few.
    assert_allclose(torch.special.log_ndtr(log_ndtr_inverse(log_p)), log_p, rtol=1e-12, atol=1e-15)
    narrow = torch.linspace(-60, 2, 500)
    assert_allclose(log_ndtr_inverse(torch.special.log_ndtr(narrow)), narrow, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_is_open(monkeypatch, dtype):
    """Neither the least nor the greatest number that torch can come up with becomes zero or one."""
    like = torch.zeros(20_000, dtype=dtype)
    u = uniform(like, seeded(0))
    assert u.dtype == dtype
    assert stats.kstest(u.double().numpy(), "uniform").pvalue > 1e-3
    greatest = 1 - torch.finfo(dtype).eps / 2
    monkeypatch.setattr(torch, "rand", lambda shape, **kwargs: torch.tensor([0, greatest], dtype=dtype))
    u = uniform(like[:2], seeded(0))
    assert 0 < float(u[0]) < 1e-7
    assert 0.999 < float(u[1]) < 1


def test_same_seed_same_numbers():
    """The same seed gives the same numbers; as many as there are rows, whatever the values, for normals."""
    like = torch.linspace(-3, 3, 100, dtype=torch.float64)
    draws = [
        lambda g: normal(like, g),
        lambda g: uniform(like, g),
        lambda g: truncated_normal(like, like + 1, g),
        lambda g: polya_gamma(None, like, g),
        lambda g: polya_gamma(like + 4, like, g),
    ]
    for draw in draws:
        first = draw(seeded(5))
        assert torch.equal(first, draw(seeded(5)))
        assert not torch.equal(first, draw(seeded(6)))
    near, far = seeded(7), seeded(7)
    truncated_normal(like, like + 1, near)
    truncated_normal(like - 50, like - 49, far)
    assert torch.equal(normal(like, near), normal(like, far))
