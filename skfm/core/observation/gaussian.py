"""The squared error, which is the negative log likelihood of Gaussian noise.

::

    loss = (y - f)^2 / 2
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..bayes.sampling import LOG_ROOT_2PI
from ..matrix.spread import NARROW, narrow_moments
from .base import REGRESSION, ObservationModel
from .inverse_links import IDENTITY
from .parts import LatentVariables, MinibatchLoss, QuadraticBound


class SquaredErrorLoss(MinibatchLoss):
    """Half the squared error."""

    degree = 2

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return half_squared_error(y, raw)

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return raw - y, torch.ones_like(raw)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return ((weight @ y) / weight.sum())[None]

    def location_and_scale(self, y: Tensor, weight: Tensor, *, center: bool) -> tuple[float, float]:
        # Dividing by the largest value first keeps the squares of very small and large numbers finite.
        largest = float(y.abs().max()) or 1.0
        relative, share = y / largest, weight / weight.sum()
        mean = float(share @ relative) if center else 0.0
        spread = float((share @ (relative - mean).square()).sqrt())
        if spread < NARROW and center:
            mean, spread = narrow_moments(y, weight)
            # The spread of a constant target consists of rounding errors.
            return mean, spread or 1.0
        return mean * largest, spread * largest or 1.0


class GaussianNoise(QuadraticBound):
    """Gaussian noise of unknown precision: the loss is the quadratic itself."""

    has_noise = True
    is_gaussian = True

    def linearize(
        self, y: Tensor, mean: Tensor, variance: Tensor | None, caution: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor]:
        return None, y

    def bound(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return -((y - mean).square() + variance) / 2

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return half_squared_error(y, raw)


class GaussianRows(LatentVariables):
    """Rows with Gaussian noise need no latent variables."""

    has_noise = True

    def __init__(self, y: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        super().__init__(y, weight, generator)
        self._working = weight.expand_as(y), y

    def draw(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self._working

    def log_likelihood(self, raw: Tensor, noise_precision: Tensor) -> Tensor:
        weight, y = self._working
        # Terms in the type of the solver and their sum in the wide one take a tenth of the time.
        alpha = noise_precision.to(self.accum_dtype)
        error = ((y - raw).square() * weight).sum(1, dtype=self.accum_dtype)
        return (self.weight.sum() * (alpha.log() - 2 * LOG_ROOT_2PI) - alpha * error) / 2

    @staticmethod
    def loss(y: Tensor, outcome: Tensor) -> Tensor:
        return half_squared_error(y, outcome)


def half_squared_error(y: Tensor, prediction: Tensor) -> Tensor:
    """Return the losses, elementwise."""
    return (y - prediction).square() / 2


SQUARED_ERROR = ObservationModel(
    name="squared_error",
    tasks=(REGRESSION,),
    target="numbers",
    inverse_link=IDENTITY,
    loss=SquaredErrorLoss,
    quadratic=GaussianNoise(),
    latent=GaussianRows,
)
