"""The solvers, by name."""

from .base import Iterate, Problem, Settings, Solver
from .als import ALS
from .vb import VB

SOLVERS: dict[str, Solver] = {solver.name: solver for solver in (VB(), ALS())}

__all__ = ["SOLVERS", "Iterate", "Problem", "Settings", "Solver"]
