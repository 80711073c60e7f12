"""The choice between the fast and the safe curvature of an expected log likelihood."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: The caution of the first sweep. The posterior of rare events is found with little caution only; with none at all,
#: sweeps over many columns per row start too far.
FIRST = 0.03
#: The smallest caution after a sweep that was not kept as a whole, in units of the factors below.
LEAST = 0.1
#: What the caution is multiplied by after a sweep that raises the bound, one that had to be shortened, and one that was
#: taken back.
DECAY, SHORTENED, GROWTH = 0.7, 1.5, 3.0


class Caution:
    """The caution of each output, see `QuadraticBound.linearize`.

    It falls as long as the bound rises, because the covariances are optimal without caution only. A sweep that lowers
    the bound is shortened, or else taken back, and the next one is more cautious.

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
        Whether a sweep was shortened, or taken back and can be replaced by a more cautious one.
    """

    def __init__(self, like: Tensor, accum_dtype: torch.dtype) -> None:
        self.value = torch.full_like(like, FIRST)
        self._least = torch.zeros_like(like)
        self.bound = torch.full_like(like, -math.inf, dtype=accum_dtype)
        self.may_gain = False

    def falls(self, bound: Tensor, tolerance: Tensor) -> Tensor:
        """Return the outputs whose bound is lower than before by more than the tolerance."""
        return bound < self.bound - tolerance

    def adapt(self, share: Tensor) -> None:
        """Adapt the caution to the share of the last sweep that was kept for each output: 1, less, or 0."""
        is_shorter, is_back = share < 1, share == 0
        self.may_gain = bool((is_shorter & ~is_back | is_back & (self.value < 1)).any())
        self._least = torch.where(is_back, self.value, self._least)
        factor = (
            torch.full_like(self.value, DECAY)
            .masked_fill_(is_shorter, SHORTENED)
            .masked_fill_(is_back, GROWTH)
        )
        raised = torch.where(is_shorter, LEAST * factor, 0.0)
        self.value = torch.maximum(torch.maximum(self._least, raised), factor * self.value).clamp(max=1)

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that is needed to continue."""
        return {"last_bound": self.bound, "caution": self.value, "least_caution": self._least}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Continue from the state of another run. Checkpoints of earlier versions do not have these entries."""
        self.bound = tensors.get("last_bound", self.bound).to(self.bound, copy=True)
        self.value = tensors.get("caution", self.value).to(self.value, copy=True)
        self._least = tensors.get("least_caution", self._least).to(self._least, copy=True)
