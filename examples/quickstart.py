"""
Comparison with linear models and gradient boosting
===================================================

This example evaluates factorization machines on small tables of numbers, where linear models and gradient boosting are
strong. It uses two real data sets that are included in scikit-learn. All models are tuned by a grid search over the
same five folds.

Factorization machines are made for :ref:`categories with many values <why-categories>` rather than for such tables.
They are nevertheless competitive, on raw data and with hardly any parameters to search.
"""

# %%
# Two data sets
# -------------
#
# The first problem is a regression: the progression of diabetes is predicted from ten measurements in their raw units.
# The second problem is a classification: thirty measurements of cell nuclei indicate whether a tumor is benign.

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
# Binning makes a linear model or a factorization machine nonlinear in a measurement, so for the diabetes data the grid
# also includes four bins per measurement. Trees find their own bins. A factorization machine learns its penalties, so
# only the number of factors has to be searched.

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
# Cross-validation
# ----------------
#
# The score is the mean over five folds for the best point of the grid, and the spread is the standard deviation over
# the folds. All models use the same folds.


def searched(models, X, y, folds):
    """Return a table with the best point of each grid, and the scores of all folds by model."""
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
# The differences between folds are larger than those between models. The factorization machine is not worse than the
# other models on either data set, and on the second one it uses the raw columns.

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
