"""Settings for all tests: one thread, repeatable hypothesis runs, and what is skipped where."""

import gc
import os
from pathlib import Path

# Both have to be set before scipy and matplotlib are first imported: scikit-learn's checks of array API
# support are skipped without the first, and there may be no display for the second.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import pytest
import torch

# The tests are many small fits, which threads only slow down.
torch.set_num_threads(1)

# A deadline would turn a busy machine into a failing test. A run in CI has to repeat exactly; other runs
# look for new examples. Half of the usual number is enough for tests of which most find a fault at once.
hypothesis.settings.register_profile("skfm", deadline=None, derandomize="CI" in os.environ, max_examples=50)
hypothesis.settings.load_profile("skfm")


def _data_path(name):
    """Path of `name` in the folder of SKFM_TEST_DATA, None where it is missing."""
    folder = os.environ.get("SKFM_TEST_DATA")
    path = Path(folder) / name if folder else None
    return path if path is not None and path.exists() else None


def pytest_collection_finish():
    # Modules and thousands of tests stay to the end: each collection of garbage would search them again.
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    if item.get_closest_marker("torch_graphs") and not hasattr(torch.export.Dim, "DYNAMIC"):
        pytest.skip("needs torch 2.6")
    for marker in item.iter_markers("needs_data"):
        if _data_path(*marker.args) is None:
            pytest.skip(f"needs {marker.args[0]} in the folder that SKFM_TEST_DATA names")


@pytest.fixture
def data_path(request):
    """Path of what the closest `needs_data` marker of the test asks for."""
    return _data_path(*request.node.get_closest_marker("needs_data").args)
