"""vb with the exact expected log likelihood: rare events, the bound, the caution, interruptions."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.metrics import log_loss

from skfm import FMClassifier
from skfm.core.solvers.block.caution import DECAY, FIRST, GROWTH, LEAST, SHORTENED, Caution
from tests.helpers.raw import raw_scores


def two_fields(seed, n, levels, probability):
    """Rows of two fields of categories without an effect, and events of some probability."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, levels, (n, 2)) + [0, levels]
    X = sparse.csr_matrix((np.ones(2 * n), codes.ravel(), np.arange(0, 2 * n + 1, 2)), shape=(n, 2 * levels))
    return X, rng.random(n) < probability


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
@pytest.mark.parametrize(
    ("n", "levels", "n_events"), [(5000, 500, 25), (2000, 50, 100), (2000, 200, 5), (20000, 2000, 97)]
)
def test_rare_events_have_their_probability(n, levels, n_events, covariance_type):
    """The predicted number of events is the observed one."""
    X, y = two_fields(0, n, levels, n_events / n)
    model = FMClassifier(4, covariance_type=covariance_type, max_iter=60, random_state=0).fit(X, y)
    assert_allclose(model.predict_proba(X)[:, 1].sum(), y.sum(), rtol=0.02)


def test_probit_finds_interactions_of_few_rows():
    """As the log loss does: a bound that is loose for wide posteriors lost them."""
    rng = np.random.default_rng(1)
    user, item = rng.integers(0, 200, 3200), rng.integers(0, 40, 3200)
    raw = (rng.standard_normal((200, 2))[user] * rng.standard_normal((40, 2))[item]).sum(1)
    y = raw + rng.standard_normal(3200) > 0
    rows = np.arange(3200)
    X = sparse.csr_matrix((np.ones(6400), (np.r_[rows, rows], np.r_[user, 200 + item])))
    found = [
        log_loss(
            y[1600:],
            FMClassifier(4, loss=loss, random_state=0).fit(X[:1600], y[:1600]).predict_proba(X[1600:]),
        )
        for loss in ("probit", "log_loss")
    ]
    assert abs(found[0] - found[1]) < 0.01
    assert max(found) < 0.65


def test_rare_events_of_each_class():
    """So is that of several rare classes, each against the rest."""
    X, rare = two_fields(1, 4000, 100, 0.02)
    y = np.where(rare, np.arange(len(rare)) % 3, 3)
    p = FMClassifier(2, random_state=0).fit(X, y).predict_proba(X)
    assert_allclose(p.sum(0), np.bincount(y), rtol=0.1)


@pytest.mark.parametrize("loss", ["log_loss", "probit"])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_never_falls(seed, n_classes, dense, loss):
    """Also where the steps of Newton's method overshoot: large numbers, separable classes."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((80, 6)) * (1 + 3 * rng.random(6))
    if not dense:
        X = sparse.csr_matrix(np.where(rng.random(X.shape) < 0.5, X, 0))
    y = np.argmax(np.asarray(X @ rng.standard_normal((6, n_classes))), 1)
    model = FMClassifier(3, loss=loss, max_iter=60, tol=0, random_state=seed).fit(X, y)
    bound = np.array(model.history_["bound"])
    assert (np.diff(bound) >= -1e-9 * np.abs(bound[1:])).all()


def test_the_caution_follows_the_bound():
    """It falls after whole sweeps, and grows after shortened ones, more after those that were taken back."""
    caution = Caution(torch.zeros(3), torch.float64)
    none = torch.zeros(3)
    assert not caution.falls(torch.tensor([-5.0, -5.0, -5.0]), none).any()
    caution.bound = torch.tensor([-5.0, -5.0, -5.0])
    assert caution.falls(torch.tensor([-4.0, -6.0, -5.0]), none).tolist() == [False, True, False]
    assert not caution.falls(torch.tensor([-4.0, -6.0, -5.0]), torch.full((3,), 2.0)).any()
    caution.adapt(torch.tensor([1.0, 0.5, 0.0]))
    assert caution.may_gain
    assert_allclose(caution.value, [FIRST * DECAY, LEAST * SHORTENED, LEAST * GROWTH])
    for _ in range(60):
        caution.adapt(torch.ones(3))
        assert not caution.may_gain
    # What was once taken back is not tried again.
    assert_allclose(caution.value, [0, 0, FIRST], atol=1e-6)
    for _ in range(10):
        caution.adapt(torch.zeros(3))
    assert_allclose(caution.value, 1)
    assert not caution.may_gain


def test_outputs_are_independent():
    """An output whose sweep is taken back does not hold up the others: each class has the fit of its own."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 5)) * 3
    y = np.argmax(X[:, :3] + rng.standard_normal((150, 3)), 1)
    together = FMClassifier(0, max_iter=40, tol=0, random_state=0).fit(X, y)
    for c in range(3):
        alone = FMClassifier(0, max_iter=40, tol=0, random_state=0).fit(X, y == c)
        assert_allclose(raw_scores(together, X)[:, c], raw_scores(alone, X), rtol=1e-6, atol=1e-6)
