"""The minibatch solvers with their losses, and small models of them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skfm import FMClassifier, FMRegressor
from skfm.core.solvers import SOLVERS

from .encoded import plant
from .slow import parametrize

REGRESSION = ("squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma")
CLASSIFICATION = ("log_loss", "hinge", "squared_hinge")
LOG_LINK = ("poisson", "gamma")
NAMES = tuple(name for name, solver in SOLVERS.items() if solver.learns_online)
MINIBATCH = pytest.mark.parametrize("solver", NAMES)
#: Each loss with the number of classes, None for a regression.
CASES = [(loss, None) for loss in REGRESSION] + [(loss, n) for loss in CLASSIFICATION for n in (2, 3)]


def is_fast(solver, loss, n_classes=None):
    """Return whether a loss belongs to the fast tests of a solver: all on one solver, two on each other one."""
    return solver == "adagrad" or (loss, n_classes) in (("squared_error", None), ("log_loss", 3))


_PRODUCT = [(name, *case) for name in NAMES for case in CASES]
#: All losses with all solvers, most of which belong to the slow tests, and those of the fast ones alone.
EVERY_LOSS = parametrize(("solver", "loss", "n_classes"), _PRODUCT, fast=is_fast)
SOME_LOSSES = pytest.mark.parametrize(
    ("solver", "loss", "n_classes"), [case for case in _PRODUCT if is_fast(*case)]
)


def target(X, loss, n_classes=None, **options):
    """A target that an FM explains, in the range of a loss."""
    y = plant(X, n_classes, **options)
    return np.exp((y - 50) / 60) if loss in LOG_LINK else y


def make(loss, n_classes=None, **options):
    kind = FMRegressor if n_classes is None else FMClassifier
    if loss == "quantile":
        options = {"quantile": 0.3, **options}
    return kind(
        **{"n_factors": 2, "solver": "adagrad", "loss": loss, "random_state": 0, "max_iter": 10, **options}
    )


def assert_same_parameters(a, b, rtol=0.0, atol=0.0):
    for name in ("intercept_", "coef_", "factors_"):
        assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol, atol=atol)
