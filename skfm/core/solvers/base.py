"""What a solver is told, what it yields, and what it declares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ..bayes.draws import Draws, Sample
from ..matrix.batches import BatchSource
from ..matrix.design import DesignMatrix
from ..matrix.parameters import FMParameters, Posterior


class DivergenceError(ArithmeticError):
    """A sweep ended without finite parameters."""


@dataclass(frozen=True)
class Problem:
    """A training problem in conditioned units, on one device and in one dtype.

    Several outputs (one a class) share the design and are solved side by side.

    Attributes
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    target : Tensor of shape (n_outputs, n_samples) or (1, n_samples)
        Standardized values in a regression. For classes, 0 or 1 of each output in block solvers, class numbers
        in minibatch solvers.
    sample_weight : Tensor of shape (n_samples,)
        Strictly positive: rows of weight zero are removed beforehand.
    loss : str
        One of the solver's ``losses``.
    fields : Tensor of shape (n_features,)
        The field of each column, 0 .. n_fields - 1.
    fit_intercept, fit_linear : bool
        Whether w0 and w are part of the model.
    source : BatchSource or None
        Where a minibatch solver finds its batches if the design is only the first chunk of a stream.
    compute_device : torch.device or None
        Where to compute if the design is too large to lie there.
    """

    design: DesignMatrix
    target: Tensor
    sample_weight: Tensor
    loss: str
    fields: Tensor
    fit_intercept: bool = True
    fit_linear: bool = True
    source: BatchSource | None = None
    compute_device: torch.device | None = None

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.compute_device or self.design.device

    def entries_per_row(self) -> float:
        """Return the number of non-zeros of a row, on average by weight; dense columns count."""
        weight = self.sample_weight.to("cpu", torch.float64)
        lengths = self.design.indptr.diff().to("cpu", torch.float64) + len(self.design.dense_columns)
        return float(weight @ lengths / weight.sum())


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of a solver, in its units; each reads the ones it declares.

    Attributes
    ----------
    max_iter : int
        Sweeps to plan for.
    seed : int
        Of the order of the rows, or of the draws.
    unit : float
        What a loss of one is in the user's units.
    start : {"random", "fit", "chain"}
        Whether the starting point is random, the result of another solver or the last state of a sampler's chains.
    n_before : int
        Sweeps that these chains have made.
    """

    l1_linear: float = 0.0
    l2_linear: float | str = "auto"
    l2_factors: float | str = "auto"
    covariance_type: str = "auto"
    learning_rate: float | str = "auto"
    learning_rate_schedule: str = "linear"
    batch_size: int | str = "auto"
    shuffle: bool = True
    quantile: float = 0.5
    max_iter: int = 100
    seed: int = 0
    unit: float = 1.0
    burn_in: int | str = "auto"
    n_draws: int | str = "auto"
    n_chains: int = 1
    start: str = "random"
    n_before: int = 0


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
    sample : Sample or None, draws : Draws or None
        The state of all chains of a sampler, and what it has kept so far. Of its outputs ``parameters`` has those
        of every chain.
    report : dict or None
        More numbers for the history.
    settles : bool
        Whether small changes of the objective mean that it has converged, or something is still held back.
    """

    parameters: FMParameters
    objective: float
    posterior: Posterior | None = None
    fit: float | None = None
    sample: Sample | None = None
    draws: Draws | None = None
    report: dict[str, float] | None = None
    settles: bool = True


class Solver(ABC):
    """An algorithm: it declares what it supports and yields one iterate a sweep.

    When to stop, what to report and which iterate to keep is the caller's business.
    """

    name: str
    #: Losses it can minimize.
    losses: ClassVar[frozenset[str]]
    #: Names of the public parameters that only some solvers read.
    options: frozenset[str] = frozenset()
    #: What ``Iterate.objective`` is: a name for the history, and whether it rises or falls.
    objective_name: ClassVar[str]
    objective_rises: ClassVar[bool]
    #: Whether sweeps approach a point where the objective stands still, or follow a schedule to its end.
    converges: ClassVar[bool] = True
    #: Whether iterates carry a posterior or draws from one, so that predictions have a variance.
    has_posterior: ClassVar[bool] = False
    #: Whether it learns from batches, so that data can come in chunks.
    learns_online: ClassVar[bool] = False
    #: Whether iterates carry draws of a posterior, which predictions are averaged over.
    samples: ClassVar[bool] = False
    #: Whether small factors to start from can shrink to nothing in a classifier.
    starts_wide: ClassVar[bool] = False

    @abstractmethod
    def model(self, loss: str, n_outputs: int, quantile: float = 0.5) -> Any:
        """Return the object that has the values and the predictions of a loss."""

    @abstractmethod
    def sweeps(self, problem: Problem, start: FMParameters, settings: Settings) -> Iterator[Iterate]:
        """Yield the state after every sweep, for as long as the caller asks."""

    def default_max_iter(self, n_samples: int | None) -> int:
        """Return how many sweeps to make of so many rows if the user does not say; None is an unknown number."""
        return 100
