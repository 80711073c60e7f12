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

from .base import Loss
from .classification import Hinge, LogLoss, Softmax, SquaredHinge
from .regression import (
    AbsoluteError,
    Gamma,
    Huber,
    Poisson,
    Quantile,
    SquaredError,
)

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


__all__ = ["LOSSES", "Loss", "make_loss"]
