"""
Counts with exposure: insurance claims
======================================

Insurance policies are in force for a part of a year, during which claims occur. The models predict the rate, which is
the number of claims divided by the years, with the years as sample weights. This gives the likelihood of the counts.

The claims are simulated with rates that depend on pairs of categories, so the best possible deviance is known.
"""

# %%
# Policies
# --------

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import d2_tweedie_score, mean_poisson_deviance
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from skfm import FMRegressor

n_policies, n_train = 100_000, 75_000
rng = np.random.default_rng(0)
log_rate, sums, squares = np.full(n_policies, np.log(0.5)), 0.0, 0.0
columns = {}
for name, n_categories in {"district": 80, "car": 60, "age band": 12, "trade": 40}.items():
    columns[name] = rng.integers(0, n_categories, n_policies)
    vectors = rng.normal(0, 0.5, (n_categories, 2))[columns[name]]
    log_rate += rng.normal(0, 0.25, n_categories)[columns[name]]
    sums, squares = sums + vectors, squares + vectors**2
rate = np.exp(log_rate + (sums**2 - squares).sum(axis=1) / 2)
years = rng.uniform(0.1, 1, n_policies)
claims = rng.poisson(rate * years)

policies = pd.DataFrame(columns)
train, test = slice(None, n_train), slice(n_train, None)
print(f"{n_policies} policies, {claims.sum() / years.sum():.2f} claims per year:\n\n{policies.head(3)}\n")

# %%
# Models
# ------
#
# The model before the last one is a factorization machine with the squared error, to show the effect of an
# inappropriate loss.

models = {
    "mean rate": DummyRegressor(),
    "PoissonRegressor": PoissonRegressor(alpha=1e-5, max_iter=1000),
    "FMRegressor, K=0": FMRegressor(0, solver="adagrad", loss="poisson", random_state=0),
    "FM, squared error, K=4": FMRegressor(4, solver="adagrad", random_state=0),
    "FMRegressor, K=4": FMRegressor(4, solver="adagrad", loss="poisson", random_state=0),
}
predicted, seconds = {}, {}
for name, model in models.items():
    pipeline = Pipeline([("encode", OneHotEncoder(handle_unknown="ignore")), ("model", model)])
    start = time.perf_counter()
    pipeline.fit(policies[train], claims[train] / years[train], model__sample_weight=years[train])
    seconds[name] = time.perf_counter() - start
    predicted[name] = pipeline.predict(policies[test])
predicted["the true rates"] = rate[test]

# %%
# Explained deviance
# ------------------
#
# :math:`D^2` is the fraction of the deviance of the mean rate that a model explains, computed on the test policies. The
# deviance is undefined for predictions of zero and below, so these are replaced by 0.001.

lines = {}
for name, prediction in predicted.items():
    y, kept, weight = claims[test] / years[test], np.maximum(prediction, 1e-3), years[test]
    lines[name] = {
        "deviance": mean_poisson_deviance(y, kept, sample_weight=weight),
        "D^2": d2_tweedie_score(y, kept, sample_weight=weight, power=1),
        "below zero": (prediction <= 0).mean(),
        "fit seconds": seconds.get(name, np.nan),
    }
# Adding zero turns a rounded -0.00 into 0.00.
print((pd.DataFrame(lines).T.round(2) + 0.0).to_string(na_rep=""))

# %%
# The model with interactions explains twice as much of the deviance as a linear model of the logarithm. With the
# squared error, a quarter of the predicted rates are negative, which is impossible for counts.

# %%
# Predicted and observed rates
# ----------------------------

figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
axes.axline((0.1, 0.1), (1, 1), color="tab:gray", linewidth=0.8)
for name, color in {"PoissonRegressor": "tab:gray", "FMRegressor, K=4": "tab:orange"}.items():
    tenths = np.array_split(np.argsort(predicted[name]), 10)
    axes.loglog(
        [predicted[name][rows].mean() for rows in tenths],
        [claims[test][rows].sum() / years[test][rows].sum() for rows in tenths],
        "o-",
        color=color,
        label=name,
    )
axes.set_xlabel("mean prediction of a tenth of the test policies")
axes.set_ylabel("claims per year in the tenth")
axes.legend()
plt.show()
