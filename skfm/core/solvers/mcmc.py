"""Gibbs sampling: every column drawn from its conditional, priors and noise too.

With the sums A_j and b_j of the engine, a noise precision alpha (one where there is none) and the prior
N(mu, Lam^-1) of the column's field::

    (w_j, v_j) ~ N(P^-1 (Lam mu + alpha b_j), P^-1)        P = Lam + alpha A_j
    alpha ~ Gamma((1 + sum s) / 2, (1 + sum s (y - yhat)^2) / 2)

for weights s. The chains are more outputs over the same design. Columns without data are drawn from their prior.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..bayes.diagnostics import effective_sample_size, split_r_hat
from ..bayes.draws import Draws, Sample
from ..bayes.sampled_priors import Hyperpriors, SampledPriors
from ..bayes.sampling import normal, normal_given
from ..matrix.parameters import FMParameters, all_finite
from ..observation.registry import MODELS, losses_with
from .base import Iterate, Problem, Settings
from .block.run import BlockRun, BlockSolver, cholesky

#: Precisions of the priors at first, in standardized units: a chain begins with small factors, and makes a few
#: sweeps from large ones to see whether it has missed something. From small ones it finds a better place where the
#: signal is weak (MovieLens), but where it is strong some factors can stay near zero for hundreds of sweeps.
SMALL_START, LARGE_START = 60.0, 1.0
#: When it does so, for how many sweeps, over how many of the last the log likelihoods are averaged, and by what
#: share of its gain the other has to be better.
SECOND_START, SECOND_SWEEPS, COMPARED, BETTER = 20, 8, 3, 0.2
#: Part of the sweeps that "auto" discards, and how many at most.
BURN_IN, MOST_BURN_IN = 0.2, 50
#: Bytes that "auto" keeps at most, and draws of a chain at least.
BYTES, LEAST_DRAWS = 1 << 28, 20


class MCMC(BlockSolver):
    """Gibbs sampling on the block engine."""

    name = "mcmc"
    losses = losses_with("latent")
    options = frozenset({"covariance_type", "burn_in", "n_draws", "n_chains"})
    objective_name = "log_likelihood"
    objective_rises = True
    converges = False
    has_posterior = True
    samples = True

    def default_max_iter(self, n_samples: int | None) -> int:
        return 200

    def sweeps(self, problem: Problem, start: FMParameters, settings: Settings) -> Iterator[Iterate]:
        run = MCMCRun(problem, start, settings)
        while True:
            yield run.sweep()


def plan_draws(problem: Problem, n_factors: int, settings: Settings) -> Draws:
    """Return room for the draws that the settings ask for."""
    burn_in, n_draws = settings.burn_in, settings.n_draws
    if isinstance(burn_in, str):
        auto = min(int(BURN_IN * settings.max_iter), MOST_BURN_IN)
        burn_in = 0 if settings.start == "chain" else auto
    n_sweeps = settings.max_iter - burn_in
    if n_sweeps < 1:
        raise ValueError(
            f"burn_in={burn_in} leaves no sweeps to keep draws of: max_iter={settings.max_iter}. Raise max_iter, or "
            "lower burn_in."
        )
    if isinstance(n_draws, str):
        numbers = settings.n_chains * len(problem.target) * (problem.design.shape[1] * (1 + n_factors) + 1)
        n_draws = max(LEAST_DRAWS, BYTES // (numbers * problem.design.dtype.itemsize))
    return Draws(settings.n_chains, burn_in, n_sweeps, n_draws, settings.n_before)


class MCMCRun(BlockRun):
    """The state of a run."""

    def __init__(
        self,
        problem: Problem,
        start: FMParameters,
        settings: Settings,
        hyper: Hyperpriors | None = None,
    ) -> None:
        latent = MODELS[problem.loss].latent
        assert latent is not None  # for the type checker
        self.hyper = hyper = hyper or Hyperpriors(latent.linear_variance)
        n_factors, full = start.factors.shape[2], settings.covariance_type != "diag"
        self.draws = plan_draws(problem, n_factors, settings)
        device = problem.design.device
        # Whoever goes on must not draw the same numbers again.
        self.rng = np.random.default_rng([settings.seed, settings.n_before])
        self.generator = torch.Generator(device).manual_seed(int(self.rng.integers(2**62)))
        n_chains = settings.n_chains
        problem = dataclasses.replace(
            problem,
            target=problem.target.repeat(n_chains, 1),
            fit_intercept=problem.fit_intercept and latent.has_intercept,
        )
        if not latent.has_intercept:
            start = start._replace(intercept=torch.zeros_like(start.intercept))
        super().__init__(problem, self._start(start, n_chains, len(problem.target)), None)
        self.rows = latent(problem.target, problem.sample_weight, self.generator)
        self.intercept_precision = hyper.intercept_precision
        size = self.state.theta.shape[2] - self.first
        scatter, growth, degrees = hyper.scatter(size, full=full, has_linear=problem.fit_linear)
        like = self.state.theta
        self.priors = SampledPriors(
            like.new_full((size,), SMALL_START),
            scatter.to(like),
            growth.to(like),
            degrees,
            self.n_outputs,
            problem.fields,
            self.used,
            full=full,
        )
        self.total_weight = float(problem.sample_weight.sum(dtype=self.wide))
        self.noise: Tensor | None = None
        self.traces: dict[str, list[np.ndarray]] = {}
        self._fits: list[Tensor] = []
        self._second_start = min(SECOND_START, self.draws.burn_in)
        if settings.start != "random" or self._second_start < COMPARED:
            self._second_start = -1
        if settings.start != "random":
            # The state of a chain is its parameters: all else is drawn given them.
            self._draw_noise()
            self.priors.draw(self.state.theta[:, :, self.first :], self.rng)
        elif self._second_start < 0:
            self.priors.reset(LARGE_START)
        else:
            self._first_state = self._state()
            self._first_fit = self.rows.log_likelihood(self.mean, self.state.noise_precision)

    def _start(self, start: FMParameters, n_chains: int, n_outputs: int) -> FMParameters:
        """Return where the chains start: where they are told, else the first there and the others at random."""
        if len(start.intercept) == n_outputs:
            return start
        intercept, linear, factors = (t.repeat(n_chains, *[1] * (t.ndim - 1)) for t in start)
        others = factors[len(start.factors) :]
        others.copy_(normal(others, self.generator) * start.factors.square().mean().sqrt())
        return FMParameters(intercept, linear, factors)

    def prior(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        return self.priors.of(columns)

    def working(self) -> tuple[Tensor, Tensor]:
        # Numbers for all columns at once, so that it does not matter in which tiles they come.
        self.noise = normal(self.state.theta[:, :, self.first :], self.generator)
        return self.rows.draw(self.mean)

    def update(self, block: Any, A: Tensor, b: Tensor) -> tuple[Tensor, Tensor | None]:
        alpha = self.state.noise_precision.repeat_interleave(len(block.columns))
        prior_precision, prior_shift = self.prior(block.columns)
        L = cholesky(torch.addcmul(prior_precision, alpha[:, None, None], A))
        assert self.noise is not None  # for the type checker
        noise = self.noise[:, block.columns].flatten(0, 1)
        return normal_given(L, prior_shift + alpha[:, None] * b, noise), None

    def solve(self, L: Tensor, b: Tensor) -> Tensor:
        return normal_given(L, b, normal(b, self.generator))

    def finish(self) -> float:
        """Draw noise and priors, and return the log likelihood, averaged over the chains."""
        self._draw_noise()
        theta = self.state.theta[:, :, self.first :]
        self.priors.draw(theta, self.rng)
        self._draw_unused(theta)
        self.fit = self.rows.log_likelihood(self.mean, self.state.noise_precision)
        self._fits = [*self._fits, self.fit][-COMPARED:]
        return float(self.fit.sum()) / self.draws.n_chains

    def _state(self) -> list[Tensor]:
        """Return copies of all that a chain goes on from, each with the outputs first."""
        parts = [self.state.intercept, self.state.theta, self.state.noise_precision]
        parts += [self.priors.mean, self.priors.precision, self.mean]
        if self.rows.cut_points is not None:
            parts.append(self.rows.cut_points)
        return [part.clone() for part in parts]

    def _set_state(self, parts: list[Tensor]) -> None:
        for own, part in zip(
            (self.state.intercept, self.state.theta, self.state.noise_precision), parts[:3], strict=True
        ):
            own.copy_(part)
        self.priors.set(*parts[3:5])
        self.mean = parts[5]
        if self.rows.cut_points is not None:
            self.rows.cut_points = parts[6]
        self.engine.reset()

    def _try_second_start(self) -> None:
        """Go on from a few sweeps with large factors where these explain much more."""
        own, own_fit = self._state(), sum(self._fits) / COMPARED
        self._set_state(self._first_state)
        self.priors.reset(LARGE_START)
        for _ in range(SECOND_SWEEPS):
            super().sweep()
        fit = sum(self._fits[-COMPARED:]) / COMPARED
        better = fit - own_fit > BETTER * (fit - self._first_fit)

        def choose(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(better.view(-1, *[1] * (new.ndim - 1)), new, old)

        self._set_state([choose(new, old) for new, old in zip(self._state(), own, strict=True)])
        self._first_state.clear()
        self._second_start = -1

    def sweep(self) -> Iterate:
        if self.draws.n_seen == self._second_start:
            self._try_second_start()
        iterate = super().sweep()
        sample = Sample(iterate.parameters, self.state.noise_precision, self.fit, self.rows.cut_points)
        # A sweep that went wrong is no draw.
        if all_finite(iterate.parameters) and math.isfinite(iterate.objective):
            self.draws.add(sample)
        return iterate._replace(draws=self.draws, sample=sample, report=self._report())

    def _draw_noise(self) -> None:
        if not self.rows.has_noise:
            return
        error = self.weighted_sum((self.problem.target - self.mean).square())
        gammas = self.rng.standard_gamma((self.hyper.noise_shape + self.total_weight) / 2, len(error))
        alpha = torch.from_numpy(gammas).to(error) * 2 / (self.hyper.noise_rate + error)
        self.state.noise_precision.copy_(alpha)

    def _draw_unused(self, theta: Tensor) -> None:
        columns = (~self.used).nonzero()[:, 0]
        if len(columns):
            precision, shift = self.prior(columns)
            noise = normal(shift, self.generator)
            drawn = normal_given(cholesky(precision), shift, noise)
            theta[:, columns] = drawn.unflatten(0, (self.n_outputs, -1))

    def _report(self) -> dict[str, float]:
        """Return the numbers of the history: the noise precision, and how well the chains have mixed."""
        n_chains = self.draws.n_chains
        latest = {"log_likelihood": self.fit.view(n_chains, -1).sum(1)}
        report = {}
        if self.rows.has_noise:
            latest["noise_precision"] = self.state.noise_precision.view(n_chains, -1).mean(1)
            report["noise_precision"] = float(latest["noise_precision"].mean())
        for name, values in latest.items():
            trace = self.traces.setdefault(name, [])
            trace.append(values.numpy(force=True))
            after = np.array(trace[self.draws.burn_in :], np.float64).reshape(-1, n_chains).T
            report[f"r_hat_{name}"] = split_r_hat(after)
            report[f"ess_{name}"] = effective_sample_size(after)
        return report
