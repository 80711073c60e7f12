"""The history of a run: the numbers of every sweep, and the state to keep."""

from __future__ import annotations

import itertools
import math
from typing import Any

from torch import Tensor

from ..core.matrix.parameters import FMParameters
from ..core.solvers import Iterate, StateDict

#: Minimum number of sweeps of a sampler after its burn-in: the loss of an average of a few draws fluctuates.
FEWEST_SWEEPS = 20


def n_sweeps(number: int) -> str:
    """Return a number of sweeps in words."""
    return f"{number} sweep" if number == 1 else f"{number} sweeps"


class History:
    """The numbers of every sweep and the state to keep.

    That state is the one of the lowest validation loss, or the last one without validation. It is copied before the
    next sweep, which changes the tensors in place. A sampler keeps its draws itself.

    Parameters
    ----------
    objective_name : str
    validated : bool
        Whether there are validation losses.

    Attributes
    ----------
    history : dict of list
        One entry per sweep.
    """

    def __init__(self, objective_name: str, *, validated: bool) -> None:
        self.objective: list[float] = []
        self.validation: list[float] = []
        self.history = {objective_name: self.objective}
        if validated:
            self.history["validation_loss"] = self.validation
        self._kept: Iterate | None = None
        self._is_borrowed = False
        self._best = 0
        self._fit = 0.0
        self._settles = True
        #: While a sweep is being recorded: the number of sweeps before it, and the state after them.
        self._before: tuple[int, tuple[Any, ...]] | None = None

    @property
    def n_iter(self) -> int:
        """Number of sweeps that have ended."""
        return len(self.objective)

    @property
    def kept(self) -> Iterate:
        """The state to keep."""
        if self._kept is None:
            raise LookupError("No sweep has ended.")
        return self._kept

    def add(self, iterate: Iterate, validation_loss: float | None) -> None:
        """Record a sweep."""
        self._before = self.n_iter, (self._kept, self._is_borrowed, self._best, self._fit, self._settles)
        if validation_loss is not None:
            self.validation.append(validation_loss)
        self.objective.append(iterate.objective)
        for name, value in (iterate.report or {}).items():
            self.history.setdefault(name, []).append(value)
        self._fit = iterate.objective if iterate.fit is None else iterate.fit
        self._settles = iterate.settles
        if iterate.draws is not None:
            # All draws are kept. Those of the burn-in count neither as better nor as worse.
            self._kept = iterate
            is_best = validation_loss is None or validation_loss < self.validation[self._best]
            if is_best or not iterate.draws.is_warm:
                self._best = self.n_iter - 1
        elif self._kept is None or validation_loss is None or validation_loss < self.validation[self._best]:
            self._best = self.n_iter - 1
            self.keep(iterate)
        self._before = None

    def discard_incomplete(self) -> None:
        """Remove what an interrupted `add` has recorded."""
        if self._before is None:
            return
        n_iter, (self._kept, self._is_borrowed, self._best, self._fit, self._settles) = self._before
        for name, values in list(self.history.items()):
            del values[n_iter:]
            if not n_iter and values is not self.objective and values is not self.validation:
                del self.history[name]
        self._before = None

    def keep(self, iterate: Iterate) -> None:
        """Take a state as the one to keep."""
        self._kept, self._is_borrowed = iterate, True

    def secure(self) -> None:
        """Copy the state to keep if the next sweep would change it."""
        if self._kept is None or not self._is_borrowed:
            return
        posterior = None if self._kept.posterior is None else self._kept.posterior.clone()
        self._kept = self._kept._replace(parameters=self._kept.parameters.clone(), posterior=posterior)
        self._is_borrowed = False

    def converged(self, tol: float) -> bool:
        """Return whether the last two sweeps each changed the objective by less than ``tol`` times the fit.

        Two sweeps are required because a fit may stall for one sweep before its factors find their direction.
        """
        if self.n_iter < 3 or not self._settles:
            return False
        return self._largest_change(2) < tol * abs(self._fit)

    @property
    def relative_change(self) -> float:
        """The larger change of the objective in the last two sweeps, relative to the fit; NaN after a single sweep."""
        if self.n_iter < 2:
            return math.nan
        change = self._largest_change(2)
        return change / abs(self._fit) if self._fit else math.copysign(math.inf, change)

    def _largest_change(self, n_sweeps: int) -> float:
        """Return the largest absolute change of the objective in the last sweeps."""
        values = self.objective[-n_sweeps - 1 :]
        return max(abs(after - before) for before, after in itertools.pairwise(values))

    def stale(self, n_iter_no_change: int) -> bool:
        """Return whether the validation loss has not fallen for ``n_iter_no_change`` sweeps."""
        draws = None if self._kept is None else self._kept.draws
        if draws is not None and draws.n_seen < draws.burn_in + FEWEST_SWEEPS:
            return False
        return bool(self.validation) and self.n_iter - 1 - self._best >= n_iter_no_change

    def state_dict(self) -> StateDict:
        """Return all that `load_state_dict` needs. Without validation the state to keep is that of the run."""
        history = {name: list(values) for name, values in self.history.items()}
        numbers = {"history": history, "best": self._best, "kept": None}
        if self._kept is None or not self.validation:
            return StateDict({}, numbers)
        numbers["kept"] = self._kept.objective
        return StateDict({f"kept_{i}": t for i, t in enumerate(self._kept.parameters)}, numbers)

    def load_state_dict(self, state: StateDict, like: Tensor) -> None:
        """Continue the history of an interrupted run, with tensors in the dtype and on the device of ``like``."""
        tensors, numbers = state
        for name, values in self.history.items():
            values[:] = numbers["history"][name]
        self._best = numbers["best"]
        if numbers["kept"] is not None:
            kept = FMParameters(*(tensors[f"kept_{i}"].to(like) for i in range(3)))
            self._kept = Iterate(kept, numbers["kept"])

    def latest(self) -> dict[str, str]:
        """Return the numbers of the last sweep, for a progress bar."""
        return {name: f"{values[-1]:.6g}" for name, values in self.history.items()}
