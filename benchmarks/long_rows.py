"""CPU seconds of a sweep of `solver="vb"` and `solver="als"` for one-hot encoded rows and a single long row.

    python benchmarks/long_rows.py [--lengths 1000 4000 16000] [--factors 8] [--sweeps 5]

The data have 1000 rows with a single one, and one row with a one in every column. The seconds of a sweep are computed
from fits of two lengths. `select_factors=False`, so that all fits have factors.
"""

import argparse
import os
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from scipy import sparse

from skfm import FMRegressor


def simulate(n_rows, length):
    """Return rows of a single one, and a last row of ones, with random targets."""
    rng = np.random.default_rng(0)
    short = sparse.csr_matrix(
        (np.ones(n_rows), (np.arange(n_rows), rng.integers(0, length, n_rows))), (n_rows, length)
    )
    return sparse.vstack([short, np.ones((1, length))]).tocsr(), rng.normal(size=n_rows + 1)


def seconds_per_sweep(X, y, n_sweeps, **parameters):
    """Return the CPU seconds of a sweep."""
    seconds = []
    for n in (1, 1, 1 + n_sweeps):
        begun = time.process_time()
        FMRegressor(max_iter=n, tol=0, random_state=0, **parameters).fit(X, y)
        seconds.append(time.process_time() - begun)
    return (seconds[2] - seconds[1]) / n_sweeps


def main():
    """Print one line per solver and length."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1000, 4000, 16000])
    parser.add_argument("--factors", type=int, default=8)
    parser.add_argument("--sweeps", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for solver, options in (("vb", {"select_factors": False}), ("als", {})):
        for length in args.lengths:
            X, y = simulate(args.rows, length)
            seconds = seconds_per_sweep(X, y, args.sweeps, n_factors=args.factors, solver=solver, **options)
            print(f"{solver:4} {length:7,} non-zeros: {seconds:.3f} CPU s per sweep", flush=True)


if __name__ == "__main__":
    main()
