"""The solvers, by name."""

from .als import ALS
from .base import Iterate, Problem, Settings, Solver
from .minibatch import MinibatchSolver
from .optimizers import OPTIMIZERS
from .vb import VB

SOLVERS: dict[str, Solver] = {
    solver.name: solver for solver in (VB(), ALS(), *map(MinibatchSolver, OPTIMIZERS.values()))
}

__all__ = ["SOLVERS", "Iterate", "Problem", "Settings", "Solver"]
