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
    noise_ratio : Tensor of shape (n_chains * n_outputs, n_features) or None
        The noise precision of rows with a category, divided by that of rows without one. None if the noise is common.
    """

    parameters: FMParameters
    noise_precision: Tensor
    log_likelihood: Tensor
    cut_points: Tensor | None
    noise_ratio: Tensor | None = None

    def clone(self) -> Sample:
        """Return a copy that shares no memory with this one."""
        return self._replace(
            **{name: part.clone() for name, part in self._asdict().items() if part is not None}
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by their names."""
        named = {**self.parameters._asdict(), **self._asdict()}
        return {name: tensor for name, tensor in named.items() if isinstance(tensor, Tensor)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Sample:
        """Undo `tensors`."""
        parameters = FMParameters(*(tensors[name] for name in FMParameters._fields))
        rest = (tensors.get(name) for name in cls._fields[1:])
        return cls(parameters, *rest)  # type: ignore[arg-type]


class Draws:
    """Evenly spread sweeps of a run, the last one among them.

    Parameters
    ----------
    n_chains : int
    burn_in : int
        Number of initial sweeps to discard.
    n_sweeps : int
        Number of sweeps after these.
    n_draws : int
        How many of these are kept, at most.
    n_before : int
        Number of sweeps of the runs that led to the start.

    Attributes
    ----------
    latest : Sample or None
        The state after the last sweep, whose tensors change with the next one.
    """

    def __init__(self, n_chains: int, burn_in: int, n_sweeps: int, n_draws: int, n_before: int = 0) -> None:
        self.n_chains, self.burn_in, self.n_sweeps = n_chains, burn_in, n_sweeps
        self.n_draws = min(n_draws, n_sweeps)
        self.n_before = n_before
        self.n_seen = 0
        self.latest: Sample | None = None
        self._kept: list[Sample] = []
        self._last: Sample | None = None

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def is_warm(self) -> bool:
        """Whether the burn-in is over."""
        return self.n_seen > self.burn_in

    def add(self, sample: Sample) -> None:
        """Record a sweep."""
        self.latest = sample
        place = self.n_seen - self.burn_in
        self.n_seen += 1
        # Sweep i is kept where i * n_draws / n_sweeps passes a whole number, which the last one does.
        if place >= 0 and (place + 1) * self.n_draws // self.n_sweeps > place * self.n_draws // self.n_sweeps:
            self._kept.append(sample.clone())
        elif not self._kept:
            # The next sweep changes the tensors in place and may be interrupted.
            self._last = sample.clone()

    @property
    def _stored(self) -> list[Sample]:
        return self._kept or ([] if self._last is None else [self._last])

    def _with_equal_parts(self) -> list[Sample]:
        """Return what is stored. The first draws may have been made before the noise was found to vary."""
        stored = self._stored
        ratios = [sample.noise_ratio for sample in stored if sample.noise_ratio is not None]
        if not ratios:
            return stored
        one = torch.ones_like(ratios[0])
        return [s if s.noise_ratio is not None else s._replace(noise_ratio=one) for s in stored]

    def tensors(self) -> dict[str, Tensor]:
        """Return what is stored as named tensors with a leading axis for the draws."""
        parts = [sample.tensors() for sample in self._with_equal_parts()]
        return {name: torch.stack([part[name] for part in parts]) for name in (parts[0] if parts else ())}

    def load(self, tensors: dict[str, Tensor], n_seen: int) -> None:
        """Continue from the `tensors` of other draws after ``n_seen`` sweeps."""
        self.n_seen = n_seen
        columns = [tensor.unbind() for tensor in tensors.values()]
        samples = [
            Sample.from_tensors(dict(zip(tensors, parts, strict=True))).clone()
            for parts in zip(*columns, strict=True)
        ]
        has_draws = (n_seen - self.burn_in) * self.n_draws // self.n_sweeps > 0
        self._kept, self._last = (samples, None) if has_draws else ([], samples[0] if samples else None)

    def stacked(self) -> Sample:
        """Return what is kept, each tensor with two leading axes for chains and draws.

        A run that ended in its burn-in has its last state as its only draw.
        """
        kept = self._with_equal_parts()
        if not kept:
            raise LookupError("No sweep has ended.")

        def stack(tensors: list[Tensor]) -> Tensor:
            # (n_draws, n_chains * n_outputs, ...) becomes (n_chains, n_draws, n_outputs, ...).
            return torch.stack(tensors).unflatten(1, (self.n_chains, -1)).transpose(0, 1)

        cuts = [sample.cut_points for sample in kept if sample.cut_points is not None]
        ratios = [sample.noise_ratio for sample in kept if sample.noise_ratio is not None]
        return Sample(
            FMParameters(*(stack(list(part)) for part in zip(*(s.parameters for s in kept), strict=True))),
            stack([sample.noise_precision for sample in kept]),
            stack([sample.log_likelihood for sample in kept]),
            torch.stack(cuts).transpose(0, 1) if cuts else None,
            stack(ratios) if ratios else None,
        )
