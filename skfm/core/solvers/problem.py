"""The input of a solver: the problem and the hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..interactions.base import Interaction
from ..interactions.pairwise import PAIRWISE
from ..matrix.batches import BatchSource
from ..matrix.design import DesignMatrix
from ..matrix.reduce import LOCAL, Reduction
from ..matrix.samples import SideColumns, TensorSamples


@dataclass(frozen=True)
class Problem:
    """A training problem in standardized units, on one device and in one dtype.

    Several outputs (one per class) share the design and are solved together.

    Attributes
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    target : Tensor of shape (n_targets, n_samples)
        Block solvers have a target per output, so that ``n_targets`` is the number of outputs: standardized values,
        numbers of ordered levels, or for each of several classes 1 where a sample is of that class and else 0.
        Minibatch solvers have a single target for all outputs, see `shared_target`.
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
        Where to compute if the design is too large to be stored there.
    reduction : Reduction
        Completes the sums over rows where other processes hold further rows.
    interaction : Interaction
        The form of the raw prediction.
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
    reduction: Reduction = LOCAL
    interaction: Interaction = PAIRWISE

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.compute_device or self.design.device

    @property
    def shared_target(self) -> Tensor:
        """The target of all outputs together, (n_samples,): standardized values or class numbers."""
        if len(self.target) != 1:
            raise ValueError(f"The outputs share no target: there are {len(self.target)}.")
        return self.target[0]

    @property
    def samples(self) -> TensorSamples:
        """The samples with their shared target, for batches."""
        return TensorSamples(self.design, self.shared_target, SideColumns(self.sample_weight))

    def entries_per_row(self) -> float:
        """Return the average number of non-zeros of a row, weighted by sample; dense columns count."""
        weight = self.sample_weight.to("cpu", torch.float64)
        lengths = self.design.indptr.diff().to("cpu", torch.float64) + len(self.design.dense_columns)
        return float(self.reduction.sum(weight @ lengths) / self.reduction.sum(weight.sum()))


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of a solver, in its units; each solver reads those that it declares.

    Attributes
    ----------
    max_iter : int
        Planned number of sweeps.
    seed : int
        Seed of the order of the rows or of the draws.
    unit : float
        A loss of one in the user's units.
    select_factors : bool
        Read by the caller: see `supports_factors`.
    noise : int, "auto" or "common"
        The field whose categories may differ in the noise of their rows, the one that explains most, or none.
    start : {"random", "fit", "chain"}
        Whether the starting point is random, the result of another solver or the last state of a sampler's chains.
    n_before : int
        Number of sweeps that these chains have made before.
    """

    l1_linear: float = 0.0
    l2_linear: float | str = "auto"
    l2_factors: float | str = "auto"
    covariance_type: str = "auto"
    select_factors: bool = False
    noise: int | str = "common"
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
