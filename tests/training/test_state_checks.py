"""Forged checkpoints: a number that cannot be one of a run is refused in words, although the checksum is right."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skfm.training import checkpoint as _checkpoint
from skfm.training.checkpoint import Checkpoint

from ..helpers.minibatch import MINIBATCH, NAMES
from ..helpers.streams import case

#: Values that no number of a checkpoint can have.
IMPOSSIBLE = {
    "integer": [-1, -(2**40), 1.5, True, "1", [1], {}, 2**80, float("nan"), float("inf")],
    "float": [float("nan"), float("-inf"), "1", None, [1.0], {}, True],
    "text": [5, None, [], {}],
}


def read(path):
    with np.load(path) as archive:
        arrays = dict(archive)
    return arrays, json.loads(bytes(arrays.pop("json")).decode())


def write(path, arrays, content):
    with path.open("wb") as file:
        np.savez(file, **arrays, json=np.frombuffer(json.dumps(content).encode(), np.uint8))


def interrupted_run(path, solver, is_stream, is_validated):
    """Return a model and its arguments, and leave the checkpoint of a run that was interrupted in its second epoch."""
    model, arguments = case(solver, is_stream, is_validated)
    model.set_params(checkpoint=path, max_iter=2)
    save, n_saved = Checkpoint.save, []

    def fails(self, tensors, numbers):
        save(self, tensors, numbers)
        n_saved.append(1)
        if len(n_saved) == (6 if is_stream else 2):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checkpoint, "INTERVAL", 0)
        patch.setattr(_checkpoint, "PATIENCE", 0)
        patch.setattr(Checkpoint, "save", fails)
        with pytest.raises(KeyboardInterrupt):
            clone(model).fit(**arguments)
    return model, arguments


def places_in(node, path=()):
    """The paths of all numbers and texts of a nested structure."""
    if isinstance(node, dict | list):
        for key, part in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places_in(part, (*path, key))
    else:
        yield path


def forgeries_of(arrays, content, signed):
    """Functions that put an impossible number into a copy of a checkpoint, by what they do."""
    found = {}

    def in_array(name, value, what):
        def forge(arrays, content, rng):
            arrays[name] = arrays[name].copy()
            arrays[name].flat[rng.integers(arrays[name].size)] = value

        found[f"{name}: {what}"] = forge

    def as_array(name, change, what):
        def forge(arrays, content, rng):
            arrays[name] = change(arrays[name])

        found[f"{name}: {what}"] = forge

    def in_content(path, value):
        def forge(arrays, content, rng):
            *way, last = path
            for key in way:
                content = content[key]
            content[last] = value

        found[f"{path}: {value!r}"] = forge

    for name, array in arrays.items():
        if array.size and array.dtype.kind == "i":
            in_array(name, -1, "negative")
            in_array(name, 10**9, "too large")
        elif array.size:
            in_array(name, np.nan, "NaN")
            in_array(name, -np.inf, "-inf")
            if "slot" not in name or name in signed:
                in_array(name, np.inf, "inf")
            if name not in signed:
                in_array(name, -1.0, "negative")
            if name in ("held", "visits"):
                in_array(name, 0.5, "half")
                in_array(name, 1e6, "too many")
        as_array(name, lambda a: a.astype(np.int32), "integers")
        as_array(name, lambda a: a.astype(np.float16), "half precision")
        as_array(name, lambda a: a.astype(">f8"), "swapped bytes")
        as_array(name, lambda a: a.astype(str), "text")
        as_array(name, lambda a: a[None], "one more axis")
        as_array(
            name, lambda a: np.concatenate([a, np.ones_like(a, shape=(1, *a.shape[1:]))]), "one more row"
        )
        found[f"{name}: missing"] = lambda arrays, content, rng, name=name: arrays.pop(name)
    found["more"] = lambda arrays, content, rng: arrays.update(more=np.zeros(1))
    found["other"] = lambda arrays, content, rng: content.update(other=1)
    for path in places_in(content):
        *way, last = path
        parent = content
        for key in way:
            parent = parent[key]
        value = parent[last]
        if path[0] == "identity" or path == ("format",):
            continue
        kind = "text" if isinstance(value, str) else "float" if isinstance(value, float) else "integer"
        for other in IMPOSSIBLE[kind]:
            # A validation loss can be anything, and the base is infinite at first.
            if not (path[-2:-1] == ("validation_loss",) and isinstance(other, float)):
                in_content(path, other)
        if not (isinstance(last, int) and isinstance(parent[0], float | list)):
            found[f"{path}: missing"] = lambda arrays, content, rng, path=path: drop(content, path)
    for count in ("epoch", "segment", "n_segments"):
        for step in (-1, 1, 10):
            value = content["run"][count] + step
            if value >= 0 and not (count == "segment" and 0 <= value <= content["run"]["n_segments"]):
                in_content(("run", count), value)
    for name in content["record"]["history"]:
        found[f"longer {name}"] = lambda a, c, rng, name=name: c["record"]["history"][name].append(1.0)
        found[f"shorter {name}"] = lambda a, c, rng, name=name: c["record"]["history"][name].pop()
    in_content(("record", "best"), 1)
    in_content(("run", "retries"), 9)
    in_content(("run", "totals"), [1.0])
    in_content(("run", "totals"), [1.0, -1.0])
    in_content(("pass_batches",), 10**6)
    in_content(("n_batches",), 10**6)
    in_content(("seed",), 2**33)
    return found


def drop(content, path):
    *way, last = path
    for key in way:
        content = content[key]
    del content[last]


CASES = [(True, True), (False, False), (True, False), (False, True)]


def check_forgeries(tmp_path, solver, is_stream, is_validated, choose, rng):
    path = tmp_path / "run"
    model, arguments = interrupted_run(path, solver, is_stream, is_validated)
    arrays, content = read(path)
    signed = {"theta", "intercept", "kept_0", "kept_1", "kept_2"}
    signed |= {"units_center", "units_mean", "units_target", "units_sample"}
    signed |= {
        f"{kind}_{i}"
        for kind in ("slot", "intercept_slot")
        for i in {"adam": [0], "ftrl": [1]}.get(solver, [])
    }
    forgeries = forgeries_of(arrays, content, signed)
    names = choose(sorted(forgeries))
    for name in names:
        forged = dict(arrays), json.loads(json.dumps(content))
        forgeries[name](*forged, rng)
        write(path, *forged)
        before, written = dict(vars(model)), path.read_bytes()
        with pytest.raises(ValueError, match=r"is no checkpoint of skfm, or damaged: .*Delete the file"):
            model.fit(**arguments)
        assert vars(model) == before
        assert path.read_bytes() == written
    # The checkpoint as it was is accepted.
    write(path, arrays, content)
    resumed = clone(model).fit(**arguments)
    whole = clone(model).set_params(checkpoint=None).fit(**arguments)
    assert_array_equal(resumed.factors_, whole.factors_)
    return len(names)


@MINIBATCH
def test_forged_checkpoints(solver, tmp_path):
    number = NAMES.index(solver)
    # Each solver is tried with another kind of run, and with its own share of the forgeries.
    n_tried = check_forgeries(
        tmp_path, solver, *CASES[number], lambda names: names[number::6], np.random.default_rng(number)
    )
    assert n_tried > 20


@pytest.mark.slow
@MINIBATCH
@pytest.mark.parametrize(("is_stream", "is_validated"), CASES)
def test_all_forged_checkpoints(solver, is_stream, is_validated, tmp_path):
    n_tried = check_forgeries(
        tmp_path, solver, is_stream, is_validated, lambda names: names, np.random.default_rng(0)
    )
    assert n_tried > 120
