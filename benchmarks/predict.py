"""Throughput of predictions by the number of rows, and whether the result for a row depends on other rows.

    python benchmarks/predict.py [--factors 16]

The data are simulated click logs in float32. The results are medians of nine calls of `decision_function` with one
thread.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from planted import clicks

from skfm import FMClassifier


def main():
    """Print one line per number of rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--factors", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(1)
    X, y, _ = clicks(1_000_000, 100_000)
    model = FMClassifier(args.factors, solver="adagrad", max_iter=1, random_state=0)
    model.fit(X[:100_000], y[:100_000])
    whole = model.decision_function(X)
    for n in (100, 1000, 10_000, 100_000, 1_000_000):
        seconds, part = [], X[:n]
        for _ in range(9):
            start = time.process_time()
            scores = model.decision_function(part)
            seconds.append(time.process_time() - start)
        rate = part.nnz / statistics.median(seconds)
        print(f"{n:9,} rows  {rate:.2g} non-zeros per second, bit-identical to a single call: ", end="")
        print(bool(np.array_equal(scores, whole[:n])), flush=True)


if __name__ == "__main__":
    main()
