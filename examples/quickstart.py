"""
Beside a linear model and gradient boosting
===========================================

How does a factorization machine do on small tables of numbers, where linear models and gradient boosting are strong?
Two real data sets that scikit-learn ships, all models tuned by a grid search over the same five folds.

Such tables are not what factorization machines are made for, which is :ref:`categories of many values
<why-categories>`. They keep up all the same, on raw data and with next to nothing to search for.
"""

# %%
# Two data sets
# -------------
#
# The progression of diabetes from ten measurements in their raw units is a regression problem. Whether a tumor is
# benign, from thirty measurements of cell nuclei, is a classification problem.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler

from skfm import FMClassifier, FMRegressor

diabetes = load_diabetes(as_frame=True, scaled=False)
cancer = load_breast_cancer(as_frame=True)
diabetes.data.head(3).T

# %%
# Models and grids
# ----------------
#
# Bins let a linear model or a factorization machine bend, so for the diabetes data the grid also tries four bins a
# measurement. Trees find their own. A factorization machine learns its penalties, so only the number of factors is
# left to search for.

numeric = diabetes.data.columns.drop("sex")
scaled = make_column_transformer((OneHotEncoder(), ["sex"]), (StandardScaler(), numeric))
binned = make_column_transformer(
    (OneHotEncoder(), ["sex"]), (KBinsDiscretizer(n_bins=4, strategy="kmeans"), numeric)
)
encoders = {"columntransformer": [scaled, binned]}
trees = {"learning_rate": [0.03, 0.1], "max_leaf_nodes": [4, 31]}

regressors = {
    "Ridge": (make_pipeline(scaled, Ridge()), encoders | {"ridge__alpha": [1, 10, 100]}),
    "HistGradientBoosting": (HistGradientBoostingRegressor(random_state=0), trees),
    "FMRegressor": (
        make_pipeline(scaled, FMRegressor(random_state=0)),
        encoders | {"fmregressor__n_factors": [4, 8]},
    ),
}
classifiers = {
    "LogisticRegression": (
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        {"logisticregression__C": [0.1, 1, 10]},
    ),
    "HistGradientBoosting": (HistGradientBoostingClassifier(random_state=0), trees),
    "FMClassifier": (FMClassifier(random_state=0), {"n_factors": [4, 8]}),
}

# %%
# Five folds, the same for all
# ----------------------------
#
# The score is the mean over the folds, of the best point of the grid. The spread is the standard deviation of the
# folds.


def searched(models, X, y, folds):
    """Return a table of the best point of each grid, and the scores of the folds by model."""
    lines, scores = {}, {}
    for name, (model, grid) in models.items():
        search = GridSearchCV(model, grid, cv=folds, refit=False).fit(X, y)
        best = pd.DataFrame(search.cv_results_).iloc[search.best_index_]
        lines[name] = {
            "score": best["mean_test_score"],
            "spread": best["std_test_score"],
            "fit seconds": best["mean_fit_time"],
        }
        scores[name] = [best[f"split{fold}_test_score"] for fold in range(5)]
    return pd.DataFrame(lines).T, scores


table, r2 = searched(
    regressors, diabetes.data, diabetes.target, KFold(n_splits=5, shuffle=True, random_state=0)
)
print(f"Diabetes progression of 442 patients: R^2\n\n{table.round(3)}\n")

# %%

table, accuracy = searched(
    classifiers, cancer.data, cancer.target, StratifiedKFold(n_splits=5, shuffle=True, random_state=0)
)
print(f"Breast cancer, 569 patients: accuracy\n\n{table.round(3)}")

# %%
# The folds differ more than the models do. The factorization machine is not behind on either, with raw columns on the
# second.

figure, panels = plt.subplots(1, 2, figsize=(11, 2.8), layout="constrained")
for axes, title, scores in zip(
    panels, ("Diabetes: R^2", "Breast cancer: accuracy"), (r2, accuracy), strict=True
):
    for row, (name, values) in enumerate(reversed(scores.items())):
        color = "tab:orange" if name.startswith("FM") else "tab:gray"
        axes.plot(values, [row] * len(values), "o", color=color, alpha=0.5)
        axes.plot(sum(values) / len(values), row, "|", color=color, markersize=24, markeredgewidth=3)
    axes.set_yticks(range(len(scores)), list(reversed(scores)))
    axes.set_ylim(-0.6, len(scores) - 0.4)
    axes.set_xlabel("score of a fold (bar: mean)")
    axes.set_title(title)
plt.show()
