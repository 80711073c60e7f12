"""A joint update of columns that share long rows: see `long_rows`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .long_rows import LongRowEngine, Moved, SharedTile

#: How often a joint update is halved before it is left out.
HALVINGS = 20


def update_together(run: Any, block: SharedTile, A: Tensor, b: Tensor) -> None:
    """Update columns that share rows, with steps that do not raise the objective given all other columns.

    Parameters
    ----------
    run : BlockRun
    block : SharedTile
    A, b : Tensor
        The normal equations of its columns.
    """
    engine, state, first = run.engine, run.state, run.first
    assert isinstance(engine, LongRowEngine)  # for the type checker
    old = state.theta[:, block.columns].flatten(0, 1)
    old_S = None if state.covariances is None else state.covariances[:, block.columns].flatten(0, 1)
    damped, shift = engine.damped(block, A, b)
    run.column_weight = damped[:, 0, 0]
    theta, covariances = run.update(block, damped[:, first:, first:], shift[:, first:])
    if covariances is not None:
        covariances = run.update(block, A[:, first:, first:], b[:, first:])[1]
    theta, covariances = run.with_linear(theta, covariances)

    def cost(moved: Moved, theta: Tensor, S: Tensor | None) -> Tensor:
        terms = _prior_cost(run, block, theta, S).view(run.n_outputs, -1).sum(1, dtype=run.accum_dtype)
        return state.noise_precision * moved.cost + terms

    before = cost(engine.current(block), old, old_S)
    rounding = torch.finfo(old.dtype).eps * before.abs() * len(block.columns) ** 0.5
    share = torch.ones_like(state.intercept)
    for trial in range(HALVINGS + 1):
        each = share.repeat_interleave(len(block.columns))
        new, S = torch.lerp(old, theta, each[:, None]), covariances
        if S is not None and old_S is not None:
            S = torch.lerp(old_S, S, each.view(-1, *[1] * (S.ndim - 1)))
        moved = engine.move(block, new, S)
        rises = ~(cost(moved, new, S) <= before + rounding)
        if not bool(rises.any()):
            break
        share = torch.where(rises, 0.0 if trial == HALVINGS - 1 else share / 2, share)
    engine.store(block, moved, new, S)
    if S is not None and bool((share < 1).any()):
        run.stored(block, S)


def _prior_cost(run: Any, block: SharedTile, theta: Tensor, covariances: Tensor | None) -> Tensor:
    """Return the divergence of each column from its prior up to a constant, or half its penalty, (n,)."""
    first = run.first
    precision, shift = run.prior(block.columns)
    theta = theta[:, first:]
    cost = ((precision @ theta[:, :, None])[:, :, 0] / 2 - shift).mul(theta).sum(1)
    if covariances is None:
        return cost
    if covariances.ndim == 2:
        variances = covariances[:, first:]
        return cost + (precision.diagonal(dim1=1, dim2=2) * variances - variances.log()).sum(1) / 2
    S = covariances[:, first:, first:]
    log_det = 2 * torch.linalg.cholesky_ex(S)[0].diagonal(dim1=1, dim2=2).log().sum(1)
    return cost + ((precision * S).sum((1, 2)) - log_det) / 2
