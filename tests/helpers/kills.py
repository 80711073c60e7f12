"""Checkpointed fits that are killed at random moments. `many` runs in a process of its own, as a script."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import torch

from skfm.training import checkpoint

from .streams import case

#: The cases: solver, whether the data are a stream, and whether there are validation data.
CASES = [
    ("adagrad", True, False),
    ("adam", False, True),
    ("ftrl", True, True),
    ("sgd", False, False),
    ("adagrad", False, True),
]
#: Epochs of each run, which take about half a second.
EPOCHS = 30


def model_of(which, path=None):
    """Return a model and the arguments of its fit."""
    model, arguments = case(*which)
    return model.set_params(max_iter=EPOCHS, n_iter_no_change=EPOCHS, checkpoint=path), arguments


def bits_of(model):
    """Return all that a run is compared by, as bytes."""
    parts = (model.intercept_, model.coef_, model.factors_, *model.history_.values())
    return b"".join(np.asarray(part).tobytes() for part in parts)


def started(which, path, result):
    """Fit in a fork of this process, which writes the bits of the fitted model to a file; return its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        model, arguments = model_of(which, path)
        result.write_bytes(bits_of(model.fit(**arguments)))
        status = 0
    finally:
        os._exit(status)


def ended(pid):
    """Wait for a process, and return its exit code, which is negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def many(folder, n_kills, n_pairs, seed):
    """Kill single runs and pairs of runs on one path; restart each, and compare with a run that was not killed.

    Parameters
    ----------
    folder : str
    n_kills : int
        Number of killed runs without those in pairs.
    n_pairs : int
        Number of pairs of runs that use one path at the same time. One of them is killed, or both.
    seed : int
    """
    torch.set_num_threads(1)
    checkpoint.INTERVAL = checkpoint.PATIENCE = 0
    rng = np.random.default_rng(seed)
    folder = Path(folder)
    whole, seconds = [], []
    for which in CASES:
        begin = time.monotonic()
        pid = started(which, folder / "whole.run", folder / "whole")
        if ended(pid) != 0:
            raise RuntimeError(f"{which}: the run failed")
        seconds.append(time.monotonic() - begin)
        whole.append((folder / "whole").read_bytes())
    n_resumed = n_killed = 0
    for number in range(n_kills + n_pairs):
        which, path = number % len(CASES), folder / f"{number}.run"
        n_processes = 1 if number < n_kills else 2
        results = [folder / f"{number}.{i}" for i in range(n_processes)]
        pids = [started(CASES[which], path, result) for result in results]
        n_victims = n_processes if number % 2 else 1
        # The moments of each victim are random, in order.
        for pid in pids[:n_victims]:
            time.sleep(rng.uniform(0, seconds[which] / n_victims))
            os.kill(pid, signal.SIGKILL)
        codes = [ended(pid) for pid in pids]
        n_killed += codes.count(-signal.SIGKILL)
        for code, result in zip(codes, results, strict=True):
            if code == 0 and result.read_bytes() != whole[which]:
                raise RuntimeError(f"{CASES[which]}: a run with a rival on the same path is another one")
            if code not in (0, -signal.SIGKILL):
                raise RuntimeError(f"{CASES[which]}: a run failed with exit code {code}")
        n_resumed += path.exists()
        pid = started(CASES[which], path, folder / "again")
        if ended(pid) != 0 or (folder / "again").read_bytes() != whole[which]:
            raise RuntimeError(f"{CASES[which]}, number {number}: the restart is another run")
        if path.exists():
            raise RuntimeError(f"{CASES[which]}: the checkpoint was not removed at the end")
    n_partial = len(list(folder.glob("*.partial")))
    print(f"{n_killed} killed, {n_resumed} resumed from a checkpoint, {n_partial} temporary files left")
