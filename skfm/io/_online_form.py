"""Checks that a minibatch solver can resume from a saved state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ..core.matrix.design import DesignMatrix
from ..core.matrix.parameters import FMParameters
from ..core.solvers import SOLVERS, Problem, Settings, StateDict
from ..data.scaling import as_tensor
from ._checks import check_array, check_count, check_keys
from ._parts import Sizes


def check_online(state: dict[str, Any], sizes: Sizes) -> None:
    """Raise a ValueError unless the state has the structure and shapes of the initial state of a run."""
    found = state["_online"]
    # The memory of a run is quadratic in the number of outputs. To avoid allocating it for a number that comes from an
    # untrusted file, the expected shapes are extrapolated linearly from two small runs.
    outputs = (1, 2) if sizes.n_outputs == 1 else (2, 3)
    (tensors, numbers), (others, _) = (_initial_state(state, sizes, n_outputs) for n_outputs in outputs)
    check_keys("_online/tensors", found["tensors"], set(tensors))
    for name, tensor in tensors.items():
        values = found["tensors"][name]
        pairs = zip(tensor.shape, others[name].shape, strict=True)
        shape = tuple(a + (b - a) * (sizes.n_outputs - outputs[0]) for a, b in pairs)
        check_array(f"_online/tensors/{name}", values, shape, finite=name in ("theta", "intercept"))
        if np.isnan(values).any():
            raise ValueError(f"_online/tensors/{name} contains NaN")
    _check_same_structure("_online/numbers", found["numbers"], numbers)


def _initial_state(state: dict[str, Any], sizes: Sizes, n_outputs: int) -> StateDict:
    """Return the initial state of a run of this model with the given number of outputs, and no rows."""
    p, kept = sizes.n_columns, state["_lasting"]
    given: dict[str, Any] = {
        name: "auto" if kept.get(name) == "auto" else 1.0 for name in ("l2_linear", "l2_factors")
    }
    no_rows = DesignMatrix.from_array(
        np.empty((0, p), np.float32), dtype=torch.float32, dense_columns=np.arange(0)
    )
    nothing = torch.empty(0, dtype=torch.float32, device="cpu")
    run = SOLVERS[sizes.solver].start(
        Problem(no_rows, nothing[None], nothing, sizes.loss, as_tensor(state["_field_numbers"], torch.int64)),
        FMParameters(
            torch.zeros(n_outputs, dtype=torch.float32, device="cpu"),
            torch.zeros(n_outputs, p, dtype=torch.float32, device="cpu"),
            torch.zeros(n_outputs, p, sizes.n_factors, dtype=torch.float32, device="cpu"),
        ),
        Settings(quantile=state["_model"]["quantile"], **given),
    )
    return run.state_dict()


def _check_same_structure(name: str, value: Any, pattern: Any) -> None:
    """Raise a ValueError unless the value is nested like the pattern, with numbers in the same positions."""
    if isinstance(pattern, dict):
        check_keys(name, value, set(pattern))
        for key, part in pattern.items():
            _check_same_structure(f"{name}/{key}", value[key], part)
    elif isinstance(pattern, list):
        if type(value) is not list or len(value) != len(pattern):
            raise ValueError(f"{name} must be a list of {len(pattern)} numbers")
        for item, part in zip(value, pattern, strict=True):
            _check_same_structure(name, item, part)
    elif isinstance(pattern, float):
        if type(value) not in (int, float) or math.isnan(value):
            raise ValueError(f"{name} must be a number, got {value!r}")
    elif not (pattern is None and value is None):
        check_count(name, value)
