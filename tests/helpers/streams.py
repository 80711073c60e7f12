"""Data in chunks, and runs with checkpoints that are killed."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np

from skfm import FMClassifier
from skfm.datasets import make_factorization
from skfm.streaming import Chunks

#: The folder that holds the tests, for other processes that import these functions.
ROOT = str(Path(__file__).parents[2])

CLASSIFICATION = ("log_loss", "hinge", "squared_hinge")


def chunks_of(X, y, size=100):
    return [(X[i : i + size], y[i : i + size]) for i in range(0, len(y), size)]


def data(loss="squared_error", n_classes=2):
    X, y = make_factorization(600, (20, 15), n_factors=2, noise=0.3, random_state=0)
    if loss in CLASSIFICATION:
        return X, np.digitize(y, np.quantile(y, np.linspace(0, 1, n_classes + 1)[1:-1]))
    return X, np.exp(y / 4) if loss in ("poisson", "gamma") else y


def case(solver, is_stream, is_validated):
    """A model and the arguments of its fit."""
    model = FMClassifier(2, solver=solver, max_iter=3, batch_size=32, n_iter_no_change=9, random_state=0)
    X, y = data("log_loss", 3)
    training = {"X": X[:480], "y": y[:480]}
    if is_stream:
        training = {"X": Chunks(lambda: iter(chunks_of(X[:480], y[:480], 120)), n_features=35), "y": None}
    validation = {"X_val": X[480:], "y_val": y[480:]} if is_validated else {}
    return model, training | validation


#: What is killed when: a name, whether it is a stream, and what happens at a write of a checkpoint.
KILLS = {
    "stream, first epoch": (True, "after 2"),
    "stream, second epoch": (True, "after 6"),
    "stream, end of an epoch": (True, "after 4"),
    "stream, while writing": (True, "in 6"),
    "arrays, first epoch": (False, "after 1"),
    "arrays, second epoch": (False, "after 2"),
    "arrays, while writing": (False, "in 3"),
}


def kill():
    """Kill this process, which has no time for anything else."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_child_that_dies(function, *arguments):
    """Call a function in a fork of this process, which it has to kill."""
    pid = os.fork()
    if not pid:
        try:
            function(*arguments)
        finally:
            os._exit(1)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL:
        sys.exit(f"{arguments}: not killed")


def run_script(script, **values):
    """Run a script in a process of its own, with the folder of the tests as its value ``root``."""
    script = textwrap.dedent(script).format(root=ROOT, **values)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
