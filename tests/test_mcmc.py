"""What the Gibbs sampler learns, and what it keeps."""

import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, logit, ndtr, ndtri
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

import skfm._draws
from skfm import FMClassifier, FMRegressor
from skfm._draws import last_state
from skfm._training import FEWEST_SWEEPS
from skfm.core import plan
from skfm.core.solvers import mcmc, pairs
from skfm.datasets import make_factorization
from skfm.streaming import Chunk, Chunks

#: Short runs of several chains, of which nobody expects that they have mixed.
SHORT = pytest.mark.filterwarnings("ignore:The chains disagree")


def one_hot(n_samples=150, sizes=(6, 5), seed=0):
    rng = np.random.default_rng(seed)
    codes = [np.r_[np.arange(size), rng.integers(0, size, n_samples - size)] for size in sizes]
    return sparse.csr_matrix(
        np.hstack([np.eye(size)[rng.permutation(c)] for size, c in zip(sizes, codes, strict=True)])
    )


def three_fields():
    return one_hot(sizes=(6, 5, 4))


def bag():
    """Few values of no particular scale in each row."""
    rng = np.random.default_rng(0)
    return sparse.csr_matrix(rng.gamma(2, 30, (150, 12)) * (rng.random((150, 12)) < 0.2))


def numeric():
    """Columns far from zero, of very different scales."""
    return np.random.default_rng(0).standard_normal((150, 4)) * [1e3, 1e-3, 5, 1] + [1e5, 2, -100, 0]


KINDS = pytest.mark.parametrize("make_X", [one_hot, three_fields, bag, numeric])


def plant(X, seed=1, noise=0.3):
    """A target that an FM explains, about 50 +- 20."""
    rng = np.random.default_rng(seed)
    Z = X.toarray() if sparse.issparse(X) else X
    Z = (Z - Z.mean(0)) / Z.std(0)
    V = rng.standard_normal((Z.shape[1], 2)) * 0.4
    raw = Z @ rng.standard_normal(Z.shape[1]) + ((Z @ V) ** 2 - Z**2 @ V**2).sum(1) / 2
    return 10 * (raw + noise * rng.standard_normal(len(Z))) + 50


def levels(y, n_levels):
    return np.digitize(y, np.quantile(y, np.arange(1, n_levels) / n_levels))


def brute_force(X, intercept, coef, factors):
    """Raw prediction by a double loop over pairs of columns."""
    X = X.toarray() if sparse.issparse(X) else X
    out = intercept + X @ coef
    for i in range(X.shape[1]):
        for j in range(i):
            out = out + (factors[i] @ factors[j]) * X[:, i] * X[:, j]
    return out


def raw_draws(model, X):
    """The raw prediction of every draw, (n_draws, n_samples) or (n_draws, n_classes, n_samples)."""
    P = model.posterior_
    p, K = P.factors.shape[-2:]
    parts = P.intercept.ravel(), P.coef.reshape(-1, p), P.factors.reshape(-1, p, K)
    raw = np.array([brute_force(X, *draw) for draw in zip(*parts, strict=True)])
    return raw.reshape(-1, *P.intercept.shape[2:], X.shape[0])


def sampler(kind=FMRegressor, n_factors=2, max_iter=20, **options):
    return kind(n_factors, **{"solver": "mcmc", "max_iter": max_iter, "random_state": 0, **options})


def assert_same_draws(a, b, **tolerance):
    a, b = a.posterior_.to_dict(), b.posterior_.to_dict()
    assert a.keys() == b.keys()
    for name in a:
        if name != "factors":
            assert_allclose(a[name], b[name], **tolerance)
    # The same draws, so the factors agree one by one, but they cross zero.
    assert_allclose(a["factors"], b["factors"], atol=1e-6 * np.abs(b["factors"]).max(), **tolerance)


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


# ---------------------------------------------------------------------------------------------- chains


@pytest.mark.parametrize("n_classes", [None, 3])
@SHORT
def test_chains(n_classes):
    X = one_hot()
    y = plant(X) if n_classes is None else levels(plant(X), n_classes)
    model = sampler(FMRegressor if n_classes is None else FMClassifier, n_chains=3, burn_in=5).fit(X, y)
    outputs = () if n_classes is None else (3,)
    P = model.posterior_
    assert P.intercept.shape == (3, 15, *outputs)
    assert P.coef.shape == (3, 15, *outputs, 11)
    assert P.factors.shape == (3, 15, *outputs, 11, 2)
    assert P.log_likelihood.shape == (3, 15)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not np.isclose(P.intercept[a], P.intercept[b]).any()
    # Averaged over the chains, and the log likelihood is summed over the classes.
    assert_allclose(model.history_["log_likelihood"][5:], P.log_likelihood.mean(0))


def test_chains_that_disagree_are_told_of():
    X = three_fields()
    y = plant(X)
    with pytest.warns(ConvergenceWarning, match=r"chains disagree: R-hat of the .* after 8 sweeps.* Raise"):
        model = sampler(n_factors=8, n_chains=4, max_iter=8, burn_in=0).fit(X, y)
    assert max(v[-1] for k, v in model.history_.items() if k.startswith("r_hat")) > skfm._draws.LARGEST_R_HAT
    # No warning where they agree, which one chain always does.
    sampler(n_factors=8, max_iter=8, burn_in=0).fit(X, y)
    easy = sampler(n_factors=1, n_chains=4, max_iter=400).fit(X[:, :6], plant(X[:, :6], noise=3.0))
    for name in ("log_likelihood", "noise_precision"):
        assert 0.9 < easy.history_[f"r_hat_{name}"][-1] < 1.1
        assert 50 < easy.history_[f"ess_{name}"][-1] <= 4 * 350 * np.log10(4 * 350)


def test_any_limit_of_r_hat_can_be_missed(monkeypatch):
    X = one_hot()
    monkeypatch.setattr(skfm._draws, "LARGEST_R_HAT", 0.5)
    with pytest.warns(ConvergenceWarning, match="which should be below 0.5"):
        sampler(n_chains=2, max_iter=30).fit(X, plant(X))


# ----------------------------------------------------------------------------- which draws are kept


def test_kept_draws_are_evenly_spread_over_the_sweeps_after_the_burn_in():
    X = one_hot()
    y = plant(X)
    every = sampler(burn_in=10, max_iter=30).fit(X, y)
    assert every.posterior_.coef.shape == (1, 20, 11)
    for n_draws, kept in [
        (5, [3, 7, 11, 15, 19]),
        (3, [6, 13, 19]),
        (1, [19]),
        (20, np.arange(20)),
        (50, ...),
    ]:
        model = sampler(burn_in=10, n_draws=n_draws, max_iter=30).fit(X, y)
        assert_array_equal(model.posterior_.coef[0], every.posterior_.coef[0, kept])
    for burn_in, length in [("auto", 24), (0, 30), (1, 29), (29, 1)]:
        model = sampler(burn_in=burn_in, max_iter=30).fit(X, y)
        assert model.posterior_.coef.shape == (1, length, 11)
        # The log likelihood of a kept draw is that of its sweep.
        assert_allclose(model.posterior_.log_likelihood[0], model.history_["log_likelihood"][30 - length :])
        assert model.n_iter_ == 30
        assert {len(values) for values in model.history_.values()} == {30}
    assert set(model.history_) == {
        *("log_likelihood", "noise_precision", "r_hat_log_likelihood", "ess_log_likelihood"),
        *("r_hat_noise_precision", "ess_noise_precision"),
    }


def test_auto_burn_in_is_bounded():
    X = one_hot()
    model = sampler(n_factors=1, max_iter=None).fit(X, plant(X))
    assert model.n_iter_ == 200
    assert model.posterior_.coef.shape[1] == 160
    assert sampler(n_factors=1, max_iter=300).fit(X, plant(X)).posterior_.coef.shape[1] == 250


@SHORT
def test_auto_keeps_draws_within_bounds_of_memory(monkeypatch):
    X = one_hot()
    y = plant(X)
    model = sampler(n_chains=2, max_iter=60, burn_in=0)
    # One draw of two chains takes 2 * (11 * 3 + 1) * 8 bytes.
    monkeypatch.setattr(mcmc, "BYTES", 30 * 544)
    assert clone(model).fit(X, y).posterior_.coef.shape == (2, 30, 11)
    monkeypatch.setattr(mcmc, "BYTES", 1)
    assert clone(model).fit(X, y).posterior_.coef.shape == (2, mcmc.LEAST_DRAWS, 11)
    assert clone(model).set_params(n_draws=40).fit(X, y).posterior_.coef.shape == (2, 40, 11)


# ------------------------------------------------------------------------------------------ warm start


def test_warm_start_goes_on_with_the_chain():
    X = one_hot()
    y = plant(X, noise=1.0)
    model = sampler(warm_start=True, max_iter=250).fit(X, y)
    first = model.posterior_
    model.set_params(max_iter=200).fit(X, y)
    # No burn-in, and other draws than before, from the same distribution.
    second = model.posterior_
    assert second.coef.shape == (1, 200, 11)
    assert model.n_iter_ == 200
    assert not np.isin(second.noise_std, first.noise_std).any()
    error = np.hypot(first.noise_std.std(), second.noise_std.std()) / np.sqrt(30)
    assert abs(first.noise_std.mean() - second.noise_std.mean()) < 4 * error
    assert first.log_likelihood.min() - 5 < second.log_likelihood[0, 0] < first.log_likelihood.max() + 5
    third = model.fit(X, y).posterior_
    assert not np.isin(third.noise_std, second.noise_std).any()
    model.set_params(burn_in=150).fit(X, y)
    assert model.posterior_.coef.shape == (1, 50, 11)


def test_warm_start_sweep_by_sweep_is_a_chain_too():
    X = one_hot()
    y = plant(X, noise=1.0)
    model = sampler(warm_start=True).fit(X, y).set_params(max_iter=1)
    draws = np.array([model.fit(X, y).posterior_.noise_std[0, 0] for _ in range(60)])
    # The same random numbers in every sweep would lead to a state that no longer changes.
    together = sampler(max_iter=200).fit(X, y).posterior_.noise_std
    assert 0.5 < draws[20:].std() / together.std() < 2


@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
@SHORT
def test_chains_go_on_from_their_last_draws(loss):
    X = numeric()
    kind = FMRegressor if loss == "squared_error" else FMClassifier
    y = plant(X) if loss == "squared_error" else levels(plant(X), 3)
    model = sampler(kind, n_chains=2).fit(X, y)
    P = model.posterior_
    for n_chains, places in [(1, [0]), (2, [0, 1]), (3, [0, 1, 0])]:
        state = last_state(model, n_chains)
        assert_array_equal(state.intercept, P.intercept[places, -1].ravel())
        assert_array_equal(state.linear, P.coef[places, -1].reshape(-1, 4))
        assert_allclose(state.factors, P.factors[places, -1].reshape(-1, 4, 2), rtol=1e-12)


@pytest.mark.parametrize("make_X", [one_hot, numeric])
@pytest.mark.parametrize("solver", ["vb", "als", "adagrad"])
def test_warm_start_from_and_to_another_solver(make_X, solver):
    X = make_X()
    y = plant(X)
    model = FMRegressor(2, solver=solver, warm_start=True, max_iter=40, random_state=0).fit(X, y)
    other = model.predict(X)
    model.set_params(solver="mcmc", max_iter=1).fit(X, y)
    cold = sampler(max_iter=1).fit(X, y)
    # One sweep stays near, and draws are noisy; from a random start it gets nowhere.
    assert np.std(model.predict(X) - other) < 0.2 * np.std(y)
    assert model.history_["log_likelihood"][0] > cold.history_["log_likelihood"][0] + 50
    model.set_params(max_iter=40).fit(X, y)
    assert model.posterior_.factors.shape[-1] == 2
    score = model.score(X, y)
    model.set_params(solver=solver, max_iter=1).fit(X, y)
    assert model.factors_.shape == (X.shape[1], 2)
    assert not hasattr(model, "posterior_")
    assert model.score(X, y) > score - 0.1


def test_warm_start_needs_the_same_number_of_factors():
    X = one_hot()
    model = sampler(warm_start=True, max_iter=5).fit(X, plant(X))
    for solver in ("mcmc", "vb"):
        model.set_params(n_factors=3, solver=solver)
        with pytest.raises(
            ValueError, match=r"has n_factors=2, from which warm_start=True .* now n_factors=3"
        ):
            model.fit(X, plant(X))


@pytest.mark.parametrize("n_classes", [None, 3])
@SHORT
def test_warm_start_with_another_number_of_chains(n_classes):
    X = one_hot()
    y = plant(X) if n_classes is None else levels(plant(X), n_classes)
    kind = FMRegressor if n_classes is None else FMClassifier
    model = sampler(kind, warm_start=True, n_chains=2, max_iter=30).fit(X, y)
    best = model.posterior_.log_likelihood[:, -1].min()
    for n_chains in (3, 1):
        model.set_params(n_chains=n_chains, max_iter=4).fit(X, y)
        P = model.posterior_
        assert P.coef.shape[:2] == (n_chains, 4)
        assert len(np.unique(P.intercept)) == P.intercept.size
        assert P.log_likelihood.min() > best - 30


def test_warm_start_with_another_loss_has_its_burn_in():
    X = numeric()
    y = plant(X)
    model = sampler(warm_start=True, max_iter=50).fit(X, y)
    model.set_params(loss="ordered_probit", max_iter=200).fit(X, levels(y, 4))
    assert model.posterior_.coef.shape[1] == 160
    # Nothing of the intercept of the fit before is left where it does not belong.
    cold = sampler(loss="ordered_probit", max_iter=200).fit(X, levels(y, 4))
    assert_allclose(
        model.posterior_.cut_points.mean((0, 1)), cold.posterior_.cut_points.mean((0, 1)), atol=0.2
    )
    assert abs(model.score(X, levels(y, 4)) - cold.score(X, levels(y, 4))) < 0.02


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


# ----------------------------------------------------------------------------- validation, interruption


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "probit", "ordered_probit"])
@SHORT
def test_validation_loss_is_that_of_the_average_so_far(loss):
    X = one_hot(300)
    y = plant(X) if loss == "squared_error" else levels(plant(X), 3)
    X_val, y_val = X[200:], y[200:]
    kind = FMRegressor if loss == "squared_error" else FMClassifier
    weight = np.random.default_rng(0).integers(0, 3, 100)
    model = sampler(kind, loss=loss, n_chains=2, burn_in=4, max_iter=12, n_iter_no_change=12)
    model.fit(X[:200], y[:200], X_val=X_val, y_val=y_val, sample_weight_val=weight)
    history = model.history_["validation_loss"]
    assert len(history) == model.n_iter_ == 12
    raw = raw_draws(model, X_val)
    if loss == "squared_error":
        losses = (y_val - raw.mean(0)) ** 2 / 2
    elif loss == "ordered_probit":
        losses = -np.log(model.predict_proba(X_val)[np.arange(100), y_val])
    else:
        p = {"log_loss": expit, "probit": ndtr}[loss](raw).mean(0)
        losses = -np.log(np.where(y_val == np.arange(3)[:, None], p, 1 - p)).sum(0)
    assert_allclose(history[-1], np.average(losses, weights=weight), rtol=1e-8)
    # The validation data decide when to stop, not what is drawn.
    plain = clone(model).fit(X[:200], y[:200])
    assert_array_equal(plain.posterior_.coef, model.posterior_.coef)


def test_early_stopping_keeps_all_draws_so_far():
    X = one_hot(300)
    y = plant(X, noise=2.0)
    model = sampler(early_stopping=True, burn_in=20, max_iter=400, n_iter_no_change=3).fit(X, y)
    losses = model.history_["validation_loss"]
    # Sweeps without a lower loss count from the end of the burn-in, and a few averages are awaited.
    first = 20 + FEWEST_SWEEPS
    stale = [n for n in range(first, len(losses) + 1) if n - 1 - (19 + np.argmin(losses[19:n])) >= 3]
    assert stale == [model.n_iter_]
    assert model.n_iter_ < 400
    assert model.posterior_.coef.shape[1] == model.n_iter_ - 20


def test_early_stopping_has_samples_of_every_level():
    X = one_hot(60)
    y = np.repeat([1, 2, 3], [28, 30, 2])
    for seed in range(30):
        model = sampler(loss="ordered_probit", max_iter=1, early_stopping=True, random_state=seed)
        # Half of the samples: taken at random, both of the last level would often be among them.
        model.set_params(validation_fraction=0.5).fit(X, y)
        assert_array_equal(model.levels_, [1, 2, 3])
        assert model.posterior_.cut_points.shape[2] == 2
    model.set_params(validation_fraction=0.9)
    with pytest.raises(
        ValueError, match=r"all samples of \[3.0\] aside.*smaller validation_fraction than 0.9"
    ):
        model.fit(X, y)


def test_validation_data_cannot_come_in_chunks():
    X = one_hot()
    y = plant(X)
    with pytest.raises(
        ValueError, match=r"solver='mcmc' averages .* a stream. Pass X_val and y_val as arrays"
    ):
        sampler().fit(X, y, X_val=Chunks(lambda: [Chunk(X, y)]))


def scripted(monkeypatch, trouble, sweep):
    """Let something happen at the last columns of a sweep, counted from 0: the others have been drawn by then."""
    update = mcmc.MCMCRun.update

    def troubled(self, block, A, b):
        drawn = update(self, block, A, b)
        is_last = block is self.engine.blocks[-1] and len(self.engine.blocks) > 1
        return trouble(*drawn) if is_last and self.draws.n_seen == sweep else drawn

    monkeypatch.setattr(mcmc.MCMCRun, "update", troubled)


def stopped_between(monkeypatch, n_sweeps):
    """Interrupt before the next sweep begins."""
    sweeps = mcmc.MCMC.sweeps

    def stopped(self, *args):
        yield from islice(sweeps(self, *args), n_sweeps)
        raise KeyboardInterrupt

    monkeypatch.setattr(mcmc.MCMC, "sweeps", stopped)


def interrupt(theta, covariances):
    raise KeyboardInterrupt


def no_numbers(theta, covariances):
    return theta * np.nan, covariances


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (interrupt, "interrupted after {} sweeps"),
        (no_numbers, "stopped after {} sweeps, because in the next"),
    ],
)
@pytest.mark.parametrize("loss", ["squared_error", "ordered_probit"])
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_draws_before_trouble_are_kept(trouble, message, loss, covariance_type, monkeypatch):
    X = one_hot()
    y = plant(X) if loss == "squared_error" else levels(plant(X), 3)
    run = sampler(loss=loss, burn_in=4, max_iter=10, covariance_type=covariance_type)
    expected = clone(run).fit(X, y).posterior_
    with monkeypatch.context() as patch:
        scripted(patch, trouble, 7)
        with pytest.warns(UserWarning, match=message.format(7)):
            model = clone(run).fit(X, y)
    assert model.n_iter_ == 7
    assert_array_equal(model.posterior_.coef, expected.coef[:, :3])
    assert np.isfinite(model.predict(X)).all()
    # In the burn-in, the end of the last sweep is all there is.
    with monkeypatch.context() as patch:
        scripted(patch, trouble, 3)
        with pytest.warns(UserWarning, match=message.format(3)):
            model = clone(run).fit(X, y)
    with monkeypatch.context() as patch:
        stopped_between(patch, 3)
        with pytest.warns(UserWarning, match="interrupted after 3 sweeps"):
            expected = clone(run).fit(X, y)
    for name, values in model.posterior_.to_dict().items():
        assert values.shape[1] == 1
        assert_array_equal(values, getattr(expected.posterior_, name))


def test_trouble_in_the_first_sweep_is_an_error(monkeypatch):
    X = one_hot()
    scripted(monkeypatch, no_numbers, 0)
    with pytest.raises(ValueError, match=r"The fit failed in its first sweep: .* Look for extreme"):
        sampler().fit(X, plant(X))


# ----------------------------------------------------------------------------------- persistence, dtype


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "ordered_probit"])
@SHORT
def test_copies_predict_the_same(loss):
    skops = pytest.importorskip("skops.io")
    X = numeric()
    y = plant(X) if loss == "squared_error" else levels(plant(X), 3)
    kind = FMClassifier if loss == "log_loss" else FMRegressor
    model = sampler(kind, loss=loss, n_chains=2, max_iter=6).fit(X, y)
    assert not any(isinstance(value, torch.Tensor) for value in vars(model).values())
    data, name = skops.dumps(model), f"{kind.__module__}.{kind.__name__}"
    assert skops.get_untrusted_types(data=data) == [name]
    for copy in (pickle.loads(pickle.dumps(model)), skops.loads(data, trusted=[name])):
        if kind is FMClassifier:
            assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
        else:
            assert_array_equal(copy.predict(X), model.predict(X))
            assert_array_equal(copy.predict(X, quantiles=[0.1]), model.predict(X, quantiles=[0.1]))
        assert_array_equal(copy.posterior_.factors, model.posterior_.factors)
        # Chains go on from a copy as from the model itself.
        more = [clone(m).set_params(warm_start=True) for m in (model, copy)]
        for clone_, m in zip(more, (model, copy), strict=True):
            clone_.__dict__.update({k: v for k, v in vars(m).items() if k not in clone_.get_params()})
            clone_.fit(X, y)
        assert_array_equal(more[0].posterior_.coef, more[1].posterior_.coef)
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    assert not hasattr(fresh, "posterior_")


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "probit", "ordered_probit"])
@KINDS
def test_float32_in_float32_out(loss, make_X):
    X = make_X().astype(np.float32)
    y = plant(make_X())
    y = y if loss == "squared_error" else levels(y, 2)
    kind = FMRegressor if loss == "squared_error" else FMClassifier
    model = sampler(kind, loss=loss, max_iter=60).fit(X, y)
    predict = model.predict if kind is FMRegressor else model.predict_proba
    assert predict(X).dtype == np.float32
    assert predict(X.astype(np.float64)).dtype == np.float64
    assert all(np.isfinite(values).all() for values in model.posterior_.to_dict().values())
    assert_allclose(predict(X), predict(X.astype(np.float64)), rtol=1e-3, atol=1e-3)
    double = clone(model).fit(X.astype(np.float64), y)
    assert abs(model.score(X, y) - double.score(X, y)) < 0.05


# ------------------------------------------------------------------------------ parts of a model, extremes


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("fit_linear", [True, False])
@pytest.mark.parametrize("n_factors", [0, 2])
@pytest.mark.parametrize("loss", ["squared_error", "probit", "ordered_probit"])
@pytest.mark.parametrize("make_X", [one_hot, numeric])
@SHORT
def test_parts_of_the_model_can_be_left_out(fit_intercept, fit_linear, n_factors, loss, make_X):
    X = make_X()
    y = plant(X) if loss == "squared_error" else levels(plant(X), 2)
    kind = FMRegressor if loss == "squared_error" else FMClassifier
    options = {"fit_intercept": fit_intercept, "fit_linear": fit_linear, "n_chains": 2, "n_draws": 5}
    for covariance_type in ("full", "diag"):
        model = sampler(kind, n_factors, loss=loss, covariance_type=covariance_type, **options).fit(X, y)
        P = model.posterior_
        assert P.factors.shape == (2, 5, X.shape[1], n_factors)
        assert np.isfinite(model.predict(X)).all()
        assert (P.coef.std((0, 1)) > 0).all() if fit_linear else not P.coef.any()
        # What stands for the intercept of an ordered model are its cut-points, and centering makes one.
        if not fit_intercept:
            assert not P.intercept.any()
        elif loss != "ordered_probit":
            assert P.intercept.std() > 0


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "probit", "ordered_probit"])
@pytest.mark.parametrize("X", [np.eye(2), [[3.0, -1.0, 0.0], [5.0, 2.0, 0.0]]])
def test_two_samples(loss, X):
    kind = FMRegressor if loss == "squared_error" else FMClassifier
    model = sampler(kind, loss=loss, max_iter=200).fit(X, [1, 5])
    values = model.predict(X) if kind is FMRegressor else model.predict_proba(X)
    assert np.isfinite(values).all()
    # The prior has its say, but the order is that of the data.
    assert values[1, 1] > values[0, 1] if values.ndim == 2 else values[1] > values[0]
    if kind is FMRegressor:
        assert (model.predict(X, return_std=True)[1] > 0.2).all()


@pytest.mark.parametrize("value", [0.0, 1e6])
@KINDS
def test_constant_target(value, make_X):
    X = make_X()
    model = sampler(max_iter=60).fit(X, np.full(X.shape[0], value))
    mean, std = model.predict(X, return_std=True)
    assert_allclose(mean, value, atol=0.1)
    assert (std < 0.5).all()
    assert np.isfinite(model.predict(X, quantiles=[0.01, 0.99])).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_units_of_the_target_do_not_matter(dtype, scale):
    X = one_hot().astype(dtype)
    y = plant(X)
    model = sampler(max_iter=8)
    expected = clone(model).fit(X, y)
    moved = clone(model).fit(X, scale * y)
    rtol = 1e-6 if dtype == np.float64 else 1e-3
    assert_allclose(moved.predict(X) / dtype(scale), expected.predict(X), rtol=rtol)
    assert_allclose(moved.posterior_.noise_std / dtype(scale), expected.posterior_.noise_std, rtol=rtol)
    quantiles = [model.predict(X, quantiles=[0.1, 0.9]) for model in (moved, expected)]
    assert_allclose(quantiles[0] / dtype(scale), quantiles[1], rtol=rtol)
    if dtype == np.float64:
        for extreme in (1e-150, 1e150):
            moved = clone(model).fit(X, extreme * y).predict(X, return_std=True)
            assert_allclose(np.array(moved) / extreme, expected.predict(X, return_std=True), rtol=1e-6)
