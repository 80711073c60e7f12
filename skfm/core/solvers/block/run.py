"""The loop that the block solvers share: column after column in closed form, then the rest."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...matrix.device import accum_dtype
from ...matrix.parameters import FMParameters
from ...matrix.reduce import LOCAL
from ...matrix.relations import find_relations
from ...matrix.tiles import find_colors, find_pairs
from ...observation.parts import QuadraticBound
from ...observation.registry import MODELS, losses_with
from ..base import Solver
from ..problem import Problem
from ..run import AfterSegment, Iterate, Run, StateDict
from .dense import MOST_COLUMNS
from .engine import BlockState, Engine
from .joint_step import update_together
from .long_rows import LongRowEngine, SharedTile, find_long_rows
from .pairs import PairEngine
from .relational import RelationalEngine, fits_in_memory
from .table import TableEngine
from .table_groups import find_tables
from .tiles import TileEngine


def make_engine(problem: Problem, state: BlockState, *, optimizes: bool = False) -> Engine:
    """Return the fastest engine for a problem.

    Parameters
    ----------
    problem : Problem
    state : BlockState
    optimizes : bool
        Whether columns that share rows may be updated together, which leads to the same optimum, but is not a draw.
    """
    long_rows = find_long_rows(problem.design) if optimizes and problem.reduction is LOCAL else None
    if long_rows is not None:
        return LongRowEngine(problem, state, long_rows)
    colors = find_colors(problem.design, problem.fields)
    pairs = find_pairs(problem.design, colors)
    if pairs is not None:
        return PairEngine(problem, state, pairs)
    # Covariances of the columns of a part would have to be summed to those of the part.
    relations = find_relations(problem.design, colors) if state.covariances is None else None
    if relations is not None and fits_in_memory(relations, state):
        return RelationalEngine(problem, state, relations)
    few_dense = len(problem.design.dense_columns) <= MOST_COLUMNS
    tables = find_tables(problem.design, colors) if state.covariances is not None and few_dense else None
    if tables is not None:
        return TableEngine(problem, state, colors, tables)
    return TileEngine(problem, state, colors)


class BlockSolver(Solver):
    """A solver on the block engine."""

    losses = losses_with("quadratic")

    def model(self, loss: str, n_outputs: int, quantile: float = 0.5) -> QuadraticBound | None:
        return MODELS[loss].quadratic


class BlockRun(Run):
    """A run of a block solver: the engine, the state and the order of a sweep.

    A subclass defines how a block is updated from its sums and what is learned at the end of a sweep.
    """

    #: Whether updates are optima, and not draws.
    optimizes = True
    #: Prior precision of the intercept, whose prior mean is zero.
    intercept_precision = 0.0
    #: Sums of omega x^2 of the columns that are updated, (n_outputs * n_columns,).
    column_weight: Tensor

    def __init__(self, problem: Problem, start: FMParameters, covariances: Tensor | None) -> None:
        if len(problem.target) != len(start.intercept):
            raise ValueError(
                f"Block solvers need a target per output, got {len(problem.target)} for {len(start.intercept)}."
            )
        self.problem, self.reduction = problem, problem.reduction
        self.accum_dtype = accum_dtype(problem.design.device)
        self.state = BlockState(
            start.intercept.clone(),
            torch.cat([start.linear[:, :, None], start.factors], 2),
            covariances,
            torch.zeros_like(start.intercept),
            torch.ones_like(start.intercept),
        )
        self.engine = make_engine(problem, self.state, optimizes=self.optimizes)
        self.n_outputs, n_features, _ = self.state.theta.shape
        #: Without a linear term, w is not part of the updates.
        self.first = 0 if problem.fit_linear else 1
        self.used = torch.zeros(n_features, dtype=torch.bool, device=problem.design.device)
        for block in self.engine.blocks:
            self.used[block.columns] = True
        #: The predictions, (n_outputs, n_samples).
        self.mean = self.engine.mean()
        self.objective = math.nan
        #: The loss or expected log likelihood of each output, (n_outputs,).
        self.fit = torch.zeros_like(start.intercept)
        #: Whether small changes of the objective mean that it has converged.
        self.settles = True
        #: Variances of the predictions, (n_outputs, n_samples). None where there are none or they are not needed.
        self.variance: Tensor | None = None

    @property
    def likelihood(self) -> QuadraticBound:
        """The observation model."""
        quadratic = MODELS[self.problem.loss].quadratic
        assert quadratic is not None  # for the type checker
        return quadratic

    @abstractmethod
    def update(self, block: Any, A: Tensor, b: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return new theta and covariances of a block from its sums, all without w if there is no linear term."""

    @abstractmethod
    def prior(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prior precision of each column of every output, and that times the prior mean.

        Of shape (n_outputs * n_columns, size, size) and (n_outputs * n_columns, size).
        """

    @abstractmethod
    def finish(self) -> float:
        """Update the quantities that are learned once per sweep, set ``fit`` and return the objective."""

    def step(self, after_segment: AfterSegment | None = None) -> Iterate:
        self._sweep()
        return self.iterate()

    def _sweep(self) -> None:
        """Update all parameters once."""
        problem, state = self.problem, self.state
        self.omega, target = self.working_response()
        self.engine.load(self.omega, target, self.mean)
        for block in self.engine.blocks:
            A, b = self.engine.normal_equations(block)
            if isinstance(block, SharedTile):
                update_together(self, block, A, b)
                continue
            self.column_weight = A[:, 0, 0]
            theta, covariances = self.update(block, A[:, self.first :, self.first :], b[:, self.first :])
            self.engine.write_back(block, *self.with_linear(theta, covariances))
        if problem.fit_linear:
            self._joint_linear_step()
        self.mean = self.engine.mean()
        if problem.fit_intercept:
            alpha, decay = state.noise_precision.to(self.accum_dtype), self.intercept_precision
            slope = alpha * self.row_sum(self.omega * (target - self.mean))
            precision = alpha * self.row_sum(self.omega) + decay
            slope -= decay * state.intercept
            step = self.conditional_step(precision[:, None, None], slope[:, None])[:, 0].to(self.mean.dtype)
            state.intercept += step
            self.mean += step[:, None]
        self.objective = self.finish()

    def stored(self, block: SharedTile, covariances: Tensor) -> None:
        """Take note of covariances that are not those of the last `update` of the block."""

    def iterate(self) -> Iterate:
        fit, state = float(self.fit.sum()), self.state
        return Iterate(state.parameters, self.objective, state.posterior, fit, settles=self.settles)

    def state_dict(self) -> StateDict:
        state = self.state
        tensors = {
            "intercept": state.intercept,
            "theta": state.theta,
            "noise_precision": state.noise_precision,
            "intercept_variance": state.intercept_variance,
            "mean": self.mean,
            "fit": self.fit,
        }
        if state.covariances is not None:
            tensors["covariances"] = state.covariances
        return StateDict(tensors, {"objective": self.objective, "settles": self.settles})

    def load_state_dict(self, state: StateDict) -> None:
        tensors, numbers = state
        own = self.state
        for name in ("intercept", "theta", "noise_precision", "intercept_variance"):
            getattr(own, name).copy_(tensors[name])
        if own.covariances is not None:
            own.covariances.copy_(tensors["covariances"])
        # These tensors are replaced in every sweep, not changed in place.
        self.mean = tensors["mean"].to(self.mean, copy=True)
        self.fit = tensors["fit"].to(self.fit.device, copy=True)
        self.objective, self.settles = numbers["objective"], numbers["settles"]
        self.engine.reset()

    def working_response(self) -> tuple[Tensor, Tensor]:
        """Return row precisions, sample weights included, and the targets of a sweep, (n_outputs, n_samples)."""
        problem = self.problem
        omega, target = self.likelihood.linearize(problem.target, self.mean, self.variance)
        weight = problem.sample_weight.expand_as(self.mean)
        return weight if omega is None else weight * omega, target

    def conditional_step(self, A: Tensor, b: Tensor) -> Tensor:
        """Return a step of parameters given all others: the optimum, or in a sampler a draw.

        The objective is ``step' A step / 2 - b' step`` up to a constant, and its minimum A^-1 b. A sampler draws the
        step from N(A^-1 b, A^-1). If A is singular, the step is zero.

        Parameters
        ----------
        A : Tensor of shape (n_outputs, size, size)
        b : Tensor of shape (n_outputs, size)
        """
        L, info = torch.linalg.cholesky_ex(A)
        if bool(info.any()):
            # Collinear columns without a penalty have no unique optimum, and their current values are as good as any.
            return torch.zeros_like(b)
        return self.conditional_value(L, b)

    def conditional_value(self, L: Tensor, b: Tensor) -> Tensor:
        """Return the optimum (L L')^-1 b, or in a sampler a draw from N((L L')^-1 b, (L L')^-1).

        Parameters
        ----------
        L : Tensor of shape (n, size, size)
            Lower triangular.
        b : Tensor of shape (n, size)
        """
        return torch.cholesky_solve(b[:, :, None], L)[:, :, 0]

    def _joint_linear_step(self) -> None:
        """Move the intercept and all linear weights of dense columns to their joint optimum."""
        sums = self.engine.dense_linear()
        if sums is None:
            return
        state, n_outputs = self.state, self.n_outputs
        precision, shift = self.prior(sums.columns)
        theta = state.theta[:, sums.columns].flatten(0, 1)
        slope = shift[:, 0] - (precision[:, 0] * theta).sum(1)
        alpha = state.noise_precision[:, None]
        A, b = sums.gram * alpha[:, :, None], sums.residual * alpha
        A.diagonal(dim1=1, dim2=2)[:, 1:] += precision[:, 0, 0].view(n_outputs, -1)
        b[:, 1:] += slope.view(n_outputs, -1)
        A[:, 0, 0] += self.intercept_precision
        b[:, 0] -= self.intercept_precision * state.intercept
        first = 0 if self.problem.fit_intercept else 1
        step = self.conditional_step(A[:, first:, first:], b[:, first:])
        if self.problem.fit_intercept:
            state.intercept += step[:, 0]
        state.theta[:, sums.columns, 0] += step[:, 1 - first :]

    def with_linear(self, theta: Tensor, covariances: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if not self.first:
            return theta, covariances
        if covariances is not None:
            covariances = pad(covariances, (1, 0, 1, 0) if covariances.ndim == 3 else (1, 0))
        return pad(theta, (1, 0)), covariances

    def row_sum(self, rows: Tensor) -> Tensor:
        """Return the sums over all rows, (n_outputs,), of numbers of shape (n_outputs, n_samples)."""
        return self.reduction.sum(rows.sum(1, dtype=self.accum_dtype))

    def weighted_sum(self, rows: Tensor) -> Tensor:
        """Return the sums over all rows, weighted by sample, (n_outputs,)."""
        return self.row_sum(rows * self.problem.sample_weight)


def cholesky(A: Tensor) -> Tensor:
    """Factorize symmetric matrices of shape (n, size, size), adding as little as it takes to the diagonal.

    Rounding can leave a matrix that is positive definite on paper just short of it.
    """
    L, info = torch.linalg.cholesky_ex(A)
    if not bool(info.any()):
        return L
    jitter = torch.finfo(A.dtype).eps * A.diagonal(dim1=1, dim2=2).abs().amax(1)
    # Up to the root of the precision: a matrix that is further off is wrong, not rounded.
    for _ in range(int(-math.log10(torch.finfo(A.dtype).eps) / 2)):
        jitter = jitter * 10
        repaired = A + torch.diag_embed(jitter[:, None].expand(A.shape[:2]))
        L, info = torch.linalg.cholesky_ex(torch.where((info > 0)[:, None, None], repaired, A))
        if not bool(info.any()):
            return L
    raise torch.linalg.LinAlgError("a column's precision matrix is not positive definite")
