"""load_model refuses what save_model has not written, and says what is wrong."""

import json
import struct
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from safetensors import safe_open
from safetensors.numpy import save_file

from skfm import FMClassifier, FMRegressor
from skfm.io import load_model, save_model
from tests.helpers.saved import data, small


def parts_of(path):
    with safe_open(str(path), framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["skfm"])  # noqa: SIM118


def write(path, arrays, document):
    text = document if isinstance(document, str) else json.dumps(document)
    save_file(
        {name: np.asarray(array, order="C") for name, array in arrays.items()},
        str(path),
        metadata={"skfm": text},
    )


def broken(path):
    with pytest.raises(ValueError, match=r"is not a model file of skfm\.io or is damaged") as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "Save the model again" in str(caught.value)
    return str(caught.value)


FAULTS = {
    "other class": (lambda a, d: d.update({"class": "Pipeline"}), "not one of FMRegressor, FMClassifier"),
    "class of a module": (
        lambda a, d: d.update({"class": "os.system"}),
        "not one of FMRegressor, FMClassifier",
    ),
    "no class": (lambda a, d: d.pop("class"), "not one of FMRegressor"),
    "wrong class": (lambda a, d: d.update({"class": "FMClassifier"}), ""),
    "later format": (lambda a, d: d.update(format=2, version="9"), "written by skfm '9'"),
    "no format": (lambda a, d: d.pop("format"), "not have the format that skfm writes"),
    "unknown parameter": (lambda a, d: d["parameters"].update(color=1), r"no parameters ['color']"),
    "bad parameter": (lambda a, d: d["parameters"].update(n_factors=-1), "n_factors"),
    "parameter of another type": (lambda a, d: d["parameters"].update(solver={"list": []}), "solver"),
    "checkpoint": (
        lambda a, d: d["parameters"].update(checkpoint="/tmp/x"),
        "the parameter checkpoint, which saved models never have",
    ),
    "no parameters": (lambda a, d: d.pop("parameters"), "not have the format that skfm writes"),
    "unknown attribute": (lambda a, d: d["state"].update(predict=1), r"has ['predict']"),
    "dunder": (lambda a, d: d["state"].update(__class__="x"), r"has ['__class__']"),
    "missing attribute": (lambda a, d: d["state"].pop("_coding"), r"lacks ['_coding']"),
    "unknown codec": (lambda a, d: d["state"].update(n_iter_={"pickle": "gASVAAAA"}), "holds a 'pickle'"),
    "two tags": (
        lambda a, d: d["state"].update(n_iter_={"list": [], "dict": {}}),
        "not have the format that skfm writes",
    ),
    "bare list": (lambda a, d: d["state"].update(n_iter_=[1]), "not have the format that skfm writes"),
    "array named twice": (
        lambda a, d: d["state"]["coef_"].update(array="factors_"),
        "or refer to it more than once",
    ),
    "missing array": (lambda a, d: a.pop("coef_"), "that is missing"),
    "array for nobody": (lambda a, d: a.update(more=np.ones(3)), "do not refer to"),
    "nan": (lambda a, d: a.update(coef_=a["coef_"] * np.nan), "coef_ contains values that are not finite"),
    "infinite intercept": (
        lambda a, d: d["state"].update(intercept_={"float": "inf"}),
        "intercept_ must be a finite",
    ),
    "fewer columns": (lambda a, d: a.update(coef_=a["coef_"][1:]), "coef_ has shape (4,)"),
    "more factors": (lambda a, d: a.update(factors_=np.ones((5, 3), np.float32)), "different dtypes"),
    "integers": (
        lambda a, d: a.update(coef_=np.ones(5, int)),
        "coef_ must be an array with a dtype of kind 'f'",
    ),
    "other fields": (
        lambda a, d: a.update(_field_numbers=np.arange(5) + 9),
        "_field_numbers must number the fields from 0",
    ),
    "zero scale": (lambda a, d: a.update({"_conditioning/scale": np.zeros(5)}), "must be positive"),
    "other outputs": (lambda a, d: d["state"]["_model"]["dict"].update(n_outputs=3), "factors_"),
    "other solver": (
        lambda a, d: d["state"]["_model"]["dict"].update(solver="mcmc"),
        "_draws does not match",
    ),
    "unknown solver": (lambda a, d: d["state"]["_model"]["dict"].update(solver="lbfgs"), "lbfgs"),
    "other loss": (lambda a, d: d["state"]["_model"]["dict"].update(loss="log_loss"), "log_loss"),
    "device": (lambda a, d: d["state"].update(device_="cpu; ls"), "must be the name of a device"),
    "huge count": (lambda a, d: d["state"].update(n_iter_=10**30), "n_iter_ must be an integer"),
    "negative seed": (lambda a, d: d["state"].update(_seed=-1), "_seed must be an integer"),
    "columns beyond": (lambda a, d: a.update(_dense_columns=np.array([7])), "_dense_columns"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_inconsistent_files(fault, tmp_path):
    path = tmp_path / "model"
    save_model(small(), path)
    arrays, document = parts_of(path)
    change, message = FAULTS[fault]
    change(arrays, document)
    write(path, arrays, document)
    assert message in broken(path)


@pytest.mark.parametrize(
    ("solver", "change", "message"),
    [
        ("sgd", lambda a, d: a.update({"_online/tensors/theta": np.ones((5, 4))}), "theta has shape"),
        ("sgd", lambda a, d: a.update({"_online/tensors/theta": np.full((5, 3), np.inf)}), "not finite"),
        ("sgd", lambda a, d: a.update({"_online/tensors/held": np.full(5, np.nan)}), "contains NaN"),
        (
            "sgd",
            lambda a, d: d["state"]["_online"]["dict"]["numbers"]["dict"].pop("run"),
            "must be a dict with the keys",
        ),
        (
            "sgd",
            lambda a, d: d["state"]["_online"]["dict"]["numbers"]["dict"].update(n_batches=1.5),
            "n_batches",
        ),
        (
            "adam",
            lambda a, d: d["state"]["_model"]["dict"].update(solver="ftrl"),
            "_online/tensors must be a dict with the keys",
        ),
        ("vb", lambda a, d: a.update(covariances_=np.ones((5, 3, 2))), "covariances_ has shape"),
        ("vb", lambda a, d: d["state"].pop("_posterior"), "lacks"),
        ("vb", lambda a, d: d["state"].update(_posterior=None), "covariances_ does not belong to"),
        ("mcmc", lambda a, d: a.update({"_draws/coef": np.ones((1, 1, 5))}), "_draws/coef has shape"),
        ("mcmc", lambda a, d: d["state"]["_draws"]["dict"].update(n_chains=2), "do not match 2 chains"),
        ("mcmc", lambda a, d: d["state"]["_draws"]["dict"].update(noise_std=None), "noise_std"),
    ],
)
def test_inconsistent_files_of_other_solvers(solver, change, message, tmp_path):
    path = tmp_path / "model"
    save_model(small(solver=solver), path)
    arrays, document = parts_of(path)
    change(arrays, document)
    write(path, arrays, document)
    assert message in broken(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, d: a.update(classes_=a["classes_"][::-1]), "in ascending order"),
        (lambda a, d: a.update(classes_=np.arange(4)), "(3,), but the rest of the model requires (4,)"),
        (lambda a, d: a.update(classes_=np.full((3, 4), 0xFFFFFFFF, np.uint32)), ""),
    ],
)
def test_inconsistent_classes(change, message, tmp_path):
    path = tmp_path / "model"
    save_model(small(FMClassifier), path)
    arrays, document = parts_of(path)
    change(arrays, document)
    write(path, arrays, document)
    assert message in broken(path)


def test_strings_of_no_characters(tmp_path):
    path = tmp_path / "model"
    save_model(small(FMClassifier, np.array(["no", "yes"])[data()[1] % 2]), path)
    arrays, document = parts_of(path)
    arrays["classes_"][:] = 0xFFFFFFFF
    write(path, arrays, document)
    assert "invalid code point" in broken(path)


def raw(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has only 0 bytes and ends within its header"),
        (b"\x01", "has only 1 bytes and ends within its header"),
        (b"PK\x03\x04" * 100, "ends within its header"),
        (raw(b"{", length=2**63), "ends within its header"),
        (raw(b"{" + b" " * (1 << 23)), "at most 4194304 are allowed"),
        (raw(b"{"), "header"),
        (raw(b"[" * 100_000), "header"),
        (raw({}), "its metadata has no entry 'skfm'"),
        (raw({"__metadata__": {"skfm": "{}"}}), "not have the format that skfm writes"),
        (raw({"__metadata__": {"skfm": "[" * 100_000}}), "too many small objects"),
        (raw({"__metadata__": {"skfm": "[" * 15_000}}), ""),
        (raw({"__metadata__": {"skfm": "x" * (1 << 21)}}), "at most 1048576 are allowed"),
        (raw({"__metadata__": {"skfm": '{"format": 1, "x": NaN}'}}), "NaN"),
        (raw({"__metadata__": {"skfm": '{"format": 1, "x": 1' + "0" * 10_000 + "}"}}), ""),
        (raw({"__metadata__": {"skfm": '"\\ud800"'}}), "not have the format that skfm writes"),
        (raw({"a": {"dtype": "F64", "shape": [1 << 60], "data_offsets": [0, 1 << 63]}}), ""),
        (raw({"a": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}}, b"1234"), ""),
    ],
)
def test_files_of_another_kind(content, message, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        assert message in broken(path)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(content) + (1 << 21)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("dtype", "content", "message"),
    [
        ("F16", b"12" * 5, "type F16"),
        ("BF16", b"12" * 5, "type BF16"),
        ("BOOL", b"\x05" * 5, "bytes other than 0 and 1"),
    ],
)
def test_arrays_of_other_types(dtype, content, message, tmp_path):
    path = tmp_path / "model"
    save_model(small(), path)
    header = {
        "__metadata__": {"skfm": json.dumps(parts_of(path)[1])},
        "coef_": {"dtype": dtype, "shape": [5], "data_offsets": [0, len(content)]},
    }
    document = parts_of(path)[1]
    document["state"] = {"coef_": {"array": "coef_"}}
    document["parameters"] = {}
    header["__metadata__"]["skfm"] = json.dumps(document)
    path.write_bytes(raw(header, content))
    assert message in broken(path)


def test_classes_whose_numbers_are_moved(tmp_path):
    path = tmp_path / "model"
    save_model(small(FMClassifier, solver="adagrad"), path)
    arrays, document = parts_of(path)
    document["state"]["_coding"]["dict"]["shift"] = 1.0
    write(path, arrays, document)
    assert "_coding must not shift or scale class numbers" in broken(path)


def in_frame(**parts):
    return lambda arrays, frame: frame.update(parts)


def one_category_of_three(arrays, frame):
    frame["encoders"]["list"][1]["one-hot"].update(categories={"objects": [[1], {"list": ["a"]}]})


FRAME_FAULTS = {
    "a kind of its own": (
        in_frame(kinds={"list": ["numeric", "tree"]}),
        "has a column 'city' of the unknown kind 'tree'",
    ),
    "no encoder": (in_frame(encoders={"list": [None, None]}), "invalid encoder for column 'city'"),
    "fewer columns": (in_frame(names={"list": ["size"]}), "describe each of the 2 columns"),
    "a delimiter": (
        in_frame(delimiters={"list": ["|", None]}),
        "invalid delimiter for column 'size'",
    ),
    "other weights": (
        in_frame(weights="log"),
        "_frame/weights must be one of ['one', 'sqrt', 'mean'], got 'log'",
    ),
    "other numbers": (in_frame(dtype="int8"), "_frame/dtype must be 'float32' or 'float64', got 'int8'"),
    "no part of it": (lambda arrays, frame: frame.pop("names"), "_frame must be a dict with the keys"),
    "another width": (
        lambda arrays, frame: frame["encoders"]["list"][1]["one-hot"].update(
            categories={"objects": [[1], {"list": ["a"]}]}
        ),
        "not have the format that skfm writes",
    ),
}


@pytest.mark.parametrize("fault", FRAME_FAULTS)
def test_inconsistent_encoders(fault, tmp_path):
    path = tmp_path / "model"
    frame = pd.DataFrame({"size": np.arange(6.0), "city": list("abcabc")})
    save_model(FMRegressor(2, max_iter=2, random_state=0).fit(frame, np.arange(6.0)), path)
    arrays, document = parts_of(path)
    change, message = FRAME_FAULTS[fault]
    change(arrays, document["state"]["_frame"]["dict"])
    write(path, arrays, document)
    assert message in broken(path)


#: Integers that all have the hash 0.
SAME_HASH = [k * (2**61 - 1) * 1000 for k in range(15_000)]


@pytest.mark.parametrize("where", ["categories", "keys"])
def test_keys_of_one_hash_cost_no_time(where, tmp_path):
    path = tmp_path / "model"
    frame = pd.DataFrame({"size": np.arange(6.0), "city": pd.Series([1, 2, 3] * 2).astype("category")})
    save_model(FMRegressor(2, max_iter=2, random_state=0).fit(frame, np.arange(6.0)), path)
    arrays, document = parts_of(path)
    if where == "categories":
        encoder = document["state"]["_frame"]["dict"]["encoders"]["list"][1]["one-hot"]
        encoder["categories"] = {"objects": [[len(SAME_HASH)], {"list": SAME_HASH}]}
    else:
        document["parameters"]["fields"] = {"pairs": [{"list": SAME_HASH}, {"list": SAME_HASH}]}
    write(path, arrays, document)
    begin = time.process_time()
    assert "have the same hash" in broken(path)
    # A set of these would take seconds.
    assert time.process_time() - begin < 0.5


def test_large_integers_are_categories(tmp_path):
    path = tmp_path / "model"
    values = [2**64 + 7 * k for k in range(200)] * 2
    frame = pd.DataFrame({"city": pd.Series(values, dtype=object).astype("category")})
    model = FMRegressor(2, max_iter=2, random_state=0).fit(frame, np.arange(400.0))
    save_model(model, path)
    assert_array_equal(load_model(path).predict(frame), model.predict(frame))
