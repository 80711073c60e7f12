"""The loss of the default settings of the minibatch engine, compared with a search over its settings.

    python benchmarks/default_settings.py [--rows 100000 1000000]

The data are simulated click logs (see planted.py). The search selects, on the test rows themselves, the best of twelve
combinations of four penalties of the factors and three learning rates. All other settings have their defaults.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from planted import clicks
from sklearn.metrics import log_loss

from skfm import FMClassifier


def main():
    """Print the losses of the grid and of the default for every number of rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    args = parser.parse_args()
    torch.set_num_threads(1)
    X, y, oracle = clicks(1_111_111, 100_000)
    test = np.zeros(len(y), bool)
    test[np.random.RandomState(42).permutation(len(y))[: len(y) // 10]] = True
    X_train, y_train, X_test, y_test = X[~test], y[~test], X[test], y[test]
    for n in args.rows:

        def loss(n=n, **settings):
            model = FMClassifier(solver="adagrad", random_state=0, **settings).fit(X_train[:n], y_train[:n])
            return log_loss(y_test, model.predict_proba(X_test)[:, 1].astype(float))

        print(f"\n{n:,} rows, oracle {oracle:.4f}")
        best = np.inf
        for l2_factors in (10, 20, 40, 80):
            losses = [loss(l2_factors=l2_factors, learning_rate=rate) for rate in (0.1, 0.25, 0.6)]
            best = min(best, *losses)
            print(f"  l2_factors={l2_factors}: " + ", ".join(f"{value:.4f}" for value in losses), flush=True)
        default = loss()
        print(f"  default {default:.4f}, best of the grid {best:.4f}: {default / best - 1:+.2%}", flush=True)


if __name__ == "__main__":
    main()
