"""Draws of whole tensors from the distributions that a Gibbs sampler needs.

All are inverse transforms or sums of a fixed number of draws, with no loop here that accepts or rejects row by
row. Torch has one for its gamma variables: how many numbers these take from a generator depends on the values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Gamma variables of a Polya-Gamma variable that are drawn one by one. The rest is drawn as one that has the
#: mean and variance of all of them, which leaves the Laplace transform right to about eight digits.
TERMS = 8
#: Below this value, exp(log p) is no longer a normal float64.
LEAST_LOG = -690.0
LOG_ROOT_2PI = math.log(2 * math.pi) / 2


def uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return uniform variables in the open interval (0, 1), of the shape and type of ``like``."""
    u = torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)
    # The numbers are multiples of eps / 2 that include zero but never one.
    return u.clamp(min=torch.finfo(like.dtype).eps / 4)


def normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return standard normal variables of the shape and type of ``like``."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def normal_given(L: Tensor, b: Tensor, noise: Tensor) -> Tensor:
    """Return draws from N(P^-1 b, P^-1) with P = L L'.

    Parameters
    ----------
    L : Tensor of shape (n, size, size)
    b, noise : Tensor of shape (n, size)
        ``noise`` standard normal.
    """
    y = torch.linalg.solve_triangular(L, b[:, :, None], upper=False) + noise[:, :, None]
    return torch.linalg.solve_triangular(L.mT, y, upper=True)[:, :, 0]


def log_interval(lower: Tensor, upper: Tensor) -> Tensor:
    """Return log(Phi(upper) - Phi(lower)) for lower < upper, exact in either tail."""
    lower, upper = _to_the_left(lower, upper)[:2]
    log_upper = torch.special.log_ndtr(upper)
    share = torch.special.log_ndtr(lower) - log_upper
    # An interval too narrow for the difference has the density times its width.
    thin = (upper - lower).log() - (upper + lower).square() / 8 - LOG_ROOT_2PI
    return torch.where(share < -1e-5, log_upper + torch.log(-torch.expm1(share)), thin)


def truncated_normal(lower: Tensor, upper: Tensor, generator: torch.Generator) -> Tensor:
    """Return standard normal variables between two bounds, which may be infinite.

    The distribution function is inverted in logarithms, in the tail where both bounds are if they share one:
    ``log Phi(x) = log((1 - u) Phi(lower) + u Phi(upper))``.
    """
    lower, upper, flipped = _to_the_left(lower, upper)
    u = uniform(lower, generator)
    log_p = torch.logaddexp(
        torch.special.log_ndtr(lower) + torch.log1p(-u), torch.special.log_ndtr(upper) + u.log()
    )
    x = torch.minimum(torch.maximum(log_ndtr_inverse(log_p), lower), upper)
    return torch.where(flipped, -x, x)


def _to_the_left(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror intervals whose middle is positive: the lower tail has all its digits, the upper one has none."""
    flipped = lower + upper > 0
    return torch.where(flipped, -upper, lower), torch.where(flipped, -lower, upper), flipped


def ndtr(x: Tensor) -> Tensor:
    """Return Phi(x), with all its digits in the lower tail, where `torch.special.ndtr` has none."""
    return torch.special.erfc(x * -math.sqrt(0.5)) / 2


def log_ndtr_inverse(log_p: Tensor) -> Tensor:
    """Return x with log Phi(x) = log_p."""
    least = max(LEAST_LOG, math.log(torch.finfo(log_p.dtype).tiny))
    x = torch.special.ndtri(log_p.clamp(min=least, max=-torch.finfo(log_p.dtype).eps / 2).exp())
    far = log_p < least
    if bool(far.any()):
        # Apply Newton's method to the logarithm, which is close to a parabola there.
        root = -torch.sqrt(-2 * log_p[far])
        for _ in range(4):
            log_ratio = torch.special.log_ndtr(root) + root.square() / 2 + LOG_ROOT_2PI
            root = root + (log_p[far] - torch.special.log_ndtr(root)) * log_ratio.exp()
        x[far] = root
    return x


def polya_gamma(shape: Tensor | None, tilt: Tensor, generator: torch.Generator) -> Tensor:
    """Return Polya-Gamma variables PG(shape, tilt).

    ::

        PG(b, c) = 1 / (2 pi^2) sum_k g_k / ((k - 1/2)^2 + c^2 / (4 pi^2))        g_k ~ Gamma(b, 1)

    Parameters
    ----------
    shape : Tensor or None
        Any positive numbers, of the shape of ``tilt``. None means ones.
    tilt : Tensor
        In float64, where the device supports it.
    generator : torch.Generator

    References
    ----------
    N. G. Polson, J. G. Scott and J. Windle, "Bayesian Inference for Logistic Models Using Polya-Gamma Latent
    Variables", Journal of the American Statistical Association 108, 2013.
    """
    weights, tail_mean, tail_variance = polya_gamma_terms(tilt)
    one = torch.ones_like(tilt)
    total = torch.zeros_like(tilt)
    for weight in weights:
        if shape is None:
            total -= weight * uniform(tilt, generator).log()
        else:
            total += weight * torch._standard_gamma(shape, generator=generator)
    concentration = tail_mean.square() / tail_variance * (one if shape is None else shape)
    return total + tail_variance / tail_mean * torch._standard_gamma(concentration, generator=generator)


def polya_gamma_terms(tilt: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return the weights of the first gamma variables, and mean and variance of all others for shape one."""
    squared = (tilt / (2 * math.pi)).square()
    weights = [1 / (2 * math.pi**2 * ((k + 0.5) ** 2 + squared)) for k in range(TERMS)]
    half = tilt.abs() / 2
    # Both formulas are differences that lose their digits at zero; there are series for that.
    small = half < 0.05
    x = half.clamp(min=0.05)
    t, square = torch.tanh(x), half.square()
    mean = torch.where(small, 0.25 - square / 12 + square**2 / 30 - 17 * square**3 / 1260, t / (4 * x))
    series = (2 / 3 - 8 / 15 * square + 34 / 105 * square**2 - 496 / 2835 * square**3) / 16
    variance = torch.where(small, series, (t - x * (1 - t) * (1 + t)) / (16 * x**3))
    tail_mean = mean - sum(weights)
    tail_variance = variance - sum(weight.square() for weight in weights)
    # Rounding must not make these negative: the tail is always positive.
    return weights, tail_mean.clamp(min=1e-9), tail_variance.clamp(min=1e-15)
