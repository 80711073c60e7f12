"""The time of a fit by the number of rows and the number of threads.

    python benchmarks/scaling.py [--rows 100000 1000000 10000000] [--threads 1 2]

The script fits one epoch of `solver="adagrad"` to simulated click logs (see planted.py) with 100,000 columns and
batches of 6144 rows. Each number of threads is measured in a process of its own. The results are medians over the fits
after the first one.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time


def measure(n_rows, n_factors, repeats):
    """Fit in this process, and print wall seconds of one epoch and of an additional epoch, and CPU seconds."""
    import torch
    from planted import clicks

    from skfm import FMClassifier

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    X, y, _ = clicks(n_rows, 100_000)

    def fit(epochs):
        cpu, wall = time.process_time(), time.perf_counter()
        FMClassifier(n_factors, solver="adagrad", batch_size=6144, max_iter=epochs, random_state=0).fit(X, y)
        return time.perf_counter() - wall, time.process_time() - cpu

    fit(1)
    one, cpu = (statistics.median(times) for times in zip(*(fit(1) for _ in range(repeats)), strict=True))
    three = statistics.median(fit(3)[0] for _ in range(repeats))
    print(one, (three - one) / 2, cpu, X.nnz)


def main():
    """Print one line per number of rows and threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--factors", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.rows[0], args.factors, args.repeats)
        return
    for n_rows in args.rows:
        for threads in args.threads:
            command = [sys.executable, __file__, "--measure", "--rows", str(n_rows)]
            command += ["--factors", str(args.factors), "--repeats", str(args.repeats)]
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            one, further, cpu, nnz = (float(number) for number in out.split()[-4:])
            print(
                f"{n_rows:>10,} rows, {threads} threads: one epoch {one:6.3f} s wall, a further one {further:6.3f} s "
                f"({1e9 * further / nnz:5.1f} ns per non-zero); {1e9 * cpu / nnz:5.1f} CPU ns per non-zero of the fit",
                flush=True,
            )


if __name__ == "__main__":
    main()
