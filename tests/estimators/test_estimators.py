"""What the estimators promise, whatever the solver."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import skops.io as skops
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from skfm import FMClassifier, FMRegressor
from skfm.core.solvers import SOLVERS
from skfm.datasets import make_factorization
from tests.helpers.encoded import mixed, one_hot, plant
from tests.helpers.problems import brute_force
from tests.helpers.raw import raw_scores

ALL_SOLVERS = pytest.mark.parametrize("solver", sorted(SOLVERS))
#: Those that end in one model. What a sampler averages over its draws is tested in test_mcmc.py.
ONE_MODEL = [name for name in sorted(SOLVERS) if not SOLVERS[name].samples]
SOLVERS_OF_ONE_MODEL = pytest.mark.parametrize("solver", ONE_MODEL)
SOLVERS_AND_LOSSES = pytest.mark.parametrize(
    ("solver", "loss"),
    [(name, loss) for name in ONE_MODEL for loss in ("log_loss", "probit") if loss in SOLVERS[name].losses],
)


def fitted_state(model):
    return {name: value for name, value in vars(model).items() if name.endswith("_")}


# ------------------------------------------------------------------------------- fitted attributes


@SOLVERS_OF_ONE_MODEL
@pytest.mark.parametrize("make_X", [one_hot, mixed])
def test_regressor_attributes_define_its_predictions(solver, make_X):
    X = make_X()
    y = plant(X)
    model = FMRegressor(3, solver=solver, max_iter=10, random_state=0).fit(X, y)
    assert type(model.intercept_) is np.float64
    assert model.coef_.shape == (X.shape[1],)
    assert model.factors_.shape == (X.shape[1], 3)
    assert model.fields_.shape == (X.shape[1],)
    assert np.isfinite(model.factors_).all()
    expected = brute_force(X, model.intercept_, model.coef_, model.factors_)
    assert_allclose(model.predict(X), expected, rtol=1e-9)
    assert model.device_ == str(torch.device(model.device_))
    assert SOLVERS[solver].objective_name in model.history_
    assert {len(values) for values in model.history_.values()} == {model.n_iter_}


@SOLVERS_AND_LOSSES
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classifier_attributes_define_its_predictions(solver, loss, n_classes):
    X = mixed()
    y = plant(X, n_classes)
    model = FMClassifier(2, solver=solver, loss=loss, max_iter=10, random_state=0).fit(X, y)
    leading = () if n_classes == 2 else (3,)
    assert np.shape(model.intercept_) == leading
    assert model.coef_.shape == (*leading, X.shape[1])
    assert model.factors_.shape == (*leading, X.shape[1], 2)
    scores = raw_scores(model, X)
    parts = [np.reshape(a, (-1, *a.shape[len(leading) :])) for a in (model.coef_, model.factors_)]
    if n_classes == 2:
        expected = brute_force(X, model.intercept_, model.coef_, model.factors_)
        assert_array_equal(model.predict(X), model.classes_[(scores > 0).astype(int)])
    else:
        expected = np.column_stack(
            [brute_force(X, *of_class) for of_class in zip(model.intercept_, *parts, strict=True)]
        )
        assert_array_equal(model.predict(X), model.classes_[scores.argmax(1)])
    assert_allclose(scores, expected, rtol=1e-8, atol=1e-8)
    proba = model.predict_proba(X)
    assert_allclose(proba.sum(1), 1)
    assert_array_equal(model.classes_[proba.argmax(1)], model.predict(X))
    assert_allclose(model.predict_log_proba(X), np.log(proba))


@SOLVERS_OF_ONE_MODEL
def test_number_of_factors_zero_is_a_linear_model(solver):
    X = mixed()
    y = plant(X)
    model = FMRegressor(0, solver=solver, random_state=0).fit(X, y)
    assert model.factors_.shape == (X.shape[1], 0)
    assert_allclose(model.predict(X), X @ model.coef_ + model.intercept_)
    classifier = FMClassifier(0, solver=solver).fit(X, y > np.median(y))
    assert_allclose(raw_scores(classifier, X), X @ classifier.coef_ + classifier.intercept_)
    assert classifier.predict_proba(X).shape == (X.shape[0], 2)


@ALL_SOLVERS
@pytest.mark.parametrize("make_X", [one_hot, mixed])
@pytest.mark.parametrize("option", ["fit_intercept", "fit_linear"])
def test_a_part_of_the_model_left_out_is_zero_in_the_users_units(solver, make_X, option):
    X = make_X()
    y = plant(X) + 30
    # Block solvers are there after a few sweeps; Adam's short steps need more of them to get from 0 to 30.
    max_iter = 400 if SOLVERS[solver].learns_online else 20
    model = FMRegressor(2, solver=solver, random_state=0, max_iter=max_iter, **{option: False}).fit(X, y)
    attribute = {"fit_intercept": "intercept_", "fit_linear": "coef_"}[option]
    assert_array_equal(getattr(model, attribute), 0)
    assert model.score(X, y) > 0


def test_attributes_of_one_solver_do_not_outlive_a_fit_of_another():
    X = one_hot()
    y = plant(X)
    model = FMRegressor(2, random_state=0).fit(X, y)
    assert model.covariances_.shape[:2] == (X.shape[1], 3)
    model.set_params(solver="als").fit(X, y)
    assert not hasattr(model, "covariances_")
    with pytest.raises(ValueError, match=r"return_std=True needs a posterior.*solver='vb'"):
        model.predict(X, return_std=True)


# ------------------------------------------------------------------------------------ dtype, layout


@SOLVERS_OF_ONE_MODEL
@pytest.mark.parametrize("dense", [False, True])
def test_float32_in_float32_out(solver, dense):
    X = mixed(dtype=np.float32)
    X = X.toarray() if dense else X
    y = plant(sparse.csr_matrix(X))
    model = FMRegressor(2, solver=solver, random_state=0, max_iter=20).fit(X, y)
    assert model.predict(X).dtype == np.float32
    assert model.predict(X.astype(np.float64)).dtype == np.float64
    double = clone(model).fit(X.astype(np.float64), y)
    assert double.coef_.dtype == np.float64
    assert_allclose(model.predict(X), double.predict(X), atol=0.02 * np.std(y))
    classifier = FMClassifier(2, solver=solver, random_state=0, max_iter=20).fit(X, plant(mixed(), 3))
    for method in ("decision_function", "predict_proba", "predict_log_proba"):
        assert getattr(classifier, method)(X).dtype == np.float32


def test_float32_is_kept_where_nothing_is_centered():
    X = one_hot(dtype=np.float32)
    model = FMRegressor(2, random_state=0).fit(X, plant(X))
    assert model.coef_.dtype == model.factors_.dtype == model.covariances_.dtype == np.float32


def test_centered_columns_far_from_zero_keep_their_digits_in_float32():
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((200, 3)) + 1000).astype(np.float32)
    y = (X - 1000).astype(np.float64) @ [1, 2, 3]
    model = FMRegressor(2, random_state=0).fit(X, y)
    assert model.coef_.dtype == np.float64
    assert model.score(X, y) > 0.99


@ALL_SOLVERS
def test_sparse_and_dense_are_the_same(solver):
    X = mixed()
    y = plant(X)
    model = FMRegressor(2, solver=solver, random_state=0, max_iter=10)
    expected = clone(model).fit(X, y).predict(X)
    for container in (np.asfortranarray, sparse.csc_array, sparse.coo_matrix, np.ascontiguousarray):
        other = container(X.toarray())
        assert_allclose(clone(model).fit(other, y).predict(other), expected, rtol=1e-9)


# ------------------------------------------------------------------------------------------ weights


@SOLVERS_OF_ONE_MODEL
@settings(max_examples=8)
@given(seed=st.integers(0, 2**16), n_classes=st.sampled_from([None, 2, 3]))
def test_weights_mean_repeats(solver, seed, n_classes):
    X = mixed(60, seed=seed)
    y = plant(X, n_classes, seed=seed)
    weight = np.random.default_rng(seed).integers(0, 4, 60)
    if n_classes is not None:
        weight[np.unique(y, return_index=True)[1]] = 1
    kind = FMRegressor if n_classes is None else FMClassifier
    model = kind(2, solver=solver, random_state=seed, max_iter=5, tol=0)
    weighted = clone(model).fit(X, y, sample_weight=weight)
    which = np.repeat(np.arange(60), weight)
    repeated = clone(model).fit(X[which], y[which])
    assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-5, atol=1e-6)
    assert_allclose(weighted.factors_, repeated.factors_, rtol=1e-5, atol=1e-6)


def test_classes_of_weight_zero_do_not_exist():
    X = one_hot(60)
    y = np.repeat(["a", "b", "c"], 20)
    model = FMClassifier(2, max_iter=5).fit(X, y, sample_weight=(y != "b").astype(float))
    assert_array_equal(model.classes_, ["a", "c"])
    assert model.decision_function(X).shape == (60,)


@ALL_SOLVERS
def test_class_weight_is_sample_weight(solver):
    X = one_hot(200)
    y = np.array(["no", "yes", "maybe"])[plant(X, 3)]
    sample_weight = np.random.default_rng(0).uniform(0.5, 2, 200)
    for class_weight in ({"no": 3.0, "yes": 0.5}, "balanced"):
        model = FMClassifier(2, solver=solver, class_weight=class_weight, random_state=0, max_iter=10)
        if class_weight == "balanced":
            totals = pd.Series(sample_weight).groupby(y).sum()
            by_class = (totals.sum() / (3 * totals))[y].to_numpy()
        else:
            by_class = compute_sample_weight({"maybe": 1, **class_weight}, y)
        model.fit(X, y, sample_weight=sample_weight)
        plain = clone(model).set_params(class_weight=None).fit(X, y, sample_weight=sample_weight * by_class)
        assert_allclose(model.predict_proba(X), plain.predict_proba(X), rtol=1e-8)


# ------------------------------------------------------------------------------------- the target


@ALL_SOLVERS
@settings(max_examples=8)
@given(shift=st.floats(-1e6, 1e6), scale=st.floats(1e-6, 1e6))
def test_units_of_the_target_do_not_matter(solver, shift, scale):
    X = mixed(50)
    y = plant(X)
    # Where penalties are numbers, those of the factors have the unit of the target.
    options = {"l2_factors": 5.0} if "l2_factors" in SOLVERS[solver].options else {}
    model = FMRegressor(2, solver=solver, random_state=0, max_iter=5, tol=0, **options).fit(X, y)
    if options:
        options["l2_factors"] *= scale
    moved = clone(model).set_params(**options).fit(X, y * scale + shift)
    expected = model.predict(X) * scale + shift
    assert_allclose(moved.predict(X), expected, rtol=1e-7, atol=1e-6 * scale * np.std(y) + 1e-9 * abs(shift))


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
@ALL_SOLVERS
def test_constant_target(solver, value):
    X = mixed()
    y = np.full(X.shape[0], value)
    for fit_intercept in (True, False):
        model = FMRegressor(2, solver=solver, fit_intercept=fit_intercept, random_state=0).fit(X, y)
        assert np.isfinite(model.predict(X)).all()
        if fit_intercept:
            assert_allclose(model.predict(X), y, rtol=1e-6, atol=0.01)


@pytest.mark.parametrize("solver", sorted(SOLVERS))
def test_targets_whose_squares_are_no_numbers(solver):
    model = FMRegressor(2, solver=solver)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=r"The target is too large: .* spreads over 5e\+299. Divide y by"):
        model.fit(np.arange(2.0)[:, None], [1.0, 1e300])
    assert vars(model) == before


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_extreme_targets(scale):
    X = one_hot()
    y = plant(X)
    model = FMRegressor(2, random_state=0, max_iter=20)
    expected = clone(model).fit(X, y).predict(X)
    assert_allclose(model.fit(X, y * scale).predict(X) / scale, expected, rtol=1e-6)


@SOLVERS_OF_ONE_MODEL
def test_one_sample(solver):
    model = FMRegressor(2, solver=solver, random_state=0).fit([[1.0, 0.0, 3.0]], [7.0])
    # What the random factors add at the start fades with the step size of the stochastic solvers.
    assert_allclose(model.predict([[1.0, 0.0, 3.0]]), 7, atol=7e-6 if SOLVERS[solver].converges else 3e-4)


@pytest.mark.parametrize(
    "labels",
    [[False, True], [-1, 1], [2.0, 5.0], ["spam", "ham"], ["é", "日本", "z"], [10**12, 3, 7]],
    ids=repr,
)
def test_labels_of_any_type(labels):
    X = one_hot()
    labels = np.array(labels)
    y = labels[plant(X, len(labels))]
    model = FMClassifier(2, random_state=0, max_iter=20).fit(X, y)
    assert_array_equal(model.classes_, np.sort(labels))
    assert model.predict(X).dtype == y.dtype
    assert model.score(X, y) > 0.6
    if labels.dtype.kind == "U":  # scikit-learn takes no numbers as objects
        assert_array_equal(model.fit(X, y.astype(object)).classes_, np.sort(labels))
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_pandas_series_of_labels():
    X = one_hot()
    y = pd.Series(np.array(["a", "b", "c"])[plant(X, 3)], dtype="category", index=range(1000, 1120))
    weight = pd.Series(np.ones(120), index=range(5, 125))
    model = FMClassifier(2, random_state=0, max_iter=5).fit(X, y, sample_weight=weight)
    assert_array_equal(model.classes_, ["a", "b", "c"])


# ------------------------------------------------------------------------------ posterior, probabilities


def test_predictive_standard_deviation():
    X, y = mixed(400), plant(mixed(400), noise=1.0)
    model = FMRegressor(2, random_state=0).fit(X[:300], y[:300])
    mean, std = model.predict(X[300:], return_std=True)
    assert_array_equal(mean, model.predict(X[300:]))
    assert std.shape == mean.shape
    covered = np.mean(np.abs(y[300:] - mean) < 1.96 * std)
    assert 0.85 < covered <= 1
    # A row is as uncertain alone as in company, and in single precision.
    assert_allclose(model.predict(X[300], return_std=True)[1], std[:1], rtol=1e-9)
    single = model.predict(X[300:].astype(np.float32), return_std=True)[1]
    assert single.dtype == np.float32
    assert_allclose(single, std, rtol=1e-3)


def test_standard_deviation_has_the_unit_of_the_target():
    X = one_hot()
    y = plant(X)
    model = FMRegressor(2, random_state=0, max_iter=5)
    std = clone(model).fit(X, y).predict(X, return_std=True)[1]
    assert_allclose(clone(model).fit(X, 1000 * y + 7).predict(X, return_std=True)[1], 1000 * std, rtol=1e-6)


def test_unseen_columns_are_less_certain():
    X = one_hot(300, sizes=(6, 5)).toarray()
    y = plant(sparse.csr_matrix(X), 2)
    seen = X[:, 0] == 0
    model = FMClassifier(2, random_state=0).fit(X[seen], y[seen])
    unseen = np.zeros((1, X.shape[1]))
    unseen[0, 0] = 1
    known = np.zeros((1, X.shape[1]))
    assert abs(model.predict_proba(unseen)[0, 0] - 0.5) <= abs(model.predict_proba(known)[0, 0] - 0.5)


@SOLVERS_AND_LOSSES
def test_probabilities_where_all_classes_are_impossible(solver, loss):
    X = one_hot()
    model = FMClassifier(2, solver=solver, loss=loss, random_state=0, max_iter=3).fit(X, plant(X, 3))
    model.intercept_ = np.array([-1000.0, -2000.0, -3000.0])
    proba = model.predict_proba(X)
    assert np.isfinite(proba).all()
    assert_allclose(proba.sum(1), 1)
    assert_array_equal(proba.argmax(1), model.decision_function(X).argmax(1))


def test_confident_probabilities_keep_their_digits():
    X = one_hot(dtype=np.float32)
    model = FMClassifier(2, solver="als", random_state=0, max_iter=3).fit(X, plant(X, 2))
    model.intercept_ = 40.0
    assert (model.predict_proba(X)[:, 0] > 0).all()


# --------------------------------------------------------------------------------- hyperparameters


@ALL_SOLVERS
def test_random_state(solver):
    X = one_hot()
    y = plant(X)
    model = FMRegressor(2, solver=solver, random_state=3, max_iter=3)
    first, second = clone(model).fit(X, y), clone(model).fit(X, y)
    assert_array_equal(first.factors_, second.factors_)
    other = clone(model).set_params(random_state=4).fit(X, y)
    assert not np.allclose(first.factors_, other.factors_)
    assert_array_equal(first.fit(X, y).factors_, second.factors_)


@pytest.mark.parametrize("solver", ["als", "adagrad"])
def test_initial_factors_do_not_depend_on_the_number_of_samples_the_split_or_the_dtype(solver, monkeypatch):
    starts, goes_on = [], type(SOLVERS[solver]).start

    def start(self, problem, parameters, settings):
        starts.append(parameters.clone())
        return goes_on(self, problem, parameters, settings)

    monkeypatch.setattr(type(SOLVERS[solver]), "start", start)
    X = one_hot()
    y = plant(X)
    model = FMRegressor(2, solver=solver, random_state=0, max_iter=1)
    model.fit(X, y)
    model.fit(X[:50], y[:50])
    clone(model).set_params(early_stopping=True).fit(X, y)
    model.fit(X.astype(np.float32), y)
    for start in starts[1:]:
        assert_array_equal(start.factors, starts[0].factors.to(start.factors.dtype))
    assert starts[-1].factors.dtype == torch.float32
    assert abs(float(starts[0].factors.std()) - 0.1) < 0.05
    assert not starts[0].linear.any()


def test_fields():
    X = one_hot(sizes=(4, 3, 2))
    y = plant(X)
    model = FMRegressor(2, random_state=0, max_iter=3).fit(X, y)
    assert_array_equal(model.fields_, [0] * 4 + [1] * 3 + [2] * 2)
    names = ["user"] * 4 + ["item"] * 3 + ["time"] * 2
    named = clone(model).set_params(fields=names).fit(X, y)
    assert len(np.unique(named.fields_)) == 3
    assert_allclose(named.predict(X), model.predict(X))
    one = clone(model).set_params(fields=np.zeros(9, dtype=int)).fit(X, y)
    assert_array_equal(one.fields_, 0)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_penalties_are_in_the_users_units(fit_intercept):
    # The solver's objective is J of the user, but for the square of the scale of the target.
    X = one_hot(300)
    y = plant(X)
    l2 = {"l2_linear": 2.0, "l2_factors": 3.0}
    model = FMRegressor(2, solver="als", fit_intercept=fit_intercept, max_iter=5, random_state=0, **l2)
    model.fit(X, y)
    penalty = l2["l2_linear"] * np.sum(model.coef_**2) + l2["l2_factors"] * np.sum(model.factors_**2)
    J = np.sum((y - model.predict(X)) ** 2) / 2 + penalty / 2
    scale = np.std(y) if fit_intercept else np.sqrt(np.mean(y**2))
    assert_allclose(model.history_["objective"][-1] * scale**2, J)


# -------------------------------------------------------------------------------------- warm start


@ALL_SOLVERS
def test_warm_start_goes_on_where_the_last_fit_ended(solver):
    X = mixed()
    y = plant(X)
    model = FMRegressor(2, solver=solver, random_state=0, max_iter=30, tol=0).fit(X, y)
    name = SOLVERS[solver].objective_name
    sign = 1 if SOLVERS[solver].objective_rises else -1
    cold = sign * model.history_[name][0]
    model.set_params(warm_start=True, max_iter=2).fit(X, y)
    assert model.n_iter_ == 2
    assert sign * model.history_[name][0] > cold


def test_warm_start_under_other_units_starts_from_the_same_function(monkeypatch):
    X = mixed().toarray()
    y = plant(mixed())
    model = FMRegressor(2, solver="als", random_state=0, max_iter=5, warm_start=True).fit(X, y)
    before = model.predict(X)
    monkeypatch.setattr("skfm.core.solvers.als.ALSRun._sweep", standing_still)
    model.fit(X[:60], y[:60] * 3 + 5)
    assert_allclose(model.predict(X), before, rtol=1e-8)


def standing_still(self):
    self.objective = 0.0


def test_warm_start_keeps_validation_rows_apart():
    X = one_hot()
    y = plant(X)
    model = FMRegressor(2, early_stopping=True, warm_start=True, max_iter=2).fit(X, y)
    seed = model._seed
    model.fit(X, y)
    assert model._seed == seed


# ------------------------------------------------------------------------------------- scikit-learn


def test_grid_search_in_a_pipeline():
    frame = pd.DataFrame(
        {
            "color": np.random.default_rng(0).choice(["red", "green", "blue"], 120),
            "size": np.random.default_rng(1).choice(["s", "m", "l"], 120),
            "weight": np.random.default_rng(2).normal(70, 10, 120),
        }
    )
    y = 3 * (frame["color"] == "red") * (frame["size"] == "s") + 0.1 * frame["weight"]
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["color", "size"]), remainder="passthrough"
    )
    search = GridSearchCV(
        make_pipeline(encode, FMRegressor(random_state=0, max_iter=20)),
        {"fmregressor__n_factors": [0, 2], "fmregressor__fit_linear": [True, False]},
        cv=3,
    )
    search.fit(frame, y)
    assert search.best_score_ > 0.9
    assert search.best_params_["fmregressor__n_factors"] == 2


def test_feature_names():
    X = pd.DataFrame(one_hot().toarray(), columns=[f"c{i}" for i in range(11)])
    model = FMRegressor(2, max_iter=2).fit(X, plant(one_hot()))
    assert_array_equal(model.feature_names_in_, X.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X.rename(columns={"c0": "other"}))


def test_validation_data_through_a_pipeline():
    X = mixed().toarray()
    y = plant(mixed())
    with sklearn.config_context(enable_metadata_routing=True):
        model = FMRegressor(2, random_state=0, max_iter=10).set_fit_request(X_val=True, y_val=True)
        pipe = Pipeline([("scale", StandardScaler()), ("fm", model)], transform_input=["X_val"])
        pipe.fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:])
    history = pipe[-1].history_["validation_loss"]
    assert_allclose(np.min(history), np.mean((y[80:] - pipe.predict(X[80:])) ** 2) / 2)


def test_routing_of_sample_weight():
    X, y = one_hot(), plant(one_hot())
    weight = np.ones(120)
    weight[:60] = 0
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_pipeline(FMRegressor(2, random_state=0, max_iter=3).set_fit_request(sample_weight=True))
        routed = pipe.fit(X, y, sample_weight=weight).predict(X)
    direct = FMRegressor(2, random_state=0, max_iter=3).fit(X, y, sample_weight=weight).predict(X)
    assert_array_equal(routed, direct)


@pytest.mark.parametrize("estimator", [FMRegressor(), FMClassifier()], ids=repr)
def test_representation_links_to_the_documentation(estimator):
    name = type(estimator).__name__
    link = estimator._get_doc_link()
    assert link.startswith("https://skfm.readthedocs.io/")
    assert f"skfm.{name}" in link
    assert link in estimator._repr_html_()
    assert estimator.__sklearn_tags__().input_tags.sparse


# -------------------------------------------------------------------------------------- persistence


@ALL_SOLVERS
@pytest.mark.parametrize("n_classes", [None, 2, 3])
def test_state_is_numpy_and_travels(solver, n_classes, tmp_path):
    X = mixed()
    y = plant(X, n_classes)
    model = (FMRegressor if n_classes is None else FMClassifier)(2, solver=solver, random_state=0, max_iter=3)
    model.fit(X, y)
    assert not any(isinstance(value, torch.Tensor) for value in vars(model).values())
    predict = model.predict if n_classes is None else model.predict_proba
    expected = predict(X)
    joblib.dump(model, tmp_path / "model.joblib")
    for other in (
        pickle.loads(pickle.dumps(model)),
        joblib.load(tmp_path / "model.joblib"),
        joblib.load(tmp_path / "model.joblib", mmap_mode="r"),
    ):
        assert_array_equal(getattr(other, predict.__name__)(X), expected)
        # A machine without the device that the model was fitted on predicts on its CPU.
        for device in ("cuda:63", "mps"):
            other.device_ = device
            assert_allclose(getattr(other, predict.__name__)(X), expected, rtol=1e-9)


def test_skops_round_trip():
    X = mixed()
    model = FMClassifier(2, random_state=0, max_iter=3).fit(X, plant(X, 3))
    data = skops.dumps(model)
    assert skops.get_untrusted_types(data=data) == ["skfm._classifier.FMClassifier"]
    copy = skops.loads(data, trusted=["skfm._classifier.FMClassifier"])
    assert_array_equal(copy.predict_proba(X), model.predict_proba(X))


def test_parameters_changed_after_the_fit_do_not_change_predictions():
    X = one_hot()
    model = FMClassifier(2, random_state=0, max_iter=5).fit(X, plant(X, 2))
    expected = model.predict_proba(X)
    model.set_params(loss="probit", n_factors=5, solver="als")
    assert_array_equal(model.predict_proba(X), expected)


@pytest.mark.gpu
@ALL_SOLVERS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cpu_and_gpu_agree(solver, dtype):
    X = mixed(dtype=dtype)
    y = plant(X)
    cpu = FMRegressor(2, solver=solver, random_state=0, device="cpu", max_iter=5).fit(X, y)
    gpu = FMRegressor(2, solver=solver, random_state=0, device="cuda", max_iter=5).fit(X, y)
    assert gpu.device_.startswith("cuda")
    tolerance = 1e-6 if dtype == np.float64 else 5e-3
    assert_allclose(gpu.predict(X), cpu.predict(X), atol=tolerance * np.std(y))
    gpu.device_ = "cpu"
    assert_allclose(gpu.predict(X), cpu.predict(X), atol=tolerance * np.std(y))


def test_learns():
    X, y = mixed(800), plant(mixed(800))
    assert FMRegressor(2, random_state=0).fit(X[:600], y[:600]).score(X[600:], y[600:]) > 0.95
    y = plant(X, 2)
    model = FMClassifier(2, random_state=0).fit(X[:600], y[:600])
    assert log_loss(y[600:], model.predict_proba(X[600:])) < 0.25


@pytest.mark.parametrize("solver", ["vb", "als", "adagrad", "adam", "sgd", "ftrl"])
def test_columns_without_data_contribute_no_chance(solver):
    X, y = make_factorization(200, cardinalities=(6, 5), n_factors=2, random_state=0)
    wide = sparse.hstack([X[:, :6], sparse.csr_matrix((200, 1)), X[:, 6:]]).tocsr()
    first, second = (FMRegressor(2, solver=solver, random_state=seed).fit(wide, y) for seed in (0, 1))
    if solver == "vb":
        mean = first.coef_[:6].sum() / 7
        assert_allclose(first.coef_[6], mean, rtol=1e-6)
        return
    for model in (first, second):
        assert not model.coef_[6]
        assert not model.factors_[6].any()


@pytest.mark.parametrize("solver", ["als", "adagrad"])
def test_a_warm_start_remembers_columns_that_are_gone(solver):
    X, y = make_factorization(200, cardinalities=(6, 5), n_factors=2, random_state=0)
    model = FMRegressor(2, solver=solver, warm_start=True, random_state=0).fit(X, y)
    before = model.factors_[0].copy()
    gone = X[:, [0]].toarray()[:, 0] > 0
    model.fit(X[~gone], y[~gone])
    # In units of the target, which has another spread now.
    assert_allclose(model.factors_[0], before, rtol=0.5)
    assert before.any()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [FMRegressor, FMClassifier])
def test_the_intercept_of_one_output_is_a_numpy_scalar(solver, dtype, kind):
    X, y = one_hot().astype(dtype), plant(one_hot())
    model = kind(2, solver=solver, max_iter=2, tol=0, random_state=0).fit(
        X, y if kind is FMRegressor else y > np.median(y)
    )
    trusted = ["skfm._regressor.FMRegressor", "skfm._classifier.FMClassifier"]
    for again in (
        model,
        pickle.loads(pickle.dumps(model)),
        skops.loads(skops.dumps(model), trusted=trusted),
        kind.from_module(
            model.to_module("raw"), **{} if kind is FMRegressor else {"classes": model.classes_}
        ),
    ):
        assert type(again.intercept_) is np.float64
        assert again.intercept_.shape == ()
