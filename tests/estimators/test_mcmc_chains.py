"""Runs of the Gibbs sampler: chains, which draws are kept, warm starts, validation, interruption."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, ndtr
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import skfm.training.result
from skfm import FMClassifier, FMRegressor
from skfm.core.solvers import mcmc
from skfm.data.scaling import Scaling
from skfm.fitted.located import last_state
from skfm.streaming import Chunk, Chunks
from skfm.training.history import FEWEST_SWEEPS
from tests.helpers.problems import SHORT, levels, numeric, one_hot, plant, raw_draws, sampler, three_fields

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
    assert (
        max(v[-1] for k, v in model.history_.items() if k.startswith("r_hat"))
        > skfm.training.result.LARGEST_R_HAT
    )
    # No warning where they agree, or for a single chain of few sweeps.
    sampler(n_factors=8, max_iter=8, burn_in=0).fit(X, y)
    easy = sampler(n_factors=1, n_chains=4, max_iter=400).fit(X[:, :6], plant(X[:, :6], noise=3.0))
    for name in ("log_likelihood", "noise_precision"):
        assert 0.9 < easy.history_[f"r_hat_{name}"][-1] < 1.1
        assert 50 < easy.history_[f"ess_{name}"][-1] <= 4 * 350 * np.log10(4 * 350)


def test_any_limit_of_r_hat_can_be_missed(monkeypatch):
    X = one_hot()
    monkeypatch.setattr(skfm.training.result, "LARGEST_R_HAT", 0.5)
    with pytest.warns(ConvergenceWarning, match="which should be below 0.5"):
        sampler(n_chains=2, max_iter=30).fit(X, plant(X))


def test_a_single_chain_is_compared_with_itself(monkeypatch):
    """Once, with the number and the remedy, and only if it has enough sweeps."""
    X = one_hot()
    model = sampler(max_iter=100, burn_in=0)
    monkeypatch.setattr(skfm.training.result, "LARGEST_R_HAT", 0.5)
    with pytest.warns(
        ConvergenceWarning, match=r"halves of the chain disagree: R-hat .* Raise max_iter"
    ) as found:
        model.fit(X, plant(X))
    assert len(found) == 1
    largest = max(v[-1] for k, v in model.history_.items() if k.startswith("r_hat"))
    assert f"is {largest:.2f} after 100 sweeps" in str(found[0].message)
    # The burn-in does not count.
    model.set_params(burn_in=1).fit(X, plant(X))


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
        units = Scaling.of(model)
        solved = last_state(model, n_chains).within(units)
        state = units.repeated(n_chains).to_user(solved)
        # Columns are far from zero, so that the intercept in the user's units is a difference of large numbers.
        assert_allclose(state.intercept, P.intercept[places, -1].ravel(), rtol=1e-9)
        assert_allclose(state.linear, P.coef[places, -1].reshape(-1, 4), rtol=1e-9)
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
        losses = -np.log((p / p.sum(0))[y_val, np.arange(100)])
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
    step = mcmc.MCMCRun.step

    def stopped(self, after_segment):
        if self.draws.n_seen == n_sweeps:
            raise KeyboardInterrupt
        return step(self, after_segment)

    monkeypatch.setattr(mcmc.MCMCRun, "step", stopped)


def interrupt(theta, covariances):
    raise KeyboardInterrupt


def no_numbers(theta, covariances):
    return theta * np.nan, covariances


@pytest.mark.parametrize(
    ("trouble", "outcome"),
    [
        (interrupt, lambda n_sweeps: pytest.raises(KeyboardInterrupt)),
        (
            no_numbers,
            lambda n_sweeps: pytest.warns(
                UserWarning, match=f"stopped after {n_sweeps} sweeps, because in the next"
            ),
        ),
    ],
)
@pytest.mark.parametrize("loss", ["squared_error", "ordered_probit"])
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_draws_before_trouble_are_kept(trouble, outcome, loss, covariance_type, monkeypatch):
    X = one_hot()
    y = plant(X) if loss == "squared_error" else levels(plant(X), 3)
    run = sampler(loss=loss, burn_in=4, max_iter=10, covariance_type=covariance_type)
    expected = clone(run).fit(X, y).posterior_
    with monkeypatch.context() as patch:
        scripted(patch, trouble, 7)
        model = clone(run)
        with outcome(7):
            model.fit(X, y)
    assert model.n_iter_ == 7
    assert_array_equal(model.posterior_.coef, expected.coef[:, :3])
    assert np.isfinite(model.predict(X)).all()
    # In the burn-in, the end of the last sweep is all there is.
    with monkeypatch.context() as patch:
        scripted(patch, trouble, 3)
        model = clone(run)
        with outcome(3):
            model.fit(X, y)
    with monkeypatch.context() as patch:
        stopped_between(patch, 3)
        expected = clone(run)
        with pytest.raises(KeyboardInterrupt):
            expected.fit(X, y)
    for name, values in model.posterior_.to_dict().items():
        assert values.shape[1] == 1
        assert_array_equal(values, getattr(expected.posterior_, name))


def test_trouble_in_the_first_sweep_is_an_error(monkeypatch):
    X = one_hot()
    scripted(monkeypatch, no_numbers, 0)
    with pytest.raises(ValueError, match=r"The fit failed in its first sweep: .* Look for extreme"):
        sampler().fit(X, plant(X))
