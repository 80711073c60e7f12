"""Solver interface: problem, settings, runs, iterates, and the capabilities that a solver declares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from ..matrix.parameters import FMParameters
from .problem import Problem, Settings
from .run import DivergenceError, Iterate, OnlineRun, Run, StateDict

__all__ = [
    "DivergenceError",
    "Iterate",
    "OnlineRun",
    "Problem",
    "Run",
    "Settings",
    "Solver",
    "StateDict",
]


class Solver(ABC):
    """An algorithm: it declares what it supports and starts runs.

    The caller decides when to stop, what to report and which iterate to keep.
    """

    name: str
    #: Losses that it can minimize.
    losses: ClassVar[frozenset[str]]
    #: Names of the public parameters that only some solvers read.
    options: frozenset[str] = frozenset()
    #: The name of ``Iterate.objective`` in the history, and whether it rises or falls.
    objective_name: ClassVar[str]
    objective_rises: ClassVar[bool]
    #: Whether sweeps approach a point where the objective stands still, or follow a schedule to its end.
    converges: ClassVar[bool] = True
    #: Whether iterates carry a posterior or draws from one, so that predictions have a variance.
    has_posterior: ClassVar[bool] = False
    #: Whether it learns from batches, so that data can be passed in chunks. Its runs are of the type `OnlineRun`.
    learns_online: ClassVar[bool] = False
    #: Whether iterates carry draws of a posterior, which predictions are averaged over.
    samples: ClassVar[bool] = False
    #: Whether small factors to start from can shrink to nothing in a classifier.
    starts_wide: ClassVar[bool] = False

    @abstractmethod
    def model(self, loss: str, n_outputs: int, quantile: float = 0.5) -> Any:
        """Return the object that has the values and the predictions of a loss."""

    @abstractmethod
    def start(self, problem: Problem, parameters: FMParameters, settings: Settings) -> Run:
        """Return a run that starts from the given parameters and has made no sweep."""

    def default_max_iter(self, n_samples: int | None) -> int:
        """Return the default number of sweeps over ``n_samples`` rows; None is an unknown number."""
        return 100
