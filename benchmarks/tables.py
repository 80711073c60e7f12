"""CPU seconds of `solver="vb"` for one-hot encoded categories: the engine of tables and the engine of tiles.

    python benchmarks/tables.py [--folder FOLDER] [--factors 8] [--sweeps 8]

Both engines make the same sweeps. They take turns in one process with one thread, so that other work on the machine
affects both, and the script prints the median times of a sweep. If the folder contains `adult/adult.data.xz` and
`adult.test.xz`, the script also fits census income with the default settings, once with each engine.
"""

import argparse
import os
import statistics
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from scipy import sparse
from sklearn.metrics import log_loss
from tabular import income

from skfm import FMClassifier
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.matrix.tiles import describe_fields
from skfm.core.solvers import SOLVERS, Problem, Settings
from skfm.core.solvers.block import run

#: Rows, sizes of the fields, and number of numeric columns.
DATA = {
    "census income": (32_561, (9, 16, 7, 15, 6, 5, 2, 42), 6),
    "access requests": (26_000, (7518, 4243, 2358, 343, 128, 177, 449, 67, 343), 0),
    "20 fields": (200_000, (50,) * 20, 0),
    "4 fields": (30_000, (3000, 500, 24, 5), 0),
    "2 of these": (30_000, (3000, 500), 0),
}


@contextmanager
def engine(name):
    """Select an engine; "default" is what skfm selects."""
    with mock.patch.object(run, "find_tables", run.find_tables if name == "default" else lambda *_: None):
        yield


def simulate(n_rows, sizes, n_numeric, dtype):
    """Return a problem with categories whose frequencies are inversely proportional to their ranks."""
    rng, rows = np.random.default_rng(0), np.arange(n_rows)
    parts = []
    for size in sizes:
        share = 1 / np.arange(1, size + 1)
        codes = rng.choice(size, n_rows, p=share / share.sum())
        parts.append(sparse.csr_matrix((np.ones(n_rows), (rows, codes)), (n_rows, size)))
    X = sparse.hstack([*parts, sparse.csr_matrix(rng.normal(size=(n_rows, n_numeric)))]).tocsr()
    design = DesignMatrix.from_array(X, dtype=dtype)
    target = torch.tensor(rng.random((1, n_rows)) < 0.3, dtype=dtype)
    return Problem(design, target, torch.ones(n_rows, dtype=dtype), "log_loss", describe_fields(design))


def compare_sweeps(name, n_factors, kind, n_sweeps):
    """Print the median time of a sweep of both engines."""
    runs = {}
    for dtype in (torch.float64, torch.float32):
        problem = simulate(*DATA[name], dtype)
        n_features = problem.design.shape[1]
        factors = 0.1 * torch.randn(1, n_features, n_factors, generator=torch.Generator().manual_seed(0))
        start = FMParameters(
            torch.zeros(1, dtype=dtype), torch.zeros(1, n_features, dtype=dtype), factors.to(dtype)
        )
        for label in ("default", "tiles"):
            with engine(label):
                made = SOLVERS["vb"].start(problem, start, Settings(covariance_type=kind))
            title = type(made.engine).__name__.removesuffix("Engine").lower()
            runs[f"{title} {str(dtype).removeprefix('torch.')}"] = made
    seconds = {label: [] for label in runs}
    for _ in range(n_sweeps):
        for label, made in runs.items():
            begun = time.process_time()
            made.step()
            seconds[label].append(time.process_time() - begun)
    text = "  ".join(f"{label} {1e3 * statistics.median(times):6.0f}" for label, times in seconds.items())
    print(f"{name:16} K={n_factors} {kind}: ms per sweep  {text}", flush=True)


def compare_fits(folder):
    """Print the time and the score of complete fits of census income, and how far their predictions are apart."""
    X, y, X_test, y_test = income(folder)
    found = {}
    for label in ("default", "tiles"):
        model, begun = FMClassifier(random_state=0), time.process_time()
        with engine(label):
            model.fit(X, y)
        seconds = time.process_time() - begun
        score = log_loss(y_test, model.predict_proba(X_test).clip(0, 1))
        found[label] = model.decision_function(X_test)
        print(
            f"census income, {label:7} engine: {seconds:5.2f} CPU s, {model.n_iter_} sweeps, log loss {score:.5f}"
        )
    print(f"largest difference of raw predictions: {np.abs(found['default'] - found['tiles']).max():.1e}")


def main():
    """Print one line per data set and type of covariances."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--factors", type=int, default=8)
    parser.add_argument("--sweeps", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in DATA:
        for kind in ("full", "diag"):
            compare_sweeps(name, args.factors, kind, args.sweeps)
    if args.folder:
        compare_fits(args.folder)


if __name__ == "__main__":
    main()
