"""The loss log(cosh(e)): its limits, its curvature, and all that follows for an estimator from its declaration."""

import math
import pickle

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from torch.autograd import gradcheck, gradgradcheck

from skfm import FMRegressor
from skfm.core.observation.registry import MODELS, make_loss
from skfm.core.solvers import SOLVERS
from skfm.datasets import make_factorization
from skfm.io import load_model, read_libfm_model, save_model, write_libfm_model
from skfm.streaming import Chunks

LOSS = make_loss("log_cosh")
MINIBATCH = [name for name, solver in SOLVERS.items() if solver.learns_online]
ZERO = torch.zeros(1, 1, dtype=torch.float64)

seeds = st.integers(0, 2**32 - 1)


def of_error(error, dtype=torch.float64):
    """Losses, slopes and curvatures of predictions that are too high by so much."""
    raw = torch.atleast_2d(torch.as_tensor(error, dtype=dtype))
    y = torch.zeros_like(raw[:1])
    return tuple(part[0] for part in (LOSS.loss(y, raw), *LOSS.derivatives(y, raw)))


def data(n=400, broken=0.0, seed=0):
    """Samples of two categories and what they explain, a share of it far off."""
    X, y = make_factorization(n, (12, 9), noise=0.1, random_state=seed)
    rng = np.random.default_rng(seed)
    return X, np.where(rng.random(n) < broken, 1000 * rng.choice([-1, 1], n), y)


def fitted(X, y, **options):
    options = {"n_factors": 2, "solver": "adagrad", "max_iter": 8, "random_state": 0} | options
    return FMRegressor(loss="log_cosh", **options).fit(X, y)


# ------------------------------------------------------------------------------------------- the loss


@given(seed=seeds, scale=st.sampled_from([1e-3, 0.3, 1.0, 5.0, 20.0]))
def test_derivatives(seed, scale):
    """The slope is that of the loss, by autograd and by differences."""
    rng = np.random.default_rng(seed)
    y, raw = (torch.tensor(rng.normal(size=(1, 6)) * scale) for _ in range(2))
    # The two forms of the loss meet at an error of one.
    raw = torch.where(((y - raw).abs() - 1).abs() < 1e-4, raw + 1e-3, raw).requires_grad_()
    assert gradcheck(lambda raw: LOSS.loss(y, raw), raw)
    assert gradgradcheck(lambda raw: LOSS.loss(y, raw), raw)
    (slope,) = torch.autograd.grad(LOSS.loss(y, raw).sum(), raw)
    assert_allclose(LOSS.derivatives(y, raw)[0].detach(), slope, rtol=1e-10, atol=1e-14)


def test_values():
    error = np.concatenate([np.linspace(-20, 20, 401), [0.999999, 1.0, 1.000001]])
    loss, slope, curvature = of_error(error)
    assert_allclose(loss, np.log(np.cosh(error)), rtol=1e-12, atol=1e-15)
    assert_allclose(slope, np.tanh(error), rtol=1e-12)
    at_zero = error == 0
    assert_allclose(curvature[~at_zero], np.tanh(error[~at_zero]) / error[~at_zero], rtol=1e-12)
    assert (curvature[at_zero] == 1).all()


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_small_errors(dtype, digits):
    """Half the square, with all its digits, and the curvature of a square."""
    error = np.array([0.0, 1e-18, 1e-12, 1e-8, 1e-5, 1e-3, 1e-2])
    loss, slope, curvature = of_error(error, dtype)
    assert_allclose(loss, error**2 / 2 - error**4 / 12 + error**6 / 45, rtol=2 * digits)
    assert_allclose(slope, error - error**3 / 3 + 2 * error**5 / 15 - 17 * error**7 / 315, rtol=2 * digits)
    assert_allclose(curvature, 1 - error**2 / 3, rtol=max(digits, 1e-8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_errors(dtype):
    """The absolute value less log 2, up to the largest numbers."""
    error = np.array([20.0, 100.0, 1e4, 1e30])
    for sign in (-1, 1):
        loss, slope, curvature = of_error(sign * error, dtype)
        assert_allclose(loss, error - math.log(2), rtol=1e-6)
        assert (slope == sign).all()
        assert_allclose(curvature, 1 / error, rtol=1e-6)


@given(error=st.floats(-30, 30), other=st.floats(-30, 30))
def test_curvature_is_of_a_quadratic_above_the_loss(error, other):
    """It touches the loss at the error, so that Newton's step never makes the loss larger."""
    loss, slope, curvature = (float(part) for part in of_error([error]))
    quadratic = loss + slope * (other - error) + curvature * (other - error) ** 2 / 2
    reached = float(of_error([other])[0])
    assert reached <= quadratic + 1e-9 * (1 + abs(quadratic))
    assert curvature >= (1 - math.tanh(error) ** 2) * (1 - 1e-7)
    assert float(of_error([error - slope / curvature])[0]) <= loss + 1e-12


def test_constant():
    """Between mean and median: an outlier moves it no further than any other value on its side."""
    y = torch.tensor([0.0, 0.1, 0.2, 0.3, 5.0], dtype=torch.float64)
    weight = torch.ones_like(y)
    found = LOSS.constant(y, weight, 1)
    assert abs(float((weight * torch.tanh(found - y)).sum())) < 1e-12
    far = torch.where(y == 5, 1e6, y)
    assert_allclose(LOSS.constant(far, weight, 1), found, atol=1e-3)


# ------------------------------------------------------------------------------------ the estimator


def test_declaration():
    model = MODELS["log_cosh"]
    assert (model.tasks, model.target, model.inverse_link.kind) == (("regression",), "numbers", "identity")
    assert model.loss is not None
    assert model.quadratic is model.latent is model.joint_loss is None
    with pytest.raises(ValueError, match=r"loss='log_cosh' is not supported by solver='vb'.*'adagrad'"):
        FMRegressor(loss="log_cosh").fit(*data(20))


@pytest.mark.parametrize("solver", MINIBATCH)
def test_a_planted_model_is_found_despite_outliers(solver):
    """Three in a hundred training targets are far off. The squared error gets nowhere."""
    X, y = data(3000)
    broken = data(3000, broken=0.03)[1]
    options = {"solver": solver, "n_factors": 5, "max_iter": 60}
    model = fitted(X[:2000], broken[:2000], **options)
    squared = clone(model).set_params(loss="squared_error").fit(X[:2000], broken[:2000])
    assert model.score(X[2000:], y[2000:]) > 0.9
    assert squared.score(X[2000:], y[2000:]) < 0.7


def test_units():
    """Predictions follow the unit of the target, and so do losses: s^2 log(cosh(e / s)), s robust deviations of y."""
    X, y = data()
    model = FMRegressor(2, solver="adagrad", loss="log_cosh", max_iter=1, random_state=0)
    model.fit(X, y, X_val=X, y_val=y)
    other = clone(model).fit(X, 50 - 100 * y, X_val=X, y_val=50 - 100 * y)
    s = 1.4826 * np.median(np.abs(y - np.median(y)))
    loss = s**2 * np.log(np.cosh((y - model.predict(X)) / s)).mean()
    assert_allclose(model.history_["validation_loss"][-1], loss, rtol=1e-9)
    assert_allclose(other.history_["validation_loss"][-1], 1e4 * loss, rtol=0.1)
    same = clone(model).fit(X, 100 * y + 50)
    assert_allclose(same.predict(X), 100 * clone(model).fit(X, y).predict(X) + 50, rtol=1e-8)


def test_penalties_mean_what_they_mean_for_squared_errors():
    """Where errors are small, both losses with the same penalty have the same optimum."""
    X, y = data(200)
    # Most targets are 50 or -50 without any columns: the scale is theirs, and the errors of the others are small.
    X, y = np.concatenate([X.toarray(), np.zeros((400, X.shape[1]))]), np.concatenate([y, [-50, 50] * 200])
    options = {"l2_linear": 30.0, "l2_factors": 1.0, "n_factors": 0, "max_iter": 1000, "solver": "sgd"}
    model = fitted(X, y, batch_size=1000, **options)
    squared = FMRegressor(loss="squared_error", random_state=0, batch_size=1000, **options).fit(X, y)
    largest = np.abs(squared.coef_).max()
    assert largest > 0.1
    assert_allclose(model.coef_, squared.coef_, atol=0.02 * largest)


def test_partial_fit_and_streams():
    X, y = data(600, broken=0.03)
    online = FMRegressor(2, solver="adagrad", loss="log_cosh", batch_size=50, random_state=0)
    for _ in range(5):
        for rows in np.array_split(np.arange(600), 6):
            online.partial_fit(X[rows], y[rows])
    stream = Chunks([(X[rows], y[rows]) for rows in np.array_split(np.arange(600), 3)])
    streamed = fitted(stream, None, batch_size=50)
    clean = data(600)[1]
    for model in (online, streamed):
        assert model.score(X, clean) > 0.4
    before = streamed.predict(X)
    assert not np.array_equal(streamed.partial_fit(X, y).predict(X), before)


def test_early_stopping_and_warm_start():
    X, y = data()
    model = fitted(X, y, early_stopping=True, warm_start=True, max_iter=20)
    best = min(model.history_["validation_loss"])
    assert min(model.fit(X, y).history_["validation_loss"]) <= best * 1.05


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_onnx(dtype):
    from skfm.onnx import to_onnx

    X, y = data()
    X = X.toarray().astype(dtype)
    model = fitted(X, y)
    session = onnxruntime.InferenceSession(to_onnx(model, X[:1]).SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: X})
    assert_allclose(found[:, 0], model.predict(X), rtol=1e-4 if dtype == np.float32 else 1e-9, atol=1e-5)


def test_modules():
    X, y = data()
    model = fitted(X, y)
    rows = torch.from_numpy(X.toarray())
    for output in ("prediction", "raw"):
        assert_allclose(model.to_module(output)(rows).detach(), model.predict(X), rtol=1e-9)
    back = FMRegressor.from_module(model.to_module(), loss="log_cosh")
    assert_allclose(back.predict(X), model.predict(X), rtol=1e-9)
    assert back.partial_fit(X, y).n_iter_ == 1
    activated = model.to_module().machines[0]
    activated.activation = "exp"
    with pytest.raises(ValueError, match="not the inverse link of loss='log_cosh'"):
        FMRegressor.from_module(activated, loss="log_cosh")


def test_saved_models(tmp_path):
    """Predictions are the same, and learning continues in the same way."""
    X, y = data()
    model = fitted(X, y)
    save_model(model, tmp_path / "model.safetensors")
    expected = model.predict(X)
    copies = [load_model(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model))]
    later = model.partial_fit(X, y).predict(X)
    for copy in copies:
        assert copy.loss == "log_cosh"
        assert_array_equal(copy.predict(X), expected)
        assert_array_equal(copy.partial_fit(X, y).predict(X), later)


def test_libfm(tmp_path):
    """Predictions are the raw ones, as in libFM, which does not have this loss itself."""
    X, y = data()
    model = fitted(X, y)
    write_libfm_model(model, tmp_path / "model")
    assert_array_equal(read_libfm_model(tmp_path / "model", "regression").predict(X), model.predict(X))
    with pytest.raises(ValueError, match="loss must be 'squared_error' for a regression"):
        read_libfm_model(tmp_path / "model", "regression", loss="log_cosh")
