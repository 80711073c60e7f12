"""Runs that are killed at random moments: each restart reaches the same bits as a run that was not killed."""

import os
import subprocess
import sys

import pytest

from ..helpers.streams import ROOT


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork, no SIGKILL")
def test_kills_at_random_moments(tmp_path):
    call = f"from tests.helpers import kills; kills.many({str(tmp_path)!r}, 5, 2, 0)"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT}
    done = subprocess.run(
        [sys.executable, "-c", call], env=environment, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    n_killed, n_resumed = (int(part.split()[0]) for part in done.stdout.split(", ")[:2])
    assert n_killed > 3
    assert n_resumed > 1
