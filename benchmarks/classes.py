"""CPU seconds of an epoch of the minibatch solvers by number of classes.

    python benchmarks/classes.py [--classes 50 200 1000 2000] [--solvers adagrad] [--factors 4]

The rows are simulated, with two one-hot encoded fields of 50 categories each, and all classes occur. For each number
of classes, the script prints the CPU seconds of an epoch, which are the median of several pairs of fits of different
lengths, and the ratios of these seconds and of the number of classes to those of the line before.
"""

import argparse
import os
import statistics
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from sklearn.preprocessing import OneHotEncoder

from skfm import FMClassifier


def simulate(n_rows, n_classes):
    """Return rows of two fields, and their classes."""
    rng = np.random.default_rng(0)
    X = OneHotEncoder().fit_transform(rng.integers(0, 50, (n_rows, 2)))
    return X, np.r_[np.arange(n_classes), rng.integers(0, n_classes, n_rows - n_classes)]


def seconds_per_epoch(make, X, y, repeats, few=1, many=5):
    """Return the CPU seconds of an epoch."""
    found = []
    for _ in range(repeats):
        seconds = []
        for n in (few, many):
            begun = time.process_time()
            make(n).fit(X, y)
            seconds.append(time.process_time() - begun)
        found.append((seconds[1] - seconds[0]) / (many - few))
    return statistics.median(found)


def main():
    """Print one line per solver and number of classes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--classes", type=int, nargs="+", default=[50, 200, 1000, 2000])
    parser.add_argument("--solvers", nargs="+", default=["adagrad"])
    parser.add_argument("--factors", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for solver in args.solvers:
        before = None
        for n_classes in args.classes:
            X, y = simulate(args.rows, n_classes)

            def make(n, solver=solver):
                return FMClassifier(args.factors, solver=solver, max_iter=n, random_state=0)

            make(1).fit(X, y)
            seconds = seconds_per_epoch(make, X, y, args.repeats)
            text = f"{solver:8} {n_classes:6,} classes: {seconds:.3f} CPU s per epoch"
            if before is not None:
                text += f", {seconds / before[1]:.1f} times as many for {n_classes / before[0]:.1f} times the classes"
            print(text, flush=True)
            before = n_classes, seconds


if __name__ == "__main__":
    main()
