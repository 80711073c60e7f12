"""Quadratic parts of the observation models: bounds that touch, surrogates with the slope of the loss."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from skfm.core.observation.registry import MODELS, losses_with

NAMES = sorted(losses_with("quadratic"))
#: Models whose bound is the expected log likelihood itself.
EXACT = [name for name in NAMES if MODELS[name].quadratic.is_gaussian or MODELS[name].quadratic.can_overshoot]
BINARY = [name for name in NAMES if MODELS[name].target == "labels"]


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def draw_y(name, target):
    return tensor(float(target > 0) if name in BINARY else target)


def expected_log_likelihood(likelihood, y, mean, variance):
    """Gauss-Hermite quadrature of E[log p(y | f)]."""
    points, weights = np.polynomial.hermite_e.hermegauss(101)
    f = float(mean) + math.sqrt(float(variance)) * torch.tensor(points)
    values = -likelihood.loss(y.expand(f.shape), f).numpy()
    return float(weights @ values / weights.sum())


def test_noise():
    """Of these three models, one has a noise precision to learn, and is the quadratic itself."""
    for name in ("log_loss", "probit", "squared_error"):
        quadratic = MODELS[name].quadratic
        assert quadratic.has_noise == quadratic.is_gaussian == (name == "squared_error")


@given(
    name=st.sampled_from(NAMES),
    target=st.floats(-3, 3),
    mean=st.floats(-8, 8),
    variance=st.floats(0, 6),
)
def test_bound_is_a_bound(name, target, mean, variance):
    """The bound is below the expected log likelihood, or equal to it."""
    likelihood, y = MODELS[name].quadratic, draw_y(name, target)
    bound = float(likelihood.bound(y, tensor(mean), tensor(variance)))
    expected = expected_log_likelihood(likelihood, y, mean, variance)
    if name in EXACT:
        # The error of the quadrature, absolute where the observed class is almost certain.
        assert_allclose(bound, expected, rtol=1e-3, atol=1e-5)
    else:
        assert bound <= expected + 1e-7 * (1 + abs(expected))


@given(name=st.sampled_from(NAMES), target=st.floats(-3, 3), mean=st.floats(-8, 8))
def test_bound_touches(name, target, mean):
    """Without variance the bound is the log likelihood."""
    likelihood, y = MODELS[name].quadratic, draw_y(name, target)
    bound = likelihood.bound(y, tensor(mean), tensor(0.0))
    assert_allclose(bound, -likelihood.loss(y, tensor(mean)), rtol=1e-12, atol=1e-14)


@given(
    name=st.sampled_from(NAMES), target=st.floats(-3, 3), mean=st.floats(-30, 30), other=st.floats(-30, 30)
)
def test_surrogate_is_tangent_and_above(name, target, mean, other):
    """The quadratic of `linearize` has the loss's slope at the mean and is nowhere below the loss."""
    likelihood, y = MODELS[name].quadratic, draw_y(name, target)
    f = tensor(mean).requires_grad_()
    loss = likelihood.loss(y, f)
    (slope,) = torch.autograd.grad(loss.sum(), f)
    omega, working = likelihood.linearize(y, tensor(mean), None)
    omega = torch.ones_like(working) if omega is None else omega
    assert_allclose(omega * (tensor(mean) - working), slope, rtol=1e-8, atol=1e-8)

    def surrogate(at):
        return loss.detach() + omega / 2 * ((at - working) ** 2 - (tensor(mean) - working) ** 2)

    actual = likelihood.loss(y, tensor(other))
    assert float(surrogate(tensor(other))) >= float(actual) - 1e-9 * (1 + abs(float(actual)))


@given(
    name=st.sampled_from(BINARY), target=st.floats(-3, 3), mean=st.floats(-6, 6), variance=st.floats(0.01, 6)
)
def test_without_caution_it_has_the_slopes_of_the_bound(name, target, mean, variance):
    """Precision and target are then the slopes in mean and variance, so that the fixed point is the optimum."""
    likelihood, y = MODELS[name].quadratic, draw_y(name, target)
    leaves = [tensor(mean).requires_grad_(), tensor(variance).requires_grad_()]
    slopes = torch.autograd.grad(likelihood.bound(y, *leaves).sum(), leaves)
    for caution in (0.0, 0.5, 1.0):
        omega, working = likelihood.linearize(y, tensor(mean), tensor(variance), tensor(caution))
        assert_allclose(slopes[0], omega * (working - mean), rtol=1e-8, atol=1e-10)
        if caution == 0:
            # The quadrature of the bound and of the curvature err differently, most where both are nearly zero.
            assert_allclose(slopes[1], -omega / 2, rtol=1e-2, atol=2e-4)


@given(
    name=st.sampled_from(BINARY),
    target=st.floats(-3, 3),
    mean=st.floats(-6, 6),
    variance=st.floats(0, 6),
    other=st.floats(-12, 12),
)
def test_with_full_caution_it_is_below_the_bound(name, target, mean, variance, other):
    """As a function of the mean, the quadratic with full caution is nowhere above the expected log likelihood."""
    likelihood, y = MODELS[name].quadratic, draw_y(name, target)
    omega, working = likelihood.linearize(y, tensor(mean), tensor(variance))
    assert_allclose(omega, likelihood.linearize(y, tensor(mean), tensor(variance), tensor(1.0))[0])
    here, there = (float(likelihood.bound(y, tensor(at), tensor(variance))) for at in (mean, other))
    gain = -float(omega / 2 * ((other - working) ** 2 - (mean - working) ** 2))
    assert here + gain <= there + 1e-7 * (1 + abs(there))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8, 1e-4, 1.0, 30.0, 1e3, 1e5])
def test_extreme_values_are_finite(name, size, dtype):
    """Predictions that are hopelessly wrong or certain give finite targets and losses, in either precision."""
    likelihood = MODELS[name].quadratic
    for y in (0.0, 1.0):
        for mean in (-size, size):
            arguments = torch.tensor([y], dtype=dtype), torch.tensor([mean], dtype=dtype)
            for variance in (None, torch.tensor([0.0], dtype=dtype), torch.tensor([size], dtype=dtype)):
                omega, working = likelihood.linearize(*arguments, variance)
                assert bool(torch.isfinite(working).all())
                assert omega is None or bool((torch.isfinite(omega) & (omega > 0)).all())
            assert bool(torch.isfinite(likelihood.loss(*arguments)).all())
            assert float(likelihood.loss(*arguments)) >= 0
            assert bool(torch.isfinite(likelihood.bound(*arguments, torch.ones(1, dtype=dtype))).all())


def test_log_loss_precision_near_zero():
    """The precision is a quarter at zero and continuous where the formula changes over."""
    means = tensor(0.0, 1e-12, 1e-4, 0.99e-3, 1.01e-3)
    linearize = MODELS["log_loss"].quadratic.linearize
    omega, _ = linearize(torch.ones_like(means), means, None)
    assert_allclose(omega, 0.25 - means.numpy() ** 2 / 48, rtol=3e-7)
    wide, _ = linearize(torch.ones_like(means), means, torch.ones_like(means))
    assert_allclose(wide, float(wide[0]), rtol=3e-7)


@given(name=st.sampled_from(NAMES), raw=st.floats(-5, 5))
def test_link_inverts_expectation(name, raw):
    """There and back again."""
    likelihood = MODELS[name].quadratic
    assert_allclose(likelihood.link(likelihood.expectation(tensor(raw))), raw, rtol=1e-8, atol=1e-8)


@given(name=st.sampled_from(NAMES), mean=st.floats(-5, 5), variance=st.floats(0, 5))
def test_expectation_over_a_gaussian(name, mean, variance):
    """E[y] with a variance is the average over the prediction."""
    likelihood = MODELS[name].quadratic
    points, weights = np.polynomial.hermite_e.hermegauss(101)
    f = torch.tensor(mean + math.sqrt(variance) * points)
    average = float(weights @ likelihood.expectation(f).numpy() / weights.sum())
    value = float(likelihood.expectation(tensor(mean), tensor(variance)))
    assert_allclose(value, average, rtol=0, atol=1e-4 if likelihood.inverse_link.nodes else 1e-6)
    assert_allclose(likelihood.expectation(tensor(mean), tensor(0.0)), likelihood.expectation(tensor(mean)))


@pytest.mark.parametrize("name", BINARY)
def test_probabilities_sum_to_one(name):
    """Losses of both classes are a probability's, and expectation is that of class one."""
    likelihood = MODELS[name].quadratic
    f = torch.linspace(-6, 6, 25, dtype=torch.float64)
    zero, one = (torch.exp(-likelihood.loss(torch.full_like(f, y), f)) for y in (0.0, 1.0))
    assert_allclose(zero + one, 1, rtol=1e-12)
    assert_allclose(one, likelihood.expectation(f), rtol=1e-8)
