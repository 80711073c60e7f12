"""Priors of the fields that are sampled rather than set to their optimum."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .priors import FieldPriors, field_size


class Hyperpriors(NamedTuple):
    """The hyperprior in standardized units.

    Attributes
    ----------
    linear_variance : float
        Scatter of the linear weights per degree of freedom.
    factors_scatter, factors_variance : float
        Scatter of each factor, and the increment of the scatter per column of the field.
    degrees, degrees_apart : float
        Degrees of freedom of a full prior, as a multiple of the number of parameters of a column, and of each of
        independent ones.
    intercept_precision : float
    noise_shape, noise_rate : float
        Twice those of the Gamma distribution of the noise precision.
    """

    linear_variance: float = 0.1
    factors_scatter: float = 0.1
    factors_variance: float = 0.001
    degrees: float = 3.0
    degrees_apart: float = 1.0
    intercept_precision: float = 0.01
    noise_shape: float = 1.0
    noise_rate: float = 1.0

    def scatter(self, size: int, *, full: bool, has_linear: bool) -> tuple[Tensor, Tensor, float]:
        """Return what `SampledPriors` takes for ``size`` parameters per column: H, its growth and the degrees."""
        degrees = self.degrees * size if full else self.degrees_apart
        scatter = torch.full((size,), self.factors_scatter, dtype=torch.float64, device="cpu")
        growth = torch.full((size,), self.factors_variance, dtype=torch.float64, device="cpu")
        if has_linear:
            scatter[0], growth[0] = self.linear_variance * degrees, 0
        return scatter, growth, degrees


class SampledPriors(FieldPriors):
    """One prior per field and output, drawn from its conditional given the columns.

    With n columns of mean m and scatter S about it, prior scatter H and nu degrees of freedom, the Normal-Wishart
    conditional with the mean at zero a priori is::

        Lam ~ Wishart(nu + n, (H + S + n / (n + 1) m m')^-1)        mu | Lam ~ N(n m / (n + 1), ((n + 1) Lam)^-1)

    and with a diagonal Lam, each of its elements on its own with h of H = diag(h)::

        lam ~ Gamma((nu + n) / 2, (h + s + n / (n + 1) m^2) / 2)    mu | lam ~ N(n m / (n + 1), 1 / ((n + 1) lam))
    """

    def __init__(
        self,
        diagonal: Tensor,
        hyper_scatter: Tensor,
        growth: Tensor,
        degrees: float,
        n_outputs: int,
        fields: Tensor,
        used: Tensor,
        *,
        full: bool,
    ) -> None:
        """Start every field at N(0, diag(diagonal)^-1).

        Parameters
        ----------
        diagonal, hyper_scatter, growth : Tensor of shape (size,)
            In the solver's dtype. H is ``diag(hyper_scatter + n growth)`` for a field of n columns: with
            ``growth`` a large field keeps a least variance, without which a chain can stay where factors are zero.
        degrees : float
            Degrees of freedom of the hyperprior; more than size - 1 if the precisions are full.
        n_outputs : int
        fields, used
            As in `FieldPriors`.
        full : bool
            Whether precisions are matrices.
        """
        super().__init__(diagonal, hyper_scatter, n_outputs, fields, used)
        self.growth = growth.to(self._hyper_scatter)
        self.degrees, self.full = degrees, full

    def reset(self, precision: float) -> None:
        """Set every prior to mean zero and one precision."""
        self.set(
            torch.zeros_like(self.mean),
            torch.eye(self.mean.shape[2], dtype=self.mean.dtype, device=self.mean.device) * precision,
        )

    def draw(self, theta: Tensor, rng: np.random.Generator) -> None:
        """Draw every prior given the columns, theta of shape (n_outputs, n_features, size)."""
        for g, members in enumerate(self._members):
            count = field_size(members)
            hyper_scatter = self._hyper_scatter + count * self.growth
            x = theta[:, members].to(self.mean)
            total = x.sum(1)
            mean = total / max(1, count)
            center = total / (count + 1)
            centered = x - mean[:, None]
            shrunk = mean * (count / (count + 1)) ** 0.5
            if self.full:
                scatter = centered.mT @ centered + shrunk[:, :, None] * shrunk[:, None, :]
                scatter.diagonal(dim1=1, dim2=2).add_(hyper_scatter)
                root, spread = wishart(scatter, self.degrees + count, rng)
                self.precision[:, g] = root @ root.mT
            else:
                rate = (centered.square().sum(1) + shrunk.square() + hyper_scatter) / 2
                gammas = rng.standard_gamma((self.degrees + count) / 2, tuple(rate.shape))
                precision = torch.from_numpy(gammas).to(rate) / rate
                self.precision[:, g] = torch.diag_embed(precision)
                spread = torch.diag_embed(precision.rsqrt())
            z = torch.from_numpy(rng.standard_normal(tuple(center.shape))).to(center)
            self.mean[:, g] = center + (spread @ z[:, :, None])[:, :, 0] / (count + 1) ** 0.5
        self._copy()


def wishart(scatter: Tensor, degrees: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw Lam ~ Wishart(degrees, scatter^-1) by Bartlett's decomposition.

    Parameters
    ----------
    scatter : Tensor of shape (n, size, size)
    degrees : float
        More than size - 1.
    rng : numpy.random.Generator

    Returns
    -------
    root, spread : Tensor of shape (n, size, size)
        ``Lam = root root'`` and ``Lam^-1 = spread spread'``.
    """
    n, size, _ = scatter.shape
    lower = np.tril(rng.standard_normal((n, size, size)), -1)
    lower[:, range(size), range(size)] = np.sqrt(rng.chisquare(degrees - np.arange(size), (n, size)))
    bartlett = torch.from_numpy(lower).to(scatter)
    factor = torch.linalg.cholesky(scatter)
    root = torch.linalg.solve_triangular(factor.mT, bartlett, upper=True)
    # Lam^-1 = C B^-T B^-1 C' with the factor C of the scatter.
    spread = torch.linalg.solve_triangular(bartlett.mT, factor, upper=True, left=False)
    return root, spread
