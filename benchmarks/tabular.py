"""Held-out scores on DataFrames without preparation, with the default settings of every model.

    python benchmarks/tabular.py --folder FOLDER

The folder has to contain `adult/adult.data.xz` and `adult.test.xz`, `bike-sharing/hour.csv.xz` and
`ames-housing/AmesHousing.txt.xz`. Factorization machines are fitted to the DataFrame, and linear models to its usual
encoding with one-hot encoded categories and scaled numbers. Census income has a test set; for the other data sets, all
models use the same five folds. House prices are scored twice: the price itself without the five houses of more than
4000 square feet, which the author of the data advises to remove, and the logarithm of the price for all houses.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import polars as pl
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.metrics import log_loss, roc_auc_score, root_mean_squared_error
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skfm import FMClassifier, FMRegressor

INCOME = [
    *(
        "age",
        "workclass",
        "fnlwgt",
        "education",
        "education-num",
        "marital-status",
        "occupation",
        "relationship",
    ),
    *("race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income"),
]


def encoded(model):
    """Return a pipeline that encodes a DataFrame for a linear model."""
    one_hot = OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")
    return make_pipeline(make_column_transformer(one_hot, remainder=StandardScaler()), model)


def with_types(frame):
    """Return a DataFrame whose columns of strings have the type "category", which gradient boosting requires."""
    strings = frame.select_dtypes(exclude="number").columns
    return frame.assign(**{name: frame[name].astype("category") for name in strings})


def income(folder):
    """Return the training set and the test set of the census income data."""
    parts = []
    for name, skipped in (("adult.data.xz", 0), ("adult.test.xz", 1)):
        path = folder / "adult" / name
        frame = pd.read_csv(path, names=INCOME, skiprows=skipped, skipinitialspace=True, na_values="?")
        parts += [frame, frame.pop("income").str.rstrip(".")]
    return parts


def bikes(folder):
    """Return the hours with their weather, and the numbers of rentals."""
    table = pd.read_csv(folder / "bike-sharing/hour.csv.xz")
    categories = ["season", "yr", "mnth", "hr", "holiday", "weekday", "workingday", "weathersit"]
    frame = table[[*categories, "temp", "atemp", "hum", "windspeed"]]
    return frame.astype(dict.fromkeys(categories, "category")), table["cnt"]


def houses(folder):
    """Return houses and prices, with missing numbers replaced by medians."""
    frame = pd.read_csv(folder / "ames-housing/AmesHousing.txt.xz", sep="\t").drop(columns=["Order", "PID"])
    price = frame.pop("SalePrice")
    return frame.fillna(frame.median(numeric_only=True)), price


def report(name, model, scores, seconds):
    """Print the scores of a model."""
    text = "  ".join(f"{score} {value:.4f}" for score, value in scores.items())
    print(f"{name:22} {model:34} {text}   {seconds:5.1f} CPU s", flush=True)


def classification(folder):
    """Print the scores on census income."""
    frame, y, frame_test, y_test = income(folder)
    typed = with_types(pd.concat([frame, frame_test]))
    polars = tuple(pl.from_pandas(part) for part in (frame, frame_test))
    models = {
        "LogisticRegressionCV, one-hot": (
            encoded(LogisticRegressionCV(scoring="neg_log_loss", max_iter=1000)),
            frame,
            frame_test,
        ),
        "FMClassifier, pandas": (FMClassifier(random_state=0), frame, frame_test),
        "FMClassifier, polars": (FMClassifier(random_state=0), *polars),
        "HistGradientBoostingClassifier": (
            HistGradientBoostingClassifier(random_state=0),
            typed[: len(frame)],
            typed[len(frame) :],
        ),
    }
    for name, (model, X, X_test) in models.items():
        start = time.process_time()
        p = model.fit(X, y).predict_proba(X_test)
        scores = {"log loss": log_loss(y_test, p), "AUC": roc_auc_score(y_test, p[:, 1])}
        report("census income", name, scores, time.process_time() - start)


def regression(name, X, y):
    """Print the mean root mean squared error over five folds."""
    folds = list(KFold(5, shuffle=True, random_state=0).split(X))
    logarithm = name.endswith("log")
    models = {
        "RidgeCV, one-hot": (encoded(RidgeCV(np.logspace(-2, 3, 11))), X),
        "FMRegressor": (FMRegressor(random_state=0), X),
        "HistGradientBoostingRegressor": (HistGradientBoostingRegressor(random_state=0), with_types(X)),
    }
    for title, (model, frame) in models.items():
        if logarithm:
            model = TransformedTargetRegressor(model, func=np.log, inverse_func=np.exp)
        start, errors = time.process_time(), []
        for train, test in folds:
            predicted = clone(model).fit(frame.iloc[train], y.iloc[train]).predict(frame.iloc[test])
            truth = y.iloc[test]
            if logarithm:
                truth, predicted = np.log(truth), np.log(predicted)
            errors.append(root_mean_squared_error(truth, predicted))
        report(name, title, {"RMSE": np.mean(errors)}, (time.process_time() - start) / len(folds))


def main():
    """Print one line per data set and model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    folder = parser.parse_args().folder
    classification(folder)
    regression("bike rentals per hour", *bikes(folder))
    frame, price = houses(folder)
    usual = frame["Gr Liv Area"] <= 4000
    regression("house prices", frame[usual], price[usual])
    regression("house prices, all, log", frame, price)


if __name__ == "__main__":
    main()
