"""
Uncertainty of predictions
==========================

This example evaluates intervals from variational Bayes and Gibbs sampling on held-out data. Intervals of 90 % should
contain nine in ten of the held-out targets, and should be wide where little is known.
"""

# %%
# Ratings by users with many and few ratings
# ------------------------------------------
#
# The ratings are simulated from two latent factors and noise. Users without training ratings have columns too, which
# contain only zeros. With an encoder, pass all users to it to obtain such columns:
# ``OneHotEncoder(categories=[users, films])``.

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import KFold, train_test_split

from skfm import FMRegressor
from skfm.datasets import make_factorization

n_users, n_films = 400, 60
X, y = make_factorization(6000, (n_users, n_films), n_factors=2, noise=0.5, skew=1, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=0)
n_ratings = np.asarray(X_train[:, :n_users].sum(axis=0)).ravel()
user = X_test[:, :n_users].indices  # a row has one user
print(f"{len(y_train)} ratings to train and {len(y_test)} to test, {n_users} users and {n_films} films")
print(f"{(n_ratings == 0).sum()} users have no training ratings, and one has {n_ratings.max():.0f}.")

# %%
# Two solvers
# -----------
#
# For "mcmc", the number of sweeps is larger than the default, which reduces the sampling error of the quantiles.

models = {
    "vb": FMRegressor(n_factors=4, random_state=0),
    "mcmc": FMRegressor(n_factors=4, solver="mcmc", max_iter=500, random_state=0),
}


def inside(y, intervals):
    """Return which targets are within their intervals."""
    return (intervals[:, 0] < y) & (y < intervals[:, 1])


lines, intervals = {}, {}
for name, model in models.items():
    start = time.perf_counter()
    model.fit(X_train, y_train)
    seconds = time.perf_counter() - start
    intervals[name] = model.predict(X_test, quantiles=[0.05, 0.95])
    lines[name] = {
        "test RMSE": root_mean_squared_error(y_test, model.predict(X_test)),
        "coverage": inside(y_test, intervals[name]).mean(),
        "mean width": np.ptp(intervals[name], axis=1).mean(),
        "fit seconds": seconds,
    }
print(pd.DataFrame(lines).T.round(3))

# %%
# Wide where little is known
# --------------------------
#
# The table shows the coverage and the mean width of the intervals by the number of training ratings of the user. The
# predictions for users without ratings are those for an average user, with wide intervals.

groups = pd.cut(
    n_ratings[user], [-1, 0, 3, 10, 30, np.inf], labels=["0", "1 to 3", "4 to 10", "11 to 30", "more"]
)
table = pd.DataFrame({"test ratings": np.ones(len(y_test), int)})
for name, ends in intervals.items():
    table[f"coverage, {name}"] = inside(y_test, ends)
    table[f"width, {name}"] = np.ptp(ends, axis=1)
how = {column: "sum" if column == "test ratings" else "mean" for column in table}
by_group = table.groupby(groups, observed=True).agg(how).rename_axis("training ratings")
print(by_group.round(2).to_string())

# %%
# Real measurements
# -----------------
#
# The progression of diabetes is predicted by cross-validation, with each model fitted to four fifths of the patients.

measurements, progression = load_diabetes(return_X_y=True, scaled=False)
folds = KFold(5, shuffle=True, random_state=0)
lines = {}
for name, model in models.items():
    mean, ends = np.empty(len(progression)), np.empty((len(progression), 2))
    for train, test in folds.split(measurements):
        model.fit(measurements[train], progression[train])
        mean[test] = model.predict(measurements[test])
        ends[test] = model.predict(measurements[test], quantiles=[0.05, 0.95])
    lines[name] = {
        "R^2": r2_score(progression, mean),
        "coverage": inside(progression, ends).mean(),
        "mean width": np.ptp(ends, axis=1).mean(),
    }
print(pd.DataFrame(lines).T.round(3))

# %%
# The left plot shows the intervals of "mcmc" for these patients. The right plot shows the width of the intervals of the
# users.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
order = np.argsort(ends.mean(axis=1))
low, high = ends[order].T
place = np.arange(len(progression))
left.fill_between(place, low, high, color="tab:orange", alpha=0.3, linewidth=0, label="interval of 90 %")
hit = inside(progression, ends)[order]
left.plot(place[hit], progression[order][hit], ".", color="tab:gray", markersize=4, label="inside")
left.plot(place[~hit], progression[order][~hit], "x", color="tab:red", markersize=5, label="outside")
left.set_xlabel("held-out patients, by prediction")
left.set_ylabel("progression of the disease")
left.legend(loc="upper left")

users = np.unique(user)
for name, marker, color in (("vb", "x", "tab:blue"), ("mcmc", ".", "tab:orange")):
    width = pd.Series(np.ptp(intervals[name], axis=1)).groupby(user).mean()
    right.plot(n_ratings[users], width, marker, color=color, markersize=5, alpha=0.6, label=name)
# The axis is linear up to one, so that it includes zero.
right.set_xscale("symlog", linthresh=1)
right.set_xlim(left=-0.2)
right.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
right.set_ylim(bottom=0)
right.set_xlabel("training ratings of a user")
right.set_ylabel("mean width of the user's intervals")
right.legend(title="solver")
plt.show()
