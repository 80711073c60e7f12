"""The target as solvers see it: numbers of a standard scale, and the raw prediction in the user's units."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: The smallest unit of the loss. In a smaller one, losses could not be compared: they would lose digits, or be zero.
SMALLEST_UNIT = float(np.finfo(np.float64).tiny)


class TargetTransform(NamedTuple):
    """How encoded y become targets, measured on the training rows. Plain numbers and arrays, kept with the model.

    Attributes
    ----------
    shift, scale : float
        Targets of a regression are (y - shift) / scale.
    start : ndarray of shape (n_outputs,)
        Raw predictions of the best model without any columns.
    identity_link : bool
        Whether raw predictions have the scale of the target; otherwise they have its logarithm.
    unit : float
        What a loss of one is in the user's units, or `SMALLEST_UNIT` if that is larger.
    outputs : ndarray of shape (n_outputs,) or None
        Numbers of the classes that are one model each, with targets 0 and 1. None if the targets are y itself.
    class_weight : ndarray of shape (n_classes,) or None
    """

    shift: float
    scale: float
    start: np.ndarray
    identity_link: bool = True
    unit: float = 1.0
    outputs: np.ndarray | None = None
    class_weight: np.ndarray | None = None

    def target(self, y: np.ndarray) -> np.ndarray:
        """Return the targets of encoded y, (n_outputs or 1, n_samples)."""
        if self.outputs is not None:
            return (y == self.outputs[:, None]).astype(np.float64)
        return ((y - self.shift) / self.scale)[None]

    def weight(self, y: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
        """Return the weights that count."""
        return sample_weight if self.class_weight is None else self.class_weight[y] * sample_weight

    @property
    def raw_shift(self) -> np.ndarray:
        """What the raw predictions are shifted by, (n_outputs,)."""
        return np.full(len(self.start), self.shift if self.identity_link else np.log(self.scale))

    @property
    def raw_scale(self) -> np.ndarray:
        """What the raw predictions are multiplied by, (n_outputs,)."""
        return np.full(len(self.start), self.scale if self.identity_link else 1.0)

    def penalties(self, options: dict) -> None:
        """Turn the user's penalties among the settings into those of the solver, in place.

        With y = sigma z, w = sigma w' and v = sqrt(sigma) v' the objective J of the user is ``unit`` times one in
        z, whose penalties are these. Under a logarithm w and v stay.
        """
        for name, power in (("l2_linear", 2), ("l2_factors", 1), ("l1_linear", 1)):
            given = options.get(name, "auto")
            if isinstance(given, str):
                continue
            # A penalty of zero is zero in all units.
            options[name] = given * self._penalty_factor(power) if given else 0.0
            if not np.isfinite(options[name]):
                raise ValueError(
                    f"{name}={given!r} cannot be converted to the units of the target, which spreads over "
                    f"{self.scale:.3g}. Multiply or divide y by a constant."
                )

    def _penalty_factor(self, power: int) -> float:
        """Return the factor of a penalty on numbers that are proportional to the scale to the given power / 2."""
        if not self.identity_link:
            return 1 / self.unit
        if self.unit <= SMALLEST_UNIT:
            # The unit of the squared error underflows before the scale does.
            return self.scale ** (power - 2)
        try:
            return self.scale**power / self.unit
        except OverflowError:
            return float("inf")
