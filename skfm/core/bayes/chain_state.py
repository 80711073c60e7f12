"""The state from which the chains of a sampler continue."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ChainState(NamedTuple):
    """The state of the chains except for their random generators. The first axis of each tensor is the output.

    Attributes
    ----------
    intercept, theta, noise_precision : Tensor
        As in `BlockState`.
    prior_mean, prior_precision : Tensor
        As in `SampledPriors`.
    mean : Tensor of shape (n_outputs, n_samples)
        The predictions.
    cut_points : Tensor of shape (n_outputs, n_levels - 1) or None
    noise_ratio, noise_ratio_without : Tensor of shape (n_outputs, n_features), (n_outputs, 1), or None
        The noise precision of rows with a category of the field of the noise, and of rows without one, divided by
        ``noise_precision``. None if the noise is common.
    """

    intercept: Tensor
    theta: Tensor
    noise_precision: Tensor
    prior_mean: Tensor
    prior_precision: Tensor
    mean: Tensor
    cut_points: Tensor | None
    noise_ratio: Tensor | None = None
    noise_ratio_without: Tensor | None = None

    def clone(self) -> ChainState:
        """Return a copy that shares no memory with this one."""
        return self.from_tensors({name: part.clone() for name, part in self.tensors().items()})

    def where(self, chosen: Tensor, other: ChainState) -> ChainState:
        """Return this state for the chosen outputs, a boolean for each, and another one for the rest."""
        rest = other.tensors()
        return self.from_tensors(
            {
                name: torch.where(chosen.view(-1, *[1] * (part.ndim - 1)), part, rest[name])
                for name, part in self.tensors().items()
            }
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by their names."""
        return {name: part for name, part in self._asdict().items() if part is not None}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> ChainState:
        """Undo `tensors`; others with further names are ignored."""
        return cls(**{name: tensors.get(name) for name in cls._fields})  # type: ignore[arg-type]
