"""The defaults of torch, which other code in the process may have changed, have no effect on any result."""

import contextlib

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse

from skfm import FMClassifier, FMRegressor
from skfm.core.solvers import SOLVERS
from skfm.inspection import explain, interaction_strength
from skfm.io import load_model, save_model
from tests.helpers.problems import levels, numeric, one_hot, plant, three_fields
from tests.helpers.slow import parametrize


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


DEFAULTS = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "meta": lambda: torch.device("meta"),
}

FRAME = pd.DataFrame(
    {
        "city": np.random.default_rng(0).choice(list("abc"), 150),
        "size": np.random.default_rng(1).normal(size=150),
        "tags": [["x"], ["x", "y"], []] * 50,
    }
)
DATA = {
    "one-hot": one_hot(),
    "float32": three_fields().astype(np.float32),
    "numeric": numeric(),
    "mixed": sparse.hstack([one_hot(), numeric()]).tocsr(),
    "frame": FRAME,
}
Y = plant(DATA["mixed"])
#: Few draws, so that a fit is short.
OPTIONS = {"mcmc": {"n_draws": 2, "burn_in": 1, "n_chains": 2}}


def target(kind, loss):
    if kind is FMClassifier:
        return levels(Y, 2 if loss in ("probit", "hinge") else 3)
    return levels(Y, 4).astype(float) if loss == "ordered_probit" else np.abs(Y) + 1


def flat(value, name=""):
    """All numbers of nested containers, with their places as names."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)
    else:
        return {name: np.asarray(value)}
    return {k: v for key, inner in pairs for k, v in flat(inner, f"{name}/{key}").items()}


def results(kind, solver, loss, X, path):
    """All that a model gives: after a fit of few sweeps, after its file was read, and after it was fitted further."""
    y = target(kind, loss)
    options = {"max_iter": 3, "tol": 0, "random_state": 0} | OPTIONS.get(solver, {})
    model = kind(2, solver=solver, loss=loss, **options).fit(X, y, sample_weight=np.linspace(0.5, 2, len(y)))
    found = {"model": {name: value for name, value in vars(model).items() if name != "_frame"}}
    if kind is FMRegressor and solver in ("vb", "mcmc"):
        found["std"] = model.predict(X, return_std=True)
        found["quantiles"] = model.predict(X, quantiles=[0.1, 0.9])
    elif hasattr(model, "predict_proba"):
        found["probabilities"] = model.predict_proba(X)
    found["predictions"] = model.predict(X)
    found["explanation"] = explain(model, X[:5]).pairs
    last = model.classes_[-1] if kind is FMClassifier else None
    found["strength"] = interaction_strength(model, class_of_interest=last)["strength"].to_numpy()
    if solver != "mcmc":
        module = model.to_module("raw")
        rows = model.encode(X[:5])
        rows = torch.from_numpy(rows if isinstance(rows, np.ndarray) else rows.toarray())
        found["module"] = module(rows).detach().numpy()
        found["from module"] = kind.from_module(
            module, **{} if kind is FMRegressor else {"classes": model.classes_}
        ).coef_
    save_model(model, path)
    found["read"] = load_model(path).predict(X)
    if SOLVERS[solver].learns_online:
        model.partial_fit(X, y)
        found["partial fit"] = model.coef_, model.factors_
    model.set_params(warm_start=True, early_stopping=True).fit(X, y)
    found["warm start"] = model.coef_, model.factors_
    return flat(found)


def losses(kind, solver):
    return sorted(SOLVERS[solver].losses & kind._parameter_constraints["loss"][0].options)


KINDS = (FMRegressor, FMClassifier)
LOSS = {FMRegressor: "squared_error", FMClassifier: "log_loss"}
#: One solver of each engine with every kind of data and every loss, the others once.
MAIN, OTHER = ("vb", "als", "mcmc", "adagrad"), ("adam", "sgd", "ftrl")
CASES = [
    *((kind, solver, LOSS[kind], data) for kind in KINDS for solver in MAIN for data in DATA),
    *((kind, solver, LOSS[kind], "mixed") for kind in KINDS for solver in OTHER),
    *(
        (kind, solver, loss, "mixed")
        for kind in KINDS
        for solver in MAIN
        for loss in losses(kind, solver)
        if loss != LOSS[kind]
    ),
]


def is_fast(kind, solver, loss, data):
    return data == "mixed" and loss == LOSS[kind] and (kind is FMRegressor or solver == "vb")


@pytest.mark.filterwarnings("ignore")
@parametrize(("kind", "solver", "loss", "data"), CASES, fast=is_fast)
def test_nothing_depends_on_the_defaults_of_torch(kind, solver, loss, data, tmp_path):
    expected = results(kind, solver, loss, DATA[data], tmp_path / "model")
    for name, context in DEFAULTS.items():
        with context():
            found = results(kind, solver, loss, DATA[data], tmp_path / "model")
        assert found.keys() == expected.keys()
        for place, value in expected.items():
            assert found[place].dtype == value.dtype, (name, place)
            assert_array_equal(found[place], value, err_msg=f"{name}: {place}")
