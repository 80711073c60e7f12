"""A solver at work: runs, the iterates that they return, and the state that they continue from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from ..bayes.draws import Draws
from ..matrix.batches import Batch
from ..matrix.parameters import FMParameters, Posterior

#: Called after each segment of an epoch with its number of rows.
AfterSegment: TypeAlias = Callable[[int], None]


class DivergenceError(ArithmeticError):
    """A sweep ended without finite parameters."""


class Iterate(NamedTuple):
    """The state after a sweep.

    The tensors are the solver's own and change with the next sweep. Clone them to keep an iterate.

    Attributes
    ----------
    parameters : FMParameters
        In a sampler those of all chains, chain by chain.
    objective : float
        The quantity that the sweeps minimize or maximize.
    posterior : Posterior or None
    fit : float or None
        What changes of the objective are compared to: the part of it that measures the fit to the data, for example.
        None means all of it.
    draws : Draws or None
        What a sampler has drawn so far.
    report : dict or None
        Further numbers for the history.
    settles : bool
        Whether small changes of the objective mean that it has converged. Otherwise something is still held back.
    """

    parameters: FMParameters
    objective: float
    posterior: Posterior | None = None
    fit: float | None = None
    draws: Draws | None = None
    report: dict[str, float] | None = None
    settles: bool = True


class StateDict(NamedTuple):
    """The state that is needed to continue later or on another machine.

    Attributes
    ----------
    tensors : dict of str to Tensor
        Not copies.
    numbers : dict of str
        Numbers, strings and None, in lists and dicts, as JSON can hold them.
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


class Run(ABC):
    """A solver at work on a problem.

    Attributes
    ----------
    reads_stream : bool
        Whether `step` reads data, which can fail at any time, between two segments.
    """

    reads_stream: bool = False

    @abstractmethod
    def step(self, after_segment: AfterSegment | None = None) -> Iterate:
        """Make a sweep or an epoch.

        Parameters
        ----------
        after_segment : callable, optional
            Called with the number of rows of each segment of the epoch when the run has learned from it. During the
            call `state_dict` returns a state to continue from. Sweeps of block solvers have no segments.

        Returns
        -------
        Iterate
        """

    @abstractmethod
    def iterate(self) -> Iterate:
        """Return the current state, with the objective as far as it is known."""

    @abstractmethod
    def state_dict(self) -> StateDict:
        """Return all that another run of the same problem and settings needs in order to continue from here."""

    @abstractmethod
    def load_state_dict(self, state: StateDict) -> None:
        """Continue from the state of another run of the same problem, which is copied."""

    @property
    def has_learned(self) -> bool:
        """Whether `iterate` returns a model even if the first step did not end."""
        return False


class OnlineRun(Run):
    """A run that learns from batches, which may also come from elsewhere, and whose step sizes can be passed on.

    Attributes
    ----------
    signed_tensors : frozenset of str
        Names of the tensors of its `state_dict` that can have negative numbers.
    """

    signed_tensors: frozenset[str]

    @abstractmethod
    def learn_chunk(self, batches: list[Batch]) -> Iterate:
        """Learn from further data, which are not part of the problem."""

    @abstractmethod
    def load_step_sizes(self, tensors: dict[str, Tensor]) -> None:
        """Take over the step sizes from the ``tensors`` of another run's `state_dict` where the shapes agree."""

    @abstractmethod
    def move_to(self, parameters: FMParameters) -> None:
        """Continue from other parameters, with the current step sizes."""

    @property
    @abstractmethod
    def units(self) -> object:
        """The units of the parameters, in the form in which `set_units` or `change_units` has received them."""

    @abstractmethod
    def change_units(self, change: Any) -> None:
        """Continue in other units, see `skfm.core.solvers.minibatch.new_units.UnitChange`."""

    @abstractmethod
    def set_units(self, start: FMParameters, settings: Any, dense_columns: Tensor, units: object) -> None:
        """Take over the units of another run before its state is loaded.

        Parameters
        ----------
        start : FMParameters
            Where the run starts, in these units.
        settings : Settings
            Those of the run in these units.
        dense_columns : Tensor of int
        units : object
            Kept for the caller.
        """
