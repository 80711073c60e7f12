"""Split R-hat and effective sample size of chains of which the right answer is known."""

import arviz
import numpy as np
import pytest
from numpy.testing import assert_allclose

from skfm.core.bayes.diagnostics import effective_sample_size, split_r_hat


def autoregressive(rho, n_chains, n_draws, seed=0):
    """Stationary chains with autocorrelation rho^t."""
    rng = np.random.default_rng(seed)
    x = np.empty((n_chains, n_draws))
    x[:, 0] = rng.normal(size=n_chains)
    for t in range(1, n_draws):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=n_chains)
    return x


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(4, 2000), (1, 6000)])
def test_independent_draws(shape, seed):
    draws = 3 + 2 * np.random.default_rng(seed).normal(size=shape)
    assert abs(split_r_hat(draws) - 1) < 3e-3
    assert_allclose(effective_sample_size(draws), draws.size, rtol=0.15)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rho", [0.3, 0.6, 0.9])
def test_autoregressive_chains(rho, seed):
    """S (1 - rho) / (1 + rho)."""
    draws = autoregressive(rho, 4, 10_000, seed)
    assert_allclose(effective_sample_size(draws), draws.size * (1 - rho) / (1 + rho), rtol=0.25)
    assert split_r_hat(draws) < 1.01


def test_antithetic_chains():
    """Better than independent, but not without bound."""
    draws = autoregressive(-0.5, 4, 10_000)
    assert_allclose(effective_sample_size(draws), 3 * draws.size, rtol=0.25)
    alternating = np.tile([1.0, -1.0], (2, 500)) + 1e-3 * np.random.default_rng(0).normal(size=(2, 1000))
    assert_allclose(effective_sample_size(alternating), 2000 * np.log10(2000))


def test_formula_of_r_hat():
    """By hand: halves (0, 2), (4, 6), (1, 1) and (3, 5) of two chains."""
    draws = np.array([[0.0, 2.0, 4.0, 6.0], [1.0, 1.0, 3.0, 5.0]])
    within = (2 + 2 + 0 + 2) / 4
    between = 2 * np.var([1, 5, 1, 4], ddof=1)
    assert_allclose(split_r_hat(draws), np.sqrt((within / 2 + between / 2) / within))
    # The draw in the middle of an odd number is in neither half.
    odd = np.insert(draws, 2, 1e6, axis=1)
    assert_allclose(split_r_hat(odd), split_r_hat(draws))


@pytest.mark.parametrize("seed", range(5))
def test_formula_of_effective_sample_size(seed):
    """Lag by lag, of few draws, where every term shows."""
    draws = autoregressive(0.8, 2, 40, seed)
    halves = [half - half.mean() for chain in draws for half in (chain[:20], chain[20:])]
    within = np.mean([half.var(ddof=1) for half in halves])
    pooled = 19 / 20 * within + np.var(draws.reshape(4, 20).mean(1), ddof=1)
    rho = [1.0]
    for t in range(1, 20):
        covariance = np.mean([half[t:] @ half[:-t] for half in halves]) / 19
        rho.append(1 - (within - covariance) / pooled)
    total, least = 0.0, np.inf
    for t in range(0, 20, 2):
        if rho[t] + rho[t + 1] < 0:
            break
        least = min(least, rho[t] + rho[t + 1])
        total += least
    assert_allclose(effective_sample_size(draws), 80 / (2 * total - 1))


def test_scale_and_place_do_not_matter():
    draws = autoregressive(0.5, 3, 400)
    for moved in (1e-6 * draws + 5, -1e8 * draws, draws[::-1]):
        assert_allclose(split_r_hat(moved), split_r_hat(draws), rtol=1e-6)
        assert_allclose(effective_sample_size(moved), effective_sample_size(draws), rtol=1e-5)


def test_shifted_chains():
    """Chains that do not agree are seen, and so is how few places they tell of."""
    draws = np.random.default_rng(1).normal(size=(4, 1000))
    draws[0] += 3
    assert split_r_hat(draws) > 1.5
    assert effective_sample_size(draws) < 50


def test_drifting_chain():
    """A single chain that has not arrived does not agree with itself."""
    draws = np.random.default_rng(2).normal(size=(1, 1000)) + np.linspace(0, 5, 1000)
    assert split_r_hat(draws) > 1.5
    assert effective_sample_size(draws) < 50
    both = np.concatenate([draws, draws])
    assert split_r_hat(both) > 1.5


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1e10 / 3, 1e-300])
def test_constant(value):
    """What does not move has arrived; a rounding error does not make it a disagreement."""
    for n in (4, 101, 1000, 20_001):
        draws = np.full((2, n), value)
        assert split_r_hat(draws) == 1.0
        assert effective_sample_size(draws) == n // 2 * 4


def test_chains_stuck_in_different_places():
    """They do not agree, and are worth a draw each: what does not move is not what has arrived."""
    for value in (1.0, -0.1, 1e10 / 3):
        draws = np.repeat([[0.0], [value]], 101, axis=1)
        assert split_r_hat(draws) == np.inf
        assert effective_sample_size(draws) < 3


@pytest.mark.filterwarnings("ignore")
def test_agreement_with_arviz():
    """Close, not equal, for the sample size: arviz leaves out n / (n - 1) of a lag, and adds half a pair."""
    for rho in (0.0, 0.3, 0.6, 0.9):
        draws = autoregressive(rho, 4, 5000)
        assert_allclose(split_r_hat(draws), float(arviz.rhat(draws, method="split")), rtol=1e-10)
        assert_allclose(effective_sample_size(draws), float(arviz.ess(draws, method="mean")), rtol=1e-2)


@pytest.mark.parametrize("diagnose", [split_r_hat, effective_sample_size])
def test_nothing_to_say(diagnose):
    """Nan for too few draws, however many chains, and for draws that are not finite."""
    rng = np.random.default_rng(3)
    for n in range(4):
        assert np.isnan(diagnose(rng.normal(size=(8, n))))
    assert np.isfinite(diagnose(rng.normal(size=(8, 4))))
    for bad in (np.nan, np.inf):
        draws = rng.normal(size=(2, 50))
        draws[1, 7] = bad
        assert np.isnan(diagnose(draws))


@pytest.mark.parametrize("diagnose", [split_r_hat, effective_sample_size])
@pytest.mark.parametrize("exponent", [-300, 200, 300])
def test_units_of_the_draws_do_not_matter(diagnose, exponent):
    """Log likelihoods of samples of large weights have squares that no number holds."""
    draws = autoregressive(0.5, 2, 60)
    assert_allclose(diagnose(draws * 10.0**exponent), diagnose(draws), rtol=1e-10)
