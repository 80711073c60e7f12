"""Predictions that are averages over the draws of a sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.scaling import as_tensor
from .mixtures import mixture_quantile
from .predictors import Predictor, check_quantiles
from .state import Rows

#: Maximum number of raw predictions, over all draws, that are held in memory at a time.
PREDICTIONS = 1 << 24


class Draws(Predictor):
    """A model with draws, whose outputs are numbers or probabilities of classes."""

    def variance(self, X: Any) -> Tensor:
        rows = self.model.rows(X)
        variance = self._over_pieces(rows, lambda raw: raw.var(0, correction=0))
        return variance * self.model.units.scale.to(variance)[:, None].square()

    def moments(self, X: Any) -> tuple[Tensor, Tensor]:
        rows = self.model.rows(X)

        def mean_and_std(raw: Tensor, noise: Tensor) -> Tensor:
            variance = raw[:, 0].var(0, correction=0) + noise.square().mean(0).to(raw)
            return torch.stack([raw[:, 0].mean(0), variance.sqrt()])

        mean, std = self._over_pieces_with_noise(rows, mean_and_std)
        return self._to_user(mean), std * float(self.model.units.scale[0])

    def quantiles(self, X: Any, levels: Any) -> Tensor:
        places = check_quantiles(levels)
        found = self._over_pieces_with_noise(
            self.model.rows(X),
            lambda raw, noise: torch.stack([mixture_quantile(raw[:, 0].double(), noise, q) for q in places]),
        )
        return self._to_user(found).T.contiguous()

    def probabilities(self, X: Any) -> Tensor:
        log_p, log_q = self._log_probabilities(X)
        if len(log_p) == 1:
            return torch.cat([log_q, log_p]).exp()
        # One-vs-rest probabilities are normalized.
        return torch.softmax(log_p, 0)

    def scores(self, X: Any) -> Tensor:
        return self.model.link.score(*self._log_probabilities(X))

    def raw_draws(self, rows: Rows) -> Iterator[Tensor]:
        """Yield the raw predictions of every draw, (n_draws, n_outputs, n_rows), for one chunk of rows after another.

        The raw predictions are in the units of predictions.
        """
        parameters = self.model.drawn.at(rows.place, rows.columns)
        for _, part in rows.design.pieces(self._n_rows()):
            yield self.model.interaction.raw(part, parameters).unflatten(0, (-1, self.model.n_outputs))

    def _log_probabilities(self, X: Any) -> Tensor:
        """Return the logarithms of P(y = 1) and P(y = 0), averaged over the draws, (2, n_outputs, n_samples)."""
        link = self.model.link

        def averages(raw: Tensor) -> Tensor:
            both = [link.log_probability(sign * raw).logsumexp(0) for sign in (1, -1)]
            return torch.stack(both) - np.log(len(raw))

        return self._over_pieces(self.model.rows(X), averages)

    def _over_pieces(self, rows: Rows, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return a function of the raw predictions of all draws, whose last axis is that of the rows."""
        return torch.cat([function(raw) for raw in self.raw_draws(rows)], -1).to("cpu").to(rows.dtype)

    def _over_pieces_with_noise(self, rows: Rows, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return a function of the raw predictions and of the noise of all draws, as `drawn_noise` returns it."""
        pieces = (part for _, part in rows.design.pieces(self._n_rows()))
        found = [
            function(raw, self.model.drawn_noise(rows._replace(design=part)).to(raw.device))
            for raw, part in zip(self.raw_draws(rows), pieces, strict=True)
        ]
        return torch.cat(found, -1).to("cpu").to(rows.dtype)

    def _n_rows(self) -> int:
        """Return the number of rows of a piece."""
        return max(1, PREDICTIONS // len(self.model.drawn.intercept))

    def _to_user(self, values: Tensor) -> Tensor:
        """Return numbers on the scale of the raw predictions in the user's units."""
        units = self.model.units
        return (values * units.scale[0] + units.shift[0]).to(values.dtype)


class OrderedDraws(Draws):
    """A model with draws that has a probability for each level of an ordered target."""

    def mean(self, X: Any) -> Tensor:
        return self._values(self.probabilities(X))

    def moments(self, X: Any) -> tuple[Tensor, Tensor]:
        p = self.probabilities(X)
        mean, levels = self._values(p), self._levels().to(p)
        # Squares of levels may be too large or too small for numbers.
        size = levels.abs().max()
        relative = (levels / size)[:, None] - mean / size
        return mean, (p * relative.square()).sum(0).sqrt() * size

    def quantiles(self, X: Any, levels: Any) -> Tensor:
        wanted = check_quantiles(levels)
        p = self.probabilities(X)
        below = p.cumsum(0).clamp(max=1)
        # The first level whose cumulative probability reaches the quantile. Rounding must not lead past the last level.
        places = (below[:, :, None] < wanted.to(p)).sum(0).clamp(max=len(p) - 1)
        return self._levels().to(p)[places]

    def probabilities(self, X: Any) -> Tensor:
        kept = self.model.draws
        assert kept is not None  # for the type checker
        cuts = as_tensor(kept.cut_points, torch.float64)
        return self._over_pieces(self.model.rows(X), lambda raw: self.model.link(raw, cuts.to(raw)).mean(0))

    def scores(self, X: Any) -> Tensor:
        p = self.probabilities(X)
        log_p = p.clamp(min=torch.finfo(p.dtype).tiny).log()
        return log_p if len(p) > 2 else log_p[1:] - log_p[:1]

    def _values(self, p: Tensor) -> Tensor:
        return (p * self._levels().to(p)[:, None]).sum(0)

    def _levels(self) -> Tensor:
        return as_tensor(self.model.fitted.levels_, torch.float64)
