"""Film ratings from user and film alone: a factorization machine on MovieLens-100K.

    python examples/movielens.py [--data-home FOLDER] [--split u1] [--plot FILE]

The official split u1, test RMSE of predictions clipped to the scale of the ratings, and intervals for some of
them. The factorization machine by variational Bayes (the default), alternating least squares and Gibbs sampling, the
latter also for stars in order, by an ordered probit model. The data is taken from
the data home (default: the environment variable SKFM_DATA, or else scikit-learn's) and downloaded from
GroupLens where it is missing. Prints a table and saves a plot, by default to build/movielens.png.
"""

import argparse
import os
import time
from pathlib import Path

# One thread for every model, for times that compare. Has to be set before numpy and torch are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, TargetEncoder

from skfm import FMRegressor
from skfm.datasets import fetch_movielens


def models():
    """Name to model. Ridge and "als" search for their penalties; the other factorization machines learn theirs."""
    folds = KFold(3, shuffle=True, random_state=0)

    def one_hot(model):
        return make_pipeline(OneHotEncoder(handle_unknown="ignore"), model)

    boosting = make_pipeline(TargetEncoder(), HistGradientBoostingRegressor(random_state=0))
    return {
        "mean rating": DummyRegressor(),
        "Ridge": GridSearchCV(
            one_hot(Ridge()), {"ridge__alpha": [1, 3, 10]}, cv=folds, scoring="neg_root_mean_squared_error"
        ),
        "HistGradientBoosting": boosting,
        "FMRegressor, K=8, als": GridSearchCV(
            one_hot(FMRegressor(n_factors=8, solver="als", random_state=0)),
            {"fmregressor__l2_factors": [5, 10, 20]},
            cv=folds,
            scoring="neg_root_mean_squared_error",
        ),
        "FMRegressor, K=8": one_hot(FMRegressor(n_factors=8, random_state=0)),
        "FMRegressor, K=16": one_hot(FMRegressor(n_factors=16, random_state=0)),
        "FMRegressor, K=8, mcmc": one_hot(FMRegressor(n_factors=8, solver="mcmc", random_state=0)),
        "FM, K=8, ordered probit": one_hot(
            FMRegressor(n_factors=8, solver="mcmc", loss="ordered_probit", random_state=0)
        ),
    }


def print_intervals(models, X_train, X_test, y_test):
    """Print predictions for some test ratings, from the user with the fewest training ratings to the one with most."""
    n_ratings = np.bincount(X_train[:, 0])[X_test[:, 0]]
    rows = np.argsort(n_ratings, kind="stable")[np.linspace(0, len(y_test) - 1, 5).astype(int)]
    print("\nMeans with intervals of 90 %. Those of stars in order are whole stars.\n")
    print(f"  {'ratings of the user':24}stars" + "".join(f"{name:>20}" for name in models))
    cells = []
    for model in models.values():
        mean, (low, high) = model.predict(X_test[rows]), model.predict(X_test[rows], quantiles=[0.05, 0.95]).T
        cells.append([f"{m:.1f} ({a:.1f} to {b:.1f})" for m, a, b in zip(mean, low, high, strict=True)])
    for row, *texts in zip(rows, *cells, strict=True):
        print(f"  {n_ratings[row]:<24}{y_test[row]:5.0f}" + "".join(f"{text:>20}" for text in texts))


def rmse_by_sweep(X_train, y_train, X_test, y_test, n_factors, max_iter=30):
    """Test RMSE after each sweep, for the plot: the test set is shown to `fit`, which only watches it."""
    encoder = OneHotEncoder(handle_unknown="ignore").fit(X_train)
    # stopping is left to max_iter, so that the curve has its full length
    model = FMRegressor(n_factors, max_iter=max_iter, tol=0, n_iter_no_change=max_iter, random_state=0)
    model.fit(encoder.transform(X_train), y_train, X_val=encoder.transform(X_test), y_val=y_test)
    return np.sqrt(2 * np.array(model.history_["validation_loss"]))  # the loss is half the squared error


def plot(scores, curves, split, path):
    import matplotlib.pyplot as plt

    figure, (dots, lines) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    names = list(reversed(scores))
    colors = ["tab:orange" if name.startswith("FM") else "tab:gray" for name in names]
    dots.scatter([scores[name] for name in names], names, color=colors, s=80)
    dots.grid(axis="y", alpha=0.3)
    dots.set_xlabel(f"test RMSE, split {split}")
    for n_factors, curve in curves.items():
        lines.plot(np.arange(1, len(curve) + 1), curve, label=f"K={n_factors}")
    lines.set_ylim(top=1.0)
    lines.set_xlabel("sweep")
    lines.set_ylabel("test RMSE")
    lines.legend(title="FMRegressor")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", help="folder with ml-100k.zip or ml-100k/, or to download to")
    parser.add_argument("--split", default="u1", choices=["u1", "u2", "u3", "u4", "u5", "ua", "ub"])
    parser.add_argument("--plot", type=Path, default=Path("build/movielens.png"), help="file for the plot")
    arguments = parser.parse_args()
    try:
        movielens = fetch_movielens("100k", data_home=arguments.data_home, n_retries=0)
    except OSError as error:
        print(f"This example needs MovieLens-100K, so there is nothing to show.\n{error}")
        return

    train, test = movielens.splits[arguments.split]
    X, y = movielens.data, movielens.target
    X_train, y_train, X_test, y_test = X[train], y[train], X[test], y[test]
    print(f"MovieLens-100K, split {arguments.split}: {len(train)} training and {len(test)} test ratings\n")
    print(f"  {'':24}test RMSE   fit seconds, search included")
    scores, fitted = {}, models()
    for name, model in fitted.items():
        start = time.perf_counter()
        model.fit(X_train, y_train)
        seconds = time.perf_counter() - start
        scores[name] = root_mean_squared_error(y_test, np.clip(model.predict(X_test), 1, 5))
        print(f"  {name:24}{scores[name]:9.4f}{seconds:14.1f}", flush=True)
    shown = {
        "vb": fitted["FMRegressor, K=8"],
        "mcmc": fitted["FMRegressor, K=8, mcmc"],
        "ordered probit": fitted["FM, K=8, ordered probit"],
    }
    print_intervals(shown, X_train, X_test, y_test)
    curves = {K: rmse_by_sweep(X_train, y_train, X_test, y_test, K) for K in (4, 8, 16)}
    plot(scores, curves, arguments.split, arguments.plot)
    print(f"\nPlot: {arguments.plot}")


if __name__ == "__main__":
    main()
