"""Tastes that drift: a factorization machine that learns day by day, beside one that was fitted once.

    python examples/online_updates.py [--plot FILE]

Every day users rate films, and their tastes move a little. The ratings are planted. Each model first predicts
the ratings of a day and only then may learn from them, so every error is one on new data. Prints a table and
saves a plot, by default to build/online_updates.png.
"""

import argparse
import os
from pathlib import Path

# The steps are small: threads would cost more than they bring. Has to be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.sparse import vstack
from sklearn.base import clone
from sklearn.metrics import root_mean_squared_error
from sklearn.preprocessing import OneHotEncoder

from skfm import FMRegressor

N_USERS, N_FILMS, N_TASTES = 200, 100, 3
DAYS, HISTORY, RATINGS_A_DAY = 60, 10, 2000
NOISE = 0.5


def days(drift=0.05, seed=0):
    """Yield the pairs of user and film of each day, and their ratings."""
    rng = np.random.default_rng(seed)
    tastes = rng.standard_normal((N_USERS, N_TASTES))
    styles = rng.standard_normal((N_FILMS, N_TASTES)) / N_TASTES**0.5
    for _ in range(DAYS):
        users, films = rng.integers(0, N_USERS, RATINGS_A_DAY), rng.integers(0, N_FILMS, RATINGS_A_DAY)
        ratings = (tastes[users] * styles[films]).sum(axis=1) + NOISE * rng.standard_normal(RATINGS_A_DAY)
        yield np.column_stack([users, films]), ratings
        # Keeps the variance of the tastes at one.
        tastes = (1 - drift) ** 0.5 * tastes + drift**0.5 * rng.standard_normal(tastes.shape)


def progressive_errors():
    """Return the RMSE of each day after the history, by model."""
    encoder = OneHotEncoder(categories=[range(N_USERS), range(N_FILMS)], dtype=np.float32)
    X, y = zip(*((encoder.fit_transform(pairs), ratings) for pairs, ratings in days()), strict=True)

    def fit(model, first, stop):
        return model.fit(vstack(X[first:stop], format="csr"), np.concatenate(y[first:stop]))

    # With warm_start=True, partial_fit goes on with the step sizes of fit.
    adagrad = FMRegressor(4, solver="adagrad", warm_start=True, batch_size=128, random_state=0)
    sgd = clone(adagrad).set_params(solver="sgd")
    once, daily, sgd = (fit(model, 0, HISTORY) for model in (clone(adagrad), adagrad, sgd))
    errors = {
        name: [] for name in ("mean rating", "fitted once", "adagrad, daily", "sgd, daily", "refitted daily")
    }
    for day in range(HISTORY, DAYS):
        refitted = fit(FMRegressor(4, random_state=0), day - HISTORY, day)
        mean = np.full(RATINGS_A_DAY, np.concatenate(y[:day]).mean())
        predictions = [mean, *(model.predict(X[day]) for model in (once, daily, sgd, refitted))]
        for name, prediction in zip(errors, predictions, strict=True):
            errors[name].append(root_mean_squared_error(y[day], prediction))
        for model in (daily, sgd):
            model.partial_fit(X[day], y[day])
    return errors


def plot(errors, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for name, values in errors.items():
        axes.plot(range(HISTORY + 1, DAYS + 1), values, label=name)
    axes.axhline(NOISE, color="tab:gray", linestyle=":", label="noise")
    axes.set_xlabel("day")
    axes.set_ylabel("RMSE of the day")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--plot", type=Path, default=Path("build/online_updates.png"), help="file for the plot"
    )
    arguments = parser.parse_args()
    print(f"{RATINGS_A_DAY} ratings a day; all models begin with {HISTORY} days. RMSE, mean of days:\n")
    errors = progressive_errors()
    periods = [range(first, first + 10) for first in range(0, DAYS - HISTORY, 10)]
    print(f"  {'':16}" + "".join(f"{f'{p[0] + HISTORY + 1}-{p[-1] + HISTORY + 1}':>8}" for p in periods))
    for name, values in errors.items():
        print(f"  {name:16}" + "".join(f"{np.mean([values[i] for i in p]):8.3f}" for p in periods))
    print(f"  {'noise':16}" + f"{NOISE:8.3f}" * len(periods))
    plot(errors, arguments.plot)
    print(f"\nPlot: {arguments.plot}")


if __name__ == "__main__":
    main()
