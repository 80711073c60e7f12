"""Warning for models whose factors have no effect."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from ..core.matrix.parameters import FMParameters
from ..core.solvers import Iterate
from .problem import TrainingProblem

#: Share of the spread of the raw predictions below which interactions have no effect.
NO_EFFECT = 1e-3
#: Spread of the raw predictions, in the units of the solver, below which nothing has been learned at all.
NOTHING_LEARNED = 1e-2
#: Number of training rows from which the spreads are computed.
MOST_ROWS = 4096


def warn_if_no_interactions(task: TrainingProblem, iterate: Iterate) -> None:
    """Warn if a model has factors, but the interactions of no output have an effect on the training rows.

    Solvers with a posterior are left out: factors that the data do not support are meant to shrink to zero there.
    """
    if task.solver.has_posterior:
        return
    share = interaction_share(task, iterate)
    if share is None or not bool((share < NO_EFFECT).all()):
        return
    warnings.warn(
        f"The interactions of the fitted model have practically no effect: they are {float(share.max()):.1g} of the "
        "spread of the raw predictions on the training data. If the data have no interactions, n_factors=0 gives the "
        "same model in less time. If they have, choose a smaller penalty, for example l2_factors=1, or try "
        "solver='vb'.",
        stacklevel=2,
    )


def interaction_share(task: TrainingProblem, iterate: Iterate) -> Tensor | None:
    """Return the standard deviation of the interactions relative to that of the raw predictions.

    Returns
    -------
    Tensor of shape (n_outputs,) or None
        None if there are no factors or rows, or if nothing at all has been learned.
    """
    design = task.problem.design
    n_rows = design.shape[0]
    if not iterate.parameters.factors.shape[2] or n_rows < 2:
        return None
    if n_rows > MOST_ROWS:
        design = design.take(torch.arange(0, n_rows, -(-n_rows // MOST_ROWS), device=design.device))
    intercept, linear, factors = (part.to(design.device, design.dtype) for part in iterate.parameters)
    raw = task.problem.interaction.raw
    full = raw(design, FMParameters(intercept, linear, factors))
    additive = raw(design, FMParameters(intercept, linear, factors[:, :, :0]))
    spread = full.std(1)
    if not bool((spread > NOTHING_LEARNED).all()):
        return None
    return ((full - additive).std(1) / spread).cpu()
