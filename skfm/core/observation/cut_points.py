"""Cut-points of the ordered probit model: probabilities of the levels, and draws given the raw predictions.

A row is at level l where a latent normal variable N(f, 1) falls between the cut-points c_l and c_(l+1), with
c_0 = -inf and c_L = inf::

    P(y = l | f) = Phi(c_(l+1) - f) - Phi(c_l - f)

A priori the cut-points are standard normals in order, so that at f = 0 all shares of the levels are equally
likely, read from either end.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..bayes.sampling import LOG_ROOT_2PI, log_interval, normal, uniform

#: The largest number of cut-points that are proposed together, and the degrees of freedom of the t distribution that
#: proposes them.
MOST_JOINT, DEGREES = 16, 5
#: Steps of single cut-points are shorter than the distance of their neighbors by up to this power of ten.
SCALES = 3.0
#: The largest number of Newton steps, and the expected gain of log density below which the mode counts as found.
NEWTON_STEPS, ENOUGH = 50, 1e-9


def with_ends(cut_points: Tensor) -> Tensor:
    """Return the cut-points between minus and plus infinity, (..., n_levels + 1)."""
    end = torch.full_like(cut_points[..., :1], math.inf)
    return torch.cat([-end, cut_points, end], -1)


def bounds(cut_points: Tensor, levels: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bounds of each row's latent variable less its mean, both (n_outputs, n_samples)."""
    ends = with_ends(cut_points)
    return ends.gather(1, levels) - raw, ends.gather(1, levels + 1) - raw


class CutPoints:
    """The cut-points of some chains, drawn with the latent variables summed out.

    Given the latent variables, a cut-point can move only between its two nearest neighbors among them, which is
    hardly at all with many rows. With them summed out, the density of all cut-points is close to normal, and its
    mode and curvature give a proposal that is nearly always accepted [1]_.

    Parameters
    ----------
    levels : Tensor of shape (n_outputs, n_samples)
        0 .. n_levels - 1, each present.
    weight : Tensor of shape (n_samples,)
    n_levels : int

    References
    ----------
    .. [1] J. H. Albert and S. Chib, "Sequential Ordinal Modeling with Applications to Survival Data",
       Biometrics 57, 2001.
    """

    def __init__(self, levels: Tensor, weight: Tensor, n_levels: int) -> None:
        self.levels, self.weight = levels.long(), weight
        self.n_levels = n_levels
        shares = torch.zeros(len(levels), n_levels, dtype=weight.dtype, device=weight.device)
        shares.scatter_add_(1, self.levels, weight.expand_as(levels))
        cumulated = (shares + 0.5 / n_levels).cumsum(1)
        self.value = torch.special.ndtri(cumulated[:, :-1] / cumulated[:, -1:])

    def draw(self, raw: Tensor, generator: torch.Generator) -> None:
        """Move to other cut-points, by steps that leave their posterior given ``raw`` invariant."""
        if self.value.shape[1] <= MOST_JOINT:
            self._draw_together(raw, generator)
        else:
            # A joint proposal for so large a number of cut-points would rarely be accepted.
            for _ in range(2):
                for first in (0, 1):
                    self._draw_every_other(raw, first, generator)

    def log_density(self, value: Tensor, raw: Tensor) -> Tensor:
        """Return the log density up to a constant, (n_outputs,); minus infinity where out of order."""
        return torch.where(
            _in_order(value), self._by_level(value, raw).sum(1) - value.square().sum(1) / 2, -math.inf
        )

    def _by_level(self, value: Tensor, raw: Tensor) -> Tensor:
        """Return the log likelihood of the rows of each level, (n_outputs, n_levels)."""
        return self._sum(log_interval(*bounds(value, self.levels, raw)))

    def _sum(self, rows: Tensor) -> Tensor:
        sums = torch.zeros(len(rows), self.n_levels, dtype=rows.dtype, device=rows.device)
        return sums.scatter_add_(1, self.levels, rows * self.weight)

    def _draw_together(self, raw: Tensor, generator: torch.Generator) -> None:
        mode, precision = self.mode(raw)
        root = torch.linalg.cholesky(precision)
        size = mode.shape[1]
        z, spread = normal(mode, generator), normal(mode.new_empty(len(mode), DEGREES), generator)
        z = z / (spread.square().mean(1, keepdim=True)).sqrt()
        proposal = mode + torch.linalg.solve_triangular(root.mT, z[:, :, None], upper=True)[:, :, 0]
        z_now = (root.mT @ (self.value - mode)[:, :, None])[:, :, 0]

        def log_t(z: Tensor) -> Tensor:
            return -(DEGREES + size) / 2 * torch.log1p(z.square().sum(1) / DEGREES)

        gain = self.log_density(proposal, raw) - self.log_density(self.value, raw) + log_t(z_now) - log_t(z)
        accepted = uniform(gain, generator).log() < gain
        self.value = torch.where(accepted[:, None], proposal, self.value)

    def _draw_every_other(self, raw: Tensor, first: int, generator: torch.Generator) -> None:
        """Move the cut-points of even or odd number, each on its own: given the others they are independent."""
        ends = with_ends(self.value)
        # Between its neighbors; the first and the last have one on one side only.
        room = (ends[:, 2:] - ends[:, :-2]).nan_to_num(posinf=1.0).clamp(max=1.0)
        scale = room * torch.pow(10.0, -SCALES * uniform(self.value, generator))
        moved = self.value + scale * normal(self.value, generator)
        chosen = torch.arange(self.value.shape[1], device=raw.device) % 2 == first
        fits = (moved > ends[:, :-2]) & (moved < ends[:, 2:]) & chosen
        proposal = torch.where(fits, moved, self.value)
        change = self._by_level(proposal, raw) - self._by_level(self.value, raw)
        gain = change[:, :-1] + change[:, 1:] - (proposal.square() - self.value.square()) / 2
        accepted = fits & (uniform(gain, generator).log() < gain)
        self.value = torch.where(accepted, proposal, self.value)

    def mode(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the most likely cut-points, which depend on ``raw`` alone, and minus the curvature there."""
        value = self.value
        density = self.log_density(value, raw)
        for _ in range(NEWTON_STEPS):
            slope, precision = self._derivatives(value, raw)
            step = torch.cholesky_solve(slope[:, :, None], torch.linalg.cholesky(precision))[:, :, 0]
            expected = (slope * step).sum(1)
            if not bool((expected > ENOUGH).any()):
                break
            # The density is log-concave: some part of the step is an improvement, if not all of it.
            size = torch.ones_like(expected)
            for _ in range(30):
                proposal = value + size[:, None] * step
                reached = self.log_density(proposal, raw)
                worse = ~(reached >= density + 1e-4 * size * expected) & (expected > ENOUGH)
                if not bool(worse.any()):
                    break
                size = torch.where(worse, size / 2, size)
            moves = reached >= density
            value = torch.where(moves[:, None], proposal, value)
            density = torch.where(moves, reached, density)
        return value, precision

    def _derivatives(self, value: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the slope of the log density, (n_outputs, size), and minus its curvature, which is tridiagonal."""
        lower, upper = bounds(value, self.levels, raw)
        log_p = log_interval(lower, upper)
        at_lower, at_upper = (torch.exp(-x.square() / 2 - LOG_ROOT_2PI - log_p) for x in (lower, upper))
        # The mean of a row's latent variable less f is between its bounds. That it stays there, whatever the
        # rounding far out, keeps the matrix diagonally dominant. Infinite ends have density zero.
        mean = at_lower - at_upper
        below, above = (x.clamp(min=0).nan_to_num(posinf=0.0) for x in (mean - lower, upper - mean))
        slope = self._sum(at_upper)[:, :-1] - self._sum(at_lower)[:, 1:] - value
        both = at_lower * at_upper
        curvature = self._sum(at_upper * above + both)[:, :-1] + self._sum(at_lower * below + both)[:, 1:] + 1
        between = -self._sum(both)[:, 1:-1]
        precision = torch.diag_embed(curvature)
        precision += torch.diag_embed(between, 1) + torch.diag_embed(between, -1)
        return slope, precision


def _in_order(value: Tensor) -> Tensor:
    return (value.diff(dim=1) > 0).all(1)
