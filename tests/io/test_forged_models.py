"""Forged model files: a number that cannot be one of a model is refused in words, although the checksum is right."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from skfm import FMClassifier, FMRegressor
from skfm.core.solvers import SOLVERS
from skfm.io import load_model, save_model
from tests.helpers.saved import data, small

LABELS = np.array(["no", "maybe", "yes"])[data()[1] - 1]
WEIGHTS = {"no": 2.0, "maybe": 1.0, "yes": 1.0}
STARS = data()[1].astype(float)


def in_frame():
    frame = pd.DataFrame({"size": np.arange(40.0), "city": list("abcd") * 10})
    return FMRegressor(2, solver="adagrad", max_iter=2, random_state=0).fit(frame, np.arange(40.0) % 7)


MODELS = {
    **{solver: lambda solver=solver: small(solver=solver) for solver in SOLVERS},
    "classes": lambda: small(FMClassifier, LABELS, solver="vb"),
    "classes online": lambda: small(
        FMClassifier, LABELS, solver="adam", class_weight={"no": 2.0, "maybe": 1.0, "yes": 1.0}
    ),
    "diagonal": lambda: small(solver="vb", covariance_type="diag"),
    "probit": lambda: small(FMClassifier, LABELS == "no", loss="probit", solver="mcmc"),
    "stars": lambda: small(y=STARS, loss="ordered_probit", solver="mcmc", max_iter=8),
    "one class pair": lambda: small(FMClassifier, LABELS == "no", solver="ftrl", loss="hinge"),
    "frame": in_frame,
    "medians": lambda: small(solver="adagrad", loss="huber"),
}

#: Arrays that may have negative numbers; all others hold counts, variances, scales or sums of squares.
SIGNED = {
    "coef_",
    "factors_",
    "intercept_",
    "classes_",
    "levels_",
    "_coding/start",
    "_conditioning/center",
    "_draws/intercept",
    "_draws/coef",
    "_draws/cut_points",
    "_draws/log_likelihood",
    "_standardized/intercept",
    "_standardized/linear",
    "_standardized/factors",
    "_online/tensors/theta",
    "_online/tensors/intercept",
    "_online/scales/mean",
    "_online/scales/sample",
    "_online/scales/target",
}


def is_signed(name, solver):
    slots = {"adam": "0", "ftrl": "1"}
    first = name.rpartition("/")[2]
    return name in SIGNED or (
        first.startswith(("slot_", "intercept_slot_")) and first[-1] == slots.get(solver)
    )


def numbers_in(node, path=()):
    """The paths of all numbers of a nested structure of settings."""
    if isinstance(node, dict | list):
        for key, part in node.items() if isinstance(node, dict) else enumerate(node):
            yield from numbers_in(part, (*path, key))
    elif type(node) in (int, float):
        yield path


def forgeries_of(arrays, document):
    """Functions that put an impossible number into a copy of a model file, by what they do."""
    found = {}
    solver = document["state"]["_model"]["dict"]["solver"]

    def in_array(name, value, what, place=None):
        def forge(arrays, document, rng):
            arrays[name] = arrays[name].copy()
            arrays[name].flat[rng.integers(arrays[name].size) if place is None else place] = value

        found[f"{name}: {what}"] = forge

    def in_document(path, value):
        def forge(arrays, document, rng):
            *way, last = path
            for key in way:
                document = document[key]
            document[last] = value

        found[f"{'/'.join(map(str, path))}: {value!r}"] = forge

    for name, array in arrays.items():
        if not array.size or array.dtype.kind in "ub" or name.startswith(("parameters", "history_")):
            continue
        if array.dtype.kind == "i":
            if name not in ("fields_", "classes_"):
                in_array(name, -1, "negative")
                in_array(name, 10**9, "too large")
            continue
        in_array(name, np.nan, "NaN")
        in_array(name, -np.inf, "-inf")
        if "slot_" not in name or is_signed(name, solver):
            in_array(name, np.inf, "inf")
        if name == "covariances_":
            in_array(name, -1.0, "negative variance", place=0)
            in_array(name, 1e6, "too large", place=1) if array.ndim > 2 else None
        elif not is_signed(name, solver) and name != "fields_":
            in_array(name, -1.0, "negative")
        if name.endswith(("held", "visits")):
            in_array(name, 0.5, "half")
            in_array(name, 1e7, "too many")
    for path in numbers_in(document["state"], ("state",)):
        value = document
        for key in path:
            value = value[key]
        name = "/".join(str(key) for key in path if key != "dict")
        if "one-hot" in path or "fields_" in path:
            continue
        for other in (-1, 1.5, 10**20) if type(value) is int else ():
            in_document(path, other)
        is_free = "history_" in path or name == "state/_online/numbers/run/base"
        for other in () if is_free else ("nan", "inf", "-inf"):
            in_document(path, {"float": other})
        in_document(path, "1")
        in_document(path, True) if type(value) is int else None
    for name in document["state"]["history_"]["dict"]:
        values = document["state"]["history_"]["dict"][name]
        if "list" in values:
            found[f"history_/{name}: longer"] = lambda a, d, rng, name=name: d["state"]["history_"]["dict"][
                name
            ]["list"].append(1.0)
            found[f"history_/{name}: shorter"] = lambda a, d, rng, name=name: d["state"]["history_"]["dict"][
                name
            ]["list"].pop()
    for path, values in {
        ("state", "n_iter_"): [10**6],
        ("state", "_seed"): [2**32],
        ("state", "_coding", "dict", "scale"): [0, -1.0],
        ("state", "_coding", "dict", "unit"): [0, -1.0],
        ("state", "_model", "dict", "quantile"): [0, 1.0, -0.5],
    }.items():
        for value in values:
            in_document(path, value)
    if "_online" in document["state"]:
        for name, value in (("retries", 9), ("totals", {"list": [1.0]}), ("totals", {"list": [1.0, -1.0]})):
            in_document(("state", "_online", "dict", "numbers", "dict", "run", "dict", name), value)
        in_document(("state", "_online", "dict", "numbers", "dict", "n_batches"), 0)
    return found


def check_forgeries(kind, folder, choose, rng):
    path = folder / "model"
    save_model(MODELS[kind](), path)
    load_model(path)
    with safe_open(str(path), framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = file.metadata()["skfm"]
    forgeries = forgeries_of(arrays, json.loads(text))
    names = choose(sorted(forgeries))
    for name in names:
        forged = dict(arrays), json.loads(text)
        forgeries[name](*forged, rng)
        save_file(forged[0], str(path), metadata={"skfm": json.dumps(forged[1])})
        with pytest.raises(
            ValueError, match=r"is not a model file of skfm\.io or is damaged: .*Save the model again"
        ):
            load_model(path)
    return len(names)


@pytest.mark.parametrize("kind", MODELS)
def test_forged_models(kind, tmp_path):
    number = list(MODELS).index(kind)
    n_tried = check_forgeries(
        kind, tmp_path, lambda names: names[number % 4 :: 4], np.random.default_rng(number)
    )
    assert n_tried > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", MODELS)
def test_all_forged_models(kind, seed, tmp_path):
    assert check_forgeries(kind, tmp_path, lambda names: names, np.random.default_rng(seed)) > 40
