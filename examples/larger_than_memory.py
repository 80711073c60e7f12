"""Training from a file, chunk by chunk: memory and log loss beside those of the same data in memory.

    python examples/larger_than_memory.py [--megabytes 60]

Writes planted clicks to a text file in the svmlight format, in a temporary folder, and fits the same model from
the file, with a progress bar and a checkpoint, and from a matrix in memory, each in a process of its own. Prints a
table: the memory of the stream does not depend on the size of the file, as --megabytes 200 shows. Needs Linux or
macOS, for the measurement.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# One thread for both, for times that compare. Has to be set before numpy and torch are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.datasets import dump_svmlight_file, load_svmlight_file
from sklearn.metrics import log_loss

from skfm import FMClassifier
from skfm.streaming import SvmlightChunks

N_FIELDS, N_FEATURES = 12, 24_000
FILE_OPTIONS = {"n_features": N_FEATURES, "zero_based": True, "dtype": np.float32}


def write(path, n_bytes, seed):
    """Append rows until the file has the size: one category of each field, and a click."""
    rng = np.random.default_rng(0)  # the same truth for every file
    weights, vectors = rng.normal(0, 0.3, N_FEATURES), rng.normal(0, 0.25, (N_FEATURES, 3))
    rng = np.random.default_rng(seed)
    n_rows, categories = 20_000, N_FEATURES // N_FIELDS
    with path.open("wb") as file:
        while file.tell() < n_bytes:
            chosen = (categories * rng.random((n_rows, N_FIELDS)) ** 3).astype(np.int32)
            columns = chosen + categories * np.arange(N_FIELDS, dtype=np.int32)
            sums, squares = vectors[columns].sum(axis=1), (vectors[columns] ** 2).sum(axis=1)
            raw = weights[columns].sum(axis=1) - 1 + (sums**2 - squares).sum(axis=1) / 2
            y = (rng.random(n_rows) < 1 / (1 + np.exp(-raw))).astype(int)
            parts = np.ones(columns.size), columns.ravel(), np.arange(0, columns.size + 1, N_FIELDS)
            dump_svmlight_file(csr_matrix(parts, shape=(n_rows, N_FEATURES)), y, file, zero_based=True)


def peak_megabytes():
    """Largest memory that the process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def fit(how, folder):
    """Fit from the file or from memory, and print the line of the table."""
    model = FMClassifier(solver="adagrad", max_iter=2, batch_size=2048, random_state=0)
    before, start = peak_megabytes(), time.perf_counter()
    if how == "stream":
        chunks = SvmlightChunks(folder / "train.svm", chunk_bytes=2 << 20, classes=[0, 1], **FILE_OPTIONS)
        model.set_params(checkpoint=folder / "checkpoint.npz", verbose=1).fit(chunks)
    else:
        model.fit(*load_svmlight_file(str(folder / "train.svm"), **FILE_OPTIONS))
    seconds, memory = time.perf_counter() - start, peak_megabytes() - before
    X_test, y_test = load_svmlight_file(str(folder / "test.svm"), **FILE_OPTIONS)
    loss = log_loss(y_test, model.predict_proba(X_test)[:, 1].astype(float))
    print(f"  {how:10}{memory:14.0f}{seconds:14.1f}{loss:12.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=60, help="size of the file")
    parser.add_argument("--fit", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments.fit[0], Path(arguments.fit[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        train, test = Path(folder) / "train.svm", Path(folder) / "test.svm"
        write(train, arguments.megabytes << 20, seed=1)
        write(test, 4 << 20, seed=2)
        print(f"A file of {train.stat().st_size >> 20} MB. Memory: peak above that of the imports.\n")
        print(f"  {'':10}{'MB of memory':>14}{'fit seconds':>14}{'log loss':>12}", flush=True)
        for how in ("stream", "in memory"):
            # A process of its own, since a peak does not go down again.
            subprocess.run([sys.executable, __file__, "--fit", how, folder], check=True)


if __name__ == "__main__":
    main()
