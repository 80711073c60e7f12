"""Non-zeros per second of predictions by the number of rows, and whether a row's result depends on the others.

    python benchmarks/predict.py [--factors 16] [--columns 80000]

Planted click logs, float32, one thread; medians of nine calls of `decision_function`. Before that the time of single
rows under `solver="vb"`, of two fields with the given number of columns together and half as many factors; medians of
99 calls.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from planted import clicks
from scipy import sparse

from skfm import FMClassifier, FMRegressor


def median_seconds(call, times):
    """Return the median of the CPU seconds that a call takes, after a first one."""
    call()
    seconds = []
    for _ in range(times):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def many_rows(n_factors):
    """Print a line for each number of rows."""
    X, y, _ = clicks(1_000_000, 100_000)
    model = FMClassifier(n_factors, solver="adagrad", max_iter=1, random_state=0)
    model.fit(X[:100_000], y[:100_000])
    whole = model.decision_function(X)
    for n in (100, 1000, 10_000, 100_000, 1_000_000):
        part = X[:n]
        rate = part.nnz / median_seconds(lambda part=part: model.decision_function(part), 9)
        same = bool(np.array_equal(model.decision_function(part), whole[:n]))
        print(f"{n:9,} rows  {rate:.2g} non-zeros per second, bits as in one call: {same}", flush=True)


def one_row(n_factors, n_columns):
    """Print the time of each kind of prediction of one row."""
    rng, n, half = np.random.default_rng(0), 100_000, n_columns // 2
    columns = np.column_stack([rng.integers(0, half, n), half + rng.integers(0, half, n)])
    X = sparse.csr_matrix((np.ones(2 * n), columns.ravel(), np.arange(0, 2 * n + 1, 2)), shape=(n, 2 * half))
    y = rng.standard_normal(n)
    regressor = FMRegressor(n_factors, max_iter=2, random_state=0).fit(X, y)
    classifier = FMClassifier(n_factors, max_iter=2, random_state=0).fit(X, y > 0)
    row = X[:1]
    calls = {
        "predict": lambda: regressor.predict(row),
        "predict(return_std=True)": lambda: regressor.predict(row, return_std=True),
        "predict_proba": lambda: classifier.predict_proba(row),
    }
    for name, call in calls.items():
        milliseconds = 1000 * median_seconds(call, 99)
        print(f"one row of {2 * half:,} columns, {name}: {milliseconds:.2f} ms", flush=True)


def main():
    """Print both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--factors", type=int, default=16)
    parser.add_argument("--columns", type=int, default=80_000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    one_row(args.factors // 2, args.columns)
    many_rows(args.factors)


if __name__ == "__main__":
    main()
