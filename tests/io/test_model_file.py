"""save_model and load_model: what was saved comes back bit for bit."""

import os
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

from skfm import FMClassifier, FMRegressor
from skfm.core.solvers import SOLVERS
from skfm.io import load_model, save_model
from skfm.io._array_codecs import MAX_INLINE_LENGTH
from skfm.streaming import Chunks
from tests.helpers.saved import assert_same, data, small

#: Short runs of several chains have not mixed.
pytestmark = pytest.mark.filterwarnings("ignore:The (chains|halves of the chain) disagree")

EVERY_MODEL = pytest.mark.parametrize(
    ("kind", "solver", "loss"),
    [
        (kind, name, loss)
        for kind in (FMRegressor, FMClassifier)
        for name, solver in SOLVERS.items()
        for loss in sorted(solver.losses & kind._parameter_constraints["loss"][0].options)
    ],
)


def round_trip(model, tmp_path):
    save_model(model, tmp_path / "model.safetensors")
    return load_model(tmp_path / "model.safetensors")


@EVERY_MODEL
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip(kind, solver, loss, dtype, tmp_path):
    X, y = data()
    X = X.astype(dtype)
    options = {"n_chains": 2} if solver == "mcmc" else {}
    model = kind(2, solver=solver, loss=loss, max_iter=4, random_state=0, **options).fit(X, y)
    again = round_trip(model, tmp_path)
    assert_same(again.get_params(), model.get_params())
    assert_same(vars(again), vars(model) | {"checkpoint": None})
    for method in ("predict", "predict_proba", "decision_function"):
        if hasattr(model, method):
            assert_array_equal(getattr(again, method)(X), getattr(model, method)(X))
    if solver in ("vb", "mcmc") and kind is FMRegressor:
        for a, b in zip(again.predict(X, return_std=True), model.predict(X, return_std=True), strict=True):
            assert_array_equal(a, b)
    if SOLVERS[solver].learns_online:
        more = data(1)
        a, b = (m.partial_fit(more[0].astype(dtype), more[1]) for m in (again, model))
        assert_array_equal(a.predict(X), b.predict(X))
    # What can be saved once can be saved again.
    assert_same(vars(round_trip(again, tmp_path)), vars(again))


@pytest.mark.parametrize("solver", ["vb", "als", "mcmc", "adam"])
@pytest.mark.parametrize(
    "labels",
    [
        ["no", "yes"],
        ["a", "Ä\N{GRINNING FACE}", "longer than the others"],
        [False, True],
        [3, 7, 12],
        [-5.0, 2.0],
        np.array(["no", "yes"], object),
        np.array([1, 2], np.uint8),
        [f"class {i}" for i in range(40)],
    ],
    ids=lambda labels: f"{len(labels)} {np.asarray(labels).dtype}",
)
def test_labels_of_any_type(solver, labels, tmp_path):
    labels = np.asarray(labels)
    X = np.random.default_rng(0).random((200, 3))
    y = labels[np.arange(200) % len(labels)]
    weights = dict(zip(labels.tolist(), 1.0 + np.arange(len(labels)), strict=True))
    model = FMClassifier(1, solver=solver, max_iter=2, class_weight=weights, random_state=0).fit(X, y)
    again = round_trip(model, tmp_path)
    assert_same(vars(again), vars(model))
    assert_array_equal(again.predict(X), model.predict(X))
    assert again.predict(X).dtype == model.predict(X).dtype


@pytest.mark.parametrize("solver", SOLVERS)
def test_what_else_a_fit_may_leave(solver, tmp_path):
    X, y = data(n=80)
    options = {
        "early_stopping": True,
        "max_iter": np.int64(4),
        "fit_intercept": np.bool_(True),
        "random_state": 0,
    }
    model = FMClassifier(np.int64(2), solver=solver, class_weight="balanced", **options)
    model.fit(X, y, sample_weight=np.linspace(0, 1, 80, dtype=np.float32))
    assert_same(vars(round_trip(model, tmp_path)), vars(model))


def test_a_stream_of_chunks(tmp_path):
    X, y = data()
    chunks = Chunks([(X[:30], y[:30]), (X[30:], y[30:])])
    model = FMRegressor(2, solver="ftrl", loss="quantile", quantile=np.float32(0.25), random_state=0).fit(
        chunks
    )
    assert_same(vars(round_trip(model, tmp_path)), vars(model))


def test_arrays_that_are_mapped_from_a_file(tmp_path):
    model = small(solver="vb")
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert isinstance(mapped.factors_, np.memmap)
    assert_same(vars(round_trip(mapped, tmp_path)), vars(model))


@pytest.mark.parametrize("warm", ["als", "mcmc", "adagrad"])
def test_training_goes_on(warm, tmp_path):
    X, y = data()
    model = small(solver=warm, warm_start=True)
    again = round_trip(model, tmp_path)
    assert_array_equal(again.fit(X, y).predict(X), model.fit(X, y).predict(X))


def test_online_only(tmp_path):
    X, y = data()
    model = FMClassifier(2, solver="ftrl", random_state=0).partial_fit(X, y, classes=[1, 2, 3])
    again = round_trip(model, tmp_path)
    for _ in range(3):
        model, again = model.partial_fit(X, y), again.partial_fit(X, y)
    assert_same(vars(again), vars(model))


def test_names_of_columns(tmp_path):
    X, y = data()
    names = ["plain", "mit Ümlaut", "\N{GRINNING FACE}", "", "x" * 300]
    model = FMRegressor(2, max_iter=2).fit(pd.DataFrame(X, columns=names), y)
    again = round_trip(model, tmp_path)
    assert_same(vars(again), vars(model))
    with pytest.raises(ValueError, match="feature names"):
        again.predict(pd.DataFrame(X, columns=names[::-1]))


def test_many_names(tmp_path):
    X = pd.DataFrame(np.eye(300), columns=[f"column {i}" for i in range(300)])
    model = FMRegressor(1, max_iter=2).fit(X, np.arange(300.0))
    assert_same(vars(round_trip(model, tmp_path)), vars(model))


@pytest.mark.parametrize(
    "fields", ["auto", [0, 0, 1, 2, 2], ("a", "a", "b", "c", "c"), np.array([3, 3, 3, 1, 1]), range(5)]
)
def test_fields(fields, tmp_path):
    model = small(fields=fields)
    again = round_trip(model, tmp_path)
    assert_same(again.fields_, model.fields_)
    assert_array_equal(again.fields, model.fields)
    X, y = data()
    assert_array_equal(again.fit(X, y).predict(X), model.predict(X))


@pytest.mark.parametrize(
    "options",
    [
        {"random_state": 7},
        {"random_state": None},
        {"random_state": np.int64(7)},
        {"device": torch.device("cpu")},
        {"l2_linear": np.float64(0.1), "l2_factors": np.float32(3), "tol": 0},
        {"n_iter_no_change": np.int32(3), "verbose": False},
    ],
)
def test_parameters_keep_their_types(options, tmp_path):
    model = small(**options)
    assert_same(round_trip(model, tmp_path).get_params(), model.get_params())


def test_parameters_set_after_the_fit(tmp_path):
    X, _ = data()
    model = small().set_params(solver="vb", n_factors=5)
    again = round_trip(model, tmp_path)
    assert again.solver == "vb"
    assert_array_equal(again.predict(X), model.predict(X))


def test_a_checkpoint_is_left_out(tmp_path):
    model = small(solver="sgd", checkpoint=tmp_path / "run")
    assert round_trip(model, tmp_path).checkpoint is None
    assert model.checkpoint == tmp_path / "run"


def test_history_that_is_not_finite(tmp_path):
    model = small()
    model.n_iter_ = 2 * MAX_INLINE_LENGTH
    model.history_ = {
        "a": [float("nan"), float("inf")] * MAX_INLINE_LENGTH,
        "b": [1.0, -0.0] * MAX_INLINE_LENGTH,
    }
    assert_same(round_trip(model, tmp_path).history_, model.history_)


def test_unfitted(tmp_path):
    with pytest.raises(NotFittedError):
        save_model(FMRegressor(), tmp_path / "model")


def test_other_classes(tmp_path):
    class Mine(FMRegressor):
        pass

    Mine.__name__ = "FMRegressor"
    for other in (Mine().fit(*data()), np.arange(3)):
        with pytest.raises(TypeError, match="save_model takes"):
            save_model(other, tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.set_params(random_state=np.random.RandomState(0)), "random_state is a RandomState"),
        (lambda m: m.set_params(loss="nonsense"), "loss"),
        (lambda m: setattr(m, "note", "mine"), r"\['note'\]"),
        (lambda m: m.history_.update(a=[object()]), "history_"),
        (lambda m: m.coef_.fill(np.nan), "coef_ contains values that are not finite"),
        (lambda m: setattr(m, "coef_", m.coef_[:-1]), r"coef_ has shape \(4,\)"),
        (lambda m: delattr(m, "fields_"), r"lacks \['fields_'\]"),
        (lambda m: setattr(m, "fields", [[slice(1)]]), "slice"),
    ],
)
def test_what_a_file_cannot_hold(change, message, tmp_path):
    model = small()
    change(model)
    save_model(small(), tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    with pytest.raises(ValueError, match=message):
        save_model(model, tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]


def test_a_file_is_replaced_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "model"
    save_model(small(), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("skfm._files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_model(small(max_iter=1), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]


def test_places_where_no_file_can_be(tmp_path):
    with pytest.raises(IsADirectoryError, match="Pass the path of a file in it"):
        save_model(small(), tmp_path)
    with pytest.raises(FileNotFoundError, match="folder that does not exist"):
        save_model(small(), tmp_path / "missing" / "model")
    with pytest.raises(IsADirectoryError, match="Pass the path of a file in it"):
        load_model(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "missing")


def test_without_safetensors(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for call in (lambda: save_model(small(), tmp_path / "model"), lambda: load_model(tmp_path / "model")):
        with pytest.raises(ImportError, match="pip install safetensors"):
            call()


def test_only_skfm_io_needs_safetensors():
    code = "import sys, skfm.io; assert 'safetensors' not in sys.modules; import skfm; assert 'onnx' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


FRAMES = {
    "types": {},
    "rare": {"min_frequency": 12},
    "share": {"min_frequency": 0.25},
    "few": {"max_categories": 2},
    "named": {"categorical_features": ["number"], "multi_value_features": {"tags": "|"}},
    "fields": {"fields": ["a", "b", "b", "a"]},
}


# Both models learn a new category, which gives a warning.
@pytest.mark.filterwarnings("ignore:Training continues with categories:UserWarning")
@pytest.mark.parametrize("parameters", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("solver", ["vb", "adagrad"])
def test_models_of_data_frames(solver, parameters, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "city": rng.choice(["Oslo", "Rome", "Wien", None], 60, p=[0.5, 0.3, 0.1, 0.1]),
            "flag": rng.random(60) < 0.5,
            "number": rng.integers(0, 4, 60),
            "tags": [list("abcd"[: i % 4]) for i in range(60)],
        }
    )
    if "multi_value_features" in parameters:
        frame = frame[["number", "tags"]].assign(tags=frame["tags"].str.join("|"))
    model = FMRegressor(2, solver=solver, max_iter=3, random_state=0, **parameters).fit(frame, rng.random(60))
    again = round_trip(model, tmp_path)
    assert_same(vars(again), vars(model) | {"checkpoint": None})
    new = frame.assign(**{name: "new" for name in frame if name == "city"})
    assert_array_equal(again.predict(new), model.predict(new))
    assert_array_equal(again.encoded_feature_names_, model.encoded_feature_names_)
    if solver == "adagrad":
        assert_array_equal(
            again.partial_fit(new, rng.random(60) * 0).factors_,
            model.partial_fit(new, rng.random(60) * 0).factors_,
        )
