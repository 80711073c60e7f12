"""Factorization machines beside a linear model and gradient boosting, on data that scikit-learn ships.

    python examples/quickstart.py [PLOT]

Every model is a pipeline with its encoders, tuned by a grid search over the same five folds. Nothing is
downloaded. Prints a table and saves a plot, by default to build/quickstart.png.
"""

import argparse
import os
from pathlib import Path

# The fits are small: threads would cost more than they bring. Has to be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler

from skfm import FMClassifier, FMRegressor


def pipeline(encode, model):
    return Pipeline([("encode", encode), ("model", model)])


def diabetes():
    """Regression: progression of the disease from ten measurements in their raw units."""
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    numeric = X.columns.drop("sex")

    def encode(numeric_encoder):
        return make_column_transformer((OneHotEncoder(), ["sex"]), (numeric_encoder, numeric))

    # Bins let a linear model or a factorization machine bend; whether they help is for the search to say.
    bins = KBinsDiscretizer(n_bins=4, strategy="kmeans")
    encoders = [encode(StandardScaler()), encode(bins)]
    return (
        X,
        y,
        {
            "Ridge": (pipeline(None, Ridge()), {"encode": encoders, "model__alpha": [1, 10, 100]}),
            "HistGradientBoosting": (
                pipeline("passthrough", HistGradientBoostingRegressor(random_state=0)),
                {"model__learning_rate": [0.03, 0.1], "model__max_leaf_nodes": [4, 31]},
            ),
            "FMRegressor": (
                pipeline(None, FMRegressor(random_state=0)),
                {"encode": encoders, "model__n_factors": [4, 8]},
            ),
        },
    )


def breast_cancer():
    """Classification: malignant or benign, from thirty measurements of cell nuclei."""
    X, y = load_breast_cancer(return_X_y=True)
    return (
        X,
        y,
        {
            "LogisticRegression": (
                pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
                {"model__C": [0.1, 1, 10]},
            ),
            "HistGradientBoosting": (
                pipeline("passthrough", HistGradientBoostingClassifier(random_state=0)),
                {"model__learning_rate": [0.03, 0.1], "model__max_leaf_nodes": [4, 31]},
            ),
            "FMClassifier": (
                pipeline(StandardScaler(), FMClassifier(random_state=0)),
                {"model__n_factors": [4, 8]},
            ),
        },
    )


PROBLEMS = [
    ("Diabetes progression (442 patients, 10 measurements)", "R^2", diabetes, KFold),
    ("Breast cancer (569 patients, 30 measurements)", "accuracy", breast_cancer, StratifiedKFold),
]


def compare(title, score, load, splitter):
    """Search each model's grid and print its line; return the scores of the folds by model."""
    X, y, models = load()
    cv = splitter(n_splits=5, shuffle=True, random_state=0)
    print(f"\n{title}\n  {'':22}{score:>10}   spread   fit seconds   best of the grid")
    fold_scores = {}
    for name, (model, grid) in models.items():
        search = GridSearchCV(model, grid, cv=cv, refit=False, error_score="raise").fit(X, y)
        best = {key: values[search.best_index_] for key, values in search.cv_results_.items()}
        fold_scores[name] = [best[f"split{fold}_test_score"] for fold in range(5)]
        chosen = ", ".join(describe(key, value) for key, value in search.best_params_.items())
        mean, spread, seconds = best["mean_test_score"], best["std_test_score"], best["mean_fit_time"]
        print(f"  {name:22}{mean:10.3f}{spread:9.3f}{seconds:14.2f}   {chosen}", flush=True)
    return fold_scores


def describe(parameter, value):
    """``model__alpha=1`` as "alpha=1", and an encoder by the class that the numeric columns go through."""
    if parameter == "encode":
        value = type(value.transformers[-1][1]).__name__
    return f"{parameter.removeprefix('model__')}={value}"


def plot(results, path):
    """One panel a problem: a line a model, with a dot a fold and a bar at the mean."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(results), figsize=(5.5 * len(results), 2.8), layout="constrained")
    for axes, (title, score, fold_scores) in zip(panels, results, strict=True):
        for row, (name, scores) in enumerate(reversed(fold_scores.items())):
            color = "tab:orange" if name.startswith("FM") else "tab:gray"
            axes.plot(scores, [row] * len(scores), "o", color=color, alpha=0.5)
            axes.plot(sum(scores) / len(scores), row, "|", color=color, markersize=24, markeredgewidth=3)
        axes.set_yticks(range(len(fold_scores)), list(reversed(fold_scores)))
        axes.set_ylim(-0.6, len(fold_scores) - 0.4)
        axes.set_xlabel(f"{score} (five folds, bar: mean)")
        axes.set_title(title.partition(" (")[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "plot", nargs="?", type=Path, default=Path("build/quickstart.png"), help="file for the plot"
    )
    arguments = parser.parse_args()
    print("Mean over five folds, the same for all; spread is their standard deviation.")
    results = [
        (title, score, compare(title, score, load, splitter)) for title, score, load, splitter in PROBLEMS
    ]
    plot(results, arguments.plot)
    print(f"\nPlot: {arguments.plot}")


if __name__ == "__main__":
    main()
