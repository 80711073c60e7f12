"""Counts with exposure: claims of insurance policies, by Poisson regression and factorization machines.

    python examples/counts_poisson.py [--plot FILE]

Policies run for a part of a year, and have claims in that time. What is modelled is the rate, claims divided by
years, with the years as sample weights; that is the likelihood of the counts. The claims are planted, with rates
that depend on pairs of categories. Prints a table of deviances and saves a plot, by default to
build/counts_poisson.png.
"""

import argparse
import os
import time
from pathlib import Path

# One thread for every model, for times that compare. Has to be set before numpy and torch are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import d2_tweedie_score, mean_poisson_deviance
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from skfm import FMRegressor

CATEGORIES = {"district": 80, "car": 60, "age band": 12, "trade": 40}


def policies(n_policies=100_000, seed=0):
    """Return categories, years, numbers of claims and the true rates."""
    rng = np.random.default_rng(seed)
    logarithm = np.full(n_policies, np.log(0.5))
    columns, sums, squares = [], 0.0, 0.0
    for n_categories in CATEGORIES.values():
        chosen = rng.integers(0, n_categories, n_policies)
        vectors = rng.normal(0, 0.5, (n_categories, 2))[chosen]
        logarithm += rng.normal(0, 0.25, n_categories)[chosen]
        sums, squares = sums + vectors, squares + vectors**2
        columns.append(chosen)
    rate = np.exp(logarithm + (sums**2 - squares).sum(axis=1) / 2)
    years = rng.uniform(0.1, 1, n_policies)
    return np.column_stack(columns), years, rng.poisson(rate * years), rate


def models():
    """Name to model. The penalties of the factorization machines are learned."""
    return {
        "mean rate": DummyRegressor(),
        "PoissonRegressor": PoissonRegressor(alpha=1e-5, max_iter=1000),
        "FMRegressor, K=0": FMRegressor(0, solver="adagrad", loss="poisson", random_state=0),
        "FMRegressor, K=4": FMRegressor(4, solver="adagrad", loss="poisson", random_state=0),
        "FM, squared error, K=4": FMRegressor(4, solver="adagrad", random_state=0),
    }


def calibration(predicted, claims, years, n_bins=10):
    """Mean prediction and claims a year in bins of equally many policies."""
    bins = np.array_split(np.argsort(predicted), n_bins)
    return [predicted[rows].mean() for rows in bins], [
        claims[rows].sum() / years[rows].sum() for rows in bins
    ]


def plot(curves, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    axes.axline((0.1, 0.1), (1, 1), color="tab:gray", linewidth=0.8)
    for name, (predicted, observed) in curves.items():
        color = "tab:orange" if name.startswith("FM") else "tab:gray"
        axes.loglog(predicted, observed, "o-", color=color, label=name)
    axes.set_xlabel("mean prediction of a tenth of the test policies")
    axes.set_ylabel("their claims a year")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--plot", type=Path, default=Path("build/counts_poisson.png"), help="file for the plot"
    )
    arguments = parser.parse_args()
    X, years, claims, rate = policies()
    train, test = np.arange(len(years)) < 75_000, np.arange(len(years)) >= 75_000
    print(
        f"{train.sum()} training and {test.sum()} test policies, {claims.sum() / years.sum():.2f} claims a year."
    )
    print("D^2: share of the deviance of the mean rate that a model explains, on the test policies.\n")
    print(f"  {'':22}deviance    D^2   below zero   fit seconds")

    def report(name, predicted, seconds):
        # Rates of zero and below have no deviance.
        y, kept, weight = claims[test] / years[test], np.maximum(predicted, 1e-3), years[test]
        numbers = f"{mean_poisson_deviance(y, kept, sample_weight=weight):8.3f}"
        numbers += f"{d2_tweedie_score(y, kept, sample_weight=weight, power=1):z7.2f}"
        print(f"  {name:22}{numbers}{(predicted <= 0).mean():13.1%}{seconds:>14}", flush=True)

    curves = {}
    for name, model in models().items():
        pipeline = Pipeline([("encode", OneHotEncoder(handle_unknown="ignore")), ("model", model)])
        start = time.perf_counter()
        pipeline.fit(X[train], claims[train] / years[train], model__sample_weight=years[train])
        seconds = time.perf_counter() - start
        predicted = pipeline.predict(X[test])
        report(name, predicted, f"{seconds:.1f}")
        curves[name] = calibration(predicted, claims[test], years[test])
    report("the true rates", rate[test], "")
    plot({name: curves[name] for name in ("PoissonRegressor", "FMRegressor, K=4")}, arguments.plot)
    print(f"\nPlot: {arguments.plot}")


if __name__ == "__main__":
    main()
