"""What the Gibbs sampler learns: means over its draws, weights, the same draws again."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from problems import (
    KINDS,
    SHORT,
    assert_same_draws,
    brute_force,
    levels,
    numeric,
    one_hot,
    plant,
    raw_draws,
    sampler,
    three_fields,
)
from scipy import sparse
from scipy.special import expit, logit, ndtr, ndtri
from sklearn.base import clone
from sklearn.metrics import log_loss

from skfm import FMClassifier, FMRegressor
from skfm.core.matrix import tiles as plan
from skfm.core.solvers.block import pairs
from skfm.datasets import make_factorization

# ------------------------------------------------------------------------------- means over the draws


@KINDS
@SHORT
def test_predictions_of_a_regressor_are_the_mean_over_its_draws(make_X):
    X = make_X()
    y = plant(X)
    model = sampler(n_chains=2, burn_in=4, max_iter=11).fit(X, y)
    assert model.factors_.shape == (X.shape[1], 2 * 2 * 7)
    raw = raw_draws(model, X)
    assert raw.shape == (14, 150)
    assert raw.std(0).min() > 0
    assert_allclose(model.predict(X), raw.mean(0), rtol=1e-10)
    assert_allclose(brute_force(X, model.intercept_, model.coef_, model.factors_), raw.mean(0), rtol=1e-10)


def probabilities(loss, raw, cut_points=None):
    """Probabilities of the classes, averaged over the draws."""
    if loss == "ordered_probit":
        edges = ndtr(cut_points.reshape(len(raw), -1, 1) - raw[:, None])
        ends = np.zeros_like(edges[:, :1]), np.ones_like(edges[:, :1])
        return np.diff(np.concatenate([ends[0], edges, ends[1]], 1), axis=1).mean(0).T
    p = {"log_loss": expit, "probit": ndtr}[loss](raw).mean(0)
    return np.column_stack([1 - p, p]) if p.ndim == 1 else (p / p.sum(0)).T


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("loss", ["log_loss", "probit", "ordered_probit"])
@SHORT
def test_probabilities_of_a_classifier_are_means_over_its_draws(loss, n_classes):
    X = three_fields()
    y = np.array(["a", "b", "c"])[levels(plant(X), n_classes)]
    model = sampler(FMClassifier, loss=loss, n_chains=2, burn_in=2, max_iter=9).fit(X, y)
    one_output = n_classes == 2 or loss == "ordered_probit"
    assert model.factors_.shape == (() if one_output else (3,)) + (15, 2 * 14)
    raw = raw_draws(model, X)
    expected = probabilities(loss, raw, model.posterior_.cut_points)
    p, scores = model.predict_proba(X), model.decision_function(X)
    assert_allclose(p, expected, rtol=1e-10)
    assert_allclose(p.sum(1), 1)
    assert_allclose(model.predict_log_proba(X), np.log(p))
    assert_array_equal(model.predict(X), model.classes_[p.argmax(1)])
    if n_classes == 2:
        assert_allclose(scores, (ndtri if loss == "probit" else logit)(p[:, 1]), rtol=1e-8)
    elif loss == "ordered_probit":
        assert_allclose(scores, np.log(p))
    else:
        link, inverse = (logit, expit) if loss == "log_loss" else (ndtri, ndtr)
        assert_allclose(scores, link(inverse(raw).mean(0)).T, rtol=1e-8)


@SHORT
def test_an_ordered_regressor_predicts_the_mean_level():
    X = one_hot()
    y = np.array([-1.5, 0.0, 10.0])[levels(plant(X), 3)]
    model = sampler(loss="ordered_probit", n_chains=2, burn_in=2, max_iter=9).fit(X, y)
    assert_array_equal(model.levels_, [-1.5, 0, 10])
    p = probabilities("ordered_probit", raw_draws(model, X), model.posterior_.cut_points)
    assert_allclose(model.predict(X), p @ model.levels_, rtol=1e-9)
    assert model.score(X, y) > 0.5


# --------------------------------------------------------------------------------------- what it learns


def test_recovers_a_planted_regression():
    X, y, truth = make_factorization(
        6000, (40, 30, 10), n_factors=2, noise=0.5, return_parameters=True, random_state=0
    )
    model = sampler(n_factors=4, max_iter=100).fit(X[:4000], y[:4000])
    error = np.sqrt(np.mean((model.predict(X[4000:]) - y[4000:]) ** 2))
    best = np.sqrt(np.mean((truth.raw_prediction[4000:] - y[4000:]) ** 2))
    assert error < 1.05 * best
    assert abs(model.posterior_.noise_std.mean() - 0.5) < 0.02


@pytest.mark.parametrize("loss", ["log_loss", "probit"])
def test_recovers_planted_classes(loss):
    X, y, truth = make_factorization(
        12_000, (20, 15), n_factors=2, task="classification", return_parameters=True, random_state=0
    )
    if loss == "probit":
        y = (truth.raw_prediction + np.random.default_rng(0).standard_normal(len(y)) > 0).astype(int)
    (X, X_test), (y, y_test), (_, raw) = ((a[:8000], a[8000:]) for a in (X, y, truth.raw_prediction))
    found = sampler(FMClassifier, loss=loss, max_iter=100).fit(X, y).predict_proba(X_test)
    linear = sampler(FMClassifier, n_factors=0, loss=loss, max_iter=50).fit(X, y).predict_proba(X_test)
    best = log_loss(y_test, {"log_loss": expit, "probit": ndtr}[loss](raw))
    # Each of about a hundred parameters costs 1 / (2 * 8000) on average.
    assert log_loss(y_test, found) < best + 0.015
    assert log_loss(y_test, linear) > best + 0.05


def test_recovers_planted_cut_points():
    X, y, truth = make_factorization(
        4000, (20, 15), n_factors=2, noise=1.0, return_parameters=True, random_state=0
    )
    edges = np.array([-1.5, -0.3, 0.2, 2.0])
    model = sampler(n_factors=3, loss="ordered_probit", max_iter=100).fit(X, np.digitize(y, edges))
    # Cut-points and raw predictions may move together.
    cuts = model.posterior_.cut_points[0] - raw_draws(model, X).mean(1)[:, None]
    expected = edges - truth.raw_prediction.mean()
    assert (np.diff(cuts) > 0).all()
    assert_allclose(cuts.mean(0), expected, atol=4 * cuts.std(0).max())
    assert cuts.std(0).max() < 0.08


# ---------------------------------------------------------------------------------------------- weights


def test_weights_of_a_regression_mean_repeats():
    X = one_hot()
    y = plant(X)
    weight = np.random.default_rng(0).integers(0, 4, 150)
    which = np.repeat(np.arange(150), weight)
    weighted = sampler().fit(X, y, sample_weight=weight)
    repeated = sampler().fit(X[which], y[which])
    assert_same_draws(weighted, repeated, rtol=1e-8)
    assert not np.allclose(sampler().fit(X, y).posterior_.noise_std, weighted.posterior_.noise_std, rtol=0.01)


def z_scores(a, b):
    """How far two fits are apart, of which every chain has its say, in Monte Carlo standard errors."""
    n_chains = len(a)
    error = np.sqrt((a.var(0, ddof=1) + b.var(0, ddof=1)) / n_chains)
    return (a.mean(0) - b.mean(0)) / error


@pytest.mark.parametrize("loss", ["log_loss", "probit", "ordered_probit"])
@SHORT
def test_weights_of_latent_variables_mean_repeats(loss):
    X = one_hot(120, sizes=(4, 3))
    y = levels(plant(X, noise=1.0), 3 if loss == "ordered_probit" else 2)
    weight = np.random.default_rng(0).choice([0, 1, 2, 6], 120)
    which = np.repeat(np.arange(120), weight)
    cells = sparse.csr_matrix([[*a, *b] for a in np.eye(4) for b in np.eye(3)])
    model = sampler(FMClassifier, n_factors=1, loss=loss, n_chains=16, max_iter=260, burn_in=60)

    def means(random_state, *data, **weights):
        fitted = clone(model).set_params(random_state=random_state).fit(*data, **weights)
        raw = raw_draws(fitted, cells).reshape(16, 200, 12)
        if loss == "ordered_probit":
            raw = raw - fitted.posterior_.cut_points[:, :, :1]
        return ndtr(raw).mean(1)

    weighted = means(0, X, y, sample_weight=weight)
    repeated = means(1, X[which], y[which])
    assert np.sqrt(np.mean(z_scores(weighted, repeated) ** 2)) < 1.7
    # So exact a comparison tells weights that are not minded.
    assert np.sqrt(np.mean(z_scores(means(2, X, y), repeated) ** 2)) > 4


# --------------------------------------------------------------------------------------- the same draws


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        (FMRegressor, "squared_error"),
        (FMRegressor, "ordered_probit"),
        (FMClassifier, "log_loss"),
        (FMClassifier, "probit"),
    ],
)
@SHORT
def test_same_random_state_same_draws(kind, loss):
    X = three_fields()
    y = plant(X) if loss == "squared_error" else levels(plant(X), 3)
    model = sampler(kind, loss=loss, n_chains=2, max_iter=8)
    first, second = clone(model).fit(X, y), clone(model).fit(X, y)
    for name, values in first.posterior_.to_dict().items():
        assert_array_equal(values, getattr(second.posterior_, name))
    assert_array_equal(first.factors_, second.factors_)
    assert first.history_.keys() == second.history_.keys()
    other = clone(model).set_params(random_state=1).fit(X, y)
    assert not np.isclose(other.posterior_.coef, first.posterior_.coef).any()


@KINDS
@pytest.mark.parametrize(("entries", "small", "floats"), [(16, 1, 1), (1 << 9, 64, 1 << 9)])
@pytest.mark.parametrize("loss", ["squared_error", "ordered_probit"])
def test_tiles_make_no_difference(make_X, entries, small, floats, loss, monkeypatch):
    X = make_X()
    y = plant(X) if loss == "squared_error" else levels(plant(X), 3)
    expected = sampler(loss=loss, max_iter=8).fit(X, y)
    monkeypatch.setitem(plan.TILE_ENTRIES, "cpu", entries)
    monkeypatch.setattr(plan, "SMALL_TILE", small)
    monkeypatch.setitem(pairs.BLOCK_FLOATS, "cpu", floats)
    assert_same_draws(sampler(loss=loss, max_iter=8).fit(X, y), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("make_X", "loss"), [(three_fields, "log_loss"), (one_hot, "probit"), (numeric, "ordered_probit")]
)
def test_threads_make_no_difference(make_X, loss):
    # Enough rows for torch to share them out.
    X = sparse.csr_matrix(make_X())[np.arange(34_000) % 150]
    y = levels(plant(X), 3 if loss == "ordered_probit" else 2)
    weight = np.random.default_rng(0).choice([1, 2], len(y))
    model = sampler(FMClassifier, loss=loss, max_iter=1)
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            found.append(clone(model).fit(X, y, sample_weight=weight))
    finally:
        torch.set_num_threads(before)
    assert_same_draws(*found, rtol=1e-6)


@KINDS
def test_dense_and_sparse_are_the_same(make_X):
    X = make_X()
    y = plant(X)
    sparse_fit = sampler(max_iter=8).fit(sparse.csc_matrix(X), y)
    dense_fit = sampler(max_iter=8).fit(X.toarray() if sparse.issparse(X) else X, y)
    assert_same_draws(sparse_fit, dense_fit, rtol=1e-6)


# --------------------------------------------------------------------------------- columns without data


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_columns_without_data_are_drawn_from_their_prior(covariance_type):
    X, y, truth = make_factorization(
        3000, (30, 30), n_factors=2, noise=0.3, return_parameters=True, random_state=0
    )
    seen = np.asarray(X[:, [0, 30]].sum(1))[:, 0] == 0
    fields = np.repeat([0, 1], 30)
    model = sampler(fields=fields, max_iter=250, covariance_type=covariance_type).fit(X[seen], y[seen])
    P = model.posterior_
    for first in (0, 30):
        drawn, known = P.coef[0, :, first], P.coef[0, :, first + 1 : first + 30]
        assert len(np.unique(drawn)) == 200
        # As far apart from draw to draw as the other columns are from one another.
        assert 0.7 < drawn.std() / known.std(1).mean() < 1.4
        lengths = np.linalg.norm(P.factors[0, :, first : first + 30], axis=2)
        assert 0.7 < lengths[:, 0].mean() / lengths[:, 1:].mean() < 1.4
    std = model.predict(X, return_std=True)[1]
    assert np.isfinite(model.predict(X)).all()
    assert std[~seen].min() > 2 * std[seen].max()
    covered = np.abs(truth.raw_prediction - model.predict(X))[~seen] < 2 * std[~seen]
    assert covered.mean() > 0.9
