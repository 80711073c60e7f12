"""Time for variational Bayes to reach the error of 100 Gibbs sweeps, and seconds per sweep.

    python benchmarks/ratings.py [--data-home FOLDER] [--factors 10 32] [--sweeps 100]

The data are ratings with one-hot encoded users and items, split 90/10 at random: MovieLens-1M if it is available, and
simulated data of the same size otherwise. The peer is myfm's Gibbs sampler in the same process. Both use one thread,
and times are CPU seconds of complete fits.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from myfm import MyFMRegressor
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder

from skfm import FMRegressor
from skfm.datasets import fetch_movielens, make_factorization


def load(data_home):
    """Return the name of the data, and training and test sets."""
    try:
        ratings = fetch_movielens("1m", data_home=data_home, download_if_missing=False)
    except OSError:
        X, y = make_factorization(
            1_000_000, (6040, 3700), n_factors=8, noise=1.0, skew=0.7, dtype=np.float32, random_state=0
        )
        name = "simulated ratings"
    else:
        X = OneHotEncoder(dtype=np.float32).fit_transform(np.asarray(ratings.data))
        y, name = ratings.target.astype(np.float32), "MovieLens-1M"
    return name, *train_test_split(X, y, test_size=0.1, random_state=42)


def rmse(y, prediction, bounds):
    """Return the root mean squared error of predictions clipped to the range of the ratings."""
    return float(np.sqrt(np.mean((np.clip(prediction, *bounds) - y) ** 2)))


def cpu(call, repeat=1):
    """Return the result of a call and the median of its CPU seconds over several repetitions."""
    seconds = []
    for _ in range(repeat):
        start = time.process_time()
        result = call()
        seconds.append(time.process_time() - start)
    return result, statistics.median(seconds)


def sweeps_to_reach(goal, X, y, X_test, y_test, bounds, **parameters):
    """Return the smallest number of sweeps that reaches the goal, or None if there is none."""
    for n in range(5, 41):
        model = FMRegressor(max_iter=n, tol=0, **parameters).fit(X, y)
        if rmse(y_test, model.predict(X_test), bounds) <= goal:
            return n
    return None


def main():
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-home")
    parser.add_argument("--factors", type=int, nargs="+", default=[10, 32])
    parser.add_argument("--sweeps", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    name, X, X_test, y, y_test = load(args.data_home)
    bounds = y.min(), y.max()
    print(f"{name}: {X.shape[0]:,} training ratings, {X.shape[1]:,} columns, one thread, CPU seconds")
    for n_factors in args.factors:
        n_users = int(X.indices[0::2].max()) + 1
        sizes = [n_users, X.shape[1] - n_users]
        peer = MyFMRegressor(rank=n_factors, random_seed=42)
        _, peer_seconds = cpu(
            lambda: peer.fit(X, y, group_shapes=sizes, n_iter=args.sweeps, n_kept_samples=args.sweeps)
        )
        goal = rmse(y_test, peer.predict(X_test), bounds)
        print(f"\nn_factors={n_factors}")
        print(f"  myfm Gibbs, {args.sweeps} sweeps   RMSE {goal:.4f}  {peer_seconds:7.2f} s")
        default = {"n_factors": n_factors, "random_state": 0}
        model, seconds = cpu(lambda: FMRegressor(**default).fit(X, y))
        error = rmse(y_test, model.predict(X_test), bounds)
        print(f"  vb, default settings, {model.n_iter_:2d} sweeps  RMSE {error:.4f}  {seconds:7.2f} s")
        model, seconds = cpu(lambda: FMRegressor(solver="mcmc", **default).fit(X, y))
        error = rmse(y_test, model.predict(X_test), bounds)
        print(
            f"  mcmc, default settings, {model.n_iter_} sweeps  RMSE {error:.4f}  {seconds:7.2f} s",
            flush=True,
        )
        n = sweeps_to_reach(goal, X, y, X_test, y_test, bounds, **default)
        if n is None:
            print("  vb does not reach the RMSE of myfm")
        else:
            model, seconds = cpu(lambda: FMRegressor(max_iter=n, tol=0, **default).fit(X, y), repeat=3)
            error = rmse(y_test, model.predict(X_test), bounds)
            ratio = seconds / peer_seconds
            print(f"  vb, {n:2d} sweeps to reach it   RMSE {error:.4f}  {seconds:7.2f} s   ratio {ratio:.3f}")
        print(f"  per sweep: myfm {peer_seconds / args.sweeps:.3f} s", end="")
        kinds = {
            "vb full": {"covariance_type": "full"},
            "vb diag": {"covariance_type": "diag"},
            "als": {"solver": "als"},
        }
        for kind, options in kinds.items():
            fits = [
                cpu(lambda: FMRegressor(max_iter=n, tol=0, **default, **options).fit(X, y), repeat=3)[1]
                for n in (2, 7)
            ]
            each = (fits[1] - fits[0]) / 5
            print(f", {kind} {each:.3f} s (ratio {each / (peer_seconds / args.sweeps):.2f})", end="")
        print()


if __name__ == "__main__":
    main()
