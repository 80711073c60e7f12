"""Priors of fields that are drawn: moments of the draws against the closed forms."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import stats

from skfm.core.bayes.sampled_priors import SampledPriors, wishart

SIZE, DEGREES = 3, 4.5
FIELDS = torch.tensor([0, 0, 0, 1, 0, 1, 1, 2, 1, 0, 1, 3])
USED = torch.ones(12, dtype=torch.bool)
#: The two columns of a field that have no data, and the only one of the last field.
USED[[2, 10, 11]] = False
HYPER = torch.tensor([2.0, 0.7, 0.4], dtype=torch.float64)
GROWTH = torch.tensor([0.3, 0.0, 0.1], dtype=torch.float64)


def make_priors(full, n_outputs=2, growth=GROWTH, dtype=torch.float64):
    diagonal = torch.full((SIZE,), 1.5, dtype=dtype)
    parts = (HYPER.to(dtype), growth.to(dtype))
    return SampledPriors(diagonal, *parts, DEGREES, n_outputs, FIELDS, USED, full=full)


def columns(seed=0, n_outputs=2):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(
        rng.normal(size=(n_outputs, len(FIELDS), SIZE)) @ rng.normal(size=(SIZE, SIZE)) + 0.6
    )


def assert_mean(draws, expected):
    """Means over the first axis are within five standard errors."""
    error = draws.std(0) / math.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - expected) < 5 * error + 1e-12).all()


def conditional(theta, g, full, growth=GROWTH):
    """Degrees of freedom, scatter and center of a field's prior, of one output, column by column."""
    members = [j for j in range(len(FIELDS)) if FIELDS[j] == g and USED[j]]
    n, x = len(members), theta[members].numpy()
    mean = x.sum(0) / max(n, 1)
    scatter = np.diag((HYPER + n * growth).numpy()) + n / (n + 1) * np.outer(mean, mean)
    for row in x:
        scatter = scatter + np.outer(row - mean, row - mean)
    return DEGREES + n, scatter if full else np.diag(np.diagonal(scatter)), n, n * mean / (n + 1)


@pytest.mark.parametrize("degrees", [2.5, 3.0, 12.0])
def test_wishart(degrees):
    """Mean and variances of Lam for any degrees of freedom; both roots are roots."""
    rng, n = np.random.default_rng(0), 20_000
    root = rng.normal(size=(SIZE, SIZE))
    scatter = torch.from_numpy(root @ root.T + np.eye(SIZE))
    root, spread = wishart(scatter.expand(n, SIZE, SIZE), degrees, rng)
    Lam = root @ root.mT
    # Lam^-1 = spread spread', without squaring what may be close to singular.
    turn = root.mT @ spread
    assert_allclose(turn @ turn.mT, np.broadcast_to(np.eye(SIZE), turn.shape), atol=1e-2)
    scale = np.linalg.inv(scatter.numpy())
    assert_mean(Lam.numpy(), degrees * scale)
    variance = degrees * (scale**2 + np.outer(np.diagonal(scale), np.diagonal(scale)))
    assert_mean((Lam.numpy() - degrees * scale) ** 2, variance)


def test_wishart_of_size_one_is_a_gamma():
    scatter = torch.tensor([0.5, 4.0], dtype=torch.float64)[:, None, None].repeat(3000, 1, 1)
    root, _ = wishart(scatter, 1.7, np.random.default_rng(1))
    scaled = (root.square() * scatter)[:, 0, 0].numpy()
    for part in (scaled[::2], scaled[1::2]):
        assert stats.kstest(part, stats.chi2(1.7).cdf).pvalue > 1e-3


@pytest.mark.parametrize("full", [True, False])
def test_draws_follow_the_conditional(full):
    """Mean and spread of Lam and mu, of every field and output."""
    priors, theta, rng = make_priors(full), columns(), np.random.default_rng(2)
    precisions, means = [], []
    for _ in range(1500):
        priors.draw(theta, rng)
        precisions.append(priors.precision.clone())
        means.append(priors.mean.clone())
    precisions, means = torch.stack(precisions).numpy(), torch.stack(means).numpy()
    assert means.shape == (1500, 2, 4, SIZE)
    if not full:
        assert (precisions[..., ~np.eye(SIZE, dtype=bool)] == 0).all()
    for b in range(2):
        for g in range(4):
            degrees, scatter, n, center = conditional(theta[b], g, full)
            Lam, error = precisions[:, b, g], means[:, b, g] - center
            expected = degrees * np.linalg.inv(scatter)
            assert_mean(Lam, expected)
            diagonal = np.diagonal(Lam, axis1=1, axis2=2)
            assert_mean((diagonal - np.diagonal(expected)) ** 2, 2 * np.diagonal(expected) ** 2 / degrees)
            assert_mean(error, 0)
            # Given Lam, the squared distance is chi-squared, whatever Lam.
            distance = (n + 1) * np.einsum("ti,tij,tj->t", error, Lam, error)
            assert stats.kstest(distance, stats.chi2(SIZE).cdf).pvalue > 1e-4
            # And in every direction: E[Lam e e'] is the identity.
            assert_mean((n + 1) * np.einsum("tij,tj,tk->tik", Lam, error, error), np.eye(SIZE))


@pytest.mark.parametrize("full", [True, False])
def test_growth_keeps_a_least_variance(full):
    """Of columns that are all zero, lam is (nu + n) / (h + n growth) in the mean."""
    priors, rng = make_priors(full, n_outputs=4000), np.random.default_rng(3)
    theta = torch.zeros(4000, len(FIELDS), SIZE, dtype=torch.float64)
    priors.draw(theta, rng)
    n = 4
    expected = (DEGREES + n) / (HYPER + n * GROWTH).numpy()
    assert_mean(priors.precision.diagonal(dim1=2, dim2=3)[:, 0].numpy(), expected)


@pytest.mark.parametrize("full", [True, False])
def test_unused_columns_have_no_part(full):
    """Columns without data change no draw; those with data change only those of their field."""
    theta, draws = columns(), []
    for changed in (None, [2, 10, 11], [7]):
        priors, moved = make_priors(full), theta.clone()
        if changed:
            moved[:, changed] += 100
        priors.draw(moved, np.random.default_rng(4))
        draws.append((priors.mean, priors.precision))
    for base, unused, other in zip(*draws, strict=True):
        assert torch.equal(base, unused)
        same = [0, 1, 3]
        assert torch.equal(base[:, same], other[:, same])
        assert not torch.allclose(base[:, 2], other[:, 2])


@pytest.mark.parametrize("full", [True, False])
def test_same_seed_same_draws(full):
    """And what the solver gets are these, in its own type."""
    draws = []
    for seed in (5, 5, 6):
        priors = make_priors(full, dtype=torch.float32)
        priors.draw(columns().float(), np.random.default_rng(seed))
        draws.append(priors)
    assert torch.equal(draws[0].mean, draws[1].mean)
    assert torch.equal(draws[0].precision, draws[1].precision)
    assert not torch.allclose(draws[0].mean, draws[2].mean)
    assert draws[0].mean.dtype == torch.float64
    precision, shift = draws[0].of(torch.tensor([3, 7]))
    assert precision.dtype == shift.dtype == torch.float32
    expected = draws[0].precision[:, [1, 2]]
    assert_allclose(precision, expected.flatten(0, 1), rtol=1e-5, atol=1e-6)
    products = (expected @ draws[0].mean[:, [1, 2], :, None])[..., 0]
    assert_allclose(shift, products.flatten(0, 1), rtol=1e-4, atol=1e-5)
