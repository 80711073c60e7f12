"""Selection of the device and the floating point type for computations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device that was asked for, or raise an error if it is not available.

    Parameters
    ----------
    device : str or torch.device
        "auto" takes the GPU where torch sees a CUDA device, else the CPU. MPS has no float64,
        so it is used only when asked for by name.
    """
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    advice = "Use device='auto' for the best device there is, or device='cpu'."
    try:
        resolved = torch.device(device)
    except RuntimeError:
        resolved = None
    if resolved is None or resolved.type not in ("cpu", "cuda", "mps"):
        raise ValueError(
            f"device={device!r} is none of 'auto', 'cpu', 'cuda', 'cuda:<number>' and 'mps'. {advice}"
        )
    if resolved.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise ValueError(f"device={str(device)!r} was asked for, but torch sees no CUDA device. {advice}")
        if (resolved.index or 0) >= count:
            raise ValueError(
                f"device={str(device)!r} was asked for, but torch sees {count} CUDA device(s), "
                f"'cuda:0' to 'cuda:{count - 1}'. {advice}"
            )
    if resolved.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device={str(device)!r} was asked for, but torch sees no MPS device. {advice}")
    return resolved


def compute_dtype(dtype: np.dtype, device: torch.device) -> torch.dtype:
    """Return float32 for float32 and for MPS, which has no wider type, else float64."""
    return torch.float32 if np.dtype(dtype) == np.float32 or device.type == "mps" else torch.float64


def prediction_device(fitted_on: str, dtype: np.dtype) -> torch.device:
    """Return where to predict: where the model was fitted if this machine can, else the CPU.

    Parameters
    ----------
    fitted_on : str
        ``device_`` of a model that may have been fitted on another machine.
    dtype : dtype
        The precision that the predictions need.
    """
    try:
        device = resolve_device(fitted_on)
    except ValueError:
        return torch.device("cpu")
    exact = compute_dtype(dtype, device) == compute_dtype(dtype, torch.device("cpu"))
    return device if exact else torch.device("cpu")


#: How much of the free memory of a GPU the data may take; batches need as much again.
SHARE_OF_MEMORY = 0.25


def fits(X: Any, device: torch.device) -> bool:
    """Return whether a matrix and its batches fit on a device, next to everything else."""
    if device.type != "cuda":
        return True
    nbytes = X.nbytes if isinstance(X, np.ndarray) else X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    return nbytes <= SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]


def accum_dtype(device: torch.device) -> torch.dtype:
    """Return the type for sums of many numbers: float64, except on MPS, which does not support it."""
    return torch.float32 if device.type == "mps" else torch.float64
