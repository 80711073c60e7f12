"""The choice between the fast and the safe curvature of an expected log likelihood."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: The caution of the first sweep.
FIRST = 0.5
#: What the caution is multiplied by after a sweep that raises the bound, and after one that lowers it.
DECAY, GROWTH = 0.7, 3.0


class Caution:
    """The caution of each output, see `QuadraticBound.linearize`.

    It falls as long as the bound rises, because the covariances are optimal without caution only. A sweep that lowers
    the bound has to be taken back. The caution is then larger, and never again as small as it was in that sweep.

    Parameters
    ----------
    like : Tensor of shape (n_outputs,)
        Gives the number of outputs, the dtype and the device.
    accum_dtype : torch.dtype
        The dtype of the bound.

    Attributes
    ----------
    value : Tensor of shape (n_outputs,)
        The caution of the next sweep.
    bound : Tensor of shape (n_outputs,)
        The bound after the last sweep, minus infinity before the first.
    may_gain : bool
        Whether a sweep was taken back that a more cautious one can replace.
    """

    def __init__(self, like: Tensor, accum_dtype: torch.dtype) -> None:
        self.value = torch.full_like(like, FIRST)
        self._least = torch.zeros_like(like)
        self.bound = torch.full_like(like, -math.inf, dtype=accum_dtype)
        self.may_gain = False

    def falls(self, bound: Tensor, tolerance: Tensor) -> Tensor:
        """Return the outputs whose bound is lower than before by more than the tolerance, and adapt the caution."""
        falls = bound < self.bound - tolerance
        self.may_gain = bool((falls & (self.value < 1)).any())
        self._least = torch.where(falls, (GROWTH * self.value).clamp(max=1), self._least)
        self.value = torch.maximum(self._least, torch.where(falls, self._least, DECAY * self.value))
        return falls

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that is needed to continue."""
        return {"last_bound": self.bound, "caution": self.value, "least_caution": self._least}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Continue from the state of another run. Checkpoints of earlier versions do not have these entries."""
        self.bound = tensors.get("last_bound", self.bound).to(self.bound, copy=True)
        self.value = tensors.get("caution", self.value).to(self.value, copy=True)
        self._least = tensors.get("least_caution", self._least).to(self._least, copy=True)
