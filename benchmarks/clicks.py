"""Planted click logs: CPU seconds an epoch, and the time to the log loss that the peer reaches at best.

    python benchmarks/clicks.py [--rows 1000000] [--columns 100000 1000000] [--factors 8 16]

Twenty one-hot fields with Zipf ids, a planted factorization machine, float32, one thread. The peer is
modern-fm's AdaGrad at the best of its learning rates and numbers of epochs, in the same process and run.
Seconds are CPU seconds of whole fits from a scipy matrix, all conversion included.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAYON_NUM_THREADS", os.environ["OMP_NUM_THREADS"])

import modern_fm
import numpy as np
import torch
from planted import clicks
from sklearn.metrics import log_loss

from skfm import FMClassifier

THREADS = int(os.environ["OMP_NUM_THREADS"])


def timed(model, X, y, X_test, y_test):
    """Return CPU seconds and wall seconds of a fit, and its held-out log loss."""
    cpu, wall = time.process_time(), time.perf_counter()
    model.fit(X, y)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu, wall, log_loss(y_test, model.predict_proba(X_test)[:, 1].astype(float))


def each_epoch(make, data, repeats):
    """Return fits of one, two and three epochs, and CPU and wall seconds of a further epoch; all are medians."""
    fits = np.median([[timed(make(n), *data) for n in (1, 2, 3)] for _ in range(repeats)], axis=0)
    return fits, *(fits[2] - fits[0])[:2] / 2


def main():
    """Print a block of lines for every size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--factors", type=int, nargs="+", default=[8, 16])
    parser.add_argument(
        "--rates", type=float, nargs="*", default=[0.02, 0.05, 0.1], help="learning rates of the peer"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="fits of each kind, of which the median counts"
    )
    args = parser.parse_args()
    torch.set_num_threads(THREADS)
    for columns in args.columns:
        X, y, oracle = clicks(args.rows * 10 // 9, columns)
        n_test = len(y) // 10
        test = np.zeros(len(y), bool)
        test[np.random.RandomState(42).permutation(len(y))[:n_test]] = True
        data = X[~test], y[~test], X[test], y[test]
        del X
        for factors in args.factors:
            print(f"\n{len(data[1]):,} rows, {columns:,} columns, n_factors={factors}, oracle {oracle:.4f}")

            def ours(n, factors=factors):
                return FMClassifier(factors, solver="adagrad", max_iter=n, random_state=0)

            # The first fit of a process also pays for its memory.
            cold = timed(ours(1), *data)[0]
            fits, epoch, wall = each_epoch(ours, data, args.repeats)
            for n, (cpu, elapsed, loss) in enumerate(fits, 1):
                print(
                    f"  skfm adagrad, {n} epochs     log loss {loss:.4f}  {cpu:6.2f} s CPU, {elapsed:.2f} s wall",
                    flush=True,
                )
            print(f"  1 epoch, the first fit of all: {cold:.2f} s")
            print(
                f"  an epoch {epoch:.2f} s CPU, {wall:.2f} s wall; all else {fits[0][0] - epoch:.2f} s",
                flush=True,
            )
            best = None
            if args.rates:
                timed(modern_fm.FMClassifier(factors, max_iter=1, n_jobs=THREADS), *data)
            for rate in args.rates:

                def peer(n, rate=rate, factors=factors):
                    return modern_fm.FMClassifier(
                        factors, learning_rate=rate, max_iter=n, n_jobs=THREADS, random_state=0
                    )

                theirs, their_epoch, _ = each_epoch(peer, data, args.repeats)
                for n, (cpu, _, loss) in enumerate(theirs, 1):
                    print(f"  modern-fm {rate}, {n} epochs  log loss {loss:.4f}  {cpu:6.2f} s", flush=True)
                    if best is None or loss < best[0]:
                        best = loss, cpu, their_epoch
                print(
                    f"  an epoch {their_epoch:.2f} s; all else {theirs[0][0] - their_epoch:.2f} s", flush=True
                )
            if best is None:
                continue
            reached = [cpu for cpu, _, loss in fits if loss <= best[0]]
            print(f"  epoch: {best[2] / epoch:.1f} times faster")
            if reached:
                print(
                    f"  to the peer's best log loss {best[0]:.4f}: {reached[0] / best[1]:.2f} of its CPU time"
                )


if __name__ == "__main__":
    main()
