"""Scales follow the rows that a model learns from: rows that are not typical may come first."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import mean_squared_error, r2_score

from skfm import FMClassifier, FMRegressor
from skfm.io import load_model, save_model
from skfm.streaming import Chunks
from skfm.training import checkpoint as checkpoint_module
from skfm.training import running_units

from ..helpers.minibatch import MINIBATCH, assert_same_parameters

TOLERANCE = 0.05


def data(seed=0, n_samples=300):
    """Five dense columns. Two of them interact."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 5))
    return X, X[:, 0] + 2 * X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=n_samples)


def model_of(solver, **options):
    # The steps of "adam" are about as long as its rate, and here are few of them.
    rate = {"learning_rate": 0.05} if solver == "adam" else {}
    return FMRegressor(**{"n_factors": 4, "solver": solver, "random_state": 0, **rate, **options})


def passes(model, X, y, n_passes=40):
    for _ in range(n_passes):
        model.partial_fit(X, y)
    return model


# ------------------------------------------------------------------------------------- order of rows


def untypical(kind, X, y):
    """The first hundred rows, changed so that their scales are not those of all rows."""
    X, y = X[:100].copy(), y[:100].copy()
    if kind.startswith("y is constant"):
        y[:] = 1
    elif kind == "a column is constant":
        X[:, 1] = 3
    elif kind == "a column is zero":
        X[:, 1] = 0
    elif kind == "y is small":
        y *= 1e-3
    else:
        X *= 1e-3
    return X, y


@MINIBATCH
@pytest.mark.parametrize("kind", ["y is constant", "a column is constant", "a column is zero", "y is small"])
@pytest.mark.parametrize("unit", [1.0, 1e3, 1e-3])
def test_the_order_of_chunks_does_not_matter_much(solver, kind, unit):
    X, y = data(n_samples=400)
    first, rest = untypical(kind, X, y), (X[100:], y[100:])
    chunks = [(part, target * unit) for part, target in (first, rest)]
    found, expected = (
        r2_score(chunks[1][1], model_of(solver, max_iter=20).fit(Chunks(order)).predict(chunks[1][0]))
        for order in (chunks, chunks[::-1])
    )
    assert found > expected - TOLERANCE


@MINIBATCH
@pytest.mark.parametrize("kind", ["y is constant", "a column is constant", "y is small", "X is small"])
def test_a_first_call_that_is_not_typical(solver, kind):
    X, y = data()
    model = passes(model_of(solver).partial_fit(*untypical(kind, X, y)), X, y)
    expected = passes(model_of(solver), X, y)
    assert model.score(X, y) > expected.score(X, y) - TOLERANCE
    # The scale of the last rows is that of the model.
    if kind != "a column is constant":
        assert_allclose(model._conditioning["scale"], X.std(0), rtol=0.6)


def two_at_a_time(solver, seed, n_passes):
    """The score of a model that sees two rows at a time, and that of one which sees all rows at once."""
    X, y = data(seed, 120)
    model = model_of(solver, random_state=seed, learning_rate="auto")
    expected = passes(clone(model), X, y, 100).score(X, y)
    scores = []
    for _ in range(n_passes):
        for start in range(0, len(y), 2):
            model.partial_fit(X[start : start + 2], y[start : start + 2])
        scores.append(model.score(X, y))
    # Steps for two rows are noisy.
    return max(scores[-3:]), expected


@MINIBATCH
def test_two_rows_at_a_time(solver):
    found, expected = two_at_a_time(solver, 1, 5)
    assert found > expected - TOLERANCE


@pytest.mark.slow
@MINIBATCH
def test_two_rows_at_a_time_with_little_progress(solver):
    """Of twenty seeds, this is the one that needs the most passes."""
    found, expected = two_at_a_time(solver, 13, 9)
    assert found > expected - TOLERANCE


@MINIBATCH
@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile", "log_cosh"])
def test_robust_scales(solver, loss):
    X, y = data()
    model, expected = (model_of(solver, loss=loss) for _ in range(2))
    passes(model.partial_fit(X[:50] * 1e-3, np.full(50, 1e3)), X, y * 1e3)
    passes(expected, X, y * 1e3)
    assert_allclose(model._coding["scale"], expected._coding["scale"], rtol=0.6)
    found, least = (m.history_["training_loss"][-1] for m in (model, expected))
    assert found < least + TOLERANCE * expected._coding["unit"]


@MINIBATCH
@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_targets_under_a_logarithm(solver, loss):
    X, y = data()
    y = 100 * np.exp(y / 4)
    model, expected = (model_of(solver, loss=loss) for _ in range(2))
    # Counts that are all zero have no logarithm.
    passes(model.partial_fit(X[:30], np.full(30, 0.0 if loss == "poisson" else 1e-2)), X, y)
    passes(expected, X, y)
    assert model.score(X, y) > expected.score(X, y) - TOLERANCE


@MINIBATCH
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes(solver, n_classes):
    X, y = data()
    labels = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    model, expected = (FMClassifier(4, solver=solver, random_state=0) for _ in range(2))
    model.partial_fit(X[:50] * 1e-3, labels[:50], classes=np.arange(n_classes))
    expected.partial_fit(X, labels, classes=np.arange(n_classes))
    passes(model, X, labels), passes(expected, X, labels)
    assert model.score(X, labels) > expected.score(X, labels) - TOLERANCE


@MINIBATCH
def test_sparse_columns(solver):
    rng = np.random.default_rng(0)
    flags = np.eye(6)[rng.integers(6, size=400)]
    numbers = rng.gamma(2.0, size=(400, 4)) * (rng.random((400, 4)) < 0.1)
    X = sparse.csr_matrix(np.c_[flags, numbers])
    y = flags @ np.arange(6) + numbers @ [1, 2, -1, -2] + 0.1 * rng.normal(size=400)
    small = sparse.csr_matrix(np.c_[flags, 1e-3 * numbers])[:50]
    model = passes(model_of(solver).partial_fit(small, y[:50]), X, y)
    expected = passes(model_of(solver), X, y)
    assert model.score(X, y) > expected.score(X, y) - TOLERANCE
    # Columns of zeros and ones stay as they are.
    assert_array_equal(model._conditioning["scale"][:6], 1)
    assert_array_equal(model._conditioning["center"], 0)


@MINIBATCH
@pytest.mark.parametrize(("fit_intercept", "fit_linear"), [(False, True), (True, False), (False, False)])
def test_models_without_centers(solver, fit_intercept, fit_linear):
    X, y = data()
    model, expected = (model_of(solver, fit_intercept=fit_intercept, fit_linear=fit_linear) for _ in range(2))
    passes(model.partial_fit(X[:50] * 1e-3, np.full(50, 1e-3)), X, y)
    passes(expected, X, y)
    assert model.score(X, y) > expected.score(X, y) - TOLERANCE
    assert_array_equal(model._conditioning["center"], 0)
    assert (model.intercept_ == 0) == (not fit_intercept)
    assert (model.coef_ == 0).all() == (not fit_linear)


# ---------------------------------------------------------------------------------- what must not change


@MINIBATCH
def test_typical_rows_change_nothing(solver, monkeypatch):
    X, y = data(n_samples=400)
    chunks = [(X[i : i + 100], y[i : i + 100]) for i in range(0, 400, 100)]
    options = {"max_iter": 2, "learning_rate_schedule": "constant"}
    found = model_of(solver, **options).fit(Chunks(chunks))
    assert_allclose(found._conditioning["scale"], X[:100].std(0))
    with monkeypatch.context() as patch:
        patch.setattr(running_units, "SCALE", np.inf)
        patch.setattr(running_units, "CENTER", np.inf)
        assert_same_parameters(found, model_of(solver, **options).fit(Chunks(chunks)))


@MINIBATCH
def test_a_model_of_many_rows_predicts_the_same_in_other_units(solver):
    X, y = data()
    before = passes(model_of(solver), X, y, 20).set_params(learning_rate=1e-12)
    after = pickle.loads(pickle.dumps(before))
    after.partial_fit(4 * X + 0.5, 3 * y + 5, sample_weight=np.full(len(y), 30))
    assert (after._conditioning["scale"] > 1.5 * before._conditioning["scale"]).all()
    assert after._coding["scale"] > 1.5 * before._coding["scale"]
    error = mean_squared_error(before.predict(X), after.predict(X)) / np.var(y)
    # After this many rows, the parameters shrink by less than one percent.
    assert error < 1e-3
    assert np.isfinite(passes(after.set_params(learning_rate="auto"), X, y, 3).predict(X)).all()


@MINIBATCH
def test_calls_are_a_pass_over_chunks(solver):
    X, y = data()
    chunks = [untypical("y is constant", X, y), untypical("X is small", X, y), (X, y), (X * 10 + 3, y)]
    online = model_of(solver)
    for chunk in chunks:
        online.partial_fit(*chunk)
    stream = model_of(solver, max_iter=1, learning_rate_schedule="constant").fit(Chunks(chunks))
    # The same sums, of rows that lie differently in memory.
    assert_same_parameters(online, stream, rtol=1e-11, atol=1e-13)
    for name, array in stream._online["scales"].items():
        assert_array_equal(array, online._online["scales"][name])


@MINIBATCH
def test_after_a_fit(solver):
    X, y = data()
    model = model_of(solver).fit(X, y)
    scales = model_of(solver).partial_fit(X, y)._online["scales"]
    for name in ("total", "weight", "mean", "spread", "target"):
        assert_allclose(model._online["scales"][name], scales[name], rtol=1e-9, atol=1e-12)
    again = pickle.loads(pickle.dumps(model)).partial_fit(X, y)
    assert_array_equal(again._conditioning["scale"], model._conditioning["scale"])
    assert again.score(X, y) > 0.9


@MINIBATCH
def test_models_without_scales_keep_their_units(solver, tmp_path):
    X, y = data()
    model = model_of(solver, max_iter=3).fit(X, y)
    del model._online["scales"]
    save_model(model, tmp_path / "model")
    for found in (pickle.loads(pickle.dumps(model)), load_model(tmp_path / "model")):
        found.partial_fit(1.5 * X, y).partial_fit(2 * X, y)
        assert_array_equal(found._conditioning["scale"], model._conditioning["scale"])
        assert "scales" not in found._online


@MINIBATCH
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_a_round_trip_between_calls(solver, loss, tmp_path):
    X, y = data()
    model = model_of(solver, loss=loss).partial_fit(X[:20] * 1e-2, y[:20])
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    for one in (model, loaded):
        one.partial_fit(X, 3 * y)
    assert_same_parameters(model, loaded)


# -------------------------------------------------------------------------------------------- streams


@MINIBATCH
@pytest.mark.parametrize("n_learned", [1, 2, 3, 5])
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_a_run_resumes_in_its_units(solver, n_learned, loss, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "INTERVAL", 0)
    X, y = data()
    chunks = [untypical("y is constant", X, y), untypical("X is small", X, y), (X, y)]
    model = model_of(solver, max_iter=3, loss=loss, early_stopping=n_learned % 2 == 1)
    n_read = []

    def source():
        for chunk in chunks:
            n_read.append(1)
            if len(n_read) > n_learned:
                raise OSError("the network is down")
            yield chunk

    path = tmp_path / "run"
    with pytest.raises(OSError, match="network is down"):
        clone(model).set_params(checkpoint=path).fit(Chunks(source, n_features=5))
    assert path.exists()
    n_learned = 10**6
    resumed = clone(model).set_params(checkpoint=path).fit(Chunks(source, n_features=5))
    whole = clone(model).fit(Chunks(source, n_features=5))
    assert_same_parameters(resumed, whole)
    assert resumed.history_ == whole.history_
    for name, array in whole._online["scales"].items():
        assert_array_equal(array, resumed._online["scales"][name])


@pytest.mark.parametrize("in_chunks", [False, True])
def test_validation_in_the_units_at_the_end(in_chunks):
    X, y = data()
    chunks = [untypical("y is constant", X, y), (X, 1e3 * y)]
    held_out = data(1)[0], 1e3 * data(1)[1]
    given = {"X_val": Chunks([held_out])} if in_chunks else {"X_val": held_out[0], "y_val": held_out[1]}
    model = model_of("adagrad", max_iter=4).fit(Chunks(chunks), **given)
    error = mean_squared_error(held_out[1], model.predict(held_out[0])) / 2
    assert_allclose(min(model.history_["validation_loss"]), error, rtol=1e-6)


@MINIBATCH
def test_a_warm_start_survives_a_chunk_that_is_not_typical(solver):
    X, y = data()
    model = model_of(solver, max_iter=30, warm_start=True).fit(X, y)
    before = model.score(X, y)
    model.set_params(max_iter=1).fit(Chunks([untypical("y is constant", X, y), (X, y)]))
    assert model.score(X, y) > before - 0.2
