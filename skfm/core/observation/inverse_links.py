"""Inverse links: how predictions follow from the raw prediction, a declared kind with its functions.

==============  =======================================  =====================================================
kind            prediction, f being the raw prediction   over a Gaussian raw prediction N(m, v)
==============  =======================================  =====================================================
identity        f                                        m
none            f, a score without a scale               m
exp             exp(f)                                   exp(m + v / 2)
sigmoid         1 / (1 + exp(-f))                        sum_k w_k sigmoid(m + z_k sqrt(v)), a quadrature
normal_cdf      Phi(f)                                   Phi(m / sqrt(1 + v))
softmax         exp(f_c) / sum_k exp(f_k)                that of m, which leaves v out
cut_points      Phi(c_(l+1) - f) - Phi(c_l - f)          not available: cut-points are drawn, not averaged
==============  =======================================  =====================================================

Whatever computes predictions in another way (ONNX graphs, activations of layers, model files of other libraries)
looks the kind up in a table of its own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..bayes.quadrature import TILE, Nodes, normal_expectations, normal_nodes
from ..bayes.sampling import log_ndtr_inverse, ndtr
from .cut_points import with_ends


class InverseLink(ABC):
    """The function from raw predictions to predictions. Instances have no state."""

    #: The name under which other parts of the package look up how to compute it.
    kind: ClassVar[str]
    #: Whether predictions are probabilities.
    is_probability: ClassVar[bool] = False
    #: Whether the outputs are one model together, rather than one model each.
    joint_outputs: ClassVar[bool] = False
    #: Whether raw predictions have the scale of the target; otherwise they have its logarithm.
    identity_link: ClassVar[bool] = True
    #: The number c for which the expectation over N(m, v) is the prediction of m / sqrt(1 + c v), if there is one.
    variance_factor: ClassVar[float | None] = None
    #: Nodes of the quadrature that computes the expectation over N(m, v); None if it is computed otherwise.
    nodes: ClassVar[Nodes | None] = None

    @abstractmethod
    def __call__(self, raw: Tensor, cut_points: Tensor | None = None) -> Tensor:
        """Return the predictions.

        Parameters
        ----------
        raw : Tensor of shape (..., n_outputs, n_samples)
        cut_points : Tensor of shape (..., n_levels - 1) or None
            Only the kind "cut_points" reads them.

        Returns
        -------
        Tensor of shape (..., n_outputs, n_samples) or (..., n_levels, n_samples)
        """

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        """Return the prediction, averaged over a Gaussian raw prediction where there is a variance.

        Without a quadrature and without a method of its own, a link returns the prediction of the mean.
        """
        if variance is None or self.nodes is None:
            return self(raw)
        return normal_expectations(lambda f: (self(f),), raw, variance, self.nodes)[0]

    def averaged_score(self, raw: Tensor, variance: Tensor) -> Tensor:
        """Return the raw prediction whose prediction is the expectation over a Gaussian raw prediction.

        A link without a probability of single classes returns the mean.
        """
        return raw

    def link(self, mean: Tensor) -> Tensor:
        """Return the raw prediction whose prediction is ``mean``."""
        raise NotImplementedError(f"The inverse link {self.kind!r} has no inverse.")

    def log_probability(self, raw: Tensor) -> Tensor:
        """Return log P(y = 1) of two classes."""
        raise NotImplementedError(f"The inverse link {self.kind!r} has no probability of a single class.")

    def score(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """Return the raw prediction from log P(y = 1) and log P(y = 0)."""
        raise NotImplementedError(f"The inverse link {self.kind!r} has no probability of a single class.")


class Identity(InverseLink):
    """The raw prediction is the prediction."""

    kind = "identity"

    def __call__(self, raw: Tensor, cut_points: Tensor | None = None) -> Tensor:
        return raw

    def link(self, mean: Tensor) -> Tensor:
        return mean


class Score(Identity):
    """The raw prediction is a score: only its order and its sign have a meaning."""

    kind = "none"


class Exponential(InverseLink):
    """The raw prediction is the logarithm of the prediction."""

    kind = "exp"
    identity_link = False

    def __call__(self, raw: Tensor, cut_points: Tensor | None = None) -> Tensor:
        return raw.exp()

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        return self(raw if variance is None else raw + variance / 2)

    def link(self, mean: Tensor) -> Tensor:
        return mean.log()


class Sigmoid(InverseLink):
    """The raw prediction is the log odds."""

    kind = "sigmoid"
    is_probability = True
    #: The error is below 1e-4 up to a standard deviation of three, and below 2e-3 for any.
    nodes = normal_nodes(31)
    #: Largest variance for which the quadrature is accurate enough.
    max_variance = 25.0
    #: The variance of the standard logistic distribution.
    logistic_variance = math.pi**2 / 3

    def __call__(self, raw: Tensor, cut_points: Tensor | None = None) -> Tensor:
        return torch.sigmoid(raw)

    def link(self, mean: Tensor) -> Tensor:
        return torch.logit(mean)

    def log_probability(self, raw: Tensor) -> Tensor:
        return logsigmoid(raw)

    def averaged_score(self, raw: Tensor, variance: Tensor) -> Tensor:
        # In logarithms, because the probabilities of extreme raw predictions underflow.
        z, w = (torch.tensor(part, dtype=raw.dtype, device=raw.device)[:, None] for part in self.nodes)
        raw, variance = self.narrowed(raw, variance)
        std = variance.sqrt()

        def logarithms(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
            at = mean + z * std
            log_p, log_q = ((w.log() + logsigmoid(f)).logsumexp(0) for f in (at, -at))
            return log_p, log_q

        tiles = zip(raw.flatten().split(TILE), std.expand_as(raw).flatten().split(TILE), strict=True)
        return torch.cat([self.score(*logarithms(*tile)) for tile in tiles]).view_as(raw)

    def score(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return log_p - log_q

    def narrowed(self, raw: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of nearly the same expectation, whose variance is not too large for the quadrature.

        The expectation is the distribution function, at m, of the sum of a standard logistic variable and a normal one
        of variance v. Where v is large, it is the same function of m and the standard deviation of the sum for all v.
        """
        c = self.logistic_variance
        scale = ((variance + c) / (self.max_variance + c)).clamp(min=1).sqrt()
        return raw / scale, variance.clamp(0, self.max_variance)

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        return self(raw) if variance is None else super().expectation(*self.narrowed(raw, variance))


class NormalCDF(InverseLink):
    """The raw prediction is a quantile of the standard normal distribution."""

    kind = "normal_cdf"
    is_probability = True
    variance_factor = 1.0

    def __call__(self, raw: Tensor, cut_points: Tensor | None = None) -> Tensor:
        return ndtr(raw)

    def averaged_score(self, raw: Tensor, variance: Tensor) -> Tensor:
        return raw / torch.sqrt(1 + variance)

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        if variance is not None:
            raw = self.averaged_score(raw, variance)
        # torch.special.ndtr returns zero below about -9.
        return torch.special.log_ndtr(raw).exp()

    def link(self, mean: Tensor) -> Tensor:
        return torch.special.ndtri(mean)

    def log_probability(self, raw: Tensor) -> Tensor:
        return torch.special.log_ndtr(raw)

    def score(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        # From the smaller of the two, which has more digits.
        x = log_ndtr_inverse(torch.minimum(log_p, log_q))
        return torch.where(log_p < log_q, x, -x)


class Softmax(InverseLink):
    """The raw predictions of all classes are their log probabilities, up to a constant."""

    kind = "softmax"
    is_probability = True
    joint_outputs = True

    def __call__(self, raw: Tensor, cut_points: Tensor | None = None) -> Tensor:
        return torch.softmax(raw, 0)


class CutPointsLink(InverseLink):
    """The raw prediction is the mean of a latent normal variable, whose level the cut-points decide."""

    kind = "cut_points"
    is_probability = True

    def __call__(self, raw: Tensor, cut_points: Tensor | None = None) -> Tensor:
        if cut_points is None:
            raise TypeError("The inverse link 'cut_points' needs the cut-points.")
        distance = with_ends(cut_points)[..., :, None].to(raw.dtype) - raw
        # The probability of a level, from the tail where it has more digits.
        lower, upper = distance[..., :-1, :], distance[..., 1:, :]
        mirror = lower + upper > 0
        left, right = torch.where(mirror, -upper, lower), torch.where(mirror, -lower, upper)
        return ndtr(right) - ndtr(left)


IDENTITY = Identity()
SCORE = Score()
EXP = Exponential()
SIGMOID = Sigmoid()
NORMAL_CDF = NormalCDF()
SOFTMAX = Softmax()
CUT_POINTS = CutPointsLink()
