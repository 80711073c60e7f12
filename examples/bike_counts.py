"""
Counts: hourly bicycle rentals
==============================

This example predicts how many bicycles are rented in an hour, given the hour, the day and the weather. These counts
depend on an interaction: the rush hour only exists on working days.

.. note:: This example needs the bicycle rentals, which :func:`skfm.datasets.fetch_bike_sharing` downloads.
"""

# %%
# The data
# --------
#
# The data cover two years of hourly rentals, with eight categories and four numbers. Every fifth week is held out.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import mean_poisson_deviance, root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skfm import FMRegressor
from skfm.datasets import fetch_bike_sharing
from skfm.inspection import interaction_strength

bikes = fetch_bike_sharing()
held_out = bikes.date.dt.isocalendar().week % 5 == 0
X, X_test = bikes.data[~held_out], bikes.data[held_out]
y, y_test = bikes.target[~held_out], bikes.target[held_out]
X.head(3).T

# %%
# Models of counts
# ----------------
#
# The minibatch solvers support the Poisson loss. The raw predictions are logarithms of rates, so effects and
# interactions are multiplicative.

encoder = make_column_transformer(
    (StandardScaler(), make_column_selector(dtype_include="number")), remainder=OneHotEncoder()
)
models = {
    "PoissonRegressor": make_pipeline(encoder, PoissonRegressor(alpha=1e-4, max_iter=1000)),
    "FMRegressor": FMRegressor(solver="adagrad", loss="poisson", random_state=0),
    "HistGradientBoosting": HistGradientBoostingRegressor(loss="poisson", random_state=0),
}
rows = {}
for name, model in models.items():
    predicted = model.fit(X, y).predict(X_test)
    rows[name] = {
        "Poisson deviance": mean_poisson_deviance(y_test, predicted),
        "RMSE": root_mean_squared_error(y_test, predicted),
    }
pd.DataFrame(rows).T.round(1)

# %%
# Which columns interact?
# -----------------------
#
# :func:`skfm.inspection.interaction_strength` ranks the pairs of columns. Strengths are on the scale of the logarithm:
# 0.3 corresponds to multiplication or division by 1.35.

model = models["FMRegressor"]
interaction_strength(model, X, top=5).round(2)

# %%
# Working days and free days
# --------------------------
#
# The linear model has the same curve for all days, up to a constant factor. The factorization machine has learned two
# different curves.

fig, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
for ax, name in zip(axes, ("PoissonRegressor", "FMRegressor"), strict=True):
    predicted = models[name].predict(X_test)
    for works, label, color in ((True, "working day", "C0"), (False, "free day", "C1")):
        rows = np.asarray(X_test["workingday"] == works)
        hours = X_test["hour"][rows].astype(int)
        ax.plot(y_test[rows].groupby(hours).mean(), "o", color=color, ms=4, label=f"{label}, counted")
        ax.plot(
            pd.Series(predicted[rows]).groupby(hours.to_numpy()).mean(),
            color=color,
            label=f"{label}, predicted",
        )
    ax.set(title=name, xlabel="hour")
axes[0].set_ylabel("rentals per hour, held-out weeks")
axes[0].legend(fontsize=8)
plt.show()
