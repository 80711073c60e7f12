"""Models in ONNX predict what the estimators predict."""

import dataclasses

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skfm import FMClassifier, FMRegressor
from skfm.core.observation.inverse_links import InverseLink
from skfm.core.observation.registry import MODELS
from skfm.onnx import register_converters, to_onnx

SOLVERS = {
    "vb": {"solver": "vb", "max_iter": 8},
    "vb, diag": {"solver": "vb", "covariance_type": "diag", "max_iter": 8},
    "als": {"solver": "als", "max_iter": 8},
    "mcmc": {"solver": "mcmc", "max_iter": 15},
    "adagrad": {"solver": "adagrad", "max_iter": 5},
}


def run(model, X, *, dtype=None, **options):
    """Predict with onnxruntime."""
    session = onnxruntime.InferenceSession(to_onnx(model, X[:1], **options).SerializeToString())
    if isinstance(X, pd.DataFrame):
        inputs = {name: X[[name]].to_numpy() for name in X}
    else:
        inputs = {session.get_inputs()[0].name: X}
    return session.run(None, inputs)


def numbers(n=60, seed=0, dtype=np.float32):
    """Columns of other scales and centers, and one of zeros and ones."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 4)) * [1, 50, 0.1, 2] + [0, 1000, 5, -3]
    return np.column_stack([X, rng.random(n) < 0.4]).astype(dtype)


def targets(X, kind):
    """A target in which columns interact."""
    z = (X - X.mean(0)) / X.std(0)
    raw = 1 + z[:, 0] * z[:, 1] + z[:, 2] - z[:, 4] * z[:, 3]
    if kind == "numbers":
        return raw
    if kind == "counts":
        return np.random.default_rng(0).poisson(np.exp(np.clip(raw, -2, 2)))
    return np.digitize(raw, [1] if kind == "two" else [0, 2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_factors", [0, 3])
def test_regressors(solver, n_factors, dtype):
    X = numbers(dtype=dtype)
    model = FMRegressor(n_factors, random_state=0, **SOLVERS[solver]).fit(X, targets(X, "numbers"))
    (found,) = run(model, X)
    assert found.dtype == dtype
    expected = model.predict(X.astype(np.float64))
    assert_allclose(found[:, 0], expected, atol=1e-5 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_regressors_with_a_logarithm(loss):
    X = numbers()
    y = targets(X, "counts") + (loss == "gamma")
    model = FMRegressor(2, solver="adagrad", loss=loss, max_iter=4, random_state=0).fit(X, y)
    assert_allclose(run(model, X)[0][:, 0], model.predict(X.astype(np.float64)), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", ["two", "three"])
@pytest.mark.parametrize("labels", ["numbers", "strings"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_classifiers(solver, classes, labels, dtype):
    X = numbers(dtype=dtype)
    y = targets(X, classes)
    y = np.array(["no", "so so", "yes"])[y] if labels == "strings" else y - 1
    model = FMClassifier(2, random_state=0, **SOLVERS[solver]).fit(X, y)
    label, p = run(model, X)
    wide = X.astype(np.float64)
    assert_allclose(p, model.predict_proba(wide), atol=1e-5 if dtype == np.float32 else 1e-9)
    assert_array_equal(label, model.predict(wide))


@pytest.mark.parametrize(("solver", "loss"), [("vb", "probit"), ("als", "probit"), ("mcmc", "probit")])
@pytest.mark.parametrize("classes", ["two", "three"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probit(solver, loss, classes, dtype):
    X = numbers(dtype=dtype)
    model = FMClassifier(2, loss=loss, random_state=0, **SOLVERS[solver]).fit(X, targets(X, classes))
    assert_allclose(run(model, X)[1], model.predict_proba(X.astype(np.float64)), atol=1e-5)


@pytest.mark.parametrize("classes", ["two", "three"])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_margins(loss, classes):
    X = numbers()
    model = FMClassifier(2, solver="adagrad", loss=loss, max_iter=5, random_state=0).fit(
        X, targets(X, classes)
    )
    label, scores = run(model, X)
    expected = model.decision_function(X.astype(np.float64))
    assert_allclose(scores if scores.shape[1] > 2 else scores[:, 1], expected, atol=1e-5)
    assert_array_equal(label, model.predict(X.astype(np.float64)))


class Cauchit(InverseLink):
    """An inverse link that nothing but its own file knows of."""

    kind = "cauchit"
    is_probability = True

    def __call__(self, raw, cut_points=None):
        return 0.5 + torch.atan(raw) / torch.pi


@pytest.mark.parametrize("solver", ["vb", "mcmc", "adagrad"])
@pytest.mark.parametrize("classes", ["two", "three"])
def test_an_inverse_link_without_operators(solver, classes, monkeypatch):
    """An error that names the loss, where the graph would be that of another one."""
    X, loss = numbers(), "log_loss"
    model = FMClassifier(2, loss=loss, random_state=0, **SOLVERS[solver]).fit(X, targets(X, classes))
    link, known = Cauchit(), MODELS[loss]
    for part in (known.loss, known.joint_loss, type(known.quadratic), known.latent):
        monkeypatch.setattr(part, "inverse_link", link)
    monkeypatch.setitem(MODELS, loss, dataclasses.replace(known, inverse_link=link))
    with pytest.raises(NotImplementedError, match="loss='log_loss' has the inverse link 'cauchit'"):
        to_onnx(model, X[:1])
    link.variance_factor = 1.0
    with pytest.raises(NotImplementedError, match="for whose predictions"):
        to_onnx(model, X[:1])


@pytest.mark.parametrize("estimator", [FMRegressor, FMClassifier])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ordered_targets(estimator, dtype):
    X = numbers(dtype=dtype)
    model = estimator(2, solver="mcmc", loss="ordered_probit", max_iter=15, random_state=0)
    model.fit(X, targets(X, "three"))
    wide = X.astype(np.float64)
    if estimator is FMRegressor:
        assert_allclose(run(model, X)[0][:, 0], model.predict(wide), atol=1e-5)
    else:
        assert_allclose(run(model, X)[1], model.predict_proba(wide), atol=1e-5)


@pytest.mark.parametrize("solver", ["vb", "als", "adagrad"])
def test_a_pipeline_with_an_encoder(solver):
    rng = np.random.default_rng(0)
    X = rng.choice(["red", "green", "blue"], size=(300, 2)).astype(object)
    model = make_pipeline(
        OneHotEncoder(handle_unknown="ignore"), FMClassifier(2, random_state=0, **SOLVERS[solver])
    ).fit(X, np.where(X[:, 0] == X[:, 1], "same", "different"))
    new = np.concatenate([X, [["red", "mauve"]]]).astype(object)
    label, p = run(model, new)
    assert_allclose(p, model.predict_proba(new), atol=1e-5)
    assert_array_equal(label, model.predict(new))


def test_a_pipeline_from_a_data_frame():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "shop": rng.choice(["north", "south"], 200).astype(object),
            "price": rng.uniform(1, 9, 200).astype(np.float32),
        }
    )
    y = X["price"] * np.where(X["shop"] == "north", 1, -1)
    encoder = make_column_transformer((OneHotEncoder(), ["shop"]), (StandardScaler(), ["price"]))
    model = make_pipeline(encoder, FMRegressor(2, random_state=0)).fit(X, y)
    assert_allclose(run(model, X)[0][:, 0], model.predict(X), atol=1e-4)


def test_raw_measurements():
    X, y = load_diabetes(return_X_y=True, scaled=False)
    X = X.astype(np.float32)
    model = FMRegressor(random_state=0).fit(X, y)
    # The target has three digits before its point.
    assert_allclose(run(model, X)[0][:, 0], model.predict(X.astype(np.float64)), rtol=1e-5)


def test_whole_numbers():
    X = np.random.default_rng(0).integers(0, 5, (50, 3))
    model = FMRegressor(2, max_iter=5, random_state=0).fit(X, X[:, 0] * X[:, 1])
    assert_allclose(run(model, X)[0][:, 0], model.predict(X), atol=1e-4)


def test_skl2onnx_itself_once_converters_are_registered():
    import skl2onnx

    register_converters()
    X = numbers()
    model = FMClassifier(2, max_iter=3, random_state=0).fit(X, targets(X, "two"))
    onnx = skl2onnx.to_onnx(model, X[:1], options={id(model): {"zipmap": "columns"}})
    names = [output.name for output in onnxruntime.InferenceSession(onnx.SerializeToString()).get_outputs()]
    assert len(names) == 3
