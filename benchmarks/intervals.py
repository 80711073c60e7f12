"""Coverage of intervals and calibration of probabilities, on simulated data.

    python benchmarks/intervals.py [--seeds 20]

The script prints the coverage of 90 % predictive intervals of held-out regression targets over all seeds, and the
expected calibration error of the probabilities of 1e5 held-out rows, in twenty bins with equal numbers of rows.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from skfm import FMClassifier, FMRegressor
from skfm.datasets import make_factorization


def coverage(solver, seed):
    """Return the share of 10,000 held-out targets within their intervals."""
    X, y = make_factorization(20_000, (200, 100, 20), n_factors=4, noise=1.0, random_state=seed)
    model = FMRegressor(n_factors=8, solver=solver, random_state=seed).fit(X[:10_000], y[:10_000])
    low, high = model.predict(X[10_000:], quantiles=[0.05, 0.95]).T
    return np.mean((low <= y[10_000:]) & (y[10_000:] <= high))


def calibration_error(p, y, n_bins=20):
    """Return the mean distance between predicted and observed frequencies, over bins with equal numbers of rows."""
    bins = np.array_split(np.argsort(p), n_bins)
    return np.sum([len(b) * abs(p[b].mean() - y[b].mean()) for b in bins]) / len(p)


def main():
    """Print the coverage and the calibration errors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for solver in ("mcmc", "vb"):
        found = [coverage(solver, seed) for seed in range(args.seeds)]
        print(
            f"{solver}: 90 % intervals cover {np.mean(found):.4f} on average over {args.seeds} seeds "
            f"({min(found):.4f} to {max(found):.4f})",
            flush=True,
        )
    X, z = make_factorization(200_000, (500, 300, 20), n_factors=4, noise=0.0, random_state=0)
    rng = np.random.default_rng(0)
    odds = z / z.std() * 2
    for loss, draw in (
        ("log_loss", lambda: rng.random(len(z)) < 1 / (1 + np.exp(-odds))),
        ("probit", lambda: rng.standard_normal(len(z)) < odds / 1.7),
    ):
        y = draw()
        model = FMClassifier(n_factors=8, solver="mcmc", loss=loss, max_iter=100, random_state=0)
        p = model.fit(X[:100_000], y[:100_000]).predict_proba(X[100_000:])[:, 1]
        print(f"{loss}: expected calibration error {calibration_error(p, y[100_000:]):.4f}", flush=True)


if __name__ == "__main__":
    main()
