"""The draws of a sampler that are kept."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..matrix.parameters import FMParameters


class Sample(NamedTuple):
    """The state of all chains after a sweep, chain by chain where there are several outputs.

    Attributes
    ----------
    parameters : FMParameters
        Of ``n_chains * n_outputs`` outputs.
    noise_precision : Tensor of shape (n_chains * n_outputs,)
    log_likelihood : Tensor of shape (n_chains * n_outputs,)
    cut_points : Tensor of shape (n_chains, n_levels - 1) or None
    """

    parameters: FMParameters
    noise_precision: Tensor
    log_likelihood: Tensor
    cut_points: Tensor | None

    def clone(self) -> Sample:
        """Return a copy that shares no memory with this one."""
        cut_points = None if self.cut_points is None else self.cut_points.clone()
        return Sample(
            self.parameters.clone(), self.noise_precision.clone(), self.log_likelihood.clone(), cut_points
        )


class Draws:
    """Evenly spread sweeps of a run, the last one among them.

    Parameters
    ----------
    n_chains : int
    burn_in : int
        Sweeps of which nothing is kept.
    n_sweeps : int
        Sweeps after these.
    n_draws : int
        How many of these are kept, at most.
    n_before : int
        Sweeps of the runs that led to the start.
    """

    def __init__(self, n_chains: int, burn_in: int, n_sweeps: int, n_draws: int, n_before: int = 0) -> None:
        self.n_chains, self.burn_in, self.n_sweeps = n_chains, burn_in, n_sweeps
        self.n_draws = min(n_draws, n_sweeps)
        self.n_before = n_before
        self.n_seen = 0
        self._kept: list[Sample] = []
        self._last: Sample | None = None

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def is_warm(self) -> bool:
        """Whether the burn-in is over."""
        return self.n_seen > self.burn_in

    def add(self, sample: Sample) -> None:
        """Take note of a sweep."""
        place = self.n_seen - self.burn_in
        self.n_seen += 1
        # Sweep i is kept where i * n_draws / n_sweeps passes a whole number, which the last one does.
        if place >= 0 and (place + 1) * self.n_draws // self.n_sweeps > place * self.n_draws // self.n_sweeps:
            self._kept.append(sample.clone())
        elif not self._kept:
            # The next sweep changes the tensors in place, and may not come to its end.
            self._last = sample.clone()

    def stacked(self) -> Sample:
        """Return what is kept, each tensor with two leading axes for chains and draws.

        A run that ended in its burn-in has its last state as its only draw.
        """
        kept = self._kept or ([] if self._last is None else [self._last])
        if not kept:
            raise LookupError("No sweep has come to an end.")

        def stack(tensors: list[Tensor]) -> Tensor:
            # (n_draws, n_chains * n_outputs, ...) becomes (n_chains, n_draws, n_outputs, ...).
            return torch.stack(tensors).unflatten(1, (self.n_chains, -1)).transpose(0, 1)

        cuts = [sample.cut_points for sample in kept if sample.cut_points is not None]
        return Sample(
            FMParameters(*(stack(list(part)) for part in zip(*(s.parameters for s in kept), strict=True))),
            stack([sample.noise_precision for sample in kept]),
            stack([sample.log_likelihood for sample in kept]),
            torch.stack(cuts).transpose(0, 1) if cuts else None,
        )
