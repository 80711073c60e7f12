"""scikit-learn's tools for models work around both estimators, with DataFrames that hold categories."""

import joblib
import numpy as np
import optuna
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import StackingRegressor, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler, TargetEncoder

from skfm import FMClassifier, FMRegressor


def shop(n=240, seed=0):
    """A frame in which a number acts by category, with a target of numbers."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"city": rng.choice(["Oslo", "Rome", "Wien"], n), "size": rng.uniform(1, 9, n)})
    y = frame["size"] * frame["city"].map({"Oslo": 1.0, "Rome": -1.0, "Wien": 0.0})
    return frame, (y + 0.1 * rng.standard_normal(n)).to_numpy()


def test_grid_search():
    X, y = shop()
    search = GridSearchCV(FMRegressor(random_state=0), {"n_factors": [0, 2]}, cv=3).fit(X, y)
    assert search.best_params_ == {"n_factors": 2}
    assert search.best_score_ > 0.95
    assert search.score(X, y) > 0.95


class Threads(FMRegressor):
    """Takes down how many threads torch has while it fits."""

    def fit(self, X, y=None, **options):
        self.n_threads_ = torch.get_num_threads()
        return super().fit(X, y, **options)


def n_threads(model, X, y):
    return model.n_threads_


def test_processes_of_a_search_do_not_share_out_threads_they_have_not(monkeypatch):
    # As on a machine with many cores, where each process would take all of them.
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    X, y = shop(60)
    search = GridSearchCV(
        Threads(2, max_iter=2, random_state=0), {"n_factors": [0, 2]}, cv=2, n_jobs=2, scoring=n_threads
    ).fit(X, y)
    fair = max(1, joblib.cpu_count() // 2)
    assert (search.cv_results_["mean_test_score"] == fair).all()


def test_halving_search():
    X, y = shop()
    search = HalvingRandomSearchCV(
        FMRegressor(solver="adagrad", random_state=0),
        {"n_factors": [0, 1, 2, 4]},
        n_candidates=4,
        resource="max_iter",
        min_resources=5,
        max_resources=20,
        factor=2,
        cv=3,
        random_state=0,
    ).fit(X, y)
    assert search.best_params_["n_factors"] > 0


@pytest.mark.parametrize("convert", [lambda frame: frame, pl.from_pandas], ids=["pandas", "polars"])
def test_predictions_out_of_fold(convert):
    X, y = shop()
    predicted = cross_val_predict(FMRegressor(random_state=0), convert(X), y, cv=3)
    assert r2_score(y, predicted) > 0.95


def test_calibration():
    X, y = shop()
    margin = FMClassifier(solver="adagrad", loss="squared_hinge", random_state=0)
    model = CalibratedClassifierCV(margin, cv=3).fit(X, y > 0)
    p = model.predict_proba(X)
    assert_allclose(p.sum(1), 1)
    assert np.mean((p[:, 1] > 0.5) == (y > 0)) > 0.8


def test_stacks_and_votes():
    X, y = shop()
    linear = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["city"]), remainder=StandardScaler()), Ridge()
    )
    stack = StackingRegressor([("fm", FMRegressor(random_state=0)), ("linear", linear)], cv=3).fit(X, y)
    assert stack.score(X, y) > 0.95
    logistic = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    votes = VotingClassifier([("fm", FMClassifier(random_state=0)), ("linear", logistic)], voting="soft")
    assert votes.fit(X, y > 0).score(X, y > 0) > 0.8


def test_target_encoding():
    X, y = shop()
    encoder = make_column_transformer(
        (TargetEncoder(target_type="continuous"), ["city"]), remainder="passthrough"
    )
    assert make_pipeline(encoder, FMRegressor(random_state=0)).fit(X, y).score(X, y) > 0.8


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_categories_pass_through_transformers_with_frames_as_output(library):
    X, y = shop()
    X = X if library == "pandas" else pl.from_pandas(X)
    bins = make_column_transformer(
        (StandardScaler(), ["size"]), remainder="passthrough", verbose_feature_names_out=False
    ).set_output(transform=library)
    model = make_pipeline(bins, FMRegressor(random_state=0)).fit(X, y)
    assert model.score(X, y) > 0.95
    assert set(model[-1].fields_) == {"size", "city"}


def test_bins_are_categories_where_they_are_named():
    X, y = shop()
    bins = make_column_transformer(
        (
            KBinsDiscretizer(4, encode="ordinal", strategy="uniform"),
            make_column_selector(dtype_include="number"),
        ),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    model = make_pipeline(bins, FMRegressor(categorical_features=["city", "size"], random_state=0)).fit(X, y)
    assert (model[-1].fields_ == "size").sum() == 5


def test_metadata_goes_through_a_pipeline():
    X, y = shop()
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), FMRegressor(2, random_state=0))
    numbers = X[["size"]]
    weight = np.random.default_rng(0).uniform(0, 1, len(y))
    model.fit(numbers, y, fmregressor__sample_weight=weight)
    assert np.isfinite(model.predict(numbers)).all()


def test_optuna_prunes_inside_a_fit():
    pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")
    X, y = shop()
    train, held_out = slice(0, 180), slice(180, None)

    class Pruning:
        """Reports each epoch to a trial, and stops the fit where the trial is to be pruned."""

        def __init__(self, trial):
            self.trial = trial
            self.pruned = False

        def setup(self, estimator, context):
            """Nothing to prepare."""

        def teardown(self, estimator, context):
            """Nothing to tidy up."""

        def on_fit_task_begin(self, estimator, context):
            """Wait for the end."""

        def on_fit_task_end(self, estimator, context, *, fitted_estimator):
            """Score the model of an epoch."""
            if context.task_name != "sweep" or self.pruned:
                return self.pruned
            score = fitted_estimator.score(X[held_out], y[held_out])
            self.trial.report(score, context.task_id)
            self.pruned = self.trial.should_prune()
            return self.pruned

    n_epochs = []

    def objective(trial):
        rate = trial.suggest_categorical("learning_rate", [0.3, 1e-6])
        callback = Pruning(trial)
        model = FMRegressor(2, solver="adagrad", learning_rate=rate, max_iter=12, random_state=0)
        model.set_callbacks(callback).fit(X[train], y[train])
        n_epochs.append(model.n_iter_)
        if callback.pruned:
            raise optuna.TrialPruned
        return model.score(X[held_out], y[held_out])

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.GridSampler({"learning_rate": [0.3, 1e-6]}, seed=0),
        pruner=optuna.pruners.ThresholdPruner(lower=0.0, n_warmup_steps=2),
    )
    study.optimize(objective, n_trials=2)
    by_rate = {trial.params["learning_rate"]: trial.state.name for trial in study.trials}
    assert by_rate == {0.3: "COMPLETE", 1e-6: "PRUNED"}
    assert sorted(n_epochs)[0] < 12
