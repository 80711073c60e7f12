"""Checks of stored running scales and units: checkpoints and model files can hold any numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.matrix.running_target import SAMPLE
from ..core.solvers import StateDict
from ..data.running_scales import OF_COLUMNS, OF_SAMPLE, OF_TARGET
from .state_checks import MAX_COUNT, check_names

#: The beginning of the names of tensors in a checkpoint that hold units and scales.
UNITS = "units_"
#: By how much sums of weights may exceed each other by rounding.
ROUNDING = 1e-9


def check_scales(found: Any, n_columns: int, *, has_target: bool, has_sample: bool) -> None:
    """Raise a ValueError unless these can be the arrays of running scales.

    Parameters
    ----------
    found : object
    n_columns : int
    has_target : bool
        Whether the target has a scale.
    has_sample : bool
        Whether that is a median.
    """
    names = OF_COLUMNS + OF_TARGET * has_target + OF_SAMPLE * (has_target and has_sample)
    check_names("scales", found, names)
    n_numeric = np.size(found["columns"])
    shapes: dict[str, tuple[int, ...]] = {"total": (1,), "weight": (n_columns,), "target": (3,)}
    shapes |= {"columns": (n_numeric,), "mean": (n_numeric,), "spread": (n_numeric,), "dropped": (2,)}
    for name in names:
        _check_array(name, found[name], shapes.get(name), "i" if name == "columns" else "f")
    total, weight, columns = found["total"][0], found["weight"], found["columns"]
    if (weight < 0).any() or not (weight <= total * (1 + ROUNDING)).all():
        raise ValueError("scales/weight must not be negative, nor larger than the total")
    if len(columns) and (columns[0] < 0 or columns[-1] >= n_columns or (np.diff(columns) <= 0).any()):
        raise ValueError(f"scales/columns must hold increasing column numbers less than {n_columns}")
    if (found["spread"] < 0).any():
        raise ValueError("scales/spread must not be negative")
    if has_target and (found["target"][[0, 2]] < 0).any():
        raise ValueError("scales/target must hold a weight and a spread that are not negative")
    if has_target and has_sample:
        _check_sample(found)


def _check_sample(found: Mapping[str, np.ndarray]) -> None:
    sample, (dropped, n_seen) = found["sample"], found["dropped"]
    if sample.ndim != 2 or len(sample) != 3 or sample.shape[1] > SAMPLE:
        raise ValueError(f"scales/sample must be an array of three rows of at most {SAMPLE} numbers")
    if dropped < 0 or not sample.shape[1] <= n_seen < MAX_COUNT or n_seen != math.floor(n_seen):
        raise ValueError("scales/dropped must hold a priority and the number of all targets")
    if (sample[1] <= 0).any() or (sample[2] < sample[1]).any():
        raise ValueError("scales/sample must hold positive weights and priorities that are not smaller")


def check_units(found: StateDict, fresh: StateDict) -> None:
    """Raise a ValueError unless these can be the units and scales of a run on a stream.

    Parameters
    ----------
    found : StateDict
        Empty in checkpoints of earlier versions.
    fresh : StateDict
        Those of the run at its start.
    """
    if not found.tensors and not found.numbers:
        return
    arrays = {name.removeprefix(UNITS): tensor.numpy() for name, tensor in found.tensors.items()}
    expected = {name.removeprefix(UNITS): tensor.numpy() for name, tensor in fresh.tensors.items()}
    n_columns = len(expected["center"])
    missing = sorted({"center", "scale"} - arrays.keys())
    if missing:
        raise ValueError(f"the units lack {missing}")
    center, scale = arrays.pop("center"), arrays.pop("scale")
    for name, array in (("center", center), ("scale", scale)):
        _check_array(name, array, (n_columns,), "f")
    if not (scale > 0).all():
        raise ValueError("scale must be positive")
    check_scales(arrays, n_columns, has_target="target" in expected, has_sample="sample" in expected)
    check_names("units", found.numbers.get("units"), fresh.numbers["units"])
    units, start = found.numbers["units"], fresh.numbers["units"]["start"]
    values = units["start"]
    if type(values) is not list or len(values) != len(start):
        raise ValueError(f"units/start must be a list of {len(start)} numbers")
    for value in (units["shift"], units["scale"], units["unit"], *values):
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"units must hold finite numbers, got {value!r}")
    if not (units["scale"] > 0 and units["unit"] > 0):
        raise ValueError("the scale of the target and its unit must be positive")
    if "target" not in expected and (units["shift"], units["scale"]) != (0, 1):
        raise ValueError("class numbers must not be shifted or scaled")


def split_units(state: StateDict) -> tuple[StateDict, StateDict]:
    """Return the state of a run without its units, and the units."""
    is_unit = {name: name.startswith(UNITS) for name in state.tensors}
    parts = (
        {name: tensor for name, tensor in state.tensors.items() if is_unit[name] == wanted}
        for wanted in (False, True)
    )
    rest, units = parts
    numbers = {name: value for name, value in state.numbers.items() if name != "units"}
    kept = {"units": state.numbers["units"]} if "units" in state.numbers else {}
    return StateDict(rest, numbers), StateDict(units, kept)


def _check_array(name: str, value: Any, shape: tuple[int, ...] | None, kind: str) -> None:
    """Raise a ValueError unless a value is an array of finite float64 or of int64."""
    dtype = np.float64 if kind == "f" else np.int64
    if not isinstance(value, np.ndarray) or value.dtype != dtype:
        raise ValueError(f"{name} must be an array of {np.dtype(dtype)}")
    if shape is not None and value.shape != shape:
        raise ValueError(f"{name} has shape {value.shape}, but this model requires {shape}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} contains values that are not finite")
