"""Variational Bayes: a Gaussian posterior of each column, with priors and noise learned.

q is a product of N(m_j, S_j) over the columns. With the expected sums A_j and b_j of the engine, a noise
precision alpha (one where there is none) and the prior N(mu, Lam^-1) of the column's field::

    S_j^-1 = Lam + alpha A_j        m_j = S_j (Lam mu + alpha b_j)

If all scalars are independent, S_j holds the inverses of the diagonal of S_j^-1 instead. Priors and noise
are then set to their maxima, those of categories with few rows after some sweeps only. Each of these steps can only
raise the evidence lower bound.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..bayes.priors import FieldPriors
from ..matrix.design import BINARY
from ..matrix.parameters import FMParameters
from ..observation.registry import MODELS
from .block.caution import Caution
from .block.row_noise import LearnedNoise, RowNoise
from .block.run import BlockRun, BlockSolver, cholesky
from .problem import Problem, Settings
from .run import Iterate, StateDict

#: Initial variances and precisions of the priors, in standardized units. Wide priors find the factors soonest.
INITIAL_VARIANCE = 0.01
INITIAL_PRECISION = 1.0
#: Sweeps for which the priors of categories are held where these have fewer rows than that on average. Small factors of
#: such categories shrink before they have found their direction, and learned priors would make that final.
HELD_SWEEPS, FEW_ROWS = 6, 32
#: The hyperprior of a field: linear weights of variance one, as in a logistic regression with C = 1, and
#: small factors. It decides on fields of few columns only; measured on both kinds of fields.
LINEAR_VARIANCE, FACTORS_SCATTER = 1.0, 0.1
#: The first stretch of the predictions that is tried after a sweep: see `VBRun._stretch`.
FIRST_STRETCH = 0.5
#: The smallest stretch that is tried.
LEAST_STRETCH = 0.02
#: Number of sweeps without a stretch after the smallest one did not help.
STRETCH_PAUSE = 5
#: Differences of the bound that are rounding, in units of the last digit.
ROUNDING = 10.0
#: The shares of a sweep that are tried where the whole lowers the bound.
SHARES = (0.5, 0.25, 0.0)
#: Bytes of the row state of full covariances that "auto" accepts, and the number of
#: multiplications per sweep that is small enough not to matter.
FULL_BYTES, FULL_WORK = 1 << 29, 1 << 26
#: Number of factors up to which matrices cost at most about three times as much as vectors.
FULL_FACTORS = 8


class VB(BlockSolver):
    """Variational Bayes on the block engine."""

    name = "vb"
    options = frozenset({"covariance_type", "select_factors", "noise"})
    objective_name = "bound"
    objective_rises = True
    has_posterior = True
    starts_wide = True

    def start(self, problem: Problem, parameters: FMParameters, settings: Settings) -> VBRun:
        kind = settings.covariance_type
        if kind == "auto":
            kind = covariance_kind(problem, parameters.factors.shape[2])
        hold = min(HELD_SWEEPS, settings.max_iter // 2) if settings.start == "random" else 0
        varies = settings.noise != "common" and MODELS[problem.loss].has_noise
        fields = None if settings.noise == "auto" else [settings.noise]
        noise = RowNoise(problem, fields) if varies else None
        return VBRun(problem, parameters, kind, hold=hold, noise=noise)


def covariance_kind(problem: Problem, n_factors: int) -> str:
    """Return "full" where full covariances cost at most about three times what variances do."""
    design, n_outputs = problem.design, len(problem.target)
    n_samples, n_features = design.shape
    itemsize = design.dtype.itemsize
    entries = len(design.indices) + design.dense.numel()
    if n_outputs * n_features * (1 + n_factors) ** 2 * itemsize > FULL_BYTES:
        return "diag"
    if len(design.indices) <= 2 * n_samples and not len(design.dense_columns) and design.values is None:
        # Pairs keep no state per row, and need second moments of either kind.
        return "full"
    if n_outputs * n_samples * n_factors * (1 + n_factors) * itemsize > FULL_BYTES:
        return "diag"
    few = n_outputs * entries * n_factors**2 <= FULL_WORK
    return "full" if few or n_factors <= FULL_FACTORS else "diag"


class VBRun(BlockRun):
    """The state of a run."""

    def __init__(
        self,
        problem: Problem,
        start: FMParameters,
        kind: str,
        *,
        hold: int = 0,
        noise: RowNoise | None = None,
    ) -> None:
        n_outputs, n_features, n_factors = start.factors.shape
        size = 1 + n_factors
        variances = start.factors.new_full((n_outputs, n_features, size), INITIAL_VARIANCE)
        variances[:, :, : 0 if problem.fit_linear else 1] = 0
        super().__init__(problem, start, torch.diag_embed(variances) if kind == "full" else variances)
        self.diagonal = kind == "diag"
        precision = start.factors.new_full((size - self.first,), INITIAL_PRECISION)
        hyper_scatter = torch.full_like(precision, FACTORS_SCATTER)
        if problem.fit_linear:
            hyper_scatter[0] = LINEAR_VARIANCE * size
        self.priors = FieldPriors(precision, hyper_scatter, n_outputs, problem.fields, self.used)
        #: Fields whose priors are not learned yet, and for how many sweeps.
        self._held = _fields_to_hold(problem) if hold else frozenset()
        self._hold_for = hold
        self._noise = noise
        self.log_det = start.factors.new_zeros(n_outputs, n_features)
        self._stretch_by = torch.full_like(start.intercept, FIRST_STRETCH)
        self._pause = torch.ones_like(start.intercept)
        self._caution = Caution(start.intercept, self.accum_dtype)
        #: The state before a sweep that can lower the bound.
        self._before: dict[str, Tensor] = {}
        self.total_weight = self.reduction.sum(problem.sample_weight.sum(dtype=self.accum_dtype))
        if not self.likelihood.is_gaussian:
            self.variance = self.engine.variance()

    def hold(self, held: bool) -> None:
        """Hold the priors of all fields in the next sweep, or of none."""
        self._held = frozenset(range(self.priors.mean.shape[1])) if held else frozenset()
        self._hold_for = 2 if held else 0

    def restart(self) -> None:
        """Continue from a state that was changed from outside."""
        self.engine.reset()
        self.mean = self.engine.mean()
        self._update_variance()

    def iterate(self) -> Iterate:
        iterate, noise = super().iterate(), self._noise
        if self.likelihood.has_noise:
            # The log density is zero by coincidence for some noise, so that it alone is no measure of changes.
            rows = float(self.total_weight) * len(self.state.intercept)
            iterate = iterate._replace(fit=max(abs(float(self.fit.sum())), rows))
        if noise is None or noise.field is None:
            return iterate
        assert iterate.posterior is not None  # for the type checker
        return iterate._replace(posterior=iterate.posterior._replace(noise_ratio=noise.ratio))

    def prior(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        return self.priors.of(columns)

    def update(self, block: Any, A: Tensor, b: Tensor) -> tuple[Tensor, Tensor | None]:
        alpha = self.state.noise_precision.repeat_interleave(len(block.columns))
        prior_precision, prior_shift = self.prior(block.columns)
        precision = torch.addcmul(prior_precision, alpha[:, None, None], A)
        theta, covariances, log_det = self._posterior(precision, prior_shift + alpha[:, None] * b)
        self.log_det[:, block.columns] = log_det.view(self.n_outputs, -1)
        return theta, covariances

    def stored(self, block: Any, covariances: Tensor) -> None:
        self.log_det[:, block.columns] = self._log_det(covariances.unflatten(0, (self.n_outputs, -1)))

    def _posterior(self, precision: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return means, covariances and their log determinants, given ``precision @ mean``."""
        L = cholesky(precision)
        mean = torch.cholesky_solve(shift[:, :, None], L)[:, :, 0]
        if self.diagonal:
            variances = 1 / precision.diagonal(dim1=1, dim2=2)
            return mean, variances, variances.log().sum(1)
        return mean, torch.cholesky_inverse(L), -2 * L.diagonal(dim1=1, dim2=2).log().sum(1)

    def working_response(self) -> tuple[Tensor, Tensor]:
        problem = self.problem
        caution = self._caution.value[:, None].to(self.mean)
        omega, target = self.likelihood.linearize(problem.target, self.mean, self.variance, caution)
        weight = problem.sample_weight.expand_as(self.mean)
        if self._noise is not None and self._noise.field is not None:
            weight = weight * self._noise.of_rows()
        return weight if omega is None else weight * omega, target

    def _sweep(self) -> None:
        if self._noise is not None:
            self._noise.begin_sweep()
        if self.likelihood.can_overshoot:
            self._before = self._moved()
        super()._sweep()

    def finish(self) -> float:
        """Return the evidence lower bound, summed over the outputs, with improper priors taken as constants."""
        state = self.state
        if self.problem.fit_intercept:
            state.intercept_variance.copy_(1 / (state.noise_precision * self.row_sum(self.omega)))
        bound = self._bound()
        if not self.likelihood.has_noise:
            bound = self._stretch(self._shorten(bound) if self.likelihood.can_overshoot else bound)
        self._caution.bound = bound
        is_pending = self._noise is not None and self._noise.is_pending
        self.settles = not (self._held or self._caution.may_gain or is_pending)
        self._hold_for -= 1
        if self._hold_for <= 0:
            self._held = frozenset()
        self._settle_unused()
        return float(bound.sum())

    def state_dict(self) -> StateDict:
        tensors, numbers = super().state_dict()
        tensors |= {
            "log_det": self.log_det,
            "stretch_by": self._stretch_by,
            "stretch_pause": self._pause,
            "prior_mean": self.priors.mean,
            "prior_precision": self.priors.precision,
        }
        tensors |= self._caution.state_dict()
        if self._noise is not None:
            more, noise = self._noise.state_dict()
            tensors, numbers = tensors | more, numbers | {"noise": noise}
        held = {"fields": sorted(self._held), "n_sweeps": self._hold_for}
        return StateDict(tensors, numbers | {"held": held})

    def load_state_dict(self, state: StateDict) -> None:
        super().load_state_dict(state)
        tensors, held = state.tensors, state.numbers["held"]
        self.log_det.copy_(tensors["log_det"])
        self._caution.load_state_dict(tensors)
        self._stretch_by.copy_(tensors["stretch_by"])
        self._pause = tensors["stretch_pause"].to(self._pause, copy=True)
        self.priors.set(tensors["prior_mean"], tensors["prior_precision"])
        self._held, self._hold_for = frozenset(held["fields"]), held["n_sweeps"]
        if self._noise is not None and "noise" in state.numbers:
            self._noise.load_state_dict(tensors, state.numbers["noise"])
        self._update_variance()

    def _update_variance(self) -> None:
        """Set the variances of the rows, which also brings the moments of the rows in the engine up to date."""
        variance = self.engine.variance()
        self.variance = None if self.likelihood.is_gaussian else variance

    def _settle_unused(self) -> None:
        """Set the posterior of columns without data to the prior of their field."""
        columns = (~self.used).nonzero()[:, 0]
        if not len(columns):
            return
        state = self.state
        assert state.covariances is not None  # for the type checker
        precision, shift = self.prior(columns)
        theta, covariances = self.with_linear(*self._posterior(precision, shift)[:2])
        assert covariances is not None  # for the type checker
        state.theta[:, columns] = theta.unflatten(0, (self.n_outputs, -1))
        state.covariances[:, columns] = covariances.unflatten(0, (self.n_outputs, -1))

    def _bound(self) -> Tensor:
        """Learn priors and noise, and return the bound of each output, (n_outputs,)."""
        problem, state = self.problem, self.state
        assert state.covariances is not None  # for the type checker
        size = state.theta.shape[2] - self.first
        bound = (self.log_det[:, self.used] + size).sum(1, dtype=self.accum_dtype) / 2
        if problem.fit_intercept:
            bound = bound + state.intercept_variance.to(self.accum_dtype).log() / 2
        theta, covariances = state.theta[:, :, self.first :], state.covariances[:, :, self.first :]
        if not self.diagonal:
            covariances = covariances[..., self.first :]
        bound = bound + self.priors.update(theta, covariances, held=self._held).to(bound)
        if self.likelihood.has_noise:
            return bound + self._learn_noise()
        self.variance = self.engine.variance()
        self.fit = self.weighted_sum(self.likelihood.bound(problem.target, self.mean, self.variance))
        return bound + self.fit

    def _shorten(self, bound: Tensor) -> Tensor:
        """Shorten the sweep for the outputs whose bound fell, if need be to nothing, and return the bounds.

        A sweep moves means and covariances in a direction in which the bound rises, so that a part of it is enough.
        """
        before, self._before = self._before, {}
        rounding = ROUNDING * self.engine.rounding * self.fit.abs()
        falls, share = self._caution.falls(bound, rounding), torch.ones_like(self.state.intercept)
        after = self._moved() if bool(falls.any()) else {}
        for shorter in SHARES:
            if not bool(falls.any()):
                break
            share = torch.where(falls, shorter, share)
            for name, end in after.items():
                part = share.view(-1, *[1] * (end.ndim - 1))
                getattr(self.state, name).copy_(torch.lerp(before[name], end, part))
            self._update_log_det()
            self.engine.reset()
            self.mean = self.engine.mean()
            bound = self._bound()
            falls = falls & self._caution.falls(bound, rounding)
        self._caution.adapt(share)
        return bound

    def _moved(self) -> dict[str, Tensor]:
        """Return copies of all that a sweep changes."""
        names = ("intercept", "theta", "covariances", "intercept_variance")
        return {name: getattr(self.state, name).clone() for name in names}

    def _update_log_det(self) -> None:
        """Compute the log determinants of covariances that no update has set."""
        assert self.state.covariances is not None  # for the type checker
        self.log_det.copy_(self._log_det(self.state.covariances))

    def _log_det(self, covariances: Tensor) -> Tensor:
        """Return the log determinants, (n_outputs, n_columns), of covariances of the shape of those of the state."""
        covariances = covariances[:, :, self.first :]
        if self.diagonal:
            return covariances.log().sum(2)
        return torch.logdet(covariances[..., self.first :])

    def _stretch(self, bound: Tensor) -> Tensor:
        """Try all predictions times a factor, and keep it where the bound rises.

        Where classes are nearly separated, the quadratic bounds are wide and a sweep moves the scale of the
        predictions by a few percent only. (w0, w, v) -> (c w0, c w, sqrt(c) v) multiplies them by c.
        """
        active = self._pause == 0
        self._pause = (self._pause - 1).clamp(min=0)
        if not bool(active.any()):
            return bound
        state = self.state
        before = state.intercept.clone(), state.theta.clone(), self.mean
        factor = torch.where(active, 1 + self._stretch_by, 1.0)
        # An intercept that is not fitted stays, and only what is added to it is stretched.
        fixed = torch.zeros_like(state.intercept) if self.problem.fit_intercept else state.intercept.clone()
        state.intercept.copy_(fixed + (state.intercept - fixed) * factor)
        state.theta[:, :, 0] *= factor[:, None]
        state.theta[:, :, 1:] *= factor.sqrt()[:, None, None]
        self.mean = torch.addcmul(fixed[:, None], self.mean - fixed[:, None], factor[:, None])
        self.engine.reset()
        trial = self._bound()
        better = active & (trial > bound)
        failed = active & ~better
        if bool(failed.any()):
            # Every output is on its own: those that did not gain go back.
            state.intercept[failed], state.theta[failed] = before[0][failed], before[1][failed]
            self.mean = torch.where(failed[:, None], before[2], self.mean)
            self.engine.reset()
            trial = self._bound()
        # The type is that of the numbers in saved runs, which continue as before.
        change = torch.tensor([1.0, 0.3, 1.5], dtype=torch.float32, device=better.device)
        self._stretch_by *= change[failed + 2 * better.long()]
        useless = self._stretch_by < LEAST_STRETCH
        self._stretch_by.clamp_(min=LEAST_STRETCH)
        self._pause[useless] = STRETCH_PAUSE
        return trial

    def _learn_noise(self) -> Tensor:
        """Set the noise precision under a Gamma(1/2, 1/2) prior, and return its part of the bound."""
        state, target = self.state, self.problem.target
        noise = self._noise
        if noise is not None and noise.is_due:
            squares = (target - self.mean).square() + self.engine.variance()
            squares = (squares * self.problem.sample_weight).to(self.accum_dtype)
            learned = noise.learn(squares, self._common_noise(self.row_sum(squares)))
        else:
            error = self.row_sum(self.omega * (target - self.mean).square())
            error += self.engine.total_variance(self.mean, self.omega)
            varies = noise is not None and noise.field is not None
            total = self.row_sum(self.omega) if varies else self.total_weight
            error += state.intercept_variance.to(error) * total
            learned = noise.unchanged(error) if noise is not None and varies else self._common_noise(error)
        state.noise_precision.copy_(learned.precision)
        self.fit = learned.fit
        return learned.fit + learned.prior

    def _common_noise(self, error: Tensor) -> LearnedNoise:
        """Return the best noise that all rows have in common, given the sums of their expected squared errors."""
        alpha = (1 + self.total_weight) / (1 + error)
        fit = (self.total_weight * (alpha / (2 * math.pi)).log() - alpha * error) / 2
        return LearnedNoise(fit, (alpha.log() - alpha) / 2, alpha)


def _fields_to_hold(problem: Problem) -> frozenset[int]:
    """Return the fields of categories, with at most one per row, if the categories of any field have few rows."""
    design, fields = problem.design, problem.fields.cpu()
    if not len(fields):
        return frozenset()
    weight, reduce = problem.sample_weight.cpu().double(), problem.reduction.sum
    row_weight = weight.repeat_interleave(design.indptr.cpu().diff())
    rows = reduce(torch.bincount(design.indices.cpu(), weights=row_weight, minlength=design.shape[1]))
    numeric = design.kinds() != BINARY
    numeric[design.dense_columns.cpu()] = True
    numeric = reduce(numeric.double()) > 0
    sums = torch.zeros(int(fields.max()) + 1, 3, dtype=torch.float64, device="cpu")
    sums.index_add_(0, fields, torch.stack([rows, (rows > 0).double(), numeric.double()], 1))
    total, used, n_numeric = sums.T
    categories = (n_numeric == 0) & (used > 0) & (total <= reduce(weight.sum()) * (1 + 1e-6))
    if not bool((categories & (total < FEW_ROWS * used)).any()):
        return frozenset()
    return frozenset(categories.nonzero()[:, 0].tolist())
