"""The recipes of the guide with other tools: skops and MLflow."""

import numpy as np
import pytest
import skops.io as skops
from numpy.testing import assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from skfm import FMClassifier, FMRegressor
from tests.helpers.saved import assert_same, data

TRUSTED = ["skfm._classifier.FMClassifier", "skfm._regressor.FMRegressor"]


def words():
    X = np.random.default_rng(0).choice(["red", "green", "blue"], (100, 2))
    return X, np.where(X[:, 0] == X[:, 1], "same", "different")


@pytest.mark.parametrize("solver", ["vb", "als", "mcmc", "adam"])
@pytest.mark.parametrize("kind", [FMRegressor, FMClassifier])
def test_skops_keeps_all(kind, solver, tmp_path):
    X, y = data()
    model = kind(2, solver=solver, max_iter=4, random_state=0).fit(X, y)
    skops.dump(model, tmp_path / "model.skops")
    assert set(skops.get_untrusted_types(file=tmp_path / "model.skops")) <= set(TRUSTED)
    again = skops.load(tmp_path / "model.skops", trusted=TRUSTED)
    assert_same(vars(again), vars(model))
    if solver == "adam":
        assert_array_equal(again.partial_fit(X, y).predict(X), model.partial_fit(X, y).predict(X))


def test_skops_pipeline():
    X, y = words()
    model = make_pipeline(OneHotEncoder(), FMClassifier(2, random_state=0)).fit(X, y)
    again = skops.loads(skops.dumps(model), trusted=TRUSTED[:1])
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))


# mlflow warns of pickles, of its own deprecations and of the versions around it.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("serialization", ["skops", "cloudpickle"])
def test_mlflow(serialization, tmp_path):
    mlflow = pytest.importorskip(
        "mlflow.sklearn", reason="needs mlflow, which brings thirty packages that nothing else here uses"
    )
    X, y = words()
    model = make_pipeline(OneHotEncoder(), FMClassifier(2, random_state=0)).fit(X, y)
    options = {"skops_trusted_types": TRUSTED[:1]} if serialization == "skops" else {}
    # Without a list of requirements mlflow starts a process to find them.
    mlflow.save_model(
        model,
        tmp_path / "model",
        serialization_format=serialization,
        pip_requirements=["scikit-learn"],
        **options,
    )
    again = mlflow.load_model(str(tmp_path / "model"))
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))
