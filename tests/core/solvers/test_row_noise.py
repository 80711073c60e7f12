"""Noise by category in vb: recovery, the bound, files and exports, parameters that name a field."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skfm import FMClassifier, FMRegressor
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.solvers import SOLVERS, Problem, Settings
from skfm.io import load_model, save_model

N_USERS, N_ITEMS = 30, 20


def ratings(seed=0, n=1500, spread=1.2, missing=0.0):
    """Ratings whose noise differs between users, and the standard deviation of the noise of each user."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, N_USERS, n), rng.integers(0, N_ITEMS, n)
    std = np.exp(spread * rng.standard_normal(N_USERS))
    effects = rng.standard_normal((N_USERS, 2)), rng.standard_normal((N_ITEMS, 2))
    y = (effects[0][user] * effects[1][item]).sum(1) + std[user] * rng.standard_normal(n)
    X = sparse.csr_matrix(
        (np.ones(2 * n), np.stack([user, N_USERS + item], 1).ravel(), np.arange(0, 2 * n + 1, 2)),
        shape=(n, N_USERS + N_ITEMS),
    )
    if missing:
        X = sparse.csr_matrix(X.multiply(rng.random(X.shape) > missing))
    return X, y, std, user


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_the_noise_of_users_is_found(covariance_type):
    """The noise is that of each user, and the predictions are better."""
    X, y, std, _ = ratings()
    model = FMRegressor(2, covariance_type=covariance_type, noise=0, random_state=0).fit(X, y)
    assert model.noise_field_ == model.fields_[0]
    posterior = model._posterior
    found = model._coding["scale"] / np.sqrt(
        posterior["noise_precision"] * posterior["noise_ratio"][0, :N_USERS]
    )
    assert np.corrcoef(np.log(found), np.log(std))[0, 1] > 0.9
    assert 0.8 < np.median(found / std) < 1.2
    X_new, _, _, _ = ratings(0)
    common = FMRegressor(2, covariance_type=covariance_type, noise="common", random_state=0).fit(X, y)
    rng = np.random.default_rng(0)
    rng.integers(0, N_USERS, 1500), rng.integers(0, N_ITEMS, 1500), rng.standard_normal(N_USERS)
    users, items = rng.standard_normal((N_USERS, 2)), rng.standard_normal((N_ITEMS, 2))
    truth = (users[X_new.indices[::2]] * items[X_new.indices[1::2] - N_USERS]).sum(1)
    errors = [np.mean((m.predict(X_new) - truth) ** 2) for m in (model, common)]
    assert errors[0] < 0.7 * errors[1]


def test_common_noise_stays_common():
    X, y, _, _ = ratings(spread=0.0)
    model = FMRegressor(2, noise=0, random_state=0).fit(X, y)
    assert model.noise_field_ is None
    common = FMRegressor(2, noise="common", random_state=0).fit(X, y)
    # The errors of the rows are summed in another order.
    assert_allclose(model.predict(X), common.predict(X), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_the_bound_never_falls(covariance_type, weighted, missing):
    """Neither when the field is selected nor between updates of the ratios."""
    X, y, _, _ = ratings(1, 600, missing=missing)
    weight = np.random.default_rng(0).random(600) * 3 if weighted else None
    model = FMRegressor(2, covariance_type=covariance_type, noise=0, max_iter=40, tol=0, random_state=0)
    bound = np.array(model.fit(X, y, sample_weight=weight).history_["bound"])
    assert model.noise_field_ is not None
    assert (np.diff(bound) >= -1e-9 * np.abs(bound[1:])).all()


def test_weights_are_repeats():
    X, y, _, _ = ratings(2, 500)
    weight = np.random.default_rng(0).integers(1, 4, 500)
    options = {"n_factors": 2, "noise": 0, "max_iter": 15, "tol": 0, "random_state": 0}
    weighted = FMRegressor(**options).fit(X, y, sample_weight=weight)
    repeated = FMRegressor(**options).fit(X[np.repeat(np.arange(500), weight)], np.repeat(y, weight))
    assert weighted.noise_field_ == repeated.noise_field_ is not None
    for one, other in zip(*(m.predict(X, return_std=True) for m in (weighted, repeated)), strict=True):
        assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_users_without_ratings_have_the_noise_of_none():
    """The ratio of an unknown category is one."""
    X, y, _, _ = ratings()
    model = FMRegressor(0, noise=0, random_state=0).fit(X, y)
    ratio = model._posterior["noise_ratio"][0]
    assert_array_equal(ratio[N_USERS:], 1)
    empty = sparse.csr_matrix((1, X.shape[1]))
    variance = model.predict(empty, return_std=True)[1] ** 2 / model._coding["scale"] ** 2
    assert_allclose(
        variance, 1 / model._posterior["noise_precision"] + model._posterior["intercept_variance"]
    )


def test_quantiles_follow():
    X, y, _, _ = ratings()
    model = FMRegressor(2, noise=0, random_state=0).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    assert_allclose(model.predict(X, quantiles=[0.5, 0.8413447460685429]), np.stack([mean, mean + std], 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saved_models_keep_it(dtype, tmp_path):
    X, y, _, _ = ratings()
    X = X.astype(dtype)
    model = FMRegressor(2, noise=0, random_state=0).fit(X, y)
    save_model(model, tmp_path / "model.safetensors")
    for other in (load_model(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model))):
        assert other.noise_field_ == model.noise_field_
        assert_array_equal(other.predict(X, return_std=True)[1], model.predict(X, return_std=True)[1])


def test_a_run_continues_from_its_state():
    """After any sweep, another run continues with the same bits."""
    X, y, _, _ = ratings(3, 400)
    design = DesignMatrix.from_array(X, dtype=torch.float64)
    fields = torch.tensor([0] * N_USERS + [1] * N_ITEMS)
    problem = Problem(
        design, torch.tensor(y)[None], torch.ones(400, dtype=torch.float64), "squared_error", fields
    )
    factors = torch.tensor(np.random.default_rng(0).normal(size=(1, design.shape[1], 2)) / 10)
    zero = torch.zeros(1, dtype=torch.float64)
    start, settings = FMParameters(zero, torch.zeros_like(factors[:, :, 0]), factors), Settings(noise=0)

    def new():
        return SOLVERS["vb"].start(problem, FMParameters(*(t.clone() for t in start)), settings)

    first = new()
    for _ in range(14):
        second = new()
        second.load_state_dict(first.state_dict())
        one, other = first.step(), second.step()
        assert one.objective == other.objective
        for a, b in zip(one.posterior.tensors, other.posterior.tensors, strict=True):
            assert torch.equal(a, b)
    assert one.posterior.noise_ratio is not None


def test_a_field_by_name():
    X, y, std, _ = ratings()
    users = np.array([f"u{u}" for u in X.indices[::2]])
    frame = pd.DataFrame({"user": users, "item": (X.indices[1::2]).astype(str)})
    model = FMRegressor(2, random_state=0)
    # Thirty users are not many categories.
    assert model.fit(frame, y).noise_field_ is None
    assert model.set_params(noise="user").fit(frame, y).noise_field_ == "user"
    assert model.set_params(noise="item").fit(frame, y).noise_field_ in (None, "item")
    assert model.set_params(noise="common").fit(frame, y).noise_field_ is None
    with pytest.raises(ValueError, match="noise='film' must be 'auto', 'common' or one of the fields"):
        model.set_params(noise="film").fit(frame, y)
    numbers = frame.assign(price=std[X.indices[::2]])
    label = model.set_params(noise="common").fit(numbers, y).fields_[-1]
    with pytest.raises(ValueError, match="at most one category per row"):
        model.set_params(noise=str(label)).fit(numbers, y)


@pytest.mark.parametrize("solver", ["als", "adagrad"])
def test_other_solvers_do_not_have_it(solver):
    X, y, _, _ = ratings(n=50)
    with pytest.raises(ValueError, match="noise='common' is not used by"):
        FMRegressor(1, solver=solver, noise="common").fit(X, y)
    assert FMRegressor(1, solver=solver, max_iter=5, random_state=0).fit(X, y).noise_field_ is None
    assert "noise" not in FMClassifier().get_params()


def test_fields_of_many_categories_are_found():
    """Without a name: a hundred users have ratings, and fields of fewer categories are not considered."""
    rng = np.random.default_rng(0)
    user = np.concatenate([np.arange(100), rng.integers(0, 100, 1900)])
    std = np.exp(rng.standard_normal(100))[user]
    frame = pd.DataFrame({"user": user, "part": np.where(std > 1, "erratic", "steady")}).astype(str)
    y = rng.standard_normal(100)[user] + std * rng.standard_normal(2000)
    assert FMRegressor(0, random_state=0).fit(frame, y).noise_field_ == "user"
    assert FMRegressor(0, random_state=0).fit(frame[["part"]], y).noise_field_ is None
    few = frame[user < 99]
    assert FMRegressor(0, random_state=0).fit(few, y[user < 99]).noise_field_ is None
