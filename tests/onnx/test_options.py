"""Options of the converters, and the versions of ONNX."""

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfm import FMClassifier, FMRegressor
from skfm.onnx import register_converters, to_onnx

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 3)) * [1, 30, 0.1] + [0, 500, 2]
RAW = (X[:, 0] * (X[:, 1] - 500) / 30) + RNG.standard_normal(80) / 2


def session_of(model, **options):
    return onnxruntime.InferenceSession(to_onnx(model, X[:1], **options).SerializeToString())


def classes(n_classes, labels):
    y = np.digitize(RAW, np.linspace(-1, 1, n_classes + 1)[1:-1])
    return {
        "strings": np.array(list("abc"))[y],
        "numbers": y * 10 - 10,
        "floats": y * 10.0 - 10,
        "bools": y > 0,
    }[labels]


@pytest.mark.parametrize("solver", ["vb", "mcmc"])
@pytest.mark.parametrize("settings", [{}, {"covariance_type": "diag"}, {"n_factors": 0}], ids=str)
def test_standard_deviations(solver, settings):
    model = FMRegressor(**{"n_factors": 2, **settings}, solver=solver, max_iter=15, random_state=0)
    model.fit(X, 100 * RAW + 3000)
    session = session_of(model, options={id(model): {"return_std": True}})
    assert [output.name for output in session.get_outputs()] == ["variable", "std"]
    for found, expected in zip(session.run(None, {"X": X}), model.predict(X, return_std=True), strict=True):
        assert_allclose(found[:, 0], expected, rtol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standard_deviations_of_noise_by_category(dtype):
    """Also for rows without a category, and for other numbers in its column, which do not change the noise."""
    user, film = RNG.integers(0, 8, 600), RNG.integers(0, 5, 600)
    rows = np.hstack([np.eye(8)[user], np.eye(5)[film]]).astype(dtype)
    y = user + film % 2 * (user % 3) + np.exp(user / 2 - 2) * RNG.standard_normal(600)
    model = FMRegressor(2, noise=0, random_state=0).fit(rows, y)
    assert model.noise_field_ == 0
    rows[0, :8] = 0
    found = onnxruntime.InferenceSession(
        to_onnx(model, rows[:1], options={id(model): {"return_std": True}}).SerializeToString()
    ).run(None, {"X": rows})
    for part, expected in zip(found, model.predict(rows, return_std=True), strict=True):
        assert_allclose(part[:, 0], expected, rtol=1e-4 if dtype is np.float32 else 1e-8)


@pytest.mark.parametrize("n_levels", [2, 3])
def test_standard_deviations_of_ordered_targets(n_levels):
    y = classes(n_levels, "numbers") + 1000
    model = FMRegressor(2, solver="mcmc", loss="ordered_probit", max_iter=15, random_state=0).fit(X, y)
    found = session_of(model, options={id(model): {"return_std": True}}).run(None, {"X": X})
    for part, expected in zip(found, model.predict(X, return_std=True), strict=True):
        # Probabilities have the digits of float, because runtimes have no error function of double.
        assert_allclose(part[:, 0], expected, atol=1e-4)


def test_standard_deviations_in_a_pipeline_with_single_precision():
    model = make_pipeline(StandardScaler(), FMRegressor(2, max_iter=15, random_state=0)).fit(X, RAW)
    narrow = X.astype(np.float32)
    options = {"fmregressor__return_std": True}
    session = onnxruntime.InferenceSession(to_onnx(model, narrow[:1], options=options).SerializeToString())
    for part, expected in zip(
        session.run(None, {"X": narrow}), model.predict(X, return_std=True), strict=True
    ):
        assert part.dtype == np.float32
        assert_allclose(part[:, 0], expected, atol=1e-4)


@pytest.mark.parametrize("solver", ["als", "adagrad"])
def test_standard_deviations_without_a_posterior(solver):
    model = FMRegressor(2, solver=solver, max_iter=3, random_state=0).fit(X, RAW)
    with pytest.raises(ValueError, match=r"return_std=True needs a posterior.*solver='vb'"):
        to_onnx(model, X[:1], options={id(model): {"return_std": True}})


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("solver", "loss"),
    [
        ("vb", "log_loss"),
        ("vb", "probit"),
        ("als", "log_loss"),
        ("mcmc", "log_loss"),
        ("mcmc", "ordered_probit"),
        ("adagrad", "log_loss"),
        ("adagrad", "hinge"),
    ],
)
def test_raw_scores(solver, loss, n_classes):
    model = FMClassifier(2, solver=solver, loss=loss, max_iter=12, random_state=0)
    model.fit(X, classes(n_classes, "strings"))
    session = session_of(model, options={id(model): {"raw_scores": True}})
    label, scores = session.run(None, {"X": X})
    expected = model.decision_function(X)
    assert_allclose(scores, np.column_stack([-expected, expected]) if n_classes == 2 else expected, rtol=1e-6)
    assert_array_equal(label, model.predict(X))


def test_raw_scores_that_onnx_cannot_express():
    model = FMClassifier(2, solver="mcmc", loss="probit", max_iter=5, random_state=0)
    model.fit(X, classes(2, "strings"))
    with pytest.raises(NotImplementedError, match="'normal_cdf', for whose decision function"):
        to_onnx(model, X[:1], options={id(model): {"raw_scores": True}})


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("labels", ["strings", "numbers", "floats", "bools"])
@pytest.mark.parametrize("zipmap", [False, True])
def test_numbers_of_classes(labels, n_classes, zipmap):
    y = classes(n_classes, labels)
    model = FMClassifier(2, max_iter=4, random_state=0).fit(X, y)
    session = session_of(model, options={id(model): {"nocl": True, "zipmap": zipmap}})
    label, *p = session.run(None, {"X": X})
    assert label.dtype == np.int64
    assert_array_equal(label, np.searchsorted(model.classes_, model.predict(X)))
    if zipmap:
        assert sorted(p[0][0]) == list(range(len(model.classes_)))
    else:
        assert_allclose(p[0], model.predict_proba(X), atol=1e-9)


@pytest.mark.parametrize("labels", ["strings", "numbers", "floats", "bools"])
def test_labels(labels):
    model = FMClassifier(2, max_iter=4, random_state=0).fit(X, classes(3, labels))
    label, p = session_of(model).run(None, {"X": X})
    assert_array_equal(label, model.predict(X))
    assert_allclose(p, model.predict_proba(X), atol=1e-9)


@pytest.mark.parametrize("by", ["identity", "type", "name", "pipeline"])
def test_other_options_keep_the_matrix_of_probabilities(by):
    model = make_pipeline(StandardScaler(), FMClassifier(2, max_iter=4, random_state=0))
    model.fit(X, classes(3, "strings"))
    options = {
        "identity": {id(model[-1]): {"nocl": True}},
        "type": {FMClassifier: {"nocl": True}},
        "name": {"fmclassifier__nocl": True},
        "pipeline": {id(model): {"nocl": True}},
    }[by]
    given = {key: value if by == "name" else dict(value) for key, value in options.items()}
    label, p = session_of(model, options=given).run(None, {"X": X})
    assert_allclose(p, model.predict_proba(X), atol=1e-9)
    assert label.dtype == np.int64
    assert given == options


@pytest.mark.parametrize("opset", [11, 13, 15, 18, 21, None])
def test_versions_of_onnx(opset):
    """A classifier of two and more classes, draws and a posterior, arrays and a DataFrame."""
    register_converters()
    y = classes(3, "strings")
    models = [
        FMClassifier(2, max_iter=4, random_state=0).fit(X, y),
        FMClassifier(2, max_iter=4, random_state=0).fit(X, y == "a"),
        FMClassifier(2, solver="mcmc", loss="probit", max_iter=8, random_state=0).fit(X, y),
        FMClassifier(2, solver="adagrad", max_iter=4, random_state=0).fit(X, y),
        FMClassifier(2, solver="mcmc", loss="ordered_probit", max_iter=8, random_state=0).fit(X, y),
    ]
    for model in models:
        label, p = session_of(model, target_opset=opset).run(None, {"X": X})
        assert_array_equal(label, model.predict(X))
        assert_allclose(p, model.predict_proba(X), atol=1e-6)
    frame = pd.DataFrame(X, columns=list("abc")).assign(
        word=y, flag=RAW > 0, size=np.where(RAW > 1, np.nan, np.round(RAW, 1))
    )
    model = FMRegressor(2, max_iter=4, random_state=0, categorical_features=["word", "flag", "size"])
    model.fit(frame, RAW)
    onnx = to_onnx(model, frame[:1], target_opset=opset, options={id(model): {"return_std": True}})
    session = onnxruntime.InferenceSession(onnx.SerializeToString())
    found = session.run(None, {name: frame[[name]].to_numpy() for name in frame})
    for part, expected in zip(found, model.predict(frame, return_std=True), strict=True):
        assert_allclose(part[:, 0], expected, rtol=1e-8)
