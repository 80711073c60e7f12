"""Draws of Gaussian noise whose precision differs between the categories of a field.

The model is that of `category_noise`: tau_c ~ Gamma(a, a / alpha), where alpha is the precision of a category without
rows. With the weighted number n_c and the squared errors E_c of its rows::

    p(rows | a, alpha) = prod_c (a / alpha)^a Gamma(a + n_c / 2) / Gamma(a) / (a / alpha + E_c / 2)^(a + n_c / 2)
    tau_c ~ Gamma(a + n_c / 2, a / alpha + E_c / 2)

a and alpha are drawn with the tau integrated out, because chains that alternate between alpha and the tau mix slowly
where the categories are similar: a from the values that `learn_noise` compares, all as likely a priori, and alpha by
slice sampling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from scipy.special import gammaln

from .category_noise import SHAPES

#: Initial width of the interval of log alpha in which slice sampling begins.
WIDTH = 0.5
Array: TypeAlias = np.ndarray


def draw_category_noise(
    log_alpha: Array,
    count: Array,
    squares: Array,
    prior: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[Array, Array, Array]:
    """Draw the noise of the categories of a field for each output.

    Parameters
    ----------
    log_alpha : ndarray of shape (n_outputs,)
        The current values.
    count : ndarray of shape (n_categories,)
        Sums of the weights of the rows.
    squares : ndarray of shape (n_outputs, n_categories)
        Weighted sums of their squared errors.
    prior : tuple of float
        Twice the shape and the rate of the Gamma prior of alpha.
    rng : numpy.random.Generator

    Returns
    -------
    shape, log_alpha : ndarray of shape (n_outputs,)
    tau : ndarray of shape (n_outputs, n_categories)
    """

    def log_density(shape: Array, log_alpha: Array) -> Array:
        twice_shape, twice_rate = prior
        own = (twice_shape * log_alpha - twice_rate * np.exp(log_alpha)) / 2
        return log_marginal(shape, log_alpha, count, squares) + own

    candidates = np.stack([log_density(np.full(len(log_alpha), a), log_alpha) for a in SHAPES])
    shape = np.array(SHAPES)[(candidates + rng.gumbel(size=candidates.shape)).argmax(0)]
    log_alpha = slice_sample(lambda x: log_density(shape, x), log_alpha, rng)
    rate = (shape * np.exp(-log_alpha))[:, None] + squares / 2
    return shape, log_alpha, rng.standard_gamma(shape[:, None] + count / 2) / rate


def log_marginal(shape: Array, log_alpha: Array, count: Array, squares: Array) -> Array:
    """Return log p(rows | a, alpha) up to a constant, (n_outputs,)."""
    log_b = np.log(shape) - log_alpha
    own = shape[:, None] + count / 2
    terms = gammaln(own) - own * np.log(np.exp(log_b)[:, None] + squares / 2)
    return np.asarray(terms.sum(1) + len(count) * (shape * log_b - gammaln(shape)))


def slice_sample(log_density: Callable[[Array], Array], x: Array, rng: np.random.Generator) -> Array:
    """Return the next values of independent chains whose stationary distribution has a density.

    Parameters
    ----------
    log_density : callable
        Elementwise.
    x : ndarray of shape (n,)
    rng : numpy.random.Generator

    References
    ----------
    R. M. Neal, "Slice Sampling", Annals of Statistics 31, 2003.
    """
    level = log_density(x) - rng.standard_exponential(len(x))
    low = x - WIDTH * rng.random(len(x))
    high = low + WIDTH
    for end, step in ((low, -WIDTH), (high, WIDTH)):
        outside = log_density(end) > level
        while outside.any():
            end[outside] += step
            outside = log_density(end) > level
    drawn, pending = x.copy(), np.ones(len(x), bool)
    while pending.any():
        proposed = low + (high - low) * rng.random(len(x))
        # A density that is not a number must not lead to an endless loop; the sweep then fails by its result.
        accepted = ~(log_density(proposed) <= level)
        drawn = np.where(pending & accepted, proposed, drawn)
        # The interval shrinks towards the current value, which always is in the slice.
        below = proposed < x
        low = np.where(below, proposed, low)
        high = np.where(below, high, proposed)
        pending &= ~accepted
    return drawn
