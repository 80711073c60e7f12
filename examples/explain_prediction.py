"""
Explaining a prediction
=======================

A factorization machine is a sum of effects of columns and of pairs of columns, so each prediction can be decomposed
exactly. This example explains predictions of the progression of diabetes from ten measurements, a data set that is
included in scikit-learn.
"""

# %%
# The model
# ---------
#
# The model is fitted to raw measurements and raw targets with default settings.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.inspection import permutation_importance
from sklearn.model_selection import train_test_split

from skfm import FMRegressor
from skfm.inspection import InteractionDisplay, explain, interaction_strength

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
X = X.rename(columns={"s1": "tc", "s2": "ldl", "s3": "hdl", "s4": "tch", "s5": "ltg", "s6": "glu"})
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
model = FMRegressor(random_state=0).fit(X_train, y_train)
print(f"R²: {model.score(X_test, y_test):.3f}")

# %%
# One patient
# -----------
#
# The table shows the terms of the highest prediction among the test patients. They sum to the prediction, up to
# rounding. Effects are relative to the means of the measurements, so the intercept is the prediction for a patient with
# average measurements.

explanation = explain(model, X_test)
patient = int(explanation.raw.argmax())
terms = explanation.to_frame(patient)
assert np.isclose(terms["contribution"].sum(), model.predict(X_test)[patient])
terms.head(8).round(1)

# %%

shown = terms["contribution"].iloc[1:11][::-1]
_, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.barh(shown.index, shown, color=np.where(shown > 0, "C3", "C0"))
ax.axvline(0, color="black", lw=0.8)
average, total = terms["contribution"].iloc[0], terms["contribution"].sum()
ax.set(xlabel="contribution", title=f"{average:.0f} for the average patient, {total:.0f} for this one")
plt.show()

# %%
# All patients
# ------------
#
# The table ranks the pairs of measurements by their strength over all patients, and the heat map shows all of them.

interaction_strength(model, X_train, top=5).round(2)

# %%

InteractionDisplay.from_estimator(model, X_train)
plt.show()

# %%
# In these data, interactions are small compared with the main effects, which is why a linear model is nearly as good.
# scikit-learn's permutation importances agree on the most important measurements.

importance = permutation_importance(model, X_test, y_test, n_repeats=20, random_state=0).importances_mean
effects = explanation.main.std(axis=0)
_, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
order = np.argsort(effects)
ax.barh(
    explanation.names[order], effects[order] / effects.max(), height=0.4, label="spread of the main effect"
)
ax.barh(
    np.arange(len(order)) + 0.4,
    importance[order] / importance.max(),
    height=0.4,
    label="permutation importance",
)
ax.set_xlabel("relative to the largest")
ax.legend(loc="lower right")
plt.show()
