"""
Census income from a DataFrame
==============================

This example predicts who earns more than 50,000 dollars per year. The six numbers and eight categories are taken from
the DataFrame without preparation.

.. note:: This example needs the census income data, which :func:`skfm.datasets.fetch_adult` downloads.
"""

# %%
# The data
# --------
#
# The columns of categories have the type "category", and some values are missing.

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
# Models
# ------
#
# A linear model requires that categories be encoded and numbers be scaled. A factorization machine does both
# internally.

numbers = make_column_selector(dtype_include="number")
one_hot = OneHotEncoder(handle_unknown="ignore")
encoder = make_column_transformer((StandardScaler(), numbers), remainder=one_hot)
models = {
    "LogisticRegression": make_pipeline(encoder, LogisticRegression(max_iter=1000)),
    "FMClassifier": FMClassifier(random_state=0),
}

# %%
# Numbers with nonlinear effects
# ------------------------------
#
# An FM is linear in each number, which is not appropriate for capital gains: most people have none, and the effect of
# the other values is nonlinear. Each number with more than fifty values is therefore divided into fifty bins by
# k-means, and the bins are used as categories. The learned priors prevent overfitting in spite of the large number of
# bins. ``set_output`` keeps the data a DataFrame throughout the pipeline.

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
# The scores are computed on the official test set, with the default settings of every model. On the raw columns, the
# factorization machine is slightly better than logistic regression. With bins, it reaches nearly the scores of the
# trees.

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
# The probabilities of the factorization machine are averages over the posterior, and they are well calibrated.

_, ax = plt.subplots(figsize=(5, 5), layout="constrained")
for name, p in probabilities.items():
    CalibrationDisplay.from_predictions(
        adult.target_test, p, n_bins=10, strategy="quantile", pos_label=">50K", name=name, ax=ax, ms=3
    )
plt.show()
