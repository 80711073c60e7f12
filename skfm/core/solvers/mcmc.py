"""Gibbs sampling: every column drawn from its conditional, priors and noise too.

With the sums A_j and b_j of the engine, a noise precision alpha (one where there is none) and the prior
N(mu, Lam^-1) of the column's field::

    (w_j, v_j) ~ N(P^-1 (Lam mu + alpha b_j), P^-1)        P = Lam + alpha A_j
    alpha ~ Gamma((1 + sum s) / 2, (1 + sum s (y - yhat)^2) / 2)

for weights s. If the noise differs between the categories of a field, each of them has its own precision, see
`skfm.core.bayes.sampled_noise`. The chains are more outputs over the same design. Columns without data are drawn from
their prior.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..bayes.chain_state import ChainState
from ..bayes.diagnostics import Traces
from ..bayes.draws import Draws, Sample
from ..bayes.sampled_priors import Hyperpriors, SampledPriors
from ..bayes.sampling import LOG_ROOT_2PI, normal, normal_given
from ..matrix.parameters import FMParameters, all_finite
from ..observation.registry import MODELS, losses_with
from .block.row_noise import LearnedNoise
from .block.run import BlockRun, BlockSolver, cholesky
from .mcmc_noise import SampledRowNoise, has_candidates
from .problem import Problem, Settings
from .run import AfterSegment, Iterate, StateDict

#: Precisions of the priors at first, in standardized units: a chain begins with small factors, and makes a few
#: sweeps from large ones to see whether it has missed something. From small ones it finds a better place where the
#: signal is weak (MovieLens), but where it is strong some factors can stay near zero for hundreds of sweeps.
SMALL_START, LARGE_START = 60.0, 1.0
#: Where there is a noise precision to learn, large factors can explain the noise of the training data. They are
#: accepted only if they explain more than this share of all that is explained. Small factors begin with the least
#: precision, with which they grow soonest, if columns have as many rows as parameters. With fewer rows, the precision
#: increases by the cube of the ratio, up to a largest one: a chain drifts to interpolation the sooner the larger its
#: first factors are.
NOISY_BETTER, LEAST_PRECISION, MOST_PRECISION = 0.5, 8.0, 100.0
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
    options = frozenset({"covariance_type", "select_factors", "noise", "burn_in", "n_draws", "n_chains"})
    objective_name = "log_likelihood"
    objective_rises = True
    converges = False
    has_posterior = True
    samples = True

    def default_max_iter(self, n_samples: int | None) -> int:
        return 200

    def start(self, problem: Problem, parameters: FMParameters, settings: Settings) -> MCMCRun:
        return MCMCRun(problem, parameters, settings)


def plan_draws(problem: Problem, n_factors: int, settings: Settings, *, may_vary: bool) -> Draws:
    """Return room for the draws that the settings ask for, and for noise that may vary between categories."""
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
        # The noise of the categories is kept, too.
        per_column = 1 + n_factors + may_vary
        numbers = settings.n_chains * len(problem.target) * (problem.design.shape[1] * per_column + 1)
        n_draws = max(LEAST_DRAWS, BYTES // (numbers * problem.design.dtype.itemsize))
    return Draws(settings.n_chains, burn_in, n_sweeps, n_draws, settings.n_before)


def _first_precision(problem: Problem, n_factors: int) -> float:
    """Return the first precision of the priors of a chain with a noise precision."""
    design, reduce = problem.design, problem.reduction.sum
    rows = torch.bincount(design.indices.long(), minlength=design.shape[1]).double()
    rows[design.dense_columns] = design.shape[0]
    rows = reduce(rows)
    lack = (1 + n_factors) * float((rows > 0).sum()) / max(float(rows.sum()), 1.0)
    return min(LEAST_PRECISION * max(1.0, lack) ** 3, MOST_PRECISION)


class MCMCRun(BlockRun):
    """The state of a run."""

    optimizes = False

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
        #: None if the noise is common.
        self.row_noise: SampledRowNoise | None = None
        may_vary = latent.has_noise and settings.noise != "common"
        may_vary = may_vary and has_candidates(problem, settings.noise)
        self.draws = plan_draws(problem, n_factors, settings, may_vary=may_vary)
        device = problem.design.device
        # A continued chain must not repeat the same random numbers.
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
        precision = _first_precision(problem, n_factors) if latent.has_noise else SMALL_START
        self.priors = SampledPriors(
            like.new_full((size,), precision),
            scatter.to(like),
            growth.to(like),
            degrees,
            self.n_outputs,
            problem.fields,
            self.used,
            full=full,
        )
        total_weight = problem.sample_weight.sum(dtype=self.accum_dtype)
        self.total_weight = float(self.reduction.sum(total_weight))
        self.noise: Tensor | None = None
        if may_vary:
            self.row_noise = SampledRowNoise(problem, None if settings.noise == "auto" else [settings.noise])
        self.traces = Traces(n_chains, self.draws.burn_in)
        #: Log likelihoods of the last sweeps.
        self._fits: list[Tensor] = []
        #: Where the second start begins until it has been made, and the log likelihoods there.
        self._first_state: ChainState | None = None
        self._first_fit = torch.zeros_like(self.fit)
        self._second_start = min(SECOND_START, self.draws.burn_in)
        if settings.start != "random" or self._second_start < COMPARED:
            self._second_start = -1
        if settings.start != "random":
            # The state of a chain is its parameters: all else is drawn given them.
            if self.row_noise is not None:
                self._choose_noise(self.row_noise)
            self._draw_noise()
            self.priors.draw(self.state.theta[:, :, self.first :], self.rng)
        elif self._second_start < 0:
            self.priors.reset(LARGE_START)
        else:
            self._first_state = self._chain_state().clone()
            self._first_fit = self._log_likelihood()

    def _start(self, start: FMParameters, n_chains: int, n_outputs: int) -> FMParameters:
        """Return where the chains start: those that have no given start begin at random around that of the first."""
        if len(start.intercept) == n_outputs:
            return start
        intercept, linear, factors = (t.repeat(n_chains, *[1] * (t.ndim - 1)) for t in start)
        others = factors[len(start.factors) :]
        others.copy_(normal(others, self.generator) * start.factors.square().mean().sqrt())
        return FMParameters(intercept, linear, factors)

    def prior(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        return self.priors.of(columns)

    def working_response(self) -> tuple[Tensor, Tensor]:
        # Numbers for all columns at once, so that it does not matter in which tiles they come.
        self.noise = normal(self.state.theta[:, :, self.first :], self.generator)
        omega, target = self.rows.draw(self.mean)
        return omega if self._noise_of_rows is None else omega * self._noise_of_rows, target

    @property
    def _noise_of_rows(self) -> Tensor | None:
        """The noise precision of each row divided by that of rows without a category; None if the noise is common."""
        noise = self.row_noise
        return None if noise is None or noise.field is None else noise.of_rows()

    def update(self, block: Any, A: Tensor, b: Tensor) -> tuple[Tensor, Tensor | None]:
        alpha = self.state.noise_precision.repeat_interleave(len(block.columns))
        prior_precision, prior_shift = self.prior(block.columns)
        L = cholesky(torch.addcmul(prior_precision, alpha[:, None, None], A))
        assert self.noise is not None  # for the type checker
        noise = self.noise[:, block.columns].flatten(0, 1)
        return normal_given(L, prior_shift + alpha[:, None] * b, noise), None

    def conditional_value(self, L: Tensor, b: Tensor) -> Tensor:
        return normal_given(L, b, normal(b, self.generator))

    def finish(self) -> float:
        """Draw noise and priors, and return the log likelihood, averaged over the chains."""
        if self.row_noise is not None:
            self.row_noise.begin_sweep()
            if self.row_noise.is_due:
                self._choose_noise(self.row_noise)
        self._draw_noise()
        theta = self.state.theta[:, :, self.first :]
        self.priors.draw(theta, self.rng)
        self._draw_unused(theta)
        self.fit = self._log_likelihood()
        self._fits = [*self._fits, self.fit][-COMPARED:]
        return float(self.fit.sum()) / self.draws.n_chains

    def _log_likelihood(self) -> Tensor:
        """Return the log likelihood of each output, (n_outputs,)."""
        alpha, ratio = self.state.noise_precision, self._noise_of_rows
        if ratio is None:
            return self.reduction.sum(self.rows.log_likelihood(self.mean, alpha))
        tau = ratio * alpha[:, None]
        rows = tau.log() - tau * (self.problem.target - self.mean).square()
        return self.weighted_sum(rows) / 2 - self.total_weight * LOG_ROOT_2PI

    def _chain_state(self) -> ChainState:
        """Return the state of the chains, not copied."""
        state, priors = self.state, self.priors
        return ChainState(
            state.intercept,
            state.theta,
            state.noise_precision,
            priors.mean,
            priors.precision,
            self.mean,
            self.rows.cut_points,
            None if self.row_noise is None else self.row_noise.ratio,
            None if self.row_noise is None else self.row_noise.without,
        )

    def _set_chain_state(self, chains: ChainState) -> None:
        for name in ("intercept", "theta", "noise_precision"):
            getattr(self.state, name).copy_(getattr(chains, name))
        self.priors.set(chains.prior_mean, chains.prior_precision)
        self.mean = chains.mean
        if chains.cut_points is not None:
            self.rows.cut_points = chains.cut_points
        if self.row_noise is not None:
            # States of earlier versions have a common noise.
            assert chains.noise_ratio is not None  # for the type checker
            assert chains.noise_ratio_without is not None
            self.row_noise.set(chains.noise_ratio, chains.noise_ratio_without)
        self.engine.reset()

    def _try_second_start(self) -> None:
        """Continue from a few sweeps with large factors where these explain much more."""
        own, own_fit = self._chain_state().clone(), sum(self._fits) / COMPARED
        assert self._first_state is not None  # for the type checker
        self._set_chain_state(self._first_state)
        self.priors.reset(LARGE_START)
        if self.row_noise is not None:
            self.row_noise.is_held = True
        for _ in range(SECOND_SWEEPS):
            self._sweep()
        if self.row_noise is not None:
            self.row_noise.is_held = False
        fit = sum(self._fits[-COMPARED:]) / COMPARED
        share = NOISY_BETTER if self.rows.has_noise else BETTER
        better = fit - own_fit > share * (fit - self._first_fit)
        self._set_chain_state(self._chain_state().where(better, own))
        self._first_state = None
        self._second_start = -1

    def step(self, after_segment: AfterSegment | None = None) -> Iterate:
        if self.draws.n_seen == self._second_start:
            self._try_second_start()
        self._sweep()
        parameters = self.state.parameters
        # A failed sweep does not count as a draw.
        if all_finite(parameters) and math.isfinite(self.objective):
            varies = self.row_noise is not None and self.row_noise.field is not None
            ratio = self.row_noise.ratio if self.row_noise is not None and varies else None
            sample = Sample(parameters, self.state.noise_precision, self.fit, self.rows.cut_points, ratio)
            self.draws.add(sample)
        self.traces.add({name: values.tolist() for name, values in self._followed().items()})
        return self.iterate()

    def iterate(self) -> Iterate:
        report = self.traces.report()
        if self.rows.has_noise:
            report = {"noise_precision": float(self._followed()["noise_precision"].mean()), **report}
        return super().iterate()._replace(draws=self.draws, report=report)

    def _followed(self) -> dict[str, Tensor]:
        """Return the numbers that are monitored over the sweeps, (n_chains,)."""
        n_chains = self.draws.n_chains
        followed = {"log_likelihood": self.fit.view(n_chains, -1).sum(1)}
        if self.rows.has_noise:
            followed["noise_precision"] = self.state.noise_precision.view(n_chains, -1).mean(1)
        return followed

    def state_dict(self) -> StateDict:
        tensors, numbers = super().state_dict()
        tensors |= self._chain_state().tensors()
        tensors |= {f"draws_{name}": tensor for name, tensor in self.draws.tensors().items()}
        tensors |= {f"fit_{i}": fit for i, fit in enumerate(self._fits)}
        tensors["generator"] = self.generator.get_state()
        if self._first_state is not None:
            tensors |= {f"first_{name}": tensor for name, tensor in self._first_state.tensors().items()}
            tensors["first_fit"] = self._first_fit
        sampler = {
            "rng": self.rng.bit_generator.state,
            "n_seen": self.draws.n_seen,
            "second_start": self._second_start,
            "traces": self.traces.values,
        }
        if self.row_noise is not None:
            sampler["noise"] = self.row_noise.state_dict()[1]
        return StateDict(tensors, numbers | {"sampler": sampler})

    def load_state_dict(self, state: StateDict) -> None:
        super().load_state_dict(state)
        sampler, device = state.numbers["sampler"], self.mean.device
        # Some of these are replaced from sweep to sweep, and others change in place.
        tensors = {name: t.to(device, copy=True) for name, t in state.tensors.items() if name != "generator"}

        def named(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}

        if self.row_noise is not None:
            self.row_noise.load_state_dict(tensors, sampler["noise"])
        self._set_chain_state(ChainState.from_tensors(tensors))
        self.draws.load(named("draws_"), sampler["n_seen"])
        self._fits = [fit for _, fit in sorted(named("fit_").items())]
        self.generator.set_state(state.tensors["generator"].cpu())
        self.rng.bit_generator.state = sampler["rng"]
        self._second_start = sampler["second_start"]
        first = named("first_")
        self._first_fit = first.get("fit", self._first_fit)
        self._first_state = ChainState.from_tensors(first) if first else None
        self.traces.values = {name: list(trace) for name, trace in sampler["traces"].items()}

    def _choose_noise(self, noise: SampledRowNoise) -> None:
        """Choose the field whose categories differ in their noise."""
        squares = self._squares()
        error, total = self.row_sum(squares), self.total_weight
        alpha = (1 + total) / (1 + error)
        fit = (total * alpha.log() - alpha * error) / 2 - total * LOG_ROOT_2PI
        common = LearnedNoise(fit, (alpha.log() - alpha) / 2, alpha)
        self.state.noise_precision.copy_(noise.choose(squares, common))

    def _squares(self) -> Tensor:
        """Return the squared errors of the rows times their weights, (n_outputs, n_samples)."""
        squares = (self.problem.target - self.mean).square() * self.problem.sample_weight
        return squares.to(self.accum_dtype)

    def _draw_noise(self) -> None:
        if not self.rows.has_noise:
            return
        alpha, hyper, noise = self.state.noise_precision, self.hyper, self.row_noise
        if noise is not None and noise.field is not None:
            prior = hyper.noise_shape, hyper.noise_rate
            alpha.copy_(noise.draw(self._squares(), alpha, prior, self.rng))
            return
        error = self.weighted_sum((self.problem.target - self.mean).square())
        gammas = self.rng.standard_gamma((hyper.noise_shape + self.total_weight) / 2, len(error))
        alpha.copy_(torch.from_numpy(gammas).to(error) * 2 / (hyper.noise_rate + error))

    def _draw_unused(self, theta: Tensor) -> None:
        columns = (~self.used).nonzero()[:, 0]
        if len(columns):
            precision, shift = self.prior(columns)
            noise = normal(shift, self.generator)
            drawn = normal_given(cholesky(precision), shift, noise)
            theta[:, columns] = drawn.unflatten(0, (self.n_outputs, -1))
