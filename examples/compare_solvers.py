"""
Which solver?
=============

All seven solvers on three data sets that scikit-learn ships: how good, and how long. Everything else is default.
"""

# %%
# Three kinds of data
# -------------------
#
# Digits are 64 counts of ink and ten classes, breast cancer is 30 measurements and two classes, and diabetes is ten
# measurements and a number.

import time

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import train_test_split

from skfm import FMClassifier, FMRegressor

problems = {
    "digits, accuracy": (FMClassifier(random_state=0), load_digits(return_X_y=True)),
    "breast cancer, accuracy": (FMClassifier(random_state=0), load_breast_cancer(return_X_y=True)),
    "diabetes, R²": (FMRegressor(random_state=0), load_diabetes(return_X_y=True, scaled=False)),
}
solvers = ["vb", "als", "mcmc", "adagrad", "adam", "sgd", "ftrl"]

# %%
# Fit them all
# ------------

rows = []
for problem, (model, (X, y)) in problems.items():
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    for solver in solvers:
        start = time.process_time()
        model.set_params(solver=solver).fit(X_train, y_train)
        seconds = time.process_time() - start
        rows.append(
            {"data": problem, "solver": solver, "score": model.score(X_test, y_test), "seconds": seconds}
        )
found = pd.DataFrame(rows)
found.pivot(index="solver", columns="data", values="score").loc[solvers].round(3)

# %%
# Time and score
# --------------
#
# On tables as small as these, the solvers are within a few percent of each other, and time is what tells them apart:
# the minibatch solvers and "als" take a fraction of the time, "vb" and "mcmc" come with standard deviations and
# averaged probabilities, and none of them needs a search. For data with large categories see :doc:`the table of the
# user guide </user_guide/choosing>`.

fig, axes = plt.subplots(1, len(problems), figsize=(11, 3.4), layout="constrained")
for ax, problem in zip(axes, problems, strict=True):
    part = found[found["data"] == problem]
    for number, (_, row) in enumerate(part.iterrows()):
        ax.semilogx(row["seconds"], row["score"], "o", color=f"C{number}", label=row["solver"])
    ax.set(title=problem, xlabel="CPU seconds of the fit")
    ax.margins(0.2)
axes[-1].legend(fontsize=8, ncols=2)
plt.show()
