"""Standardized parameters in files: checked like all other parts."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors import safe_open
from safetensors.numpy import save_file

from skfm import FMClassifier, FMRegressor
from skfm.io import load_model, save_model

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3)) + np.array([1e6, 0, -20])
Y = RNG.standard_normal(40)
LEVELS = np.digitize(Y, [-0.4, 0.4])


def fit(solver="vb", kind=FMRegressor, y=Y):
    return kind(2, solver=solver, max_iter=4, random_state=0).fit(X, y)


def change(path, function):
    with safe_open(str(path), framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        document = json.loads(file.metadata()["skfm"])
    function(arrays, document["state"])
    save_file(arrays, str(path), metadata={"skfm": json.dumps(document)})


@pytest.mark.parametrize("solver", ["als", "vb", "mcmc", "adagrad"])
@pytest.mark.parametrize("y", [Y, LEVELS > 0, LEVELS], ids=["numbers", "two", "three"])
def test_there_and_back(solver, y, tmp_path):
    kind = FMRegressor if y is Y else FMClassifier
    model = fit(solver, kind, y)
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    for name in ("intercept", "linear"):
        assert_array_equal(again._standardized[name], model._standardized[name])
    assert again._standardized["factors"] is None
    assert_array_equal(again.predict(X), model.predict(X))


def test_files_of_before_have_none(tmp_path):
    path = tmp_path / "model"
    save_model(fit(), path)

    def remove(arrays, state):
        del state["_standardized"]
        for name in [name for name in arrays if name.startswith("_standardized")]:
            del arrays[name]

    change(path, remove)
    found = load_model(path)
    assert not hasattr(found, "_standardized")
    assert np.isfinite(found.predict(X)).all()


FAULTS = {
    "infinite": (
        "vb",
        lambda a, s: a.update({"_standardized/linear": np.full((1, 3), np.inf)}),
        "not finite",
    ),
    "other columns": (
        "vb",
        lambda a, s: a.update({"_standardized/linear": np.ones((1, 4))}),
        "has shape",
    ),
    "other outputs": ("vb", lambda a, s: a.update({"_standardized/intercept": np.ones(2)}), "has shape"),
    "integers": ("vb", lambda a, s: a.update({"_standardized/intercept": np.ones(1, int)}), "dtype of kind"),
    "a part missing": ("vb", lambda a, s: s["_standardized"]["dict"].pop("factors"), "with the keys"),
    "not a dict": ("vb", lambda a, s: s.update(_standardized=3), "with the keys"),
    "a number": ("vb", lambda a, s: s["_standardized"]["dict"].update(intercept=3), "dtype of kind"),
    "factors": ("vb", lambda a, s: s["_standardized"]["dict"].update(factors=3), "dtype of kind"),
    "draws": (
        "vb",
        lambda a, s: a.update(
            {"_standardized/intercept": np.ones((2, 1)), "_standardized/linear": np.ones((2, 1, 3))}
        ),
        "do not hold the same draws",
    ),
    "other draws": (
        "mcmc",
        lambda a, s: a.update(
            {"_standardized/intercept": np.ones((1, 1)), "_standardized/linear": np.ones((1, 1, 3))}
        ),
        "do not hold the same draws",
    ),
    "no draws": (
        "mcmc",
        lambda a, s: a.update(
            {"_standardized/intercept": np.ones(1), "_standardized/linear": np.ones((1, 3))}
        ),
        "do not hold the same draws",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(fault, tmp_path):
    solver, function, message = FAULTS[fault]
    path = tmp_path / "model"
    save_model(fit(solver), path)
    change(path, function)
    with pytest.raises(ValueError, match=message):
        load_model(path)


def test_models_that_do_not_fit_together_are_not_saved(tmp_path):
    model = fit()
    model._standardized["linear"] = np.ones((1, 2))
    with pytest.raises(ValueError, match="_standardized/linear has shape"):
        save_model(model, tmp_path / "model")
