"""Update rules of the minibatch solvers, on the rows of a batch only.

Every rule takes a gradient step in the metric of its own r, and the penalty implicitly, so that no step
size is too large for it::

    theta = argmin  <gradient, theta> + r/2 |theta - before|^2 + penalty/2 |theta|^2
          = before - (gradient + penalty * before) / (r + penalty)

The curvature of the batch bounds r from below (`Step.curvature`): a step never goes further than Newton's
would if all columns of a row moved at once.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor


class Step(NamedTuple):
    """The input of an update rule.

    Attributes
    ----------
    gradient : Tensor of shape (n_columns, width)
        Sums over the rows of the batch.
    curvature : Tensor of shape (n_columns, n_outputs)
    profile : Tensor of shape (n_outputs, width / n_outputs)
        The least r of each parameter of a column, per unit of the curvature of its output: see `least_r`.
    rate : float
    penalty : Tensor of shape (n_columns, width)
        The part of the penalties that this batch sees.
    l2 : Tensor of shape (n_columns, n_outputs) or None
        Penalties of the linear weights in a whole pass. Only for rules that read them.
    passes, batches_seen : Tensor of shape (n_columns, 1)
        How many passes these parts amount to so far, and how many batches have contained the column. Only for rules
        that count batches.
    l1_linear : float
        Penalty of the absolute linear weights, of a whole pass.
    extra : Tensor of shape (n_columns, width) or None
        What the curvature of rows with many non-zeros adds to r.
    """

    gradient: Tensor
    curvature: Tensor
    profile: Tensor
    rate: float
    penalty: Tensor
    passes: Tensor
    batches_seen: Tensor
    l2: Tensor | None = None
    l1_linear: float = 0.0
    extra: Tensor | None = None


class Optimizer(ABC):
    """An update rule. Its state is a few tables with one row per column, its slots."""

    name: ClassVar[str]
    #: The value of ``learning_rate="auto"``.
    learning_rate: ClassVar[float]
    #: Public parameters that only this rule reads.
    options: ClassVar[frozenset[str]] = frozenset()
    #: Whether it reads how many batches have contained each column.
    counts_batches: ClassVar[bool] = False
    #: Whether it reads the penalties of a whole pass.
    reads_l2: ClassVar[bool] = False
    #: How many of its slots, from the first on, are about step sizes only: they are valid for other parameters too.
    n_portable: ClassVar[int] = 2
    #: Its slots that can have negative numbers.
    signed_slots: ClassVar[frozenset[int]] = frozenset()

    def auto_rate(self, n_steps: int | None) -> float:
        """Return the value of ``learning_rate="auto"`` for a planned number of steps, None if it is not known."""
        return self.learning_rate

    @abstractmethod
    def slots(self, theta: Tensor, n_outputs: int) -> list[Tensor]:
        """Return the state before any step, for a table of parameters."""

    @abstractmethod
    def update(self, theta: Tensor, slots: list[Tensor], step: Step) -> None:
        """Change the rows of parameters and slots in place."""

    def slots_in_units(
        self, slots: list[Tensor], theta: Tensor, factor: Tensor, n_outputs: int
    ) -> list[Tensor]:
        """Return the slots for other units, in which gradients are multiplied by a factor.

        Parameters
        ----------
        slots : list of Tensor
        theta : Tensor of shape (n_columns, width)
            In the new units.
        factor : Tensor of shape (n_columns, width)
            Positive.
        n_outputs : int
        """
        return [slot.clone() for slot in slots]

    def settle(  # noqa: B027
        self, theta: Tensor, slots: list[Tensor], passes: Tensor, l2: Tensor, l1_linear: float
    ) -> None:
        """Adapt slots that determine parameters to the given parameters, in place. Most rules have no such slots.

        Parameters
        ----------
        theta : Tensor of shape (n_columns, width)
        slots : list of Tensor
        passes : Tensor of shape (n_columns, 1)
        l2 : Tensor of shape (n_columns or 1, n_outputs)
        l1_linear : float
        """


class SGD(Optimizer):
    """Stochastic gradient descent: r = 1 / rate, and the curvature of the batch on top."""

    name = "sgd"
    learning_rate = 0.03

    def slots(self, theta: Tensor, n_outputs: int) -> list[Tensor]:
        return []

    def update(self, theta: Tensor, slots: list[Tensor], step: Step) -> None:
        r = least_r(step.curvature, step.profile).add_(1 / step.rate)
        if step.extra is not None:
            r += step.extra
        descend(theta, step.gradient, r, step.penalty)


class AdaGrad(Optimizer):
    """Adaptive gradient: r = sqrt(1 + sum of all squared gradients) / rate.

    A column has one such sum for its linear weight and one for all its factors, of their mean square: as
    good as one for each on all data tried, and a third less to fetch and to store.

    References
    ----------
    J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization", Journal of Machine Learning Research 12, 2011.
    """

    name = "adagrad"
    learning_rate = 0.25

    def slots(self, theta: Tensor, n_outputs: int) -> list[Tensor]:
        width = theta.shape[1]
        return [theta.new_ones(len(theta), width if width == n_outputs else 2 * n_outputs)]

    def update(self, theta: Tensor, slots: list[Tensor], step: Step) -> None:
        self._move(theta, slots[0], step)

    def slots_in_units(
        self, slots: list[Tensor], theta: Tensor, factor: Tensor, n_outputs: int
    ) -> list[Tensor]:
        squares, *others = slots
        # Sums that have overflowed stay infinite.
        grown = 1 + torch.where(squares.isinf(), squares, (squares - 1) * pool(factor.square(), n_outputs))
        return [grown.clamp_(min=1), *(slot.clone() for slot in others)]

    def _move(self, theta: Tensor, squares: Tensor, step: Step) -> Tensor:
        """Make the step, and return its r, pooled."""
        n_outputs = step.curvature.shape[1]
        squares.add_(pool(step.gradient.square(), n_outputs))
        r = root(squares, step)
        descend(theta, step.gradient, spread(r, n_outputs, theta.shape[1]), step.penalty)
        return r


class Adam(Optimizer):
    """Adam with moments of the touched rows only, each with a clock of its own."""

    name = "adam"
    learning_rate = 0.01
    counts_batches = True
    signed_slots = frozenset({0})
    beta1, beta2, epsilon = 0.9, 0.999, 1e-8
    #: A step is at most about as long as the learning rate, so that few steps have to be longer. This is the sum of the
    #: learning rates of a run before its decay, and the largest learning rate.
    total_rate, largest_rate = 10.0, 0.1

    def auto_rate(self, n_steps: int | None) -> float:
        if not n_steps:
            return self.learning_rate
        return min(self.largest_rate, max(self.learning_rate, self.total_rate / n_steps))

    def slots(self, theta: Tensor, n_outputs: int) -> list[Tensor]:
        return [torch.zeros_like(theta), torch.zeros_like(theta)]

    def update(self, theta: Tensor, slots: list[Tensor], step: Step) -> None:
        first, second = slots
        second.mul_(self.beta2).addcmul_(step.gradient, step.gradient, value=1 - self.beta2)
        spread = second / (1 - self.beta2**step.batches_seen)
        least = least_r(step.curvature.square(), step.profile.square())
        r = least.add_(spread, alpha=step.rate**-2).sqrt_().add_(self.epsilon / step.rate)
        # The mean moves the columns again in later batches, which do not know of the long rows of this one.
        gradient = step.gradient if step.extra is None else step.gradient * (r / (r + step.extra))
        first.lerp_(gradient, 1 - self.beta1)
        descend(theta, first / (1 - self.beta1**step.batches_seen), r, step.penalty)

    def slots_in_units(
        self, slots: list[Tensor], theta: Tensor, factor: Tensor, n_outputs: int
    ) -> list[Tensor]:
        first, second = slots
        return [first * factor, torch.where(second.isinf(), second, second * factor.square())]


class FTRL(AdaGrad):
    """Follow the regularized leader on the linear weights, AdaGrad on the factors.

    All gradients so far are kept in z, and the weight is the minimum of their sum, of the proximal terms of
    all steps and of the penalties, which yields exact zeros depending on l1_linear::

        z += gradient - (r - r_before) w
        w = -sign(z) max(|z| - l1 passes, 0) / (r + l2 passes)

    References
    ----------
    H. B. McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013.
    """

    name = "ftrl"
    options = frozenset({"l1_linear"})
    counts_batches = True
    reads_l2 = True
    n_portable = 1
    signed_slots = frozenset({1})

    def slots(self, theta: Tensor, n_outputs: int) -> list[Tensor]:
        linear = theta[:, :: theta.shape[1] // n_outputs]
        # The first proximal term pulls to where the weights start.
        return [*super().slots(theta, n_outputs), -linear, torch.ones_like(linear)]

    def update(self, theta: Tensor, slots: list[Tensor], step: Step) -> None:
        squares, z, r = slots
        n_outputs = step.curvature.shape[1]
        linear = slice(None, None, theta.shape[1] // n_outputs)
        before = theta[:, linear].clone()
        grown = torch.maximum(r, self._move(theta, squares, step)[:, :: squares.shape[1] // n_outputs])
        z.add_(step.gradient[:, linear]).sub_((grown - r) * before)
        r.copy_(grown)
        l2 = 0 if step.l2 is None else step.l2
        beyond = (z.abs() - step.l1_linear * step.passes).clamp_(min=0)
        theta[:, linear] = -torch.sign(z) * beyond / (r + l2 * step.passes)

    def slots_in_units(
        self, slots: list[Tensor], theta: Tensor, factor: Tensor, n_outputs: int
    ) -> list[Tensor]:
        squares, z, r = super().slots_in_units(slots, theta, factor, n_outputs)
        by = factor[:, :: theta.shape[1] // n_outputs]
        return [squares, z * by, torch.where(r.isinf(), r, r * by).clamp_(min=1)]

    def settle(
        self, theta: Tensor, slots: list[Tensor], passes: Tensor, l2: Tensor, l1_linear: float
    ) -> None:
        _, z, r = slots
        linear = theta[:, :: theta.shape[1] // z.shape[1]]
        threshold = l1_linear * passes
        needed = -(linear * (r + l2 * passes) + torch.sign(linear) * threshold)
        z.copy_(torch.where(linear == 0, z.clamp(min=-threshold, max=threshold), needed))


def pool(rows: Tensor, n_outputs: int) -> Tensor:
    """Return the linear weight and the mean over the factors of each output, (n_columns, 2 * n_outputs).

    Without factors these are the rows. A product with a small matrix would say the same, and take three times as long.
    """
    size = rows.shape[1] // n_outputs
    if size == 1:
        return rows
    shaped = rows.view(-1, size)
    means = shaped @ _mean(size, rows.dtype, rows.device)
    return torch.stack([shaped[:, 0], means], 1).view(-1, 2 * n_outputs)


@functools.lru_cache
def _mean(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    mean = torch.full((size,), 1 / (size - 1), dtype=dtype, device=device)
    mean[0] = 0
    return mean


def spread(pooled: Tensor, n_outputs: int, width: int) -> Tensor:
    """Return rows of a width in which each factor has the mean that `pool` has made of them."""
    size = width // n_outputs
    if size == 1:
        return pooled.clone()
    pairs = pooled.view(-1, 2)
    rows = pairs[:, 1:].expand(-1, size).contiguous()
    rows[:, 0] = pairs[:, 0]
    return rows.view(-1, width)


def root(squares: Tensor, step: Step) -> Tensor:
    """Return r of rules that are based on squared gradients: sqrt(squares / rate^2 + curvature^2), both pooled."""
    least = least_r(step.curvature.square(), pool(step.profile.square(), 1))
    r = least.add_(squares, alpha=step.rate**-2).sqrt_()
    return r if step.extra is None else r + pool(step.extra, step.curvature.shape[1])


def least_r(curvature: Tensor, profile: Tensor) -> Tensor:
    """Return the least r of the parameters of columns, given the curvature of each output.

    Parameters
    ----------
    curvature : Tensor of shape (n_columns, n_outputs)
    profile : Tensor of shape (n_outputs, size)

    Returns
    -------
    Tensor of shape (n_columns, n_outputs * size)
    """
    return (curvature[:, :, None] * profile).flatten(1)


def descend(theta: Tensor, gradient: Tensor, r: Tensor, l2: Tensor) -> None:
    """Make the step in place; ``r`` is overwritten."""
    theta.addcdiv_(torch.addcmul(gradient, l2, theta), r.add_(l2), value=-1)


OPTIMIZERS: dict[str, Optimizer] = {rule.name: rule for rule in (AdaGrad(), Adam(), SGD(), FTRL())}
