"""Losses of the raw prediction: values, derivatives and what else the minibatch engine asks of them.

Every function is elementwise over arrays of shape (n_outputs, n_samples); ``y`` has one row, whatever the
number of outputs. With y in the units of the solver and ``raw`` the raw prediction f:

=================  ===================================================  ==================  ==============
name               loss                                                 link                y
=================  ===================================================  ==================  ==============
squared_error      (y - f)^2 / 2                                        identity            any
absolute_error     abs(y - f)                                           identity            any
quantile           max(q (y - f), (q - 1) (y - f))                      identity            any
huber              e^2 / 2 up to abs(e) = d, d (abs(e) - d / 2) beyond  identity            any
poisson            exp(f) - y f                                         log                 >= 0
gamma              y exp(-f) + f                                        log                 > 0
log_loss           log(1 + exp(f)) - y f                                logit               0 or 1
softmax            log sum_c exp(f_c) - f_y                             symmetric logit     class number
hinge              max(0, 1 - z f), z = 1 for the class, else -1        none                class number
squared_hinge      max(0, 1 - z f)^2                                    none                class number
=================  ===================================================  ==================  ==============
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import huber_loss, softplus

#: Raw predictions on a log scale are kept within this distance of zero: exp stays finite in float32.
LARGEST_LOG = 80.0
#: Where Huber's loss turns from squares to absolute values, in robust standard deviations of the target:
#: the usual choice, 95 % efficient where the noise is normal after all.
HUBER_THRESHOLD = 1.35


class Loss(ABC):
    """A loss of the raw prediction."""

    #: With y = s z and a raw prediction to match, loss(y) = s^degree loss(z), up to a constant.
    degree: ClassVar[int] = 0
    #: Whether s multiplies the raw prediction; otherwise its logarithm is added to it.
    identity_link: ClassVar[bool] = True
    #: Whether the outputs are one model each, or one model together.
    joint_outputs: ClassVar[bool] = False
    #: Whether `expectation` gives probabilities of the classes.
    has_probabilities: ClassVar[bool] = False

    @abstractmethod
    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        """Return the losses, (n_outputs, n_samples), or one row of them if the outputs are one model."""

    @abstractmethod
    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first derivative by the raw prediction, and a curvature that steps can trust.

        The curvature is the second derivative or its expected value. Where that is zero, as for absolute
        errors, it is one that a smooth loss of the same kind would have.
        """

    def noise(self, losses: Tensor, slope: Tensor, curvature: Tensor) -> Tensor:
        """Return what the curvature stands in proportion to, as the noise in the target allows, elementwise.

        Summed over rows, curvature / noise is the precision that makes a likelihood of the loss: of the normal
        distribution for squared errors, about one for a likelihood that is right as it is.
        """
        return slope.square()

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        """Return the prediction that belongs to a raw prediction."""
        return raw

    def in_range(self, y: Tensor) -> Tensor:
        """Tell which y the loss can take, elementwise."""
        return torch.isfinite(y)

    #: What `in_range` asks for, in words, and whether no negative number is in it.
    range: ClassVar[str] = "finite"
    positive_only: ClassVar[bool] = False

    @abstractmethod
    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        """Return the raw predictions of the best model without any columns, (n_outputs,), finite.

        Parameters
        ----------
        y, weight : Tensor of shape (n_samples,)
        n_outputs : int
        """

    def location_and_scale(self, y: Tensor, weight: Tensor, *, center: bool) -> tuple[float, float]:
        """Return what the target is shifted by and divided by before training.

        Parameters
        ----------
        y, weight : Tensor of shape (n_samples,)
        center : bool
            Whether it may be shifted, or rescaled under a logarithm: that takes an intercept.
        """
        return 0.0, 1.0


class SquaredError(Loss):
    """Half the squared error."""

    degree = 2

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return (y - raw).square() / 2

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
        # A constant target has a spread of rounding errors.
        return mean * largest, spread * largest if spread > 10 * torch.finfo(y.dtype).eps else 1.0


class RobustLoss(Loss):
    """What does not grow faster than the error: the target is scaled by medians, which outliers do not move."""

    def location_and_scale(self, y: Tensor, weight: Tensor, *, center: bool) -> tuple[float, float]:
        middle = float(weighted_quantile(y, weight, 0.5)) if center else 0.0
        errors = (y - middle).abs()
        # For a normal distribution, 1.4826 medians are a standard deviation.
        spread = 1.4826 * float(weighted_quantile(errors, weight, 0.5))
        if spread <= 1e-8 * float(weighted_quantile(errors, weight, 0.95)):
            # More than half of the target is one value.
            spread = float((weight / weight.sum()) @ errors)
        return middle, spread if spread > 10 * torch.finfo(y.dtype).eps * max(abs(middle), 1e-300) else 1.0


class LaplaceLoss(RobustLoss):
    """Losses in proportion to the error: the mean of the loss tells the scale of the noise, slopes do not."""

    degree = 1

    def noise(self, losses: Tensor, slope: Tensor, curvature: Tensor) -> Tensor:
        return losses * curvature


class AbsoluteError(LaplaceLoss):
    """The absolute error: predictions are medians."""

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return (y - raw).abs()

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sign(raw - y), torch.full_like(raw, 0.5)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return weighted_quantile(y, weight, 0.5)[None]


class Quantile(LaplaceLoss):
    """The pinball loss: predictions are quantiles."""

    def __init__(self, quantile: float) -> None:
        self.quantile = quantile

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        error = y - raw
        return torch.maximum(self.quantile * error, (self.quantile - 1) * error)

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        q = self.quantile
        sign = torch.sign(raw - y)
        return sign.clamp(min=0) * (1 - q) + sign.clamp(max=0) * q, torch.full_like(raw, q * (1 - q))

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return weighted_quantile(y, weight, self.quantile)[None]


class Huber(RobustLoss):
    """Squares of small errors, absolute values of large ones."""

    degree = 2

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return huber_loss(raw, y.expand_as(raw), reduction="none", delta=HUBER_THRESHOLD)

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return (raw - y).clamp(-HUBER_THRESHOLD, HUBER_THRESHOLD), torch.ones_like(raw)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        # The root of the derivative, which rises, between the smallest and the largest value.
        low, high = y.min(), y.max()
        for _ in range(80):
            middle = (low + high) / 2
            rising = (weight @ (middle - y).clamp(-HUBER_THRESHOLD, HUBER_THRESHOLD)) > 0
            low, high = torch.where(rising, low, middle), torch.where(rising, middle, high)
        return ((low + high) / 2)[None]


class LogLinkLoss(Loss):
    """Positive targets, whose logarithm is modelled; divided by their mean first."""

    identity_link = False
    positive_only = True

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        return raw.exp()

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return ((weight @ y) / weight.sum()).log()[None]

    def location_and_scale(self, y: Tensor, weight: Tensor, *, center: bool) -> tuple[float, float]:
        mean = float((weight / weight.sum()) @ y)
        return 0.0, mean if center and mean > 0 else 1.0


class Poisson(LogLinkLoss):
    """The negative log likelihood of counts, without the part that is constant in the model."""

    degree = 1
    range = "not negative"

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return raw.clamp(max=LARGEST_LOG).exp() - y * raw

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        mean = raw.clamp(max=LARGEST_LOG).exp()
        return mean - y, mean

    def in_range(self, y: Tensor) -> Tensor:
        return (y >= 0) & torch.isfinite(y)


class Gamma(LogLinkLoss):
    """The negative log likelihood of positive numbers with a constant coefficient of variation."""

    range = "positive"

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return y * (-raw).clamp(max=LARGEST_LOG).exp() + raw

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        ratio = y * (-raw).clamp(max=LARGEST_LOG).exp()
        # The expected curvature is one. Far above the mean the actual one is much larger.
        return 1 - ratio, torch.clamp(ratio, min=1)

    def in_range(self, y: Tensor) -> Tensor:
        return (y > 0) & torch.isfinite(y)


class LogLoss(Loss):
    """Logistic regression of two classes."""

    has_probabilities = True
    range = "0 or 1"

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return softplus(raw) - y * raw

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        p = torch.sigmoid(raw)
        return p - y, p * (1 - p)

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        return torch.sigmoid(raw)

    def in_range(self, y: Tensor) -> Tensor:
        return (y == 0) | (y == 1)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return torch.logit(smoothed_shares(y, weight, 2)[1:])


class Softmax(Loss):
    """Multinomial logistic regression: one model of all classes."""

    joint_outputs = True
    has_probabilities = True
    range = "class numbers"

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return torch.logsumexp(raw, 0, keepdim=True) - raw.gather(0, y.long())

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        p = torch.softmax(raw, 0)
        curvature = p * (1 - p)
        return p.scatter_add(0, y.long(), -torch.ones_like(raw[:1])), curvature

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        return torch.softmax(raw, 0)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        logs = smoothed_shares(y, weight, n_outputs).log()
        return logs - logs.mean()


class MarginLoss(Loss):
    """Losses of the margin z f, z being 1 for the class of an output and -1 for the others."""

    range = "class numbers"

    def signs(self, y: Tensor, raw: Tensor) -> Tensor:
        """Return z, of the shape of ``raw``: a single output is that of class 1."""
        outputs = (
            torch.arange(len(raw), device=raw.device, dtype=raw.dtype) if len(raw) > 1 else raw.new_ones(1)
        )
        return torch.where(y == outputs[:, None], 1.0, -1.0).to(raw.dtype)


class Hinge(MarginLoss):
    """The loss of a linear support vector machine."""

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return (1 - self.signs(y, raw) * raw).clamp(min=0)

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        z = self.signs(y, raw)
        short = (z * raw < 1).to(raw.dtype)
        return -z * short, torch.full_like(raw, 0.5)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return torch.sign(2 * _class_shares(y, weight, n_outputs) - 1)


class SquaredHinge(MarginLoss):
    """Its square, which is smooth."""

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return (1 - self.signs(y, raw) * raw).clamp(min=0).square()

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        z = self.signs(y, raw)
        return -2 * z * (1 - z * raw).clamp(min=0), torch.full_like(raw, 2.0)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return 2 * _class_shares(y, weight, n_outputs) - 1


def smoothed_shares(y: Tensor, weight: Tensor, n_classes: int) -> Tensor:
    """Return the share of each class, none of them zero: half a sample more of each."""
    totals = torch.zeros(n_classes, dtype=weight.dtype, device=weight.device).index_add_(0, y.long(), weight)
    return (totals + 0.5) / (totals.sum() + 0.5 * n_classes)


def _class_shares(y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
    """Return the share of the class of each output."""
    shares = smoothed_shares(y, weight, max(2, n_outputs))
    return shares if n_outputs > 1 else shares[1:]


def weighted_quantile(values: Tensor, weight: Tensor, level: float) -> Tensor:
    """Return the middle of all numbers that minimize the weighted pinball loss, so weights are repeats."""
    order = values.argsort()
    ordered, total = values[order], weight[order].cumsum(0)
    goal = level * total[-1]
    slack = 1e-9 * total[-1]
    last = len(ordered) - 1
    lower = torch.searchsorted(total, goal - slack).clamp(max=last)
    upper = torch.searchsorted(total, goal + slack).clamp(max=last)
    return (ordered[lower] + ordered[upper]) / 2


LOSSES: dict[str, type[Loss]] = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
    "quantile": Quantile,
    "poisson": Poisson,
    "gamma": Gamma,
    "log_loss": LogLoss,
    "hinge": Hinge,
    "squared_hinge": SquaredHinge,
}


def make_loss(name: str, n_outputs: int, quantile: float = 0.5) -> Loss:
    """Return a loss by name; that of several classes together is the softmax."""
    if name == "quantile":
        return Quantile(quantile)
    if name == "log_loss" and n_outputs > 1:
        return Softmax()
    return LOSSES[name]()
