"""
Film ratings from user and film alone
=====================================

MovieLens-100K, a hundred thousand ratings of films, is the best-known data set for factorization machines. This example
uses its official split u1. The only features are the user and the film of each rating.

This example needs the data. :func:`~skfm.datasets.fetch_movielens` reads them from the folder given by the environment
variable ``SKFM_DATA``, or downloads them.
"""

# %%
# Ratings
# -------

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, TargetEncoder

from skfm import FMRegressor
from skfm.datasets import fetch_movielens

movielens = fetch_movielens("100k", n_retries=0)
X, y = movielens.data, movielens.target
train, test = movielens.splits["u1"]
print(
    f"{len(train)} training and {len(test)} test ratings. The first, user and film: {X[train[0]]}, {y[train[0]]} stars"
)

# %%
# Models
# ------
#
# The penalties of Ridge (4) and of alternating least squares ("als", 14) were selected by a search on the training
# ratings. The other factorization machines learn their penalties.


def one_hot(model):
    return make_pipeline(OneHotEncoder(handle_unknown="ignore"), model)


models = {
    "mean rating": DummyRegressor(),
    "Ridge": one_hot(Ridge(alpha=4)),
    "HistGradientBoosting": make_pipeline(TargetEncoder(), HistGradientBoostingRegressor(random_state=0)),
    "FM, als": one_hot(FMRegressor(solver="als", l2_factors=14, random_state=0)),
    "FM, vb": one_hot(FMRegressor(random_state=0)),
    "FM, mcmc": one_hot(FMRegressor(solver="mcmc", max_iter=100, random_state=0)),
    "FM, ordered probit": one_hot(
        FMRegressor(solver="mcmc", loss="ordered_probit", max_iter=100, random_state=0)
    ),
}
lines = {}
for name, model in models.items():
    start = time.perf_counter()
    model.fit(X[train], y[train])
    seconds = time.perf_counter() - start
    predicted = np.clip(model.predict(X[test]), 1, 5)
    lines[name] = {"test RMSE": root_mean_squared_error(y[test], predicted), "fit seconds": seconds}
table = pd.DataFrame(lines).T
print(table.round({"test RMSE": 4, "fit seconds": 1}))

# %%
# Means and intervals
# -------------------
#
# The table shows the means and 90 % intervals of five test ratings, ordered from the user with the fewest training
# ratings to the user with the most. The intervals of the ordered probit model are whole stars.

n_ratings = np.bincount(X[train, 0])[X[test, 0]]
rows = test[np.argsort(n_ratings, kind="stable")[np.linspace(0, len(test) - 1, 5).astype(int)]]
cells = {"ratings of the user": np.bincount(X[train, 0])[X[rows, 0]], "stars": y[rows].astype(int)}
for name in ("FM, vb", "FM, mcmc", "FM, ordered probit"):
    mean, ends = models[name].predict(X[rows]), models[name].predict(X[rows], quantiles=[0.05, 0.95])
    cells[name] = [f"{m:.1f} ({low:.1f} to {high:.1f})" for m, (low, high) in zip(mean, ends, strict=True)]
print(pd.DataFrame(cells).to_string(index=False))

# %%
# Number of sweeps
# ----------------
#
# The plot shows the test RMSE after each sweep. The test ratings are passed to ``fit`` as validation data, but do not
# influence it. Ten sweeps are sufficient, and more sweeps or more factors are hardly worse.

encoder = OneHotEncoder(handle_unknown="ignore").fit(X[train])
curves = {}
for n_factors in (4, 8, 16):
    # Only max_iter stops the fit, so that the curve has its full length.
    model = FMRegressor(n_factors, max_iter=30, tol=0, n_iter_no_change=30, random_state=0)
    model.fit(encoder.transform(X[train]), y[train], X_val=encoder.transform(X[test]), y_val=y[test])
    curves[n_factors] = np.sqrt(2 * np.array(model.history_["validation_loss"]))  # of half the squared error

figure, (dots, sweeps) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
names = list(reversed(models))
colors = ["tab:orange" if name.startswith("FM") else "tab:gray" for name in names]
dots.scatter(table.loc[names, "test RMSE"], names, color=colors, s=80)
dots.grid(axis="y", alpha=0.3)
dots.set_xlabel("test RMSE, split u1")
for n_factors, curve in curves.items():
    sweeps.plot(np.arange(1, len(curve) + 1), curve, label=f"{n_factors} factors")
sweeps.set_ylim(top=1.0)
sweeps.set_xlabel("sweep of FM, vb")
sweeps.set_ylabel("test RMSE")
sweeps.legend()
plt.show()
