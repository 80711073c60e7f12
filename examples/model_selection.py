"""
Searching, stacking and calibration
===================================

This example combines a factorization machine with tools of scikit-learn: grid and halving searches, out-of-fold
predictions, stacking, calibration and target encoding. It also uses Optuna with pruning. The data set is included in
scikit-learn and is used as a DataFrame with a category.
"""

# %%
# The data
# --------
#
# The target is the progression of diabetes, and the features are nine numbers and a category.

import matplotlib.pyplot as plt
import numpy as np
import optuna
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor, StackingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import RidgeCV
from sklearn.metrics import brier_score_loss, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    cross_val_predict,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import TargetEncoder

from skfm import FMClassifier, FMRegressor

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
X["sex"] = X["sex"].map({1.0: "F", 2.0: "M"}).astype("category")
folds = KFold(5, shuffle=True, random_state=0)
scores = {}

# %%
# Searches
# --------
#
# With ``solver="vb"``, the number of factors is the only parameter that needs a search. Minibatch solvers also have a
# learning rate.

grid = GridSearchCV(FMRegressor(random_state=0), {"n_factors": [0, 2, 8]}, cv=folds).fit(X, y)
scores["grid search, vb"] = grid.best_score_
halving = HalvingRandomSearchCV(
    FMRegressor(solver="adagrad", random_state=0),
    {"n_factors": [2, 4, 8], "learning_rate": np.geomspace(0.05, 0.5, 8)},
    n_candidates=8,
    resource="max_iter",
    min_resources=20,
    max_resources=80,
    factor=2,
    cv=folds,
    random_state=0,
).fit(X, y)
scores["halving search, adagrad"] = halving.best_score_
print("grid:", grid.best_params_)
print("halving:", {name: round(float(value), 2) for name, value in halving.best_params_.items()})

# %%
# Out-of-fold predictions and stacking
# ------------------------------------

predicted = cross_val_predict(FMRegressor(random_state=0), X, y, cv=folds)
scores["vb, out of fold"] = r2_score(y, predicted)
stack = StackingRegressor(
    [
        ("fm", FMRegressor(random_state=0)),
        ("trees", HistGradientBoostingRegressor(max_iter=50, random_state=0)),
    ],
    final_estimator=RidgeCV(),
)
scores["stack with trees, out of fold"] = r2_score(y, cross_val_predict(stack, X, y, cv=folds))

# %%
# Target encoding
# ---------------
#
# A :class:`~sklearn.preprocessing.TargetEncoder` in front of the model converts categories to numbers, which the model
# uses as numeric columns.

encoder = make_column_transformer((TargetEncoder(target_type="continuous"), ["sex"]), remainder="passthrough")
encoded = make_pipeline(encoder, FMRegressor(random_state=0))
scores["target encoding, out of fold"] = r2_score(y, cross_val_predict(encoded, X, y, cv=folds))

# %%
# Calibration
# -----------
#
# Margin losses do not give probabilities. :class:`~sklearn.calibration.CalibratedClassifierCV` adds them. The
# probabilities of the log loss need no calibration.

high = y > y.median()
X_train, X_test, high_train, high_test = train_test_split(X, high, random_state=0)
margin = CalibratedClassifierCV(FMClassifier(solver="adagrad", loss="squared_hinge", random_state=0), cv=5)
for name, model in {"squared hinge, calibrated": margin, "log loss": FMClassifier(random_state=0)}.items():
    p = model.fit(X_train, high_train).predict_proba(X_test)[:, 1]
    print(f"{name:28} Brier score {brier_score_loss(high_test, p):.3f}")

# %%
# Optuna, with pruning
# --------------------
#
# Each call of ``partial_fit`` makes one epoch, after which a trial reports its score. Trials without prospects are
# pruned. With scikit-learn 1.9 and newer, a callback can do the same during ``fit``.

X_part, X_held, y_part, y_held = train_test_split(X, y, random_state=0)


def objective(trial):
    model = FMRegressor(
        trial.suggest_int("n_factors", 1, 8),
        solver="adagrad",
        learning_rate=trial.suggest_float("learning_rate", 0.01, 1, log=True),
        batch_size=64,
        random_state=0,
    )
    for epoch in range(30):
        score = model.partial_fit(X_part, y_part).score(X_held, y_held)
        trial.report(score, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return score


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(
    direction="maximize",
    sampler=optuna.samplers.TPESampler(seed=0),
    pruner=optuna.pruners.MedianPruner(n_warmup_steps=5),
)
study.optimize(objective, n_trials=20)
states = [trial.state.name.lower() for trial in study.trials]
print(
    f"best R² {study.best_value:.3f} of {states.count('complete')} trials, {states.count('pruned')} cut short"
)

# %%
# Comparison
# ----------

_, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
pd.Series(scores).plot.barh(ax=ax, color="C0")
ax.set(xlabel="R², five folds", xlim=(0.4, 0.55))
ax.invert_yaxis()
plt.show()
