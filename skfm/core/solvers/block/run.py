"""The loop that the block solvers share: column after column in closed form, then the rest."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...matrix.device import wide_dtype
from ...matrix.parameters import FMParameters
from ...matrix.relations import find_relations
from ...matrix.tiles import color_classes, find_pairs
from ...observation.parts import QuadraticBound
from ...observation.registry import MODELS, losses_with
from ..base import Iterate, Problem, Solver
from .engine import BlockState, Engine
from .pairs import PairEngine
from .relational import RelationalEngine, fits_in_memory
from .tiles import TileEngine


def make_engine(problem: Problem, state: BlockState) -> Engine:
    """Return the fastest engine that can do the problem."""
    classes = color_classes(problem.design, problem.fields)
    pairs = find_pairs(problem.design, classes)
    if pairs is not None:
        return PairEngine(problem, state, pairs)
    # Covariances of columns that come together would have to be summed up to those of a part.
    relations = find_relations(problem.design, classes) if state.covariances is None else None
    if relations is not None and fits_in_memory(relations, state):
        return RelationalEngine(problem, state, relations)
    return TileEngine(problem, state, classes)


class BlockSolver(Solver):
    """A solver on the block engine."""

    losses = losses_with("quadratic")

    def model(self, loss: str, n_outputs: int, quantile: float = 0.5) -> QuadraticBound | None:
        return MODELS[loss].quadratic


class BlockRun(ABC):
    """A run of a block solver: the engine, the state and the order of a sweep.

    A subclass says how a block is updated from its sums and what is learned at the end of a sweep.
    """

    #: Of the prior of the intercept; its mean is zero.
    intercept_precision = 0.0

    def __init__(self, problem: Problem, start: FMParameters, covariances: Tensor | None) -> None:
        self.problem = problem
        self.wide = wide_dtype(problem.design.device)
        self.state = BlockState(
            start.intercept.clone(),
            torch.cat([start.linear[:, :, None], start.factors], 2),
            covariances,
            torch.zeros_like(start.intercept),
            torch.ones_like(start.intercept),
        )
        self.engine = make_engine(problem, self.state)
        self.n_outputs, n_features, _ = self.state.theta.shape
        #: Without a linear term, w is no part of the updates.
        self.first = 0 if problem.fit_linear else 1
        self.used = torch.zeros(n_features, dtype=torch.bool, device=problem.design.device)
        for block in self.engine.blocks:
            self.used[block.columns] = True
        self.mean = self.engine.mean()
        #: The loss or expected log likelihood of each output, (n_outputs,).
        self.fit = torch.zeros_like(start.intercept)
        #: Whether small changes of the objective mean that it has converged.
        self.settles = True
        #: Variance of the predictions, None where there is none or nobody needs it.
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
        """Learn what is learned once a sweep, set ``fit`` and return the objective."""

    def sweep(self) -> Iterate:
        """Update everything once."""
        problem, state = self.problem, self.state
        self.omega, target = self.working()
        self.engine.load(self.omega, target, self.mean)
        for block in self.engine.blocks:
            A, b = self.engine.moments(block)
            theta, covariances = self.update(block, A[:, self.first :, self.first :], b[:, self.first :])
            self.engine.commit(block, *self._with_linear(theta, covariances))
        if problem.fit_linear:
            self._joint_linear_step()
        self.mean = self.engine.mean()
        if problem.fit_intercept:
            alpha, decay = state.noise_precision.to(self.wide), self.intercept_precision
            slope = alpha * (self.omega * (target - self.mean)).sum(1, dtype=self.wide)
            precision = alpha * self.omega.sum(1, dtype=self.wide) + decay
            step = self.minimize(precision[:, None, None], (slope - decay * state.intercept)[:, None])[:, 0]
            step = step.to(self.mean.dtype)
            state.intercept += step
            self.mean += step[:, None]
        objective = self.finish()
        fit = float(self.fit.sum())
        return Iterate(state.parameters, objective, state.posterior, fit, settles=self.settles)

    def working(self) -> tuple[Tensor, Tensor]:
        """Return row precisions, sample weights included, and targets for a sweep, (n_outputs, n_samples)."""
        problem = self.problem
        omega, target = self.likelihood.linearize(problem.target, self.mean, self.variance)
        weight = problem.sample_weight.expand_as(self.mean)
        return weight if omega is None else weight * omega, target

    def minimize(self, A: Tensor, b: Tensor) -> Tensor:
        """Return the step to where ``step' A step / 2 - b' step`` is least, or zero where that is no one place.

        Parameters
        ----------
        A : Tensor of shape (n_outputs, size, size)
        b : Tensor of shape (n_outputs, size)
        """
        L, info = torch.linalg.cholesky_ex(A)
        if bool(info.any()):
            # Collinear columns without a penalty have no one optimum; they are fine where they are.
            return torch.zeros_like(b)
        return self.solve(L, b)

    def solve(self, L: Tensor, b: Tensor) -> Tensor:
        """Return x with L L' x = b, for L of shape (n, size, size) and b of shape (n, size)."""
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
        step = self.minimize(A[:, first:, first:], b[:, first:])
        if self.problem.fit_intercept:
            state.intercept += step[:, 0]
        state.theta[:, sums.columns, 0] += step[:, 1 - first :]

    def _with_linear(self, theta: Tensor, covariances: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if not self.first:
            return theta, covariances
        if covariances is not None:
            covariances = pad(covariances, (1, 0, 1, 0) if covariances.ndim == 3 else (1, 0))
        return pad(theta, (1, 0)), covariances

    def weighted_sum(self, rows: Tensor) -> Tensor:
        """Return the sum over the rows by sample weight, (n_outputs,)."""
        return (rows * self.problem.sample_weight).sum(1, dtype=self.wide)


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
