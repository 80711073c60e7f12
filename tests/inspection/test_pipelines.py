"""The tools for pipelines and searches, and the names of columns that an encoder made."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skfm import FMClassifier, FMRegressor
from skfm.inspection import (
    EmbeddingDisplay,
    HistoryDisplay,
    InteractionDisplay,
    IntervalDisplay,
    explain,
    interaction_strength,
)


def trips(n=120, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "driver": rng.choice(["Ann", "Bo", "Cem"], n),
            "route": rng.choice(["hill", "coast"], n),
            "km": rng.uniform(5, 50, n),
        }
    )
    y = 20.0 * ((frame["driver"] == "Ann") & (frame["route"] == "hill")) + frame["km"]
    return frame, y.to_numpy()


def model(kind=FMRegressor):
    return kind(2, max_iter=5, tol=0, random_state=0)


def encoder(sparse=True, **options):
    one_hot = OneHotEncoder(sparse_output=sparse)
    return make_column_transformer((one_hot, ["driver", "route"]), (StandardScaler(), ["km"]), **options)


PIPELINES = {
    "encoder": lambda: make_pipeline(encoder(verbose_feature_names_out=False), model()),
    "verbose names": lambda: make_pipeline(encoder(), model()),
    "dense DataFrame": lambda: make_pipeline(encoder(sparse=False).set_output(transform="pandas"), model()),
    "nested": lambda: make_pipeline(
        make_pipeline(encoder(verbose_feature_names_out=False)), make_pipeline(model())
    ),
    "model alone": lambda: make_pipeline(model()),
    "passthrough": lambda: make_pipeline("passthrough", model()),
    "search": lambda: GridSearchCV(
        make_pipeline(encoder(verbose_feature_names_out=False), model()),
        {"fmregressor__n_factors": [2]},
        cv=2,
    ),
    "search in a pipeline": lambda: make_pipeline(
        encoder(verbose_feature_names_out=False), GridSearchCV(model(), {"n_factors": [2]}, cv=2)
    ),
}
NAMES = {"verbose names": ["onehotencoder__driver", "onehotencoder__route", "standardscaler__km"]}
NAMES["dense DataFrame"] = NAMES["verbose names"]


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_pipeline_is_explained_with_the_names_of_its_input(name):
    X, y = trips()
    pipeline = PIPELINES[name]().fit(X, y)
    for background in (None, X):
        found = explain(pipeline, X[:7], background=background)
        assert_array_equal(found.names, NAMES.get(name, ["driver", "route", "km"]))
        assert_allclose(found.raw, pipeline.predict(X[:7]), rtol=1e-9)
    strength = interaction_strength(pipeline, X)
    assert set(strength["first"]) | set(strength["second"]) == set(found.names)
    assert_array_equal(InteractionDisplay.from_estimator(pipeline).names, found.names)
    assert HistoryDisplay.from_estimator(pipeline).history["bound"]
    assert IntervalDisplay.from_estimator(pipeline, X, y).lower.shape == y.shape
    # The columns of the encoder, or those of the DataFrame that the model encodes itself.
    single = explain(pipeline, X[:7], by="column").names
    assert any(str(column).endswith("driver_Ann") for column in single)
    display = EmbeddingDisplay.from_estimator(pipeline, found.names[0])
    assert [text.get_text() for text in display.text_][:3] == ["Ann", "Bo", "Cem"]


def test_names_can_be_given():
    X, y = trips()
    encoded = OneHotEncoder().fit_transform(X[["driver", "route"]])
    fitted = model().fit(encoded, y)
    assert_array_equal(explain(fitted, encoded[:2]).names, ["field 0", "field 1"])
    names = ["driver_Ann", "driver_Bo", "driver_Cem", "route_coast", "route_hill"]
    assert_array_equal(explain(fitted, encoded[:2], feature_names=names).names, ["driver", "route"])
    assert_array_equal(explain(fitted, encoded, by="column", feature_names=names).names, names)
    assert_array_equal(
        InteractionDisplay.from_estimator(fitted, feature_names=names).names, ["driver", "route"]
    )
    assert set(interaction_strength(fitted, by="column", feature_names=names)["first"]) <= set(names)
    display = EmbeddingDisplay.from_estimator(fitted, 0, feature_names=names)
    assert [text.get_text() for text in display.text_] == names[:3]
    for wrong in (names[:4], [names]):
        with pytest.raises(ValueError, match="one name for each of the 5 columns of coef_"):
            explain(fitted, encoded, feature_names=wrong)


def test_transformers_without_names_leave_those_of_the_model():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    pipeline = make_pipeline(FunctionTransformer(np.tanh), model()).fit(X, X[:, 0])
    found = explain(pipeline, X[:2])
    assert_array_equal(found.names, ["x0", "x1", "x2"])
    assert_allclose(found.raw, pipeline.predict(X[:2]))


def test_what_is_not_a_model_is_refused():
    X, _ = trips()
    for wrong in (make_pipeline(StandardScaler()), StandardScaler(), None):
        with pytest.raises(TypeError, match="estimator must be an FMRegressor or FMClassifier, a Pipeline"):
            explain(wrong, X)
    with pytest.raises(ValueError, match="not fitted yet"):
        explain(make_pipeline(model()), X)


# ------------------------------------------------------------------------------- the representation


def test_the_representation_of_an_explanation_is_its_table():
    X, y = trips()
    found = explain(model().fit(X, y), X[:8])
    lines = repr(found).splitlines()
    assert lines[0] == "Explanation of 8 predictions by 3 main effects and 3 pairs"
    assert lines[1].split() == ["sample", "0", "1", "2", "3", "4"]
    assert lines[2].split()[0] == "intercept"
    assert len(lines) == 1 + 1 + 1 + 6 + 1
    assert lines[-1] == "... and 3 more samples"
    values = dict(zip([line.rsplit(maxsplit=5)[0] for line in lines[2:-1]], lines[2:-1], strict=True))
    assert_allclose(float(values["km"].split()[1]), found.main[0, 2], rtol=1e-4)
    html = found._repr_html_()
    assert "<table" in html
    assert "driver x route" in html


def test_the_representation_of_classes_and_of_many_terms():
    X, y = trips()
    labels = np.digitize(y, [20, 40])
    found = explain(model(FMClassifier).fit(X, labels), X[:2])
    lines = repr(found).splitlines()
    assert lines[0].endswith("of sample 0 of 2")
    assert lines[1].split() == ["class", "0", "1", "2"]
    numbers = np.random.default_rng(0).normal(size=(30, 12))
    many = repr(explain(model().fit(numbers, numbers[:, 0]), numbers[:1])).splitlines()
    assert len(many) == 2 + 1 + 15 + 1
    assert many[-1] == f"... and {12 + 66 - 15} more terms"


def test_the_representation_without_pandas(monkeypatch):
    X, y = trips()
    found = explain(model().fit(X, y), X[:8])
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    assert repr(found) == "Explanation of 8 predictions by 3 main effects and 3 pairs"


# --------------------------------------------------------------------------------------- the labels


def overlaps(display):
    """The pairs of labels that cover each other in the drawn figure."""
    display.figure_.canvas.draw()
    boxes = [text.get_window_extent() for text in display.text_]
    return [(i, j) for i in range(len(boxes)) for j in range(i) if boxes[i].overlaps(boxes[j])]


@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("length", [2, 20])
def test_labels_do_not_cover_each_other(spread, length):
    rng = np.random.default_rng(0)
    points = np.vstack([rng.normal(size=(30, 2)), spread * rng.normal(size=(30, 2))])
    labels = [f"{i:0{length}d}" for i in range(60)]
    display = EmbeddingDisplay(points=points, labels=labels, explained=np.ones(2), name="a").plot(labeled=60)
    assert overlaps(display) == []
    assert len(display.text_) >= (40 if length == 2 else 20)
    assert [text.get_text() for text in display.text_] == sorted(text.get_text() for text in display.text_)
    box = display.figure_.bbox
    for text in display.text_:
        extent = text.get_window_extent()
        assert box.contains(*extent.min)
        assert box.contains(*extent.max)


def test_labels_in_the_axes_of_another_figure():
    rng = np.random.default_rng(0)
    figure = plt.figure(figsize=(8, 4))
    left, right = figure.subfigures(1, 2)
    left.subplots()
    display = EmbeddingDisplay(
        points=rng.normal(size=(20, 2)),
        labels=[f"label {i}" for i in range(20)],
        explained=np.ones(2),
        name="a",
    )
    display.plot(ax=right.subplots())
    assert display.text_
    assert overlaps(display) == []


def test_labels_far_from_their_point_are_connected_with_it():
    points = np.zeros((12, 2))
    points[0] = 1
    labels = [f"label {i}" for i in range(12)]
    display = EmbeddingDisplay(points=points, labels=labels, explained=np.ones(2), name="a").plot()
    assert overlaps(display) == []
    assert len(display.text_) == 12
    assert display.ax_.lines
