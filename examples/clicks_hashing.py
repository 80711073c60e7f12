"""
Click-through rates from hashed log records
===========================================

The records of a click log are dictionaries of categories. They are hashed into :math:`2^{16}` columns, which requires
no list of categories, and a minibatch solver learns the probability of a click.

The clicks are simulated with known probabilities, so the best possible log loss is known.
"""

# %%
# The click log
# -------------
#
# Every category has a main effect and a vector. The inner products of the vectors of a record have a larger influence
# than the main effects. In each column, a few categories are frequent and most are rare.

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from skfm import FMClassifier

n_records, n_train = 200_000, 150_000
rng = np.random.default_rng(0)
log_odds, sums, squares = np.full(n_records, -2.5), 0.0, 0.0
log = {}
for name, n_categories in {"user": 3000, "site": 400, "ad": 800, "hour": 24, "device": 5}.items():
    frequency = np.arange(1, n_categories + 1) ** -0.8
    chosen = rng.choice(n_categories, n_records, p=frequency / frequency.sum())
    vectors = rng.normal(0, 0.5, (n_categories, 3))[chosen]
    log_odds += rng.normal(0, 0.3, n_categories)[chosen]
    sums, squares = sums + vectors, squares + vectors**2
    log[name] = [f"{name}{number}" for number in chosen]
log_odds += (sums**2 - squares).sum(axis=1) / 2
truth = 1 / (1 + np.exp(-log_odds))
clicks = (rng.random(n_records) < truth).astype(int)
records = [dict(zip(log, values, strict=True)) for values in zip(*log.values(), strict=True)]
print(f"{n_records} records, {clicks.mean():.1%} of them clicked. The first:\n{records[0]}\n")

# %%
# Hashing
# -------
#
# With ``alternate_sign=False``, all entries are one. Alternating signs would only change the sign of the parameters of
# a column, and the columns would no longer be recognized as binary.

X = FeatureHasher(2**16, alternate_sign=False, dtype=np.float32).transform(records)
X_train, X_test = X[:n_train], X[n_train:]
y_train, y_test = clicks[:n_train], clicks[n_train:]

# %%
# Linear models and factorization machines
# ----------------------------------------
#
# Logistic regression has a penalty that has to be chosen. Factorization machines learn their penalties. Without factors
# (K=0), they are linear models too.

models = {"mean rate": DummyClassifier()}
for C in (0.1, 1):
    models[f"LogisticRegression, C={C}"] = LogisticRegression(C=C, max_iter=300)
for n_factors in (0, 4, 8):
    models[f"FMClassifier, K={n_factors}"] = FMClassifier(n_factors, solver="adagrad", random_state=0)

lines, predicted = {}, {}
for name, model in models.items():
    start = time.perf_counter()
    model.fit(X_train, y_train)
    seconds = time.perf_counter() - start
    predicted[name] = model.predict_proba(X_test)[:, 1].astype(float)
    lines[name] = {
        "log loss": log_loss(y_test, predicted[name]),
        "AUC": roc_auc_score(y_test, predicted[name]),
        "fit seconds": seconds,
    }
best = truth[n_train:]
lines["the true probabilities"] = {"log loss": log_loss(y_test, best), "AUC": roc_auc_score(y_test, best)}
print(pd.DataFrame(lines).T.round(4).to_string(na_rep=""))

# %%
# A linear model cannot represent that an advertisement suits one site and not another. The interactions close most of
# the gap to the true probabilities, in the time of a linear fit.

# %%
# Calibration of the probabilities
# --------------------------------
#
# The test records are sorted by their predictions and divided into tenths. In each tenth, the share of clicks should
# agree with the mean prediction, which is the case for both models. The predictions of the factorization machine
# discriminate better between records: its first and last tenths are more extreme.

figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
axes.axline((0, 0), slope=1, color="tab:gray", linewidth=0.8)
for name, color in {"LogisticRegression, C=0.1": "tab:gray", "FMClassifier, K=8": "tab:orange"}.items():
    tenths = np.array_split(np.argsort(predicted[name]), 10)
    axes.plot(
        [predicted[name][rows].mean() for rows in tenths],
        [y_test[rows].mean() for rows in tenths],
        "o-",
        color=color,
        label=name,
    )
axes.set_xlabel("mean prediction of a tenth of the test records")
axes.set_ylabel("share of clicks among them")
axes.legend()
plt.show()
