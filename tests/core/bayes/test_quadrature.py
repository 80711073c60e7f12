"""Gauss-Hermite quadrature: against numerical integration, on any shape, with gradients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.stats import norm

from skfm.core.bayes.quadrature import TILE, normal_expectations, normal_nodes
from skfm.core.observation.classes import class_probabilities
from skfm.core.observation.inverse_links import SIGMOID

DOUBLE = torch.float64


@pytest.mark.parametrize("n_nodes", [1, 2, 15, 31])
def test_polynomials_are_exact(n_nodes):
    """n nodes integrate polynomials up to degree 2 n - 1, and the weights sum to one."""
    z, w = map(np.array, normal_nodes(n_nodes))
    moments = [1.0, 0.0]
    for degree in range(2, min(2 * n_nodes, 12)):
        moments.append((degree - 1) * moments[degree - 2])
    found = [float(w @ z**degree) for degree in range(len(moments))]
    assert_allclose(found, moments, rtol=1e-9, atol=1e-9)


@given(mean=st.floats(-12, 12), std=st.floats(0, 3))
def test_probabilities_against_integration(mean, std):
    """The probability of a class errs by less than 1e-4 up to a standard deviation of three, and in the tail by 1 %."""
    found = float(SIGMOID.expectation(torch.tensor(mean, dtype=DOUBLE), torch.tensor(std**2, dtype=DOUBLE)))

    def integrand(z):
        return norm.pdf(z) / (1 + math.exp(-(mean + std * z)))

    exact = quad(integrand, -12, 12, limit=200, epsabs=1e-12)[0]
    assert_allclose(found, exact, atol=1e-4)
    if std <= 2:
        assert_allclose(found, exact, rtol=1e-2)


@given(
    means=st.lists(st.floats(-30, 30), min_size=2, max_size=2, unique=True),
    std=st.floats(0, 30),
)
def test_probabilities_rise_with_the_mean(means, std):
    """Whatever the error, two samples of the same variance are in the order of their means, and classes sum to one."""
    low, high = (torch.tensor(m, dtype=DOUBLE) for m in sorted(means))
    variance = torch.tensor(std**2, dtype=DOUBLE)
    assert float(SIGMOID.expectation(low, variance)) <= float(SIGMOID.expectation(high, variance))
    total = SIGMOID.expectation(low, variance) + SIGMOID.expectation(-low, variance)
    assert_allclose(float(total), 1, rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 5), (2, 0), (3, TILE + 7)])
def test_any_shape(shape):
    """Elementwise, whatever the shape and the number of tiles, and a variance broadcasts to the means."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(shape, dtype=DOUBLE, generator=generator)
    variance = torch.rand(shape[-1:], dtype=DOUBLE, generator=generator)
    first, second = normal_expectations(lambda f: (f, f.square()), mean, variance, normal_nodes(5))
    assert first.shape == second.shape == mean.shape
    assert_allclose(first, mean, atol=1e-12)
    assert_allclose(second, mean.square() + variance, rtol=1e-12)


def test_gradients():
    """Those of the expectation, and finite where there is no variance."""
    mean = torch.tensor([-1.0, 0.3, 2.0], dtype=DOUBLE, requires_grad=True)
    variance = torch.tensor([0.5, 1.0, 3.0], dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(SIGMOID.expectation, (mean, variance))
    point = torch.zeros(3, dtype=DOUBLE, requires_grad=True)
    slopes = torch.autograd.grad(SIGMOID.expectation(mean, point).sum(), (mean, point))
    p = torch.sigmoid(mean)
    assert_allclose(slopes[0].detach(), (p * (1 - p)).detach(), rtol=1e-9)
    assert bool(torch.isfinite(slopes[1]).all())


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_probabilities_are_at_most_one(dtype):
    """Also where a class is certain, in spite of rounding."""
    raw = torch.linspace(0, 60, 400, dtype=dtype)[None]
    p = class_probabilities(SIGMOID, raw, torch.linspace(0, 5, 400, dtype=dtype)[None])
    assert float(p.max()) <= 1
    assert_allclose(p.sum(0), 1, rtol=10 * torch.finfo(dtype).eps)
