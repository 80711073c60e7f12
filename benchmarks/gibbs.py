"""Test RMSE of Gibbs sampling on the official splits of MovieLens-100K, and the effect of side information.

    python benchmarks/gibbs.py [--data-home FOLDER] [--factors 8] [--sweeps 100 512]

The first table uses only user and item, one field each, encoded from the full catalog. The second table uses split u1
with age, gender, occupation and the first digit of the zip code of the user, and year and genres of the film.
Predictions are clipped to [1, 5].
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from sklearn.preprocessing import OneHotEncoder

from skfm import FMRegressor
from skfm.datasets import fetch_movielens

SPLITS = ("u1", "u2", "u3", "u4", "u5")


def with_side_information(ratings):
    """Return the encoded users and items with their side information."""
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import CountVectorizer

    movies = ratings.movies[["genres"]].copy()
    movies["year"] = pd.to_datetime(ratings.movies["release_date"], errors="coerce").dt.year.fillna(0)
    frame = ratings.data.join(ratings.users, on="user").join(movies, on="item")
    frame["age"] //= 5
    frame["zip"] = frame["zip_code"].str[:1]
    categories = ["user", "item", "age", "gender", "occupation", "zip", "year"]
    words = CountVectorizer(token_pattern="[^|]+", binary=True)
    encoder = make_column_transformer((OneHotEncoder(), categories), (words, "genres"))
    return encoder.fit_transform(frame).tocsr().astype(np.float32)


def rmse(X, y, split, **parameters):
    """Return the RMSE on a split, and CPU seconds of the fit."""
    train, test = split
    start = time.process_time()
    model = FMRegressor(solver="mcmc", random_state=0, **parameters).fit(X[train], y[train])
    seconds = time.process_time() - start
    prediction = model.predict(X[test]).clip(1, 5)
    return float(np.sqrt(np.mean((prediction - y[test]) ** 2))), seconds


def main():
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-home")
    parser.add_argument("--factors", type=int, default=8)
    parser.add_argument("--sweeps", type=int, nargs="+", default=[100, 512])
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        options = {"as_frame": True, "data_home": args.data_home, "download_if_missing": False}
        ratings = fetch_movielens("100k", **options)
    except OSError as error:
        print(f"Skipped: {error}")
        return
    y = ratings.target.to_numpy()
    X = OneHotEncoder(dtype=np.float32).fit_transform(ratings.data)
    for n in args.sweeps:
        for loss in ("squared_error", "ordered_probit"):
            found = [
                rmse(X, y, ratings.splits[s], loss=loss, max_iter=n, n_factors=args.factors) for s in SPLITS
            ]
            errors, seconds = zip(*found, strict=True)
            each = " ".join(f"{error:.4f}" for error in errors)
            print(
                f"{loss:14s} {n} sweeps: mean {np.mean(errors):.5f}  ({each})  {np.mean(seconds):.1f} CPU s per fit",
                flush=True,
            )
    X_more = with_side_information(ratings)
    n = args.sweeps[-1]
    for loss in ("squared_error", "ordered_probit"):
        options = {"loss": loss, "max_iter": n, "n_factors": args.factors}
        error, seconds = rmse(X_more, y, ratings.splits["u1"], **options)
        print(f"{loss:14s} u1, side information, {n} sweeps: {error:.4f}  {seconds:.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()
