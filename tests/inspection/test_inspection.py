"""Explanations add up, strengths rank what was planted, and displays show what they say."""

import functools
import pickle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibrationDisplay
from sklearn.datasets import load_diabetes
from sklearn.inspection import PartialDependenceDisplay, permutation_importance

from skfm import FMClassifier, FMRegressor
from skfm.datasets import make_factorization
from skfm.inspection import (
    EmbeddingDisplay,
    HistoryDisplay,
    InteractionDisplay,
    IntervalDisplay,
    _explain,
    _strength,
    explain,
    interaction_strength,
)
from tests.helpers.raw import raw_scores


def mixed(n=80, seed=0):
    """A frame of categories, lists and numbers far from zero, and a target in which they interact."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "city": rng.choice(["Oslo", "Rome", "Wien"], n),
            "age": rng.normal(500, 3, n),
            "tags": [list(rng.choice(list("abcd"), size=i % 3, replace=False)) for i in range(n)],
            "member": rng.random(n) < 0.5,
            "size": rng.uniform(0, 0.1, n),
        }
    )
    y = (frame["age"] - 500) * np.where(frame["city"] == "Rome", 1, -1) + 30 * frame["size"] * frame["member"]
    return frame, y.to_numpy()


def data(kind):
    """X and a target of numbers."""
    rng = np.random.default_rng(1)
    if kind == "frame":
        return mixed()
    if kind == "one-hot":
        return make_factorization(120, cardinalities=(6, 5, 4), n_factors=2, random_state=0)
    X = rng.normal(size=(80, 4)) * [1, 10, 0.01, 3] + [0, 1e4, 5, -2]
    if kind == "bag":
        X = rng.poisson(0.15, (80, 7)) * rng.uniform(0.5, 2, 7)
    y = X[:, 0] * X[:, 1] - X[:, 2] + X[:, 3]
    return (sparse.csr_array(X) if kind == "bag" else X), (y - y.mean()) / y.std()


def raw_prediction(model, X):
    if hasattr(model, "decision_function"):
        return raw_scores(model, X)
    raw = model.predict(X)
    return np.log(raw) if model.loss in ("poisson", "gamma") else raw


MODELS = {
    "vb": FMRegressor(3, max_iter=6, random_state=0),
    "linear": FMRegressor(0, max_iter=6, random_state=0),
    "als": FMRegressor(3, solver="als", max_iter=6, random_state=0),
    "mcmc": FMRegressor(2, solver="mcmc", max_iter=20, random_state=0),
    "no intercept": FMRegressor(2, max_iter=6, fit_intercept=False, fit_linear=False, random_state=0),
    "poisson": FMRegressor(2, solver="adagrad", loss="poisson", max_iter=3, random_state=0),
    "two classes": FMClassifier(3, max_iter=6, random_state=0),
    "three classes": FMClassifier(3, max_iter=6, random_state=0),
    "softmax": FMClassifier(2, solver="adagrad", max_iter=3, random_state=0),
}


@functools.cache
def fitted(name, kind):
    X, y = data(kind)
    if name in ("three classes", "softmax"):
        y = np.array(["low", "mid", "top"])[np.digitize(y, np.quantile(y, [0.3, 0.7]))]
    elif name == "two classes":
        y = y > 0
    elif name == "poisson":
        y = np.random.default_rng(0).poisson(np.exp(np.clip(y / np.std(y), -2, 2)))
    return clone(MODELS[name]).fit(X, y), X


@pytest.mark.parametrize("by", ["auto", "field", "column"])
@pytest.mark.parametrize("kind", ["frame", "one-hot", "numeric", "bag"])
@pytest.mark.parametrize("name", MODELS)
def test_the_terms_sum_to_the_raw_prediction(name, kind, by):
    model, X = fitted(name, kind)
    found, expected = explain(model, X, by=by), raw_prediction(model, X)
    assert found.raw.shape == expected.shape
    assert_allclose(found.raw, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    assert np.isfinite(found.main).all()
    assert np.isfinite(found.pairs).all()


@pytest.mark.parametrize("by", ["auto", "field", "column"])
@pytest.mark.parametrize("kind", ["frame", "one-hot", "numeric", "bag"])
@pytest.mark.parametrize("name", ["vb", "three classes"])
def test_a_background_moves_the_zero_of_the_terms(name, kind, by):
    model, X = fitted(name, kind)
    found, expected = explain(model, X, by=by, background=X), raw_prediction(model, X)
    assert_allclose(found.raw, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    assert_allclose(found.main.mean(0), 0, atol=1e-9 * np.abs(expected).max())


def test_with_a_background_only_what_no_main_effect_tells_is_a_pair():
    users, films = (a.ravel() for a in np.meshgrid(range(6), range(5)))
    X = pd.DataFrame({"user": users, "film": films}).astype("category")
    model = FMRegressor(2, solver="als", l2_factors=0.1, random_state=0)
    model.fit(X, np.random.default_rng(0).normal(size=30))
    raw = model.predict(X).reshape(5, 6)
    found = explain(model, X, background=X)
    assert_allclose(found.intercept, raw.mean())
    assert_allclose(found.main[:, 0].reshape(5, 6), np.tile(raw.mean(0) - raw.mean(), (5, 1)), atol=1e-12)
    rest = raw - raw.mean(0) - raw.mean(1, keepdims=True) + raw.mean()
    assert_allclose(found.pairs[:, 0].reshape(5, 6), rest, atol=1e-12)


def by_double_loop(model, X, groups):
    """Main effects and pairs by the definition, in columns that are centered where the fit has done so."""
    x = X.toarray() if sparse.issparse(X) else np.asarray(X)
    center = model._conditioning["center"]
    w, V = model.coef_, model.factors_
    main, pairs = {}, {}
    for j in range(len(w)):
        # The other columns at their centers add to the slope of this one.
        slope = w[j] + sum(V[j] @ V[k] * center[k] for k in range(len(w)) if k != j)
        main[groups[j]] = main.get(groups[j], 0) + slope * (x[:, j] - center[j])
        for k in range(j + 1, len(w)):
            key = tuple(sorted((groups[j], groups[k])))
            term = V[j] @ V[k] * (x[:, j] - center[j]) * (x[:, k] - center[k])
            pairs[key] = pairs.get(key, 0) + term
    return main, pairs


@pytest.mark.parametrize("by", ["auto", "field", "column"])
@pytest.mark.parametrize("kind", ["frame", "one-hot", "numeric", "bag"])
def test_each_term_is_that_of_the_definition(kind, by):
    X, y = data(kind)
    model = FMRegressor(2, max_iter=5, random_state=0).fit(X, y)
    found = explain(model, X, by=by)
    fields = [f"field {f}" if isinstance(f, np.integer) else str(f) for f in model.fields_]
    names = model.encoded_feature_names_
    groups = list(names) if by == "column" else fields
    if by == "auto" and kind == "numeric":
        groups = list(names)
    main, pairs = by_double_loop(model, model.encode(X), groups)
    scale = np.abs(found.raw).max()
    for g, name in enumerate(found.names):
        assert_allclose(found.main[:, g], main[name], rtol=1e-7, atol=1e-8 * scale)
    shown = {tuple(sorted(found.names[list(pair)])): i for i, pair in enumerate(found.pair_groups)}
    for pair, term in pairs.items():
        if pair in shown:
            assert_allclose(found.pairs[:, shown[pair]], term, rtol=1e-6, atol=1e-8 * scale)
        else:
            assert_allclose(term, 0, atol=1e-12)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(0, 3))
def test_any_numbers_add_up(seed, n_columns, n_factors):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(20, n_columns)) * 10.0 ** rng.integers(-3, 4, n_columns) + rng.normal(
        0, 10, n_columns
    )
    X[rng.random(X.shape) < rng.random()] = 0
    model = FMRegressor(n_factors, max_iter=3, random_state=0).fit(X, rng.normal(size=20))
    expected = model.predict(X)
    assert_allclose(explain(model, X).raw, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


def test_one_hot_fields_have_no_pairs_of_their_own():
    model, X = fitted("vb", "one-hot")
    found = explain(model, X)
    assert_array_equal(found.names, ["field 0", "field 1", "field 2"])
    assert_array_equal(found.pair_groups, [[0, 1], [0, 2], [1, 2]])
    assert found.pair_names == ["field 0 x field 1", "field 0 x field 2", "field 1 x field 2"]
    frame = explain(*fitted("vb", "frame"))
    assert "tags x tags" in frame.pair_names
    assert "city x city" not in frame.pair_names


def test_many_columns_cost_no_more_than_the_rows_hold(monkeypatch):
    X, y = make_factorization(300, cardinalities=(5000, 4000), n_factors=2, random_state=0)
    model = FMRegressor(2, max_iter=2, random_state=0).fit(X, y)
    found = explain(model, X[:2], by="column")
    assert len(found.names) <= 4
    assert_allclose(found.raw, model.predict(X[:2]), rtol=1e-9)
    monkeypatch.setattr(_explain, "MAX_TERMS", 1 << 20)
    with pytest.raises(ValueError, match="have too many terms"):
        explain(model, X, by="column")


def test_terms_of_a_row():
    model, X = fitted("vb", "frame")
    found = explain(model, X)
    terms = found.to_frame(3)
    assert_allclose(terms["contribution"].sum(), model.predict(X)[3])
    assert terms.index[0] == "intercept"
    sizes = terms["contribution"].abs().to_numpy()[1:]
    assert (np.diff(sizes) <= 0).all()
    assert "Explanation of 80 predictions by 5 main effects" in repr(found)
    again = pickle.loads(pickle.dumps(found))
    assert_array_equal(again.pairs, found.pairs)


def test_terms_of_a_class():
    model, X = fitted("three classes", "frame")
    found = explain(model, X)
    for number, label in enumerate(["low", "mid", "top"]):
        total = found.to_frame(0, class_of_interest=label)["contribution"].sum()
        assert_allclose(total, raw_prediction(model, X)[0, number])
    with pytest.raises(ValueError, match=r"must be one of \['low', 'mid', 'top'\], got None"):
        found.to_frame(0)
    with pytest.raises(ValueError, match="must be one of"):
        interaction_strength(model)
    binary, X = fitted("two classes", "frame")
    with pytest.raises(ValueError, match="cannot be used with this model"):
        interaction_strength(binary, class_of_interest="low")


def test_what_by_may_be():
    model, X = fitted("vb", "frame")
    with pytest.raises(ValueError, match="by must be 'auto', 'field' or 'column', got 'pair'"):
        explain(model, X, by="pair")


# ----------------------------------------------------------------------------------------- strengths


@pytest.mark.parametrize("with_rows", [True, False])
def test_the_planted_pairs_are_the_strongest(with_rows):
    X, y = mixed(400)
    model = FMRegressor(3, random_state=0).fit(X, y)
    found = interaction_strength(model, X if with_rows else None)
    assert set(found.iloc[0, :2]) == {"city", "age"}
    assert set(found.iloc[1, :2]) == {"member", "size"}
    assert (np.diff(found["strength"]) <= 0).all()
    assert len(interaction_strength(model, top=3)) == 3
    assert len(interaction_strength(model, top=None)) == 10


def test_strength_is_the_size_of_the_terms():
    model, X = fitted("vb", "frame")
    explanation = explain(model, X, background=X)
    found = interaction_strength(model, X, top=None).set_index(["first", "second"])["strength"]
    for pair, terms in zip(explanation.pair_groups, explanation.pairs.T, strict=True):
        if pair[0] != pair[1]:
            assert_allclose(found[tuple(explanation.names[pair])], np.sqrt(np.square(terms).mean()))


def test_strength_without_rows_is_that_of_equally_frequent_categories():
    users, films = (a.ravel() for a in np.meshgrid(range(6), range(5)))
    X = pd.DataFrame({"user": users, "film": films}).astype("category")
    y = np.random.default_rng(0).normal(size=30)
    model = FMRegressor(2, solver="als", l2_factors=0.1, random_state=0).fit(X, y)
    pairs = explain(model, X).pairs[:, 0].reshape(5, 6)
    interaction = pairs - pairs.mean(0) - pairs.mean(1, keepdims=True) + pairs.mean()
    expected = np.sqrt(np.square(interaction).mean())
    assert_allclose(interaction_strength(model)["strength"][0], expected, rtol=1e-9)
    assert_allclose(interaction_strength(model, X)["strength"][0], expected, rtol=1e-9)


def test_strength_of_columns_is_found_in_blocks(monkeypatch):
    model, _ = fitted("vb", "one-hot")
    whole = interaction_strength(model, by="column", top=7)
    monkeypatch.setattr(_strength, "PRODUCTS_PER_BLOCK", 40)
    pd.testing.assert_frame_equal(interaction_strength(model, by="column", top=7), whole)
    V, fields, names = model.factors_, model.fields_, model.encoded_feature_names_
    products = np.abs(V @ V.T) * (fields[:, None] != fields) * np.tri(len(V), k=-1)
    best = np.sort(products.ravel())[::-1][:7]
    assert_allclose(whole["strength"], best)
    i, j = np.unravel_index(products.argmax(), products.shape)
    assert {whole["first"][0], whole["second"][0]} == {names[i], names[j]}


# ------------------------------------------------------------------------------------------ displays


def test_interaction_display():
    model, X = fitted("vb", "frame")
    for rows in (None, X):
        display = InteractionDisplay.from_estimator(model, rows)
        assert [t.get_text() for t in display.ax_.get_xticklabels()] == list(X.columns)
        assert_array_equal(display.strength, display.strength.T)
        assert len(display.text_) == np.isfinite(display.strength).sum()
        found = interaction_strength(model, rows, top=1).iloc[0]
        a, b = (list(X.columns).index(found[end]) for end in ("first", "second"))
        assert_allclose(display.strength[a, b], found["strength"])
    _, ax = plt.subplots()
    again = display.plot(ax=ax, colorbar=False)
    assert again is display
    assert display.ax_ is ax
    assert display.figure_ is ax.figure


def test_tables_of_too_many_columns():
    X, y = make_factorization(300, cardinalities=(5000, 4000), n_factors=2, random_state=0)
    model = FMRegressor(2, max_iter=2, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="pairs of 9000 columns are too many for a table"):
        InteractionDisplay.from_estimator(model, by="column")
    assert InteractionDisplay.from_estimator(model, X[:5], by="column").strength.shape[0] <= 10


def test_interaction_display_of_many_columns_has_no_numbers():
    X = np.random.default_rng(0).normal(size=(60, 30))
    model = FMRegressor(2, max_iter=3, random_state=0).fit(X, X[:, 0] * X[:, 1])
    assert InteractionDisplay.from_estimator(model).text_ == []


def test_embedding_display():
    X, y = mixed(300)
    model = FMRegressor(3, random_state=0).fit(X, y)
    display = EmbeddingDisplay.from_estimator(model, "city")
    assert [t.get_text() for t in display.text_] == ["Oslo", "Rome", "Wien"]
    # The plane of three points holds all their distances.
    vectors = model.embedding("city").to_numpy()
    expected = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    assert_allclose(np.linalg.norm(display.points[:, None] - display.points, axis=2), expected, atol=1e-9)
    some = EmbeddingDisplay.from_estimator(model, "city", labeled=["Rome"])
    assert [t.get_text() for t in some.text_] == ["Rome"]
    assert len(EmbeddingDisplay.from_estimator(model, "city", labeled=2).text_) == 2
    with pytest.raises(ValueError, match="'Bern', which column 'city' does not have"):
        display.plot(labeled=["Bern"])
    with pytest.raises(ValueError, match="no column of categories 'age'"):
        EmbeddingDisplay.from_estimator(model, "age")


def test_embedding_display_of_fields_and_classes():
    model, _ = fitted("vb", "one-hot")
    display = EmbeddingDisplay.from_estimator(model, 1)
    assert len(display.points) == 5
    with pytest.raises(ValueError, match=r"no field 'user'. The fields are 0, 1, 2"):
        EmbeddingDisplay.from_estimator(model, "user")
    classes, _ = fitted("three classes", "frame")
    display = EmbeddingDisplay.from_estimator(classes, "city", class_of_interest="mid")
    vectors = classes.embedding("city").loc["mid"].to_numpy()
    assert_allclose(
        np.linalg.norm(display.points[0] - display.points[1]), np.linalg.norm(vectors[0] - vectors[1])
    )
    with pytest.raises(ValueError, match="0 factors"):
        EmbeddingDisplay.from_estimator(fitted("linear", "one-hot")[0], 0)


@pytest.mark.parametrize(
    ("solver", "label"),
    [("vb", "bound"), ("als", "objective"), ("mcmc", "log likelihood"), ("adagrad", "training loss")],
)
def test_history_display(solver, label):
    X, y = data("one-hot")
    model = FMRegressor(2, solver=solver, max_iter=20, early_stopping=True, random_state=0).fit(X, y)
    display = HistoryDisplay.from_estimator(model)
    first, second = display.lines_
    assert first.get_label() == label
    assert_array_equal(first.get_ydata(), model.history_[label.replace(" ", "_")])
    assert_array_equal(second.get_ydata(), model.history_["validation_loss"])
    assert (display.validation_ax_ is display.ax_) == (solver == "adagrad")
    alone = HistoryDisplay.from_estimator(FMRegressor(2, solver=solver, max_iter=3).fit(X, y))
    assert len(alone.lines_) == 1
    assert alone.validation_ax_ is None
    with pytest.raises(ValueError, match="history must have one of the keys"):
        HistoryDisplay(history={"loss": [1.0]}).plot()


@pytest.mark.parametrize("solver", ["vb", "mcmc"])
def test_interval_display(solver):
    X, y = make_factorization(600, cardinalities=(10, 8), noise=0.5, random_state=0)
    model = FMRegressor(2, solver=solver, max_iter=60, random_state=0).fit(X[:400], y[:400])
    display = IntervalDisplay.from_estimator(model, X[400:], y[400:], coverage=0.8, n_shown=50)
    lower, upper = model.predict(X[400:], quantiles=[0.1, 0.9]).T
    assert_allclose(display.covered_, ((lower <= y[400:]) & (y[400:] <= upper)).mean())
    assert f"{display.covered_:.1%}" in display.ax_.get_title()
    assert sum(len(line.get_xdata()) for line in display.ax_.lines[1:]) == 50
    with pytest.raises(ValueError, match="coverage must be between 0 and 1, got 90"):
        IntervalDisplay.from_estimator(model, X, y, coverage=90)
    with pytest.raises(ValueError, match="X has 600 rows, but y has 5"):
        IntervalDisplay.from_estimator(model, X, y[:5])
    with pytest.raises(ValueError, match="needs a posterior"):
        IntervalDisplay.from_estimator(FMRegressor(2, solver="als", max_iter=2).fit(X, y), X, y)


@pytest.mark.parametrize("display", [InteractionDisplay, HistoryDisplay])
def test_displays_want_a_fitted_estimator(display):
    with pytest.raises(ValueError, match="not fitted yet"):
        display.from_estimator(FMRegressor())


@pytest.mark.parametrize("n_factors", [0, 2])
def test_exact_zeros_of_the_linear_term_are_those_at_the_means(n_factors):
    X, y = load_diabetes(return_X_y=True, scaled=False)
    model = FMRegressor(n_factors, solver="ftrl", l1_linear=4000.0, max_iter=20, random_state=0).fit(X, y)
    effects = explain(model, X, by="column").main
    is_zero = (effects == 0).all(0)
    # In the user's units the interactions with the means of the other columns are part of the coefficients.
    assert_array_equal(model.coef_ == 0, is_zero if n_factors == 0 else np.zeros(10, bool))
    assert 0 < is_zero.sum() < 10
    assert (effects[:, ~is_zero] != 0).all()


# --------------------------------------------------------------------------- scikit-learn's own tools


def test_permutation_importance():
    X, y = mixed(200)
    model = FMRegressor(3, random_state=0).fit(X, y)
    found = permutation_importance(model, X, y, n_repeats=3, random_state=0).importances_mean
    assert set(np.argsort(-found)[:2]) == {list(X.columns).index(name) for name in ("city", "age")}


def test_partial_dependence():
    X, y = mixed(200)
    model = FMRegressor(3, random_state=0).fit(X, y)
    PartialDependenceDisplay.from_estimator(model, X, ["age", "city"], categorical_features=["city"])
    numbers, target = load_diabetes(return_X_y=True, as_frame=True)
    model = FMRegressor(2, max_iter=5, random_state=0).fit(numbers, target)
    display = PartialDependenceDisplay.from_estimator(
        model, numbers, ["bmi", ("bmi", "bp")], grid_resolution=5
    )
    # Linear in each single column.
    curve = display.lines_[0, 0].get_ydata()
    grid = display.lines_[0, 0].get_xdata()
    assert_allclose(np.diff(curve) / np.diff(grid), (curve[-1] - curve[0]) / (grid[-1] - grid[0]), rtol=1e-6)


def test_calibration_display():
    X, y = mixed(300)
    model = FMClassifier(3, random_state=0).fit(X[:200], y[:200] > 0)
    display = CalibrationDisplay.from_estimator(model, X[200:], y[200:] > 0, n_bins=4)
    assert len(display.prob_true) <= 4
