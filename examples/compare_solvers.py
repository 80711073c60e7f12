"""
Comparison of the solvers
=========================

This example compares the scores and the times of all seven solvers on three data sets that are included in
scikit-learn. All other parameters have their default values.
"""

# %%
# The data sets
# -------------
#
# "Digits" has 64 pixel intensities and ten classes, "breast cancer" has 30 measurements and two classes, and "diabetes"
# has ten measurements and a numeric target.

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
# Fits and scores
# ---------------

rows = []
for problem, (model, (X, y)) in problems.items():
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    for solver in solvers:
        # "als" needs more sweeps than the default of 100 to converge on some of these data.
        max_iter = 300 if solver == "als" else None
        start = time.process_time()
        model.set_params(solver=solver, max_iter=max_iter).fit(X_train, y_train)
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
# On small tables like these, the scores of the solvers are within a few percent of each other, and the main difference
# is the time: the minibatch solvers and "als" take a fraction of the time, whereas "vb" and "mcmc" provide standard
# deviations and averaged probabilities. None of them needs a search. For high-cardinality categories see :doc:`the
# table of the user guide </user_guide/choosing>`.

fig, axes = plt.subplots(1, len(problems), figsize=(11, 3.4), layout="constrained")
for ax, problem in zip(axes, problems, strict=True):
    part = found[found["data"] == problem]
    for number, (_, row) in enumerate(part.iterrows()):
        ax.semilogx(row["seconds"], row["score"], "o", color=f"C{number}", label=row["solver"])
    ax.set(title=problem, xlabel="CPU seconds of the fit")
    ax.margins(0.2)
axes[-1].legend(fontsize=8, ncols=2)
plt.show()
