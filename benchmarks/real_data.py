"""Held-out scores on public data sets, with the default settings of every model.

    python benchmarks/real_data.py --folder FOLDER

The folder has to contain `libsvm/` (a9a, a9a.t, w8a and phishing as .xz), `bike-sharing/hour.csv.xz` and `ml-100k.zip`.
Data sets without a test set are split 80/20 at random.
"""

import argparse
import lzma
import os
import time
import warnings
import zipfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAYON_NUM_THREADS", "1")

import modern_fm
import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_svmlight_file
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.metrics import log_loss, mean_poisson_deviance, roc_auc_score, root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder

from skfm import FMClassifier, FMRegressor


def svmlight(path, n_features=None):
    """Return X and y of a compressed file, with y as 0 and 1."""
    with lzma.open(path) as file:
        X, y = load_svmlight_file(file, n_features=n_features, dtype=np.float32)
    return X, (y > y.min()).astype(int)


def classification_sets(folder):
    """Yield the name, the training set and the test set of each data set."""
    X, y = svmlight(folder / "libsvm/a9a.xz", 123)
    X_test, y_test = svmlight(folder / "libsvm/a9a.t.xz", 123)
    yield "a9a", X, X_test, y, y_test
    for name in ("w8a", "phishing"):
        X, y = svmlight(folder / f"libsvm/{name}.xz")
        yield name, *train_test_split(X, y, test_size=0.2, random_state=0, stratify=y)


def bikes(folder):
    """Return hourly rentals with one-hot encoded categories (such as season, hour and weekday) and numeric weather."""
    table = pd.read_csv(folder / "bike-sharing/hour.csv.xz")
    categories = ["season", "yr", "mnth", "hr", "holiday", "weekday", "workingday", "weathersit"]
    X = OneHotEncoder(sparse_output=False, dtype=np.float32).fit_transform(table[categories])
    X = np.hstack([X, table[["temp", "atemp", "hum", "windspeed"]].to_numpy(np.float32)])
    return train_test_split(X, table["cnt"].to_numpy(float), test_size=0.2, random_state=0)


def ratings(folder):
    """Return the first official split of MovieLens-100K, with one-hot encoded users and items."""
    with zipfile.ZipFile(folder / "ml-100k.zip") as archive:
        train, test = (np.loadtxt(archive.open(f"ml-100k/u1.{part}")) for part in ("base", "test"))
    encoder = OneHotEncoder(handle_unknown="ignore", dtype=np.float32).fit(train[:, :2])
    return encoder.transform(train[:, :2]), encoder.transform(test[:, :2]), train[:, 2], test[:, 2]


def report(data, model, X, X_test, y, y_test, scores):
    """Fit a model and print its scores."""
    needs_dense = type(model).__name__.startswith("Hist")
    if needs_dense and not isinstance(X, np.ndarray):
        X, X_test = X.toarray(), X_test.toarray()
    start = time.process_time()
    model.fit(X, y)
    seconds = time.process_time() - start
    package = type(model).__module__.split(".")[0]
    solver = getattr(model, "solver", "") if package == "skfm" else ""
    text = "  ".join(f"{name} {score(y_test, model, X_test):.4f}" for name, score in scores.items())
    print(f"{data:10} {package:9} {type(model).__name__:32} {solver:8} {text}  {seconds:6.1f} s", flush=True)


def main():
    """Print one line per data set and model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the other libraries raise some
    proba = {
        "log loss": lambda y, m, X: log_loss(y, m.predict_proba(X)[:, 1].astype(float)),
        "AUC": lambda y, m, X: roc_auc_score(y, m.predict_proba(X)[:, 1]),
    }
    for name, *data in classification_sets(folder):
        for model in (
            FMClassifier(random_state=0),
            FMClassifier(solver="adagrad", random_state=0),
            LogisticRegression(max_iter=10_000),
            HistGradientBoostingClassifier(random_state=0),
            modern_fm.FMClassifier(random_state=0, n_jobs=1),
        ):
            report(name, model, *data, proba)
    data = bikes(folder)
    counts = {
        "deviance": lambda y, m, X: mean_poisson_deviance(y, np.clip(m.predict(X), 1e-3, None)),
        "RMSE": lambda y, m, X: root_mean_squared_error(y, m.predict(X)),
    }
    for model in (
        FMRegressor(solver="adagrad", loss="poisson", random_state=0),
        FMRegressor(random_state=0),
        FMRegressor(solver="adagrad", random_state=0),
        PoissonRegressor(max_iter=10_000),
        Ridge(),
        HistGradientBoostingRegressor(loss="poisson", random_state=0),
        modern_fm.FMRegressor(random_state=0, n_jobs=1),
    ):
        report("bikes", model, *data, counts)
    data = ratings(folder)
    clipped = {"RMSE": lambda y, m, X: root_mean_squared_error(y, np.clip(m.predict(X), 1, 5))}
    for model in (
        FMRegressor(random_state=0),
        FMRegressor(solver="adagrad", random_state=0),
        Ridge(),
        modern_fm.FMRegressor(random_state=0, n_jobs=1),
    ):
        report("ml-100k u1", model, *data, clipped)


if __name__ == "__main__":
    main()
