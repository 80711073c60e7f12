"""Test RMSE on the five official splits of MovieLens-100K by the number of sweeps, with user and item only.

    python benchmarks/movielens_100k.py [--data-home FOLDER] [--factors 16]

Predictions are clipped to [1, 5], and the errors are averaged over u1 to u5.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from sklearn.preprocessing import OneHotEncoder

from skfm import FMRegressor
from skfm.datasets import fetch_movielens

SPLITS = ("u1", "u2", "u3", "u4", "u5")


def mean_rmse(ratings, **parameters):
    """Return the mean RMSE over the splits and the numbers of sweeps."""
    errors, sweeps = [], []
    for split in SPLITS:
        train, test = ratings.splits[split]
        encoder = OneHotEncoder(handle_unknown="ignore")
        data, y = np.asarray(ratings.data), ratings.target
        model = FMRegressor(random_state=0, **parameters).fit(encoder.fit_transform(data[train]), y[train])
        prediction = model.predict(encoder.transform(data[test])).clip(1, 5)
        errors.append(np.sqrt(np.mean((prediction - y[test]) ** 2)))
        sweeps.append(model.n_iter_)
    return np.mean(errors), sweeps


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-home")
    parser.add_argument("--factors", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        ratings = fetch_movielens("100k", data_home=args.data_home, download_if_missing=False)
    except OSError as error:
        print(f"Skipped: {error}")
        return
    error, sweeps = mean_rmse(ratings, n_factors=args.factors)
    print(f"n_factors={args.factors}, default settings: {error:.4f} after {sweeps} sweeps")
    for kind in ("full", "diag"):
        for n in (5, 10, 20, 50):
            error, _ = mean_rmse(ratings, n_factors=args.factors, covariance_type=kind, max_iter=n, tol=0)
            print(f"  {kind}, {n:2d} sweeps: {error:.4f}", flush=True)


if __name__ == "__main__":
    main()
