"""Running moments of a target, and a bounded sample of it for scales that are medians."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .running import Moments

#: Number of targets that are kept for medians, whose standard error is then about 2 % of a standard deviation.
SAMPLE = 2048


class TargetSample(NamedTuple):
    """A bounded sample of weighted numbers: all of them while they are few.

    This is a priority sample [1]_: of each number of weight w and a random u between 0 and 1, w / u is its priority,
    and those of the highest priority are kept. With weights of at least the highest priority that was dropped, sums
    over the sample are unbiased estimates of sums over all numbers.

    Attributes
    ----------
    values, weight, priority : Tensor of shape (n_kept,)
    threshold : Tensor of shape ()
        The highest priority that was dropped, zero if there is none.
    n_seen : int
        The number of numbers so far, with which the random numbers change.

    References
    ----------
    .. [1] N. Duffield, C. Lund, M. Thorup, "Priority Sampling for Estimation of Arbitrary Subset Sums",
       Journal of the ACM 54, 2007.
    """

    values: Tensor
    weight: Tensor
    priority: Tensor
    threshold: Tensor
    n_seen: int

    @classmethod
    def empty(cls) -> TargetSample:
        """Return a sample of no numbers."""
        none = torch.empty(0, dtype=torch.float64, device="cpu")
        return cls(none, none, none, torch.zeros((), dtype=torch.float64, device="cpu"), 0)

    def joined(self, values: Tensor, weight: Tensor) -> TargetSample:
        """Return a sample of further numbers as well."""
        u = torch.from_numpy(1 - np.random.default_rng(self.n_seen).random(len(values)))
        values, weight, priority = (
            torch.cat(pair) for pair in zip(self[:3], (values, weight, weight / u), strict=True)
        )
        threshold, n_seen = self.threshold, self.n_seen + len(u)
        if len(priority) > SAMPLE:
            order = priority.argsort(descending=True, stable=True)
            threshold = torch.maximum(threshold, priority[order[SAMPLE]])
            values, weight, priority = (part[order[:SAMPLE]] for part in (values, weight, priority))
        return TargetSample(values, weight, priority, threshold, n_seen)


class TargetMoments(NamedTuple):
    """What is known of the targets of all rows so far.

    Attributes
    ----------
    moments : Moments of shape ()
    sample : TargetSample or None
        None if the scale of the loss needs moments only.
    """

    moments: Moments
    sample: TargetSample | None

    @classmethod
    def empty(cls, *, with_sample: bool) -> TargetMoments:
        """Return what is known of no targets."""
        zero = torch.zeros((), dtype=torch.float64, device="cpu")
        return cls(Moments(zero, zero, zero), TargetSample.empty() if with_sample else None)

    def joined(self, y: Tensor, weight: Tensor) -> TargetMoments:
        """Return what is known together with further targets, vectors in float64 on the CPU that are not empty."""
        moments = self.moments.joined(Moments.of(y, weight))
        return TargetMoments(moments, None if self.sample is None else self.sample.joined(y, weight))

    @property
    def has_varied(self) -> bool:
        """Whether the targets differ by more than rounding."""
        return bool(self.moments.varies)

    def representatives(self) -> tuple[Tensor, Tensor]:
        """Return a few targets with weights that have the location and the scale of all."""
        if self.sample is not None:
            return self.sample.values, torch.maximum(self.sample.weight, self.sample.threshold)
        weight, mean, spread = self.moments
        return torch.stack([mean - spread, mean + spread]), (weight / 2).expand(2)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return numpy arrays."""
        found = {"target": torch.stack(list(self.moments)).numpy()}
        if self.sample is not None:
            *parts, threshold, n_seen = self.sample
            found["sample"] = torch.stack(parts).numpy()
            found["dropped"] = np.array([float(threshold), n_seen])
        return {name: np.array(array) for name, array in found.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> TargetMoments:
        """Rebuild from `arrays`."""
        moments = Moments(*torch.from_numpy(np.array(arrays["target"])))
        if "sample" not in arrays:
            return cls(moments, None)
        values, weight, priority = torch.from_numpy(np.array(arrays["sample"]))
        threshold, n_seen = torch.from_numpy(np.array(arrays["dropped"]))
        return cls(moments, TargetSample(values, weight, priority, threshold, int(n_seen)))
