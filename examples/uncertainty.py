"""How sure a prediction is: intervals by variational Bayes and by Gibbs sampling, checked on held-out data.

    python examples/uncertainty.py [--plot FILE]

First ratings, planted with two hidden tastes and noise, by users some of whom have rated a lot and others hardly
anything or nothing at all. Then the progression of diabetes, which scikit-learn ships. An interval of 90 % should
hold nine in ten of the held-out targets, and should be wide where little is known. Nothing is downloaded. Prints
tables and saves a plot, by default to build/uncertainty.png.
"""

import argparse
import os
import time
from pathlib import Path

# One thread for every model, for times that compare. Has to be set before numpy and torch are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import KFold, train_test_split

from skfm import FMRegressor
from skfm.datasets import make_factorization

N_USERS, N_FILMS = 400, 60
ENDS = [0.05, 0.95]  # of an interval of 90 %
GROUPS = [(0, 0), (1, 3), (4, 10), (11, 30), (31, None)]  # users by their number of training ratings


def models():
    """Solver to model. More sweeps than the default of "mcmc" make the ends of intervals less random."""
    return {
        "vb": FMRegressor(n_factors=4, random_state=0),
        "mcmc": FMRegressor(n_factors=4, solver="mcmc", max_iter=500, random_state=0),
    }


def ratings():
    """Training and test ratings, the user of each test rating, and how many training ratings a user has."""
    X, y = make_factorization(6000, (N_USERS, N_FILMS), n_factors=2, noise=0.5, skew=1, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=0)
    # Users without training ratings have columns all the same, of zeros. After an encoder they would have them if
    # it was told of all users: OneHotEncoder(categories=[users, films]).
    n_ratings = np.asarray(X_train[:, :N_USERS].sum(axis=0)).ravel()
    user = X_test[:, :N_USERS].indices  # a row has one user
    return X_train, X_test, y_train, y_test, user, n_ratings


def predicted_ratings(X_train, X_test, y_train):
    """Solver to predictions, intervals and seconds of the fit."""
    found = {}
    for name, model in models().items():
        start = time.perf_counter()
        model.fit(X_train, y_train)
        seconds = time.perf_counter() - start
        found[name] = model.predict(X_test), model.predict(X_test, quantiles=ENDS), seconds
    return found


def predicted_progression(X, y, n_folds=5):
    """Solver to predictions, intervals and seconds, each patient by a model that was fitted to the others."""
    found = {}
    for name, model in models().items():
        mean, intervals, start = np.empty(len(y)), np.empty((len(y), 2)), time.perf_counter()
        for train, test in KFold(n_folds, shuffle=True, random_state=0).split(X):
            model.fit(X[train], y[train])
            mean[test], intervals[test] = model.predict(X[test]), model.predict(X[test], quantiles=ENDS)
        found[name] = mean, intervals, time.perf_counter() - start
    return found


def inside(y, intervals):
    return (intervals[:, 0] < y) & (y < intervals[:, 1])


def width(intervals):
    return intervals[:, 1] - intervals[:, 0]


def in_group(n_ratings, group):
    least, most = group
    return (n_ratings >= least) & (n_ratings <= (np.inf if most is None else most))


def draw(y, intervals_of_y, user, n_ratings, intervals_by_solver):
    """Return a figure: held-out targets with their intervals, and how wide the intervals of every user are."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    order = np.argsort(intervals_of_y.mean(axis=1))
    low, high = intervals_of_y[order].T
    place = np.arange(len(y))
    left.fill_between(place, low, high, color="tab:orange", alpha=0.3, linewidth=0, label="interval of 90 %")
    hit = inside(y, intervals_of_y)[order]
    left.plot(place[hit], y[order][hit], ".", color="tab:gray", markersize=4, label="inside")
    left.plot(place[~hit], y[order][~hit], "x", color="tab:red", markersize=5, label="outside")
    left.set_xlabel("held-out patients, by prediction")
    left.set_ylabel("progression of the disease")
    left.legend(loc="upper left")
    styles = {"vb": ("x", "tab:blue"), "mcmc": (".", "tab:orange")}
    users = np.unique(user)
    for name, intervals in intervals_by_solver.items():
        mean_width = (np.bincount(user, width(intervals)) / np.maximum(np.bincount(user), 1))[users]
        marker, color = styles[name]
        right.plot(n_ratings[users], mean_width, marker, color=color, markersize=5, alpha=0.6, label=name)
    # Linear up to one, so that zero has a place on this axis.
    right.set_xscale("symlog", linthresh=1)
    right.set_xlim(left=-0.2)
    right.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    right.set_ylim(bottom=0)
    right.set_xlabel("training ratings of a user")
    right.set_ylabel("mean width of the user's intervals")
    right.legend(title="solver")
    return figure


def figure():
    """Draw the plot from scratch, for the user guide."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    X_train, X_test, y_train, _, user, n_ratings = ratings()
    intervals = {name: found[1] for name, found in predicted_ratings(X_train, X_test, y_train).items()}
    return draw(y, predicted_progression(X, y)["mcmc"][1], user, n_ratings, intervals)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=Path, default=Path("build/uncertainty.png"), help="file for the plot")
    arguments = parser.parse_args()
    X_train, X_test, y_train, y_test, user, n_ratings = ratings()
    print(f"Ratings: {len(y_train)} to train and {len(y_test)} to test, {N_USERS} users and {N_FILMS} films.")
    print("Coverage is the share of test targets within their intervals, which should be 90 %.\n")
    print(f"  {'':8}test RMSE   coverage   mean width   fit seconds")
    by_solver = predicted_ratings(X_train, X_test, y_train)
    for name, (mean, intervals, seconds) in by_solver.items():
        numbers = f"{root_mean_squared_error(y_test, mean):9.3f}{inside(y_test, intervals).mean():11.1%}"
        print(f"  {name:8}{numbers}{width(intervals).mean():13.2f}{seconds:14.1f}")

    print("\nThe same by the number of training ratings of the user: coverage and mean width.\n")
    print(f"  {'ratings':10}test ratings" + "".join(f"{name:>16}" for name in by_solver))
    for group in GROUPS:
        rows = in_group(n_ratings[user], group)
        least, most = group
        label = f"{least}" if least == most else f"{least} to {most}" if most else f"from {least}"
        line = f"  {label:10}{rows.sum():12}"
        for _, intervals, _ in by_solver.values():
            line += f"{inside(y_test, intervals)[rows].mean():10.0%}{width(intervals)[rows].mean():6.2f}"
        print(line)

    X, y = load_diabetes(return_X_y=True, scaled=False)
    print(f"\nProgression of diabetes: {len(y)} patients, each predicted by a fit to four fifths of them.\n")
    print(f"  {'':14}R^2   coverage   mean width   seconds, five fits")
    progression = predicted_progression(X, y)
    for name, (mean, intervals, seconds) in progression.items():
        numbers = f"{r2_score(y, mean):9.3f}{inside(y, intervals).mean():11.1%}"
        print(f"  {name:8}{numbers}{width(intervals).mean():13.0f}{seconds:14.1f}")

    import matplotlib.pyplot as plt

    intervals = {name: found[1] for name, found in by_solver.items()}
    drawn = draw(y, progression["mcmc"][1], user, n_ratings, intervals)
    arguments.plot.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(arguments.plot, dpi=120)
    plt.close(drawn)
    print(f"\nPlot: {arguments.plot}")


if __name__ == "__main__":
    main()
