"""Peak memory and time of training from a svmlight file that is read in chunks.

    python benchmarks/streaming.py [--gigabytes 4] [--columns 1000000] [--epochs 1] [--folder FOLDER]

The file contains simulated click logs with twenty ones per row; the same block of rows is written repeatedly. The fit
runs in a process of its own, whose peak resident memory is reported, including imports.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from planted import clicks

BLOCK = 250_000


def write(path, gigabytes, columns):
    """Write a file of about the given size, and return its number of rows."""
    X, y, _ = clicks(BLOCK, columns)
    places = X.indices.reshape(BLOCK, -1)
    lines = (f"{int(label)} " + " ".join(f"{j}:1" for j in row) for label, row in zip(y, places, strict=True))
    block = ("\n".join(lines) + "\n").encode()
    n_blocks = max(1, round(gigabytes * 1e9 / len(block)))
    with path.open("wb") as file:
        for _ in range(n_blocks):
            file.write(block)
    return n_blocks * BLOCK


def train(path, columns, epochs):
    """Fit in this process, and print the memory and the time."""
    import torch

    from skfm import FMClassifier
    from skfm.streaming import SvmlightChunks

    torch.set_num_threads(1)
    chunks = SvmlightChunks(path, n_features=columns, zero_based=True, classes=[0, 1])
    cpu, wall = time.process_time(), time.perf_counter()
    model = FMClassifier(solver="adagrad", max_iter=epochs, random_state=0).fit(chunks)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  {epochs} epochs: peak {peak:.0f} MiB, {cpu:.0f} s CPU, {wall:.0f} s wall", end="")
    print(f", training loss {model.history_['training_loss'][-1]:.4f}", flush=True)


def main():
    """Write the file, and fit models to it in separate processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--columns", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, nargs="+", default=[1])
    parser.add_argument("--folder")
    parser.add_argument("--path", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.path:
        train(args.path, args.columns, args.epochs[0])
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "clicks.svm"
        n_rows = write(path, args.gigabytes, args.columns)
        print(
            f"{path.stat().st_size / 1e9:.2f} GB, {n_rows:,} rows, {args.columns:,} columns, K=8", flush=True
        )
        for epochs in args.epochs:
            options = ["--columns", str(args.columns), "--epochs", str(epochs), "--path", str(path)]
            subprocess.run([sys.executable, __file__, *options], check=True)


if __name__ == "__main__":
    main()
