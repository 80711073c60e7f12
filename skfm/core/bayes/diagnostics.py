"""Whether chains have mixed: split R-hat and effective sample size, for a few numbers followed over the sweeps.

As defined by A. Vehtari et al., "Rank-Normalization, Folding, and Localization: An Improved R-hat", Bayesian
Analysis 16, 2021, without the rank normalization.
"""

from __future__ import annotations

import numpy as np

#: Number of draws per chain below which the diagnostics are undefined.
FEWEST = 4


class Traces:
    """A few numbers of every chain, followed over the sweeps.

    Parameters
    ----------
    n_chains : int
    burn_in : int
        Number of initial sweeps to ignore.
    """

    def __init__(self, n_chains: int, burn_in: int) -> None:
        self.n_chains, self.burn_in = n_chains, burn_in
        #: By name, a list of the numbers of all chains for each sweep.
        self.values: dict[str, list[list[float]]] = {}

    def add(self, numbers: dict[str, list[float]]) -> None:
        """Add a sweep: each of the numbers by its name, for every chain."""
        for name, of_chains in numbers.items():
            self.values.setdefault(name, []).append(of_chains)

    def report(self) -> dict[str, float]:
        """Return diagnostics of the mixing of the chains, for the history."""
        report = {}
        for name, trace in self.values.items():
            after = np.array(trace[self.burn_in :], np.float64).reshape(-1, self.n_chains).T
            report[f"r_hat_{name}"] = split_r_hat(after)
            report[f"ess_{name}"] = effective_sample_size(after)
        return report


def split_r_hat(draws: np.ndarray) -> float:
    """Return the potential scale reduction factor of draws of shape (n_chains, n_draws); nan for too few.

    ``sqrt(((n - 1) / n W + B / n) / W)`` with the variances between and within the halves of the chains.
    """
    halves = _halves(draws)
    if halves is None:
        return np.nan
    n = halves.shape[1]
    within = halves.var(1, ddof=1).mean()
    between = n * halves.mean(1).var(ddof=1)
    if within <= _rounding(halves):
        return 1.0 if between <= n * _rounding(halves) else np.inf
    return float(np.sqrt((n - 1) / n + between / (n * within)))


def effective_sample_size(draws: np.ndarray) -> float:
    """Return how many independent draws would give the mean as exactly; nan for too few draws.

    ``S / (1 + 2 sum_t rho_t)`` with the autocorrelations of all chains, up to the first pair of lags whose sum is
    negative, and sums of pairs that never rise.
    """
    halves = _halves(draws)
    if halves is None:
        return np.nan
    m, n = halves.shape
    within = halves.var(1, ddof=1).mean()
    pooled = (n - 1) / n * within + halves.mean(1).var(ddof=1)
    if pooled <= _rounding(halves):
        return float(m * n)
    centered = halves - halves.mean(1, keepdims=True)
    spectrum = np.fft.rfft(centered, 2 * n)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[:, :n].mean(0) / n
    rho = 1 - (within - covariance * n / (n - 1)) / pooled
    rho[0] = 1
    pairs = rho[: n // 2 * 2].reshape(-1, 2).sum(1)
    negative = np.flatnonzero(pairs < 0)
    pairs = np.minimum.accumulate(pairs[: negative[0]] if len(negative) else pairs)
    # Antithetic chains can be more efficient than independent draws, but only up to a bound.
    return float(m * n / max(2 * pairs.sum() - 1, 1 / np.log10(m * n)))


def _halves(draws: np.ndarray) -> np.ndarray | None:
    """Return the halves of the chains, in a unit in which the squares of the draws are finite."""
    draws = np.asarray(draws, np.float64)
    n = draws.shape[1] // 2
    if draws.shape[1] < FEWEST or not np.isfinite(draws).all():
        return None
    halves = np.concatenate([draws[:, :n], draws[:, -n:]])
    # A power of two changes no digit, and both diagnostics are ratios.
    exponent = int(np.frexp(np.abs(halves).max())[1])
    return np.ldexp(halves, -exponent)


def _rounding(draws: np.ndarray) -> float:
    # This is the rounding of the mean of a constant, a sum of many numbers.
    return float((64 * np.finfo(np.float64).eps * np.abs(draws).max()) ** 2)
