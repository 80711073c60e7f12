"""Gibbs sampling compared with myfm: CPU seconds per sweep, and RMSE after the same number of sweeps.

    python benchmarks/gibbs_speed.py [--data-home FOLDER] [--factors 10 32] [--sweeps 100]

Both libraries use one thread and run in the same process. The RMSE and the seconds of complete fits are measured on
MovieLens-1M with user and item, split 90/10 at random (``RandomState(42)``), for K = 32. The seconds per sweep are
computed from fits of two lengths, on a million simulated ratings with two fields and on MovieLens-100K with side
information.
"""

import argparse
import os
import statistics

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from gibbs import with_side_information
from myfm import MyFMRegressor
from ratings import cpu, rmse
from sklearn.preprocessing import OneHotEncoder

from skfm import FMRegressor
from skfm.datasets import fetch_movielens, make_factorization


def fit_peer(X, y, sizes, n_factors, n_sweeps):
    """Fit the peer."""
    options = {"group_shapes": sizes, "n_iter": n_sweeps, "n_kept_samples": n_sweeps}
    return MyFMRegressor(rank=n_factors, random_seed=42).fit(X, y, **options)


def fit(X, y, n_factors, n_sweeps):
    """Fit skfm."""
    options = {"n_factors": n_factors, "max_iter": n_sweeps, "random_state": 0}
    return FMRegressor(solver="mcmc", **options).fit(X, y)


def a_sweep(call, few=5, many=25, repeat=3):
    """Return the CPU seconds per sweep, as the median over several pairs of fits of different lengths."""
    found = []
    for _ in range(repeat):
        short, long = (cpu(lambda n=n: call(n))[1] for n in (few, many))
        found.append((long - short) / (many - few))
    return statistics.median(found)


def compare_sweeps(name, X, y, sizes, n_factors):
    """Print the seconds per sweep of both libraries and their ratio."""
    peer = a_sweep(lambda n: fit_peer(X, y, sizes, n_factors, n), repeat=1)
    # The fits differ by twenty sweeps. Neither makes the second start, which requires a longer burn-in.
    own = a_sweep(lambda n: fit(X, y, n_factors, n))
    print(
        f"{name}, K={n_factors}: {own:.4f} CPU s per sweep, myfm {peer:.4f}, ratio {own / peer:.2f}",
        flush=True,
    )


def main():
    """Print all comparisons."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-home")
    parser.add_argument("--factors", type=int, nargs="+", default=[10, 32])
    parser.add_argument("--sweeps", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    X, y = make_factorization(
        1_000_000, (6040, 3700), n_factors=8, noise=1.0, skew=0.7, dtype=np.float32, random_state=0
    )
    for n_factors in args.factors:
        compare_sweeps("1e6 simulated ratings", X, y, [6040, 3700], n_factors)
    local = {"data_home": args.data_home, "download_if_missing": False}
    try:
        ratings = fetch_movielens("100k", as_frame=True, **local)
    except OSError as error:
        print(f"MovieLens-100K skipped: {error}")
    else:
        X = with_side_information(ratings)
        train = ratings.splits["u1"][0]
        fields = FMRegressor(solver="mcmc", max_iter=1, burn_in=0).fit(X, ratings.target).fields_
        sizes = np.bincount(fields).tolist()
        y = ratings.target.to_numpy(np.float32)
        compare_sweeps("MovieLens-100K with side information", X[train], y[train], sizes, 10)
    try:
        ratings = fetch_movielens("1m", **local)
    except OSError as error:
        print(f"MovieLens-1M skipped: {error}")
        return
    encoder = OneHotEncoder(dtype=np.float32)
    X, y = encoder.fit_transform(ratings.data), ratings.target.astype(np.float32)
    order = np.random.RandomState(42).permutation(len(y))
    test, train = np.split(order, [len(y) // 10])
    sizes = [len(c) for c in encoder.categories_]
    n_factors, n = args.factors[-1], args.sweeps
    for name, call in (
        ("myfm", lambda: fit_peer(X[train], y[train], sizes, n_factors, n)),
        ("skfm", lambda: fit(X[train], y[train], n_factors, n)),
    ):
        model, seconds = cpu(call)
        error = rmse(y[test], model.predict(X[test]), (1, 5))
        print(
            f"MovieLens-1M, K={n_factors}, {n} sweeps, {name}: RMSE {error:.4f}, {seconds:.1f} CPU s",
            flush=True,
        )


if __name__ == "__main__":
    main()
