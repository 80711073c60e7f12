"""Checks that a minibatch solver can resume from a saved state."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..core.matrix.design import DesignMatrix
from ..core.matrix.parameters import FMParameters
from ..core.observation.registry import MODELS
from ..core.solvers import SOLVERS, OnlineRun, Problem, Settings
from ..data.scaling import as_tensor
from ..training.scale_checks import check_scales
from ..training.state_checks import check_counts, check_entry, check_numbers
from ._checks import check_keys
from ._parts import Sizes


def check_online(state: dict[str, Any], sizes: Sizes) -> None:
    """Raise a ValueError unless the state has the structure and shapes of the initial state of a run."""
    found = state["_online"]
    # The memory of a run is quadratic in the number of outputs. To avoid allocating it for a number that comes from an
    # untrusted file, the expected shapes are extrapolated linearly from two small runs.
    outputs = (1, 2) if sizes.n_outputs == 1 else (2, 3)
    run, other = (_initial_run(state, sizes, n_outputs) for n_outputs in outputs)
    (tensors, numbers), (others, _) = run.state_dict(), other.state_dict()
    check_keys("_online/tensors", found["tensors"], set(tensors))
    try:
        check_numbers(found["numbers"], numbers)
        for name, tensor in tensors.items():
            pairs = zip(tensor.shape, others[name].shape, strict=True)
            shape = tuple(a + (b - a) * (sizes.n_outputs - outputs[0]) for a, b in pairs)
            check_entry(name, found["tensors"][name], shape, run.signed_tensors)
        check_counts(found["tensors"], found["numbers"]["n_batches"])
        if "scales" in found:
            # The loss of classes has no scale.
            loss, is_regression = MODELS[sizes.loss].loss, not sizes.n_values
            has_sample = loss is not None and loss.uses_medians
            check_scales(found["scales"], sizes.n_columns, has_target=is_regression, has_sample=has_sample)
    except ValueError as error:
        raise ValueError(f"_online: {error}") from None


def _initial_run(state: dict[str, Any], sizes: Sizes, n_outputs: int) -> OnlineRun:
    """Return a run of this model at its start, with the given number of outputs, and no rows."""
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
    if not isinstance(run, OnlineRun):
        raise ValueError(f"solver={sizes.solver!r} does not learn online")
    return run
