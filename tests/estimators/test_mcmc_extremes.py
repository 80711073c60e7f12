"""The Gibbs sampler in copies and other types, without parts of the model and with extreme targets."""

import pickle

import numpy as np
import pytest
import skops.io as skops
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skfm import FMClassifier, FMRegressor
from tests.helpers.problems import KINDS, SHORT, levels, numeric, one_hot, plant, sampler

# ----------------------------------------------------------------------------------- persistence, dtype


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "ordered_probit"])
@SHORT
def test_copies_predict_the_same(loss):
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
    model = sampler(kind, loss=loss, max_iter=30).fit(X, y)
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
    options = {
        "fit_intercept": fit_intercept,
        "fit_linear": fit_linear,
        "n_chains": 2,
        "n_draws": 5,
        "burn_in": 2,
    }
    for covariance_type in ("full", "diag"):
        options["covariance_type"] = covariance_type
        model = sampler(kind, n_factors, max_iter=8, loss=loss, **options).fit(X, y)
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
    model = sampler(kind, loss=loss, max_iter=100).fit(X, [1, 5])
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
