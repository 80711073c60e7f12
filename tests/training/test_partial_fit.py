"""Learning online: call after call is the same as a stream, and no call that fails does any harm."""

import pickle

import numpy as np
import pytest
import skops.io as skops
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skfm import FMClassifier, FMRegressor
from skfm.core.solvers.minibatch.trainer import Trainer
from skfm.streaming import Chunks
from tests.helpers.encoded import mixed
from tests.helpers.minibatch import EVERY_LOSS, MINIBATCH, assert_same_parameters, make, target


def parts(X, y, size=40):
    return [(X[i : i + size], y[i : i + size]) for i in range(0, len(y), size)]


def learn(model, chunks, classes=None):
    for number, chunk in enumerate(chunks):
        first = {} if classes is None or number else {"classes": classes}
        weight = dict(zip(("sample_weight",), chunk[2:], strict=False))
        model.partial_fit(*chunk[:2], **first, **weight)
    return model


def check_unchanged(model, before):
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is before[name] for name in before)


def data(n_samples=160):
    X = mixed(n_samples)
    return X, target(X, "squared_error")


# ------------------------------------------------------------------------------------ as a stream


@EVERY_LOSS
@pytest.mark.parametrize("dense", [False, True])
def test_calls_are_a_pass_over_chunks(solver, loss, n_classes, dense):
    X = mixed(160)
    y = target(X, loss, n_classes)
    X = X.toarray() if dense else X
    classes = None if n_classes is None else np.arange(n_classes)
    weight = np.random.default_rng(0).uniform(0.1, 2, 160)
    chunks = [(*part, w) for part, (w, _) in zip(parts(X, y), parts(weight, weight), strict=True)]
    for options in ({}, {"l2_linear": 3.0, "l2_factors": 2.0, "batch_size": 16}):
        model = make(loss, n_classes, solver=solver, **options)
        online = learn(clone(model), chunks, classes)
        stream = clone(model).set_params(learning_rate_schedule="constant", max_iter=1)
        stream.fit(Chunks(chunks, classes=classes))
        assert_same_parameters(online, stream)
        assert np.abs(online.coef_).max() > 0
        losses = online.history_["training_loss"]
        assert len(losses) == online.n_iter_ == 4
        # The loss of the pass is the mean of those of the chunks.
        totals = [chunk[2].sum() for chunk in chunks]
        assert_allclose(np.average(losses, weights=totals), stream.history_["training_loss"][0], rtol=1e-9)


@MINIBATCH
def test_it_learns(solver):
    X, y = data(800)
    model = make("squared_error", solver=solver, batch_size=16)
    scores = [learn(model, parts(X, y, 200)).score(X, y) for _ in range(8)]
    assert scores[-1] > 0.6
    assert scores[-1] > scores[0]


# ----------------------------------------------------------------------------------------- classes


def test_classes():
    X = mixed(160)
    labels = np.array(["spam", "ham", "eggs"])
    y = labels[target(X, "log_loss", 3)]
    model = FMClassifier(2, solver="adagrad", random_state=0)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"y holds classes that are not known: \['spam'\]"):
        model.partial_fit(X, y, classes=["ham", "eggs"])
    with pytest.raises(ValueError, match="at least two classes"):
        model.partial_fit(X, y, classes=["ham"])
    check_unchanged(model, before)
    # The order does not matter, nor whether all of them are there yet.
    only = y != "eggs"
    model.partial_fit(X[only], y[only], classes=labels)
    assert_array_equal(model.classes_, ["eggs", "ham", "spam"])
    assert model.decision_function(X).shape == (160, 3)
    assert model.predict_proba(X)[:, 0].max() < 0.3
    again = clone(model).partial_fit(X[only], y[only], classes=labels[::-1])
    assert_same_parameters(model, again)
    for classes in (None, labels, labels[[0, 0, 1, 2]]):
        model.partial_fit(X, y, classes=classes)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=r"y holds classes that are not known: \['bacon'\].*Pass them"):
        model.partial_fit(X[:2], ["spam", "bacon"])
    with pytest.raises(ValueError, match=r"classes=\['eggs', 'ham'\] is not the same as on the first call"):
        model.partial_fit(X, y, classes=["eggs", "ham"])
    check_unchanged(model, before)


def test_a_call_may_have_a_single_class():
    X = mixed(160)
    y = target(X, "log_loss", 2)
    model = make("log_loss", 2, batch_size=8).partial_fit(X[y == 1], y[y == 1], classes=[0, 1])
    assert (model.predict(X) == 1).all()
    for _ in range(10):
        model.partial_fit(X[y == 0], y[y == 0])
    assert np.mean(model.predict(X) == 0) > 0.5


def test_class_weights():
    X = mixed(160)
    y = target(X, "log_loss", 2)
    model = make("log_loss", 2, class_weight="balanced")
    with pytest.raises(ValueError, match="class_weight='balanced' takes all data at once"):
        model.partial_fit(X, y, classes=[0, 1])
    weighted = learn(clone(model).set_params(class_weight={0: 1, 1: 3}), parts(X, y), [0, 1])
    plain = clone(model).set_params(class_weight=None)
    by_hand = learn(plain, [(*part, 1.0 + 2 * part[1]) for part in parts(X, y)], [0, 1])
    assert_same_parameters(weighted, by_hand)


@MINIBATCH
@pytest.mark.parametrize(("loss", "n_classes"), [("squared_error", None), ("log_loss", 2)])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"early_stopping": True},
            "early_stopping=True is not supported by partial_fit.*Set early_stopping=False",
        ),
        ({"checkpoint": "run"}, "checkpoint='run' is not supported by partial_fit.*Set checkpoint=None"),
    ],
)
def test_parameters_of_fit_alone_are_refused(
    solver, loss, n_classes, parameters, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    X = mixed(160)
    y = target(X, loss, n_classes)
    classes = {} if n_classes is None else {"classes": [0, 1]}
    for model in (make(loss, n_classes, solver=solver), make(loss, n_classes, solver=solver).fit(X, y)):
        model.set_params(**parameters)
        before = dict(vars(model))
        with pytest.raises(ValueError, match=message):
            model.partial_fit(X, y, **classes)
        check_unchanged(model, before)
        model.set_params(early_stopping=False, checkpoint=None).partial_fit(X, y, **classes)
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------------------------- after a fit


@MINIBATCH
@pytest.mark.parametrize("warm_start", [False, True])
def test_after_a_fit(solver, warm_start):
    X, y = data(240)
    model = make("squared_error", solver=solver, warm_start=warm_start, batch_size=16, max_iter=30)
    # What was learned before the fit is forgotten, unless it starts from there.
    model.partial_fit(X[:50], y[:50]).set_params(warm_start=False).fit(X, y)
    model.set_params(warm_start=warm_start).fit(X, y)
    expected = model.predict(X)
    score = model.score(X, y)
    losses = model.history_["training_loss"]
    other = clone(model).fit(X, y)
    model.partial_fit(X[:1], y[:1], sample_weight=[1e-9])
    # The penalties know that this row is not all there is.
    assert_allclose(model.predict(X), expected, atol=0.02 * np.std(y))
    assert model.n_iter_ == len(losses) + 1
    assert model.history_["training_loss"][:-1] == losses
    model.partial_fit(X, y)
    assert model.score(X, y) > score - 0.05
    assert other.partial_fit(X, y).score(X, y) > score - 0.05


def test_after_a_fit_that_stopped_early():
    X, y = data(300)
    y = y + 100 * np.random.default_rng(0).standard_normal(300)
    options = {"l2_linear": 0.0, "l2_factors": 0.0, "n_iter_no_change": 20, "max_iter": 100, "batch_size": 8}
    for solver in ("adagrad", "ftrl"):
        model = FMRegressor(8, solver=solver, warm_start=True, random_state=0, **options)
        model.fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
        assert np.argmin(model.history_["validation_loss"]) < model.n_iter_ - 10
        expected = model.predict(X)
        # It goes on from the state that was kept, not from the last one.
        model.partial_fit(X[:1], y[:1], sample_weight=[1e-9])
        assert_allclose(model.predict(X), expected, rtol=1e-6)


def test_after_a_fit_to_a_stream():
    X, y = data(400)
    model = make("squared_error", warm_start=True).fit(Chunks(parts(X, y)))
    score = model.score(X, y)
    assert model.partial_fit(X, y).score(X, y) > score - 0.05


@MINIBATCH
def test_a_fit_after_calls_starts_anew(solver):
    X, y = data()
    model = make("squared_error", solver=solver)
    expected = clone(model).fit(X, y)
    learn(model, parts(X * 3, y * 1000))
    assert_same_parameters(model.fit(X, y), expected)
    # Nothing of the calls before is left in what the next one goes on from.
    one, other = (m.partial_fit(X[:30], y[:30]) for m in (model, expected))
    assert_same_parameters(one, other)


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("parameters", "change", "message"),
    [
        ({}, {"X": lambda X: X[:, :-1]}, "X has 12 features, but FMRegressor is expecting 13 features"),
        (
            {},
            {"X": lambda X: X.astype(np.float32)},
            r"X is float32, but the model was fitted to float64. Convert",
        ),
        ({}, {"X": lambda X: X * np.nan}, "Input X contains NaN"),
        ({}, {"X": lambda X: X[:-1]}, "inconsistent numbers of samples"),
        ({}, {"y": lambda y: np.full_like(y, np.inf)}, "Input y contains infinity"),
        ({}, {"sample_weight": lambda _: np.full(160, -1.0)}, "sample_weight must not be negative"),
        (
            {"solver": "sgd"},
            {},
            "fitted with solver='adagrad', .* but now solver='sgd'",
        ),
        ({"loss": "huber"}, {}, "fitted with loss='squared_error', .* but now loss='huber'"),
        ({"quantile": 0.3, "loss": "quantile"}, {}, "fitted with loss='squared_error'"),
        ({"fit_intercept": False}, {}, "fitted with fit_intercept=True, .* but now fit_intercept=False"),
        ({"l2_factors": 2.0}, {}, "fitted with l2_factors='auto', .* but now l2_factors='a number'"),
        ({"batch_size": 0}, {}, "'batch_size' parameter .* Got 0"),
        ({"n_factors": 3}, {}, "has n_factors=2, from which .* partial_fit continue, but now n_factors=3"),
        ({"l1_linear": 1.0}, {}, "l1_linear=1.0 is not used by solver='adagrad'"),
    ],
)
@pytest.mark.parametrize("first", ["partial_fit", "fit"])
def test_a_call_that_fails_does_no_harm(first, parameters, change, message):
    X, y = data()
    model = getattr(make("squared_error"), first)(X, y)
    kept = clone(model)
    getattr(kept, first)(X, y)
    model.set_params(**parameters)
    before = dict(vars(model))
    arguments = {"X": X, "y": y, "sample_weight": None}
    for name, changed in change.items():
        arguments[name] = changed(arguments[name])
    with pytest.raises(ValueError, match=message):
        model.partial_fit(**arguments)
    check_unchanged(model, before)
    model.set_params(**{name: getattr(kept, name) for name in parameters})
    assert_same_parameters(model.partial_fit(X, y), kept.partial_fit(X, y))


def test_targets_out_of_range():
    X = mixed(160)
    y = target(X, "gamma")
    model = make("gamma").partial_fit(X, y)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="loss='gamma' takes targets that are positive, but y holds -"):
        model.partial_fit(X, -y)
    check_unchanged(model, before)


def test_a_call_that_blows_up(monkeypatch):
    X, y = data()
    model = make("squared_error").partial_fit(X, y)
    before = dict(vars(model))
    expected = pickle.loads(pickle.dumps(model)).partial_fit(X, y)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "is_finite", lambda trainer: False)
        with (
            pytest.warns(UserWarning, match="diverged"),
            pytest.raises(ValueError, match=r"partial_fit failed, and the model is as it was before: .*grew"),
        ):
            model.partial_fit(X, y)
    check_unchanged(model, before)
    assert_same_parameters(model.partial_fit(X, y), expected)


@pytest.mark.parametrize("solver", ["vb", "als"])
def test_solvers_that_need_all_data_at_once(solver):
    for kind in (FMRegressor, FMClassifier):
        model = kind(solver=solver)
        assert not hasattr(model, "partial_fit")
        with pytest.raises(AttributeError) as error:
            model.partial_fit(None, None)
        assert f"partial_fit is not available with solver={solver!r}" in str(error.value.__cause__)
        assert "'adagrad'" in str(error.value.__cause__)
        assert hasattr(model.set_params(solver="sgd"), "partial_fit")
    X, y = data()
    model = FMRegressor(2, solver=solver, max_iter=2).fit(X, y).set_params(solver="adagrad")
    with pytest.raises(ValueError, match=f"fitted with solver='{solver}'"):
        model.partial_fit(X, y)


def test_chunks_are_for_fit():
    X, y = data()
    with pytest.raises(
        TypeError, match=r"partial_fit takes arrays. Pass a stream of chunks to fit, or go through"
    ):
        make("squared_error").partial_fit(Chunks([(X, y)]), None)


# -------------------------------------------------------------------------------------------- state


@MINIBATCH
@pytest.mark.parametrize("n_classes", [None, 3])
def test_a_round_trip_between_calls_changes_nothing(solver, n_classes):
    X = mixed(160)
    loss = "squared_error" if n_classes is None else "log_loss"
    y = target(X, loss, n_classes)
    classes = None if n_classes is None else np.arange(n_classes)
    model = make(loss, n_classes, solver=solver, batch_size=16)
    expected = learn(clone(model), parts(X, y), classes)
    first, *others = parts(X, y)
    pickled = skopsed = learn(clone(model), [first], classes)
    trusted = [f"{type(model).__module__}.{type(model).__name__}"]
    for part in others:
        pickled = learn(pickle.loads(pickle.dumps(pickled)), [part])
        skopsed = learn(skops.loads(skops.dumps(skopsed), trusted=trusted), [part])
    assert_same_parameters(pickled, expected)
    assert_same_parameters(skopsed, expected)
    assert pickled.history_ == expected.history_


@MINIBATCH
def test_calls_do_not_pile_up(solver):
    X, y = data()
    model = make("squared_error", solver=solver)
    sizes = []
    for _ in range(2):
        learn(model, parts(X, y) * 10)
        assert {name: len(values) for name, values in model.history_.items()} == {
            "training_loss": model.n_iter_
        }
        state = {name: value for name, value in vars(model).items() if name != "history_"}
        sizes.append(len(pickle.dumps(state)))
    assert model.n_iter_ == 80
    assert abs(sizes[1] - sizes[0]) < 50  # digits of counters


def test_earlier_states_do_not_change_with_later_calls():
    X, y = data()
    model = make("squared_error").partial_fit(X, y)
    state = {name: array.copy() for name, array in model._online["tensors"].items()}
    before, coef, kept = model._online, model.coef_, model.coef_.copy()
    model.partial_fit(X, y)
    assert_array_equal(coef, kept)
    for name, array in state.items():
        assert_array_equal(before["tensors"][name], array)


def test_parameters_set_between_calls_count():
    X, y = data()
    for parameters in ({"learning_rate": 1e-9}, {"l2_linear": 1e9}):
        model = make("squared_error", n_factors=0, l2_linear=1.0).partial_fit(X, y)
        coef = model.coef_
        model.set_params(**parameters).partial_fit(X, y)
        if "learning_rate" in parameters:
            assert_allclose(model.coef_, coef, rtol=1e-3, atol=1e-3 * np.abs(coef).max())
        else:
            assert np.abs(model.coef_).max() < 1e-3 * np.abs(coef).max()


def test_single_precision():
    X, y = data()
    X = X.astype(np.float32)
    model = learn(make("squared_error"), parts(X, y))
    assert model.predict(X).dtype == np.float32
    assert {array.dtype for array in model._online["tensors"].values()} == {np.dtype(np.float32)}
    with pytest.raises(ValueError, match=r"X is float64, but the model was fitted to float32"):
        model.partial_fit(X.astype(np.float64), y)
