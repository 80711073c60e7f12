"""The predictor of an estimator: when it is made, what it costs, and what it cannot do."""

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone

from skfm import FMClassifier, FMRegressor
from skfm.fitted import tables
from skfm.fitted.cache import forget, predictor
from skfm.fitted.draw_predictors import Draws, OrderedDraws
from skfm.fitted.predictors import Gaussian, Point
from skfm.fitted.state import FittedModel

RNG = np.random.default_rng(0)
FLAGS = sparse.csr_matrix((RNG.random((60, 8)) < 0.4).astype(float))
NUMBERS = RNG.standard_normal((60, 3)) * [2, 0.1, 1] + [50, -1, 0]
BAG = sparse.csr_matrix(RNG.gamma(2, 30, (60, 9)) * (RNG.random((60, 9)) < 0.15))
Y = RNG.standard_normal(60)
X_OF = {"flags": FLAGS, "numbers": NUMBERS, "bag": BAG}
KINDS = pytest.mark.parametrize("kind", X_OF)

SHORT = {"max_iter": 4, "random_state": 0}
MODELS = {
    "als": (FMRegressor(2, solver="als", **SHORT), Point),
    "adagrad": (FMRegressor(2, solver="adagrad", **SHORT), Point),
    "vb": (FMRegressor(2, **SHORT), Gaussian),
    "mcmc": (FMRegressor(2, solver="mcmc", **SHORT), Draws),
    "ordered": (FMRegressor(2, solver="mcmc", loss="ordered_probit", **SHORT), OrderedDraws),
    "two classes": (FMClassifier(2, **SHORT), Gaussian),
    "three classes": (FMClassifier(2, solver="als", **SHORT), Point),
    "sampled classes": (FMClassifier(2, solver="mcmc", **SHORT), Draws),
    "hinge": (FMClassifier(2, solver="adagrad", loss="hinge", **SHORT), Point),
}
ALL = pytest.mark.parametrize("name", MODELS)


def fit(name, X=NUMBERS, y=Y):
    model = clone(MODELS[name][0])
    if name in ("ordered", "three classes", "sampled classes"):
        y = np.digitize(y, [-0.4, 0.4])
    elif isinstance(model, FMClassifier):
        y = y > 0
    return model.fit(X, y)


def predictions(model, X):
    """All that an estimator predicts, by name."""
    methods = ("predict", "decision_function", "predict_proba", "predict_log_proba")
    found = {name: getattr(model, name)(X) for name in methods if hasattr(model, name)}
    if model.solver in ("vb", "mcmc") and isinstance(model, FMRegressor):
        found["mean"], found["std"] = model.predict(X, return_std=True)
        found["quantiles"] = model.predict(X, quantiles=[0.1, 0.5, 0.9])
    return found


@pytest.mark.parametrize("loss", ["log_loss", "probit"])
@pytest.mark.parametrize("solver", ["vb", "mcmc"])
def test_scores_and_probabilities_rank_alike(solver, loss):
    """Samples of two classes, and the classes of a sample of three, although the variance differs between samples."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 3)) * np.repeat([0.3, 1, 300], 20)[:, None]
    for n_classes in (2, 3):
        y = np.digitize(rows[:, 0] + rng.standard_normal(60) / 2, [0, 0.5][: n_classes - 1])
        model = FMClassifier(2, solver=solver, loss=loss, max_iter=12, random_state=0).fit(rows[:40], y[:40])
        p, scores = model.predict_proba(rows), model.decision_function(rows)
        assert np.isfinite(scores).all()
        assert_allclose(p[np.arange(60), model.predict(rows)], p.max(1), rtol=1e-9)
        if n_classes == 3:
            assert_array_equal(scores.argsort(1), p.argsort(1))
            continue
        # Close to one, probabilities have fewer digits than scores.
        order = np.argsort(scores, kind="stable")
        assert (np.diff(p[order, 1]) >= 0).all()
        assert (np.diff(p[order, 0]) <= 0).all()


def assert_same(found, expected, assert_equal=assert_array_equal, **tolerance):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert_equal(found[name], values, **tolerance)


def brute_force(X, w0, w, V):
    X, V = (np.asarray(a, np.longdouble) for a in (X.toarray() if sparse.issparse(X) else X, V))
    return w0 + X @ np.asarray(w, np.longdouble) + ((X @ V) ** 2 - X**2 @ V**2).sum(1) / 2


# ------------------------------------------------------------------------------ made once


@ALL
def test_the_kind_of_posterior_decides_the_predictor(name):
    found = predictor(fit(name))
    assert type(found) is MODELS[name][1]
    assert isinstance(found.model, FittedModel)


@ALL
@KINDS
def test_predictions_leave_the_estimator_as_it_was(name, kind):
    X = X_OF[kind]
    model = fit(name, X)
    before, bits = dict(vars(model)), pickle.dumps(model)
    rows = X.copy()
    predictions(model, X)
    assert list(vars(model)) == list(before)
    assert all(vars(model)[key] is value for key, value in before.items())
    assert pickle.dumps(model) == bits
    assert (rows != X).sum() == 0


@ALL
def test_a_model_is_built_once(name, monkeypatch):
    built, converted = [], []
    build, convert = FittedModel.__init__, tables.ColumnTable._convert
    monkeypatch.setattr(FittedModel, "__init__", lambda self, e: (built.append(e), build(self, e))[1])
    monkeypatch.setattr(
        tables.ColumnTable, "_convert", lambda self, *a: (converted.append(self), convert(self, *a))[1]
    )
    model = fit(name)
    expected = predictions(model, NUMBERS)
    assert len(built) == 1
    n_converted = len(converted)
    for _ in range(3):
        assert_same(predictions(model, NUMBERS), expected)
    assert len(built) == 1
    assert len(converted) == n_converted


@pytest.mark.parametrize("solver", ["als", "vb", "mcmc"])
def test_few_rows_convert_no_more_than_their_columns(solver, monkeypatch):
    """Tables of all columns are never made for one row of a wide model."""
    X = sparse.random(40, 500, 0.02, random_state=0, format="csr")
    X.data[:] = 1
    model = FMRegressor(3, solver=solver, n_draws="auto", **SHORT).fit(X, Y[:40])
    expected = predictions(model, X)
    forget(model)
    sizes, convert = [], tables.as_tensor

    def counted(array, *args):
        sizes.append(array.shape[1] if array.ndim > 1 else 0)
        return convert(array, *args)

    monkeypatch.setattr(tables, "as_tensor", counted)
    found = predictions(model, X[:1])
    used = X[:1].nnz
    assert used < 50
    assert max(sizes) <= used
    assert_same(found, {name: values[:1] for name, values in expected.items()}, assert_allclose, rtol=1e-12)


def test_tensors_share_the_memory_of_the_attributes():
    """Where nothing is converted: so numbers that change inside of an array count, too."""
    model = FMRegressor(2, select_factors=False, **SHORT).fit(FLAGS, Y)
    held = predictor(model).model
    place = tables.Place(torch.float64, torch.device("cpu"))
    tensors = held.mean.at(place)
    assert tensors.factors.data_ptr() == model.factors_.__array_interface__["data"][0]
    assert tensors.linear.data_ptr() == model.coef_.__array_interface__["data"][0]
    assert held.posterior(place).covariances.data_ptr() == model.covariances_.__array_interface__["data"][0]
    model.predict(FLAGS)
    model.coef_[0] = 100
    expected = brute_force(FLAGS, model.intercept_, model.coef_, model.factors_)
    assert_allclose(model.predict(FLAGS), expected.astype(float), rtol=1e-12)
    # A model that centers columns shares the factors.
    model = FMRegressor(2, **SHORT).fit(NUMBERS, Y)
    factors = predictor(model).model.mean.at(place).factors
    assert factors.data_ptr() == model.factors_.__array_interface__["data"][0]


def test_large_conversions_are_not_kept(monkeypatch):
    monkeypatch.setattr(tables, "KEPT_BYTES", 100)
    model = FMRegressor(2, **SHORT).fit(BAG, Y)
    first = predictions(model, BAG)
    assert_same(predictions(model, BAG), first)
    assert predictor(model).model._standard_factors._kept is None


def test_read_only_arrays():
    model = FMRegressor(2, **SHORT).fit(BAG, Y)
    expected = predictions(model, BAG)
    for name in ("coef_", "factors_", "covariances_"):
        getattr(model, name).flags.writeable = False
    forget(model)
    assert_same(predictions(model, BAG), expected)


# ------------------------------------------------------------------------------ made anew


@ALL
@KINDS
def test_copies_predict_the_same_with_predictors_of_their_own(name, kind):
    X = X_OF[kind]
    model = fit(name, X)
    expected = predictions(model, X)
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_same(predictions(other, X), expected)
        assert predictor(other) is not predictor(model)
    assert not hasattr(clone(model), "factors_")


@KINDS
@pytest.mark.parametrize("solver", ["als", "vb", "mcmc", "adagrad"])
def test_another_fit_is_noticed(solver, kind):
    X = X_OF[kind]
    model = FMRegressor(2, solver=solver, **SHORT).fit(X, Y)
    first = predictions(model, X)
    held = predictor(model)
    model.fit(X, -3 * Y)
    assert predictor(model) is not held
    assert_same(predictions(model, X), predictions(clone(model).fit(X, -3 * Y), X))
    model.fit(X, Y)
    assert_same(predictions(model, X), first)


@KINDS
def test_partial_fit_is_noticed(kind):
    X = X_OF[kind]
    model = FMRegressor(2, solver="adagrad", **SHORT).fit(X, Y)
    for _ in range(3):
        before = model.predict(X)
        model.partial_fit(X, Y)
        after = model.predict(X)
        assert (after != before).any()
        assert_array_equal(after, pickle.loads(pickle.dumps(model)).predict(X))


@KINDS
@pytest.mark.parametrize("solver", ["als", "vb", "mcmc"])
@pytest.mark.parametrize("attribute", ["intercept_", "coef_", "factors_"])
def test_attributes_that_are_set_are_predicted_with(attribute, solver, kind):
    X = X_OF[kind]
    model = FMRegressor(2, solver=solver, **SHORT).fit(X, Y)
    model.predict(X)
    setattr(model, attribute, 1.5 * getattr(model, attribute))
    expected = brute_force(X, model.intercept_, model.coef_, model.factors_).astype(float)
    assert_allclose(model.predict(X), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("solver", ["als", "vb"])
def test_parameters_of_another_scale_can_be_set(solver):
    """All three at once, in any order."""
    model = FMRegressor(2, solver=solver, **SHORT).fit(NUMBERS, Y)
    model.factors_ = RNG.standard_normal((3, 2))
    model.coef_ = RNG.standard_normal(3)
    model.intercept_ = 5.0
    expected = brute_force(NUMBERS, 5.0, model.coef_, model.factors_).astype(float)
    assert_allclose(model.predict(NUMBERS), expected, rtol=1e-10)


def test_models_are_not_kept_alive():
    model = fit("vb")
    model.predict(NUMBERS)
    estimator, held = weakref.ref(model), weakref.ref(predictor(model).model)
    del model
    gc.collect()
    assert estimator() is None
    assert held() is None


def test_a_fit_releases_the_arrays_of_the_one_before():
    model = FMRegressor(2, solver="adagrad", **SHORT).fit(FLAGS, Y)
    for again in (model.fit, model.partial_fit):
        model.predict(FLAGS)
        before = weakref.ref(model.factors_)
        again(FLAGS, Y)
        gc.collect()
        assert before() is None


@ALL
def test_threads(name):
    """Many threads that make the first prediction of a model, with rows of their own."""
    model = fit(name)
    expected = predictions(model, NUMBERS)
    for _ in range(3):
        forget(model)
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(lambda _: predictions(model, NUMBERS), range(16)):
                assert_same(found, expected)


# ------------------------------------------------------------------------------ rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["flags", "bag"])
@pytest.mark.parametrize("solver", ["als", "vb", "adagrad"])
def test_a_row_alone_is_the_row_in_company(solver, kind, dtype):
    """Bit for bit, whether only its columns are taken or all."""
    wide = sparse.hstack([X_OF[kind], sparse.csr_matrix((60, 100))], format="csr").astype(dtype)
    model = FMRegressor(2, solver=solver, **SHORT).fit(wide, Y)
    together = model.predict(wide)
    assert together.dtype == dtype
    for i in range(0, 60, 7):
        assert_array_equal(model.predict(wide[i : i + 1]), together[i : i + 1])
    assert_array_equal(model.predict(sparse.vstack([wide] * 40)), np.tile(together, 40))


@ALL
def test_rows_in_any_form(name):
    X = np.column_stack([FLAGS.toarray(), NUMBERS])
    model = fit(name, X)
    expected = predictions(model, X)
    for other in (np.asfortranarray(X), sparse.csr_matrix(X), sparse.csc_array(X), X.astype(">f8")):
        rows = other.copy()
        assert_same(predictions(model, other), expected, assert_allclose, rtol=1e-9, atol=1e-12)
        assert (rows != other).sum() == 0


# ------------------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize("kind", ["flags", "numbers"])
def test_what_needs_a_posterior(kind):
    X = X_OF[kind]
    model = fit("als", X)
    message = (
        r"needs a posterior, and this model was fitted without one. Fit it with solver='vb' or solver='mcmc'"
    )
    for options, purpose in (
        ({"return_std": True}, "return_std=True"),
        ({"quantiles": [0.5]}, "quantiles"),
        ({"quantiles": [2]}, "quantiles"),
    ):
        with pytest.raises(ValueError, match=f"{purpose} {message}"):
            model.predict(X, **options)
    with pytest.raises(ValueError, match=f"The variance of a prediction {message}"):
        predictor(model).variance(X)


@pytest.mark.parametrize("name", ["vb", "mcmc", "ordered"])
@pytest.mark.parametrize("levels", [[], [0.0], [1.0, 0.5], [[0.5]], [np.nan]])
def test_quantiles_are_checked(name, levels):
    with pytest.raises(ValueError, match="quantiles must be a list of numbers between 0 and 1"):
        fit(name).predict(NUMBERS, quantiles=levels)


@pytest.mark.parametrize("name", ["vb", "mcmc"])
def test_variances_are_those_of_the_raw_predictions(name):
    """They hold no noise; the standard deviations of the target do."""
    model = fit(name)
    found = predictor(model)
    variance, (_, std) = found.variance(NUMBERS)[0], found.moments(NUMBERS)
    noise = std.square() - variance
    assert float(noise.min()) > 0
    assert_allclose(noise, noise[0], rtol=1e-9)


@pytest.mark.parametrize("name", ["vb", "als", "mcmc", "two classes", "sampled classes"])
def test_rows_without_entries(name):
    """No columns are in use, alone or in company."""
    model = fit(name, FLAGS)
    found = predictions(model, sparse.csr_matrix((2, 8)))
    both = predictions(model, sparse.vstack([FLAGS, sparse.csr_matrix((2, 8))], format="csr"))
    assert_same(found, {key: values[-2:] for key, values in both.items()}, assert_allclose, rtol=1e-12)
