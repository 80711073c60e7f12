"""The minibatch solvers with their losses, and small models of them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skfm import FMClassifier, FMRegressor
from skfm.core.solvers import SOLVERS

from .encoded import plant

REGRESSION = ("squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma")
CLASSIFICATION = ("log_loss", "hinge", "squared_hinge")
LOG_LINK = ("poisson", "gamma")
NAMES = tuple(name for name, solver in SOLVERS.items() if solver.learns_online)
MINIBATCH = pytest.mark.parametrize("solver", NAMES)
#: Each loss with the number of classes, None for a regression.
CASES = [(loss, None) for loss in REGRESSION] + [(loss, n) for loss in CLASSIFICATION for n in (2, 3)]
ALL_LOSSES = pytest.mark.parametrize(("loss", "n_classes"), CASES)
#: All of them on one solver, and two on each other one.
SOME_LOSSES = pytest.mark.parametrize(
    ("solver", "loss", "n_classes"),
    [("adagrad", *case) for case in CASES]
    + [(name, *case) for name in NAMES[1:] for case in (("squared_error", None), ("log_loss", 3))],
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
