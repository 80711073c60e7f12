"""The order of the examples in the gallery, and the selection of those that can run.

Most examples need no data files. The others need data that have to exist already, because a build does not download.
"""

import os
import re
from pathlib import Path

from sklearn.datasets import get_data_home

EXAMPLES = Path(__file__).parent.parent / "examples"

#: The first examples, starting with the simplest. The others follow in alphabetical order.
FIRST = (
    "quickstart",
    "census_income",
    "bike_counts",
    "movielens",
    "recommend",
    "explain_prediction",
    "uncertainty",
)

#: Files or folders that contain the data of an example, in the folder given by SKFM_DATA or in that of scikit-learn.
#: One of them is sufficient.
MOVIELENS = ("ml-100k.zip", "ml-100k", "movielens/ml-100k.zip", "movielens/ml-100k")
NEEDS = {
    "movielens": MOVIELENS,
    "recommend": MOVIELENS,
    "census_income": ("adult.zip", "adult"),
    "bike_counts": ("bike-sharing.zip", "bike-sharing"),
}


class Order:
    """Key that sorts the examples of a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, filename):
        """Return the sort key of an example."""
        name = Path(filename).stem
        return (FIRST.index(name) if name in FIRST else len(FIRST), name)


def missing_data(example):
    """Return the name of the data that an example needs and that are missing, or None if it can run."""
    wanted = NEEDS.get(Path(example).stem, ())
    if not wanted:
        return None
    home = Path(get_data_home(os.environ.get("SKFM_DATA") or None))
    return None if any((home / name).exists() for name in wanted) else wanted[0]


def runnable():
    """Return a regular expression that matches the examples that can run. The others are shown without results."""
    names = [re.escape(path.stem) for path in EXAMPLES.glob("*.py") if missing_data(path) is None]
    return rf"[/\\]({'|'.join(sorted(names))})\.py$"
