"""
Online learning with drifting preferences
=========================================

In this simulation, users rate films every day, and their preferences change slightly from day to day. One model
continues learning with ``partial_fit``, and another is fitted only once. Each model predicts the ratings of a day
before it learns from them, so all errors are measured on new data.
"""

# %%
# Sixty days of simulated ratings
# -------------------------------
#
# The columns of users and films are known from the start, which ``partial_fit`` requires.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.sparse import vstack
from sklearn.metrics import root_mean_squared_error
from sklearn.preprocessing import OneHotEncoder

from skfm import FMRegressor

n_users, n_films, n_tastes, n_ratings = 200, 100, 3, 2000
n_days, n_history = 60, 10
drift, noise = 0.05, 0.5

rng = np.random.default_rng(0)
tastes = rng.standard_normal((n_users, n_tastes))
styles = rng.standard_normal((n_films, n_tastes)) / n_tastes**0.5
encoder = OneHotEncoder(categories=[range(n_users), range(n_films)], dtype=np.float32)
X, y = [], []
for _ in range(n_days):
    users, films = rng.integers(0, n_users, n_ratings), rng.integers(0, n_films, n_ratings)
    X.append(encoder.fit_transform(np.column_stack([users, films])))
    y.append((tastes[users] * styles[films]).sum(axis=1) + noise * rng.standard_normal(n_ratings))
    # This keeps the variance of the tastes at one.
    tastes = (1 - drift) ** 0.5 * tastes + drift**0.5 * rng.standard_normal(tastes.shape)

# %%
# Ten days of history
# -------------------
#
# All models start from these ratings. With ``warm_start=True``, ``partial_fit`` continues with the step sizes of
# ``fit``.


def fit(model, first, stop):
    """Fit to the ratings of some days."""
    return model.fit(vstack(X[first:stop], format="csr"), np.concatenate(y[first:stop]))


def minibatch(solver):
    return FMRegressor(4, solver=solver, warm_start=True, batch_size=128, random_state=0)


once = fit(minibatch("adagrad"), 0, n_history)
daily = {solver: fit(minibatch(solver), 0, n_history) for solver in ("adagrad", "sgd")}

# %%
# Predict, then learn
# -------------------
#
# The model "refitted daily" is fitted again every day to the last ten days by variational Bayes.

names = ("mean rating", "fitted once", "adagrad, daily", "sgd, daily", "refitted daily")
errors = {name: [] for name in names}
for day in range(n_history, n_days):
    refitted = fit(FMRegressor(4, random_state=0), day - n_history, day)
    predictions = [np.full(n_ratings, np.concatenate(y[:day]).mean())]
    predictions += [model.predict(X[day]) for model in (once, *daily.values(), refitted)]
    for name, prediction in zip(names, predictions, strict=True):
        errors[name].append(root_mean_squared_error(y[day], prediction))
    for model in daily.values():
        model.partial_fit(X[day], y[day])

table = pd.DataFrame(errors, index=range(n_history + 1, n_days + 1))
periods = (table.index - 1) // 10 * 10
print("RMSE, mean of ten days:\n")
print(table.groupby(periods).mean().rename(lambda day: f"{day + 1}-{day + 10}").T.round(3))

# %%
# After a month, the model that was fitted once is worse than the mean rating. Models with daily updates follow the
# drift. Plain gradient steps ("sgd") are as good as a new fit every day, because their step size is constant, whereas
# that of "adagrad" decreases.

figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
for name in names:
    axes.plot(table.index, table[name], label=name)
axes.axhline(noise, color="tab:gray", linestyle=":", label="noise")
axes.set_xlabel("day")
axes.set_ylabel("RMSE of the day")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
