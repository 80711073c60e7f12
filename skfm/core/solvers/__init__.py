"""The solvers, by name."""

from .als import ALS
from .base import DivergenceError, Iterate, OnlineRun, Problem, Run, Settings, Solver, StateDict
from .gate import supports_factors
from .mcmc import MCMC
from .minibatch.optimizers import OPTIMIZERS
from .minibatch.run import MinibatchSolver
from .vb import VB

SOLVERS: dict[str, Solver] = {
    solver.name: solver for solver in (VB(), ALS(), MCMC(), *map(MinibatchSolver, OPTIMIZERS.values()))
}

__all__ = [
    "SOLVERS",
    "DivergenceError",
    "Iterate",
    "OnlineRun",
    "Problem",
    "Run",
    "Settings",
    "Solver",
    "StateDict",
    "supports_factors",
]
