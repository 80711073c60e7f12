"""
Census income from a DataFrame
==============================

Who earns more than 50,000 dollars a year? Six numbers and eight categories, taken from the DataFrame as they are.

.. note:: Needs the census income data, which :func:`skfm.datasets.fetch_adult` downloads.
"""

# %%
# The data
# --------
#
# Categories have the type "category", and some values are missing.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.calibration import CalibrationDisplay
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler

from skfm import FMClassifier
from skfm.datasets import fetch_adult

adult = fetch_adult()
X, y = adult.data, adult.target
X.head(3).T

# %%
# One line
# --------
#
# A linear model needs its categories encoded and its numbers scaled. A factorization machine does both inside.

numbers = make_column_selector(dtype_include="number")
one_hot = OneHotEncoder(handle_unknown="ignore")
encoder = make_column_transformer((StandardScaler(), numbers), remainder=one_hot)
models = {
    "LogisticRegression": make_pipeline(encoder, LogisticRegression(max_iter=1000)),
    "FMClassifier": FMClassifier(random_state=0),
}

# %%
# Numbers that act in steps
# -------------------------
#
# An FM is linear in each number. Capital gains are not like that: most people have none, and what counts is where the
# others lie. Fifty bins for each number of more values, found by k-means and taken as categories, let the model bend
# where it wants to; learned priors keep so many bins in check. With ``set_output`` the DataFrame goes through the
# pipeline as one.

many = [name for name in X.select_dtypes("number") if X[name].nunique() > 50]
bins = make_column_transformer(
    (KBinsDiscretizer(50, encode="ordinal", strategy="kmeans", subsample=None, random_state=0), many),
    remainder="passthrough",
    verbose_feature_names_out=False,
).set_output(transform="pandas")
binned = FMClassifier(categorical_features=adult.feature_names, random_state=0)
models["FMClassifier, 50 bins"] = make_pipeline(bins, binned)
models["HistGradientBoosting"] = HistGradientBoostingClassifier(random_state=0)

# %%
# Held-out scores
# ---------------
#
# On the official test part, with the default settings of every model. The factorization machine is a little ahead of
# logistic regression on the raw columns, and with bins it has made good nearly all that trees are better by.

rows, probabilities = {}, {}
for name, model in models.items():
    p = model.fit(X, y).predict_proba(adult.data_test)
    probabilities[name] = p[:, 1]
    rows[name] = {
        "log loss": log_loss(adult.target_test, p),
        "AUC": roc_auc_score(adult.target_test, p[:, 1]),
    }
pd.DataFrame(rows).T.round(4)

# %%
# Its probabilities are averages over the posterior, and can be taken at their word.

_, ax = plt.subplots(figsize=(5, 5), layout="constrained")
for name, p in probabilities.items():
    CalibrationDisplay.from_predictions(
        adult.target_test, p, n_bins=10, strategy="quantile", pos_label=">50K", name=name, ax=ax, ms=3
    )
plt.show()
