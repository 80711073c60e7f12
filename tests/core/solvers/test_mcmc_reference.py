"""The sampler beside a plain one: coordinate by coordinate, by Metropolis steps on the likelihood as it is written."""

import numpy as np
import pytest
import torch
from scipy import sparse, special

from skfm.core.bayes.sampled_priors import Hyperpriors
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.solvers.base import Problem, Settings
from skfm.core.solvers.mcmc import MCMCRun

HYPER = Hyperpriors(
    linear_variance=0.5, factors_scatter=1.0, factors_variance=0.0, degrees_apart=8.0, intercept_precision=1.0
)
N_FACTORS, N_CHAINS = 2, 64


def log_likelihood(loss, y, weight, raw, alpha, cuts):
    """Return the log likelihood of every chain."""
    if loss == "squared_error":
        rows = -alpha[:, None] * (y - raw) ** 2 / 2 + np.log(alpha)[:, None] / 2
    elif loss == "log_loss":
        rows = -np.logaddexp(0, -(2 * y - 1) * raw)
    elif loss == "probit":
        rows = special.log_ndtr((2 * y - 1) * raw)
    else:
        infinity = np.full((len(cuts), 1), np.inf)
        ends = np.hstack([-infinity, cuts, infinity])
        level = y.astype(int)
        with np.errstate(divide="ignore", invalid="ignore"):
            rows = np.log(special.ndtr(ends[:, level + 1] - raw) - special.ndtr(ends[:, level] - raw))
        rows[np.isnan(rows)] = -np.inf
    return rows @ weight


def predict(X, intercept, theta):
    """Return the raw predictions by a loop over pairs."""
    raw = intercept[:, None] + theta[:, :, 0] @ X.T
    for i in range(X.shape[1]):
        for j in range(i):
            raw = raw + (theta[:, i, 1:] * theta[:, j, 1:]).sum(1)[:, None] * (X[:, i] * X[:, j])
    return raw


def reference(X, y, weight, loss, n_sweeps, burn_in):
    """Return means over the draws of each chain: of the predictions, their squares and the other parameters."""
    rng = np.random.default_rng(0)
    p, size = X.shape[1], 1 + N_FACTORS
    intercept, theta = np.zeros(N_CHAINS), 0.3 * rng.standard_normal((N_CHAINS, p, size))
    mu, lam = np.zeros((N_CHAINS, size)), np.ones((N_CHAINS, size))
    alpha, cuts = np.ones(N_CHAINS), np.tile([-1.0, 0.0, 1.0], (N_CHAINS, 1))
    scatter = np.array([HYPER.linear_variance * HYPER.degrees_apart, *[HYPER.factors_scatter] * N_FACTORS])
    state = {"intercept": intercept, "theta": theta, "alpha": alpha, "cuts": cuts}

    def density():
        raw = predict(X, state["intercept"], state["theta"])
        value = log_likelihood(loss, y, weight, raw, state["alpha"], state["cuts"])
        value -= HYPER.intercept_precision * state["intercept"] ** 2 / 2
        value -= (lam[:, None] * (state["theta"] - mu[:, None]) ** 2).sum((1, 2)) / 2
        # Gamma(1/2, 1/2), of the logarithm; standard normals in order.
        value += (np.log(state["alpha"]) - state["alpha"]) / 2
        ordered = (np.diff(state["cuts"], axis=1) > 0).all(1)
        return np.where(ordered, value - (state["cuts"] ** 2).sum(1) / 2, -np.inf)

    places = [("theta", (j, k)) for j in range(p) for k in range(size)]
    places += {
        "squared_error": [("intercept", ()), ("alpha", ())],
        "ordered_probit": [("cuts", (k,)) for k in range(3)],
    }.get(loss, [("intercept", ())])
    sums = []
    for sweep in range(n_sweeps):
        current = density()
        for name, place in places:
            step = rng.choice([0.15, 0.5, 1.5]) * rng.standard_normal(N_CHAINS)
            values = state[name][(slice(None), *place)]
            before = values.copy()
            values[...] = before * np.exp(step) if name == "alpha" else before + step
            proposed = density()
            accepted = np.log(rng.random(N_CHAINS)) < proposed - current
            values[...] = np.where(accepted, values, before)
            current = np.where(accepted, proposed, current)
        mean = theta.sum(1) / (p + 1)
        mu[...] = mean + rng.standard_normal(mu.shape) / np.sqrt((p + 1) * lam)
        rate = scatter + ((theta - mu[:, None]) ** 2).sum(1) + mu**2
        lam[...] = rng.gamma((HYPER.degrees_apart + p + 1) / 2, 2 / rate)
        if sweep >= burn_in:
            raw = predict(X, intercept, theta)
            sums.append(np.hstack([raw, raw**2, alpha[:, None], cuts]))
    return np.mean(sums, 0)


def sampled(X, y, weight, loss, n_sweeps, burn_in):
    """Return the same of the sampler, from starting points far from it."""
    kind = torch.float64
    design = DesignMatrix.from_array(sparse.csr_array(X), dtype=kind)
    fields = torch.zeros(X.shape[1], dtype=torch.long)
    problem = Problem(design, torch.from_numpy(y)[None], torch.from_numpy(weight), loss, fields)
    start = FMParameters(
        torch.full((1,), 2.0, dtype=kind),
        torch.full((1, X.shape[1]), -2.0, dtype=kind),
        torch.full((1, X.shape[1], N_FACTORS), 1.5, dtype=kind),
    )
    settings = Settings(
        covariance_type="diag", max_iter=n_sweeps, burn_in=0, n_draws=1, n_chains=N_CHAINS, seed=3
    )
    run = MCMCRun(problem, start, settings, HYPER)
    sums = []
    for sweep in range(n_sweeps):
        sample = run.step().draws.latest
        if sweep >= burn_in:
            raw = predict(X, sample.parameters.intercept.numpy(), run.state.theta.numpy())
            cuts = (
                np.tile([-1.0, 0.0, 1.0], (N_CHAINS, 1)) if sample.cut_points is None else sample.cut_points
            )
            sums.append(np.hstack([raw, raw**2, sample.noise_precision.numpy()[:, None], cuts]))
    return np.mean(sums, 0)


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "probit", "ordered_probit"])
@pytest.mark.parametrize("n_sweeps", [300, pytest.param(800, marks=pytest.mark.slow)])
def test_posterior_moments_agree(n_sweeps, loss):
    rng = np.random.default_rng(1)
    X = np.round(rng.standard_normal((14, 4)) * (rng.random((14, 4)) < 0.7), 1)
    latent = X @ [1.0, -1.0, 0.5, 0.0] + X[:, 0] * X[:, 1] + rng.standard_normal(14)
    y = {"squared_error": latent, "ordered_probit": np.digitize(latent, [-1, 0, 1]) * 1.0}.get(
        loss, latent > 0
    )
    weight = np.tile([1.0, 2.0], 7)
    means = [run(X, y * 1.0, weight, loss, n_sweeps, n_sweeps // 4) for run in (reference, sampled)]
    error = np.sqrt(sum(part.var(0, ddof=1) / N_CHAINS for part in means))
    distance = np.abs(means[0].mean(0) - means[1].mean(0))
    assert (distance <= 4.5 * error + 1e-12).all(), (distance / error).max()
    # An error that is no smaller than the spread would let anything pass.
    spread = np.sqrt(means[1][:, 14:28].mean(0) - means[1][:, :14].mean(0) ** 2)
    assert (error[:14] < 0.1 * spread).all()
