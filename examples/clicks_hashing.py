"""Click-through rates from log records: hashed categories, logistic regression and factorization machines.

    python examples/clicks_hashing.py [--rows 200000] [--plot FILE]

Records are dictionaries of categories, as a log has them, and are hashed into 2^16 columns without a list of
categories. The clicks are planted: each record has a true probability, so the best log loss there can be is
known. Prints a table and saves a plot, by default to build/clicks_hashing.png.
"""

import argparse
import os
import time
from pathlib import Path

# One thread for every model, for times that compare. Has to be set before numpy and torch are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from skfm import FMClassifier

CATEGORIES = {"user": 3000, "site": 400, "ad": 800, "hour": 24, "device": 5}


def click_log(n_rows, seed=0):
    """Return records, clicks and the true probabilities.

    Every category has an effect of its own, and a vector; how well the vectors of a record agree counts for
    more. A few categories of each column are frequent, and most are rare.
    """
    rng = np.random.default_rng(seed)
    raw, squares, sums = np.full(n_rows, -2.5), 0.0, 0.0
    columns = {}
    for name, n_categories in CATEGORIES.items():
        frequency = np.arange(1, n_categories + 1) ** -0.8
        chosen = rng.choice(n_categories, n_rows, p=frequency / frequency.sum())
        vectors = rng.normal(0, 0.5, (n_categories, 3))[chosen]
        raw += rng.normal(0, 0.3, n_categories)[chosen]
        sums, squares = sums + vectors, squares + vectors**2
        columns[name] = [f"{name}{number}" for number in chosen]
    raw += (sums**2 - squares).sum(axis=1) / 2
    probability = 1 / (1 + np.exp(-raw))
    records = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return records, (rng.random(n_rows) < probability).astype(int), probability


def models():
    """Name to model. Only logistic regression has a penalty to choose; that of the others is learned."""
    found = {"mean rate": DummyClassifier()}
    for C in (0.1, 1):
        found[f"LogisticRegression, C={C}"] = LogisticRegression(C=C, max_iter=300)
    for n_factors in (0, 4, 8):
        found[f"FMClassifier, K={n_factors}"] = FMClassifier(n_factors, solver="adagrad", random_state=0)
    return found


def calibration(probability, clicks, n_bins=10):
    """Mean prediction and share of clicks in bins of equally many records."""
    bins = np.array_split(np.argsort(probability), n_bins)
    return [probability[rows].mean() for rows in bins], [clicks[rows].mean() for rows in bins]


def plot(curves, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    axes.axline((0, 0), slope=1, color="tab:gray", linewidth=0.8)
    for name, (predicted, observed) in curves.items():
        color = "tab:orange" if name.startswith("FM") else "tab:gray"
        axes.plot(predicted, observed, "o-", color=color, label=name)
    axes.set_xlabel("mean prediction of a tenth of the test records")
    axes.set_ylabel("share of clicks among them")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument(
        "--plot", type=Path, default=Path("build/clicks_hashing.png"), help="file for the plot"
    )
    arguments = parser.parse_args()

    records, clicks, truth = click_log(arguments.rows)
    # Signs would only flip what is learned for a column, and turn ones into numbers.
    X = FeatureHasher(2**16, alternate_sign=False, dtype=np.float32).transform(records)
    n_train = len(clicks) * 3 // 4
    X_train, X_test, y_train, y_test = X[:n_train], X[n_train:], clicks[:n_train], clicks[n_train:]
    print(f"{n_train} training and {len(y_test)} test records, {y_train.mean():.1%} clicks. For example:")
    print(f"  {records[0]}\n\n  {'':28}log loss     AUC   fit seconds")
    curves = {}
    for name, model in models().items():
        start = time.perf_counter()
        model.fit(X_train, y_train)
        seconds = time.perf_counter() - start
        p = model.predict_proba(X_test)[:, 1].astype(float)
        print(
            f"  {name:28}{log_loss(y_test, p):8.4f}{roc_auc_score(y_test, p):8.3f}{seconds:14.1f}", flush=True
        )
        curves[name] = calibration(p, y_test)
    best = truth[n_train:]
    print(f"  {'the true probabilities':28}{log_loss(y_test, best):8.4f}{roc_auc_score(y_test, best):8.3f}")
    plot({name: curve for name, curve in curves.items() if name.endswith(("C=1", "K=8"))}, arguments.plot)
    print(f"\nPlot: {arguments.plot}")


if __name__ == "__main__":
    main()
