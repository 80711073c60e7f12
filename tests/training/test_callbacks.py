"""scikit-learn's callbacks, which came with version 1.9."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfm import FMClassifier, FMRegressor

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9 has no callbacks")

X, LABELS = load_iris(return_X_y=True)
Y = X[:, 0] * 10
X = X[:, 1:]


class Recorder:
    """Writes down what it is told, and stops after some sweeps."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.events = []
        self.predictions = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.events.append(f"end {context.task_name}")
        self.last = (X, y, metadata)
        self.predictions.append(fitted_estimator.predict(X))
        return context.task_name == "sweep" and context.task_id + 1 == self.stop_after


def test_what_callbacks_are_told():
    recorder = Recorder()
    weight = np.linspace(0, 1, 150)
    model = FMRegressor(2, max_iter=2, tol=0, random_state=0).set_callbacks(recorder)
    model.fit(X, Y, sample_weight=weight)
    sweep = ["begin sweep", "end sweep"]
    assert recorder.events == ["setup", "begin fit", *sweep, *sweep, "end fit", "teardown"]
    assert_array_equal(recorder.last[1], Y[1:])  # without the sample of weight zero
    assert_array_equal(recorder.last[2]["sample_weight"], weight[1:])
    # A fitted estimator after a sweep is the one that stops there.
    for n_sweeps, prediction in enumerate(recorder.predictions[:2], 1):
        same = FMRegressor(2, max_iter=n_sweeps, tol=0, random_state=0).fit(X, Y, sample_weight=weight)
        assert_allclose(prediction, same.predict(X[1:]))
    assert not any(name.startswith("_callback") for name in vars(model))


def test_a_callback_can_stop():
    recorder = Recorder(stop_after=3)
    model = FMClassifier(2, max_iter=10, tol=0, random_state=0).set_callbacks(recorder)
    assert model.fit(X, np.array(["a", "b", "c"])[LABELS]).n_iter_ == 3
    assert recorder.last[1][0] == "a"
    assert recorder.last[2] is None


def test_teardown_after_a_failed_fit():
    class Failing(Recorder):
        def on_fit_task_begin(self, estimator, context):
            if context.task_name == "sweep":
                raise RuntimeError("no")

    recorder = Failing()
    model = FMRegressor(2).set_callbacks(recorder)
    before = vars(model).copy()
    with pytest.raises(RuntimeError, match="no"):
        model.fit(X, Y)
    assert recorder.events[-1] == "teardown"
    assert vars(model) == before


def test_scoring_monitor():
    monitor = callback.ScoringMonitor(scoring=["neg_mean_squared_error", "r2"])
    model = FMRegressor(2, max_iter=4, tol=0, random_state=0).set_callbacks(monitor).fit(X, Y)
    sweeps = [row for row in monitor.get_logs().data if row["task_name"] == "sweep"]
    assert [row["task_id"] for row in sweeps] == [0, 1, 2, 3]
    assert_allclose(sweeps[-1]["neg_mean_squared_error"], -mean_squared_error(Y, model.predict(X)))


def test_progress_bar(capsys):
    FMClassifier(2, max_iter=2).set_callbacks(callback.ProgressBar()).fit(X, LABELS)
    assert "FMClassifier" in capsys.readouterr().out


def test_callbacks_reach_a_model_inside_others():
    monitor = callback.ScoringMonitor(scoring="r2")
    pipe = make_pipeline(StandardScaler(), FMRegressor(2, max_iter=2, tol=0))
    search = GridSearchCV(pipe, {"fmregressor__n_factors": [1, 2]}, cv=2)
    pipe[-1].set_callbacks(monitor)
    search.fit(X, Y)
    assert sum(row["task_name"] == "sweep" for log in monitor.get_logs("all") for row in log.data) > 0
    clone(search).set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(X, Y)


def test_callbacks_survive_clone():
    model = FMRegressor().set_callbacks(Recorder())
    assert len(clone(model)._skl_callbacks) == 1


def test_without_callbacks_no_context_is_made(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    model = FMRegressor(2, max_iter=2).fit(X, Y)
    assert model.n_iter_ == 2
