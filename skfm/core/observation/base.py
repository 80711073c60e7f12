"""The declarations of an observation model.

A model, or a family of them, is one file of this folder, which ends with an `ObservationModel` for each: the registry
finds them there, and everything that depends on the loss is derived from what they declare. A model has one part or
more, each of them for a family of solvers:

==================  ===================  =====================================================================
part                solvers              class
==================  ===================  =====================================================================
``loss``            minibatch solvers    `MinibatchLoss`: values and derivatives of the loss
``quadratic``       "als", "vb"          `QuadraticBound`: a quadratic in the raw prediction for each row
``latent``          "mcmc"               `LatentVariables`: draws that make each row a Gaussian observation
==================  ===================  =====================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .inverse_links import InverseLink
from .parts import LatentVariables, MinibatchLoss, QuadraticBound

REGRESSION, CLASSIFICATION = "regression", "classification"
TARGETS = ("numbers", "labels", "levels")


class Range(NamedTuple):
    """The values of y that a model accepts.

    Attributes
    ----------
    words : str
        Completes the phrase "targets that are ...".
    contains : callable
        Returns a boolean for each element of a tensor.
    """

    words: str
    contains: Callable[[Tensor], Tensor]


def _is_number_of_a_class(y: Tensor) -> Tensor:
    return (y >= 0) & (y == y.floor()) & torch.isfinite(y)


FINITE = Range("finite", torch.isfinite)
#: Classes and levels are numbered in their order.
CLASS_NUMBERS = Range("numbers of classes", _is_number_of_a_class)


@dataclass(frozen=True, kw_only=True, eq=False)
class ObservationModel:
    """How the target depends on the raw prediction: the declarations, and the parts for the solvers.

    Attributes
    ----------
    name : str
        The value of the public parameter `loss`.
    tasks : tuple of {"regression", "classification"}
    target : {"numbers", "labels", "levels"}
        The kind of y: numbers, labels of classes, or ordered values whose distances have no meaning.
    inverse_link : InverseLink
    range : Range
        The values of y that the model accepts; for labels and levels, their numbers.
    parameters : mapping of str to float
        Public parameters that this loss reads, and their defaults.
    loss : type[MinibatchLoss] or None
        Made by `make_loss`, with the parameters as keywords.
    joint_loss : type[MinibatchLoss] or None
        The loss of several outputs together. Without it, several classes are each fitted against the rest.
    quadratic : QuadraticBound or None
    latent : type[LatentVariables] or None
    """

    name: str
    tasks: tuple[str, ...]
    target: str
    inverse_link: InverseLink
    range: Range = FINITE
    parameters: Mapping[str, float] = field(default_factory=dict)
    loss: type[MinibatchLoss] | None = None
    joint_loss: type[MinibatchLoss] | None = None
    quadratic: QuadraticBound | None = None
    latent: type[LatentVariables] | None = None

    def __post_init__(self) -> None:
        # A string is a sequence as well.
        tasks: Any = self.tasks
        if isinstance(tasks, str) or not tasks or not set(tasks) <= {REGRESSION, CLASSIFICATION}:
            raise TypeError(
                f"The observation model {self.name!r} must declare a tuple of {REGRESSION!r} and {CLASSIFICATION!r} as "
                f"tasks, got {self.tasks!r}."
            )
        if self.target not in TARGETS:
            raise TypeError(
                f"The observation model {self.name!r} must declare one of {TARGETS} as target, got {self.target!r}."
            )
        for kind in (self.loss, self.joint_loss, self.latent):
            if kind is not None and not isinstance(kind, type):
                raise TypeError(
                    f"The observation model {self.name!r} takes {kind!r} as a class, not as an instance."
                )
        for part in (self.loss, self.quadratic, self.latent):
            if part is not None and part.inverse_link is not self.inverse_link:
                raise TypeError(
                    f"The observation model {self.name!r} declares the inverse link {self.inverse_link.kind!r}, but "
                    f"{part!r} has {part.inverse_link.kind!r}."
                )

    def make_loss(self, n_outputs: int = 1, /, **parameters: float) -> MinibatchLoss:
        """Return the minibatch loss of a number of outputs; parameters that it does not read are ignored."""
        kind: Any = self.joint_loss if n_outputs > 1 and self.joint_loss is not None else self.loss
        if kind is None:
            raise ValueError(f"loss={self.name!r} has no form for the minibatch solvers.")
        return kind(**{name: parameters.get(name, default) for name, default in self.parameters.items()})

    @property
    def has_cut_points(self) -> bool:
        """Whether predictions depend on cut-points between levels."""
        return self.inverse_link.kind == "cut_points"

    @property
    def has_probabilities(self) -> bool:
        """Whether predictions are probabilities of classes or levels."""
        return self.inverse_link.is_probability

    @property
    def has_noise(self) -> bool:
        """Whether there is a noise precision to learn."""
        return any(part is not None and part.has_noise for part in (self.quadratic, self.latent))

    @property
    def identity_link(self) -> bool:
        """Whether raw predictions have the scale of the target; otherwise they have its logarithm."""
        return self.inverse_link.identity_link

    @property
    def positive_only(self) -> bool:
        """Whether targets of a regression must not be negative."""
        return self.target == "numbers" and not bool(
            self.range.contains(torch.tensor(-1.0, dtype=torch.float64, device="cpu"))
        )

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        """Return the prediction, averaged over a Gaussian raw prediction where there is a variance."""
        return self.inverse_link.expectation(raw, variance)

    def outcome(self, raw: Tensor, cut_points: Tensor | None = None) -> Tensor:
        """Return the prediction of single draws: see `InverseLink`."""
        return self.inverse_link(raw, cut_points)

    def log_probability(self, raw: Tensor) -> Tensor:
        """Return log P(y = 1) of two classes."""
        return self.inverse_link.log_probability(raw)

    def score(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """Return the raw prediction from log P(y = 1) and log P(y = 0)."""
        return self.inverse_link.score(log_p, log_q)
