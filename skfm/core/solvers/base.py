"""What a solver is told, what it yields, and what it declares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from ..design import DesignMatrix
from ..parameters import FMParameters, Posterior


@dataclass(frozen=True)
class Problem:
    """A training problem in conditioned units, on one device and in one dtype.

    Several outputs (one a class) share the design and are solved side by side.

    Attributes
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    target : Tensor of shape (n_outputs, n_samples)
        Standardized values for ``squared_error``, else 0 or 1.
    sample_weight : Tensor of shape (n_samples,)
        Strictly positive: rows of weight zero are removed beforehand.
    loss : str
        A key of ``LIKELIHOODS``.
    fields : Tensor of shape (n_features,)
        The field of each column, 0 .. n_fields - 1.
    fit_intercept, fit_linear : bool
        Whether w0 and w are part of the model.
    """

    design: DesignMatrix
    target: Tensor
    sample_weight: Tensor
    loss: str
    fields: Tensor
    fit_intercept: bool = True
    fit_linear: bool = True


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of a solver; each reads the ones it declares."""

    l2_linear: float | str = "auto"
    l2_factors: float | str = "auto"
    covariance_type: str = "auto"


class Iterate(NamedTuple):
    """The state after a sweep.

    The tensors are the solver's own and change with the next sweep: whoever wants to keep
    an iterate clones it.

    Attributes
    ----------
    parameters : FMParameters
    objective : float
        What the sweeps make smaller, or larger.
    posterior : Posterior or None
    fit : float or None
        The part of the objective that measures the fit to the data, to which its changes are compared.
        None means all of it.
    """

    parameters: FMParameters
    objective: float
    posterior: Posterior | None = None
    fit: float | None = None


class Solver(ABC):
    """An algorithm: it declares what it supports and yields one iterate a sweep.

    When to stop, what to report and which iterate to keep is the caller's business.
    """

    name: ClassVar[str]
    #: Losses it can minimize.
    losses: ClassVar[frozenset[str]]
    #: Names of the public parameters that only some solvers read.
    options: ClassVar[frozenset[str]] = frozenset()
    #: What ``Iterate.objective`` is: a name for the history, and whether it rises or falls.
    objective_name: ClassVar[str]
    objective_rises: ClassVar[bool]
    #: Whether iterates carry a posterior, so that predictions have a variance.
    has_posterior: ClassVar[bool] = False

    @abstractmethod
    def sweeps(self, problem: Problem, start: FMParameters, settings: Settings) -> Iterator[Iterate]:
        """Yield the state after every sweep, for as long as the caller asks."""
