"""Kinds of targets: validation of y, and its encoding as the numbers that a `TargetTransform` scales."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from ..core.observation.parts import MinibatchLoss
from ..core.observation.registry import MODELS, find_model, loss_parameters
from ..core.solvers import Solver
from .samples import Samples
from .scaling import as_tensor
from .target_transform import SMALLEST_UNIT, TargetTransform

#: Distinct values of the target of a regressor, where only their order counts.
MOST_LEVELS = 1000


class Target(ABC):
    """A kind of target. The values of y that it learns are fitted attributes of the estimator.

    Parameters
    ----------
    estimator : estimator
    """

    #: Whether y may be of any type, or has to be numbers.
    are_labels: ClassVar[bool] = False
    #: Whether y has few values, so that a split is stratified by them.
    is_discrete: ClassVar[bool] = False
    #: Whether there must be training samples of every value.
    needs_every_value: ClassVar[bool] = False

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    @abstractmethod
    def learn(self, y: np.ndarray) -> None:
        """Learn the distinct values of y."""

    @abstractmethod
    def encode(self, y: np.ndarray, name: str = "y") -> np.ndarray:
        """Encode y as numbers. Raise an error that mentions the given name if y is invalid."""

    @abstractmethod
    def decode(self, y: np.ndarray) -> np.ndarray:
        """Undo `encode`."""

    @abstractmethod
    def measure(self, rows: Samples, solver: Solver, *, more_follow: bool = False) -> TargetTransform:
        """Measure the encoded target.

        Parameters
        ----------
        rows : Samples
        solver : Solver
        more_follow : bool
            Whether these are the first of the training data only, so that the target may be one that no model fits.
        """

    def loss(self) -> MinibatchLoss | None:
        """Return the loss that determines the scale of the target. None if it has no scale."""
        return None

    def check_split(self, rows: Samples, training: Samples) -> None:
        """Raise an error if no training sample is left of a value that the model needs samples of."""
        missing = np.setdiff1d(rows.y, training.y) if self.needs_every_value else rows.y[:0]
        if len(missing):
            raise ValueError(
                f"early_stopping=True sets all samples of {self.decode(missing).tolist()} aside, and "
                f"loss={self.estimator.loss!r} needs some of each. Choose a smaller validation_fraction than "
                f"{self.estimator.validation_fraction}, or pass X_val and y_val to fit."
            )

    def _check_same(self, values: np.ndarray, attribute: str, noun: str) -> None:
        """Raise an error if a warm start finds other values than the previous fit."""
        before = getattr(self.estimator, attribute, values)
        if self.estimator._continues() and not np.array_equal(values, before):
            raise ValueError(
                f"warm_start=True continues a fit to the {noun} {before.tolist()}, but y holds {values.tolist()}. "
                "Fit anew with warm_start=False."
            )


class NumericTarget(Target):
    """The target of a regression."""

    def learn(self, y: np.ndarray) -> None:
        # The levels belong to an earlier fit with another loss.
        self.estimator.__dict__.pop("levels_", None)

    def encode(self, y: np.ndarray, name: str = "y") -> np.ndarray:
        try:
            y, range_ = y.astype(np.float64, copy=False), MODELS[self.estimator.loss].range
        except ValueError as error:
            raise ValueError(
                f"{error}. A regression takes numbers: if y holds classes, use FMClassifier."
            ) from error
        inside = range_.contains(as_tensor(y, torch.float64)).numpy()
        if not inside.all():
            raise ValueError(
                f"loss={self.estimator.loss!r} takes targets that are {range_.words}, but {name} holds "
                f"{y[~inside][0]}. Some value(s) of y are out of the valid range of the loss: correct them, or choose "
                "another loss."
            )
        return y

    def decode(self, y: np.ndarray) -> np.ndarray:
        return y

    def loss(self) -> MinibatchLoss:
        return MODELS[self.estimator.loss].make_loss(**parameters_of(self.estimator))

    def measure(self, rows: Samples, solver: Solver, *, more_follow: bool = False) -> TargetTransform:
        y, weight = (as_tensor(part, torch.float64) for part in (rows.y, rows.sample_weight))
        return self.transform(y, weight, more_follow=more_follow)

    def transform(self, y: Tensor, weight: Tensor, *, more_follow: bool = False) -> TargetTransform:
        """Return how targets are scaled, given some that represent them, in float64 on the CPU."""
        model, loss = MODELS[self.estimator.loss], self.loss()
        shift, scale = loss.location_and_scale(y, weight, center=self.estimator.fit_intercept)
        start = loss.constant((y - shift) / scale, weight, 1)
        if more_follow and not bool(torch.isfinite(start).all()):
            # The logarithm of zero. With half a count more, it is a number.
            start = torch.log(0.5 / (weight.sum() + 1))[None]
        if not bool(torch.isfinite(start).all()):
            raise ValueError(f"loss={self.estimator.loss!r} needs targets that are not all zero.")
        try:
            unit = max(float(scale) ** loss.degree, SMALLEST_UNIT)
        except OverflowError:
            raise ValueError(
                f"The target is too large: losses are squares of y, which spreads over {float(scale):.3g}. Divide y by "
                "a constant."
            ) from None
        return TargetTransform(shift, scale, start.numpy(), identity_link=model.identity_link, unit=unit)


class OrdinalTarget(Target):
    """Numbers whose order counts, but not their distances."""

    is_discrete = True
    needs_every_value = True

    def learn(self, y: np.ndarray) -> None:
        levels = np.unique(y.astype(np.float64, copy=False))
        if len(y) == 1:
            raise ValueError(
                f"loss={self.estimator.loss!r} needs samples of at least two levels, got 1 sample."
            )
        if not 2 <= len(levels) <= MOST_LEVELS:
            raise ValueError(
                f"loss={self.estimator.loss!r} takes targets of 2 to {MOST_LEVELS} distinct values, but y holds "
                f"{len(levels)}. Round y, or use loss={default_loss(self.estimator)!r}."
            )
        self._check_same(levels, "levels_", "levels")
        self.estimator.levels_ = levels

    def encode(self, y: np.ndarray, name: str = "y") -> np.ndarray:
        y = y.astype(np.float64, copy=False)
        unknown = np.setdiff1d(y, self.estimator.levels_)
        if len(unknown):
            raise ValueError(
                f"{name} holds levels that the training data do not: {unknown.tolist()}. Remove these samples, or "
                "add samples of these levels to the training data."
            )
        return np.searchsorted(self.estimator.levels_, y)

    def decode(self, y: np.ndarray) -> np.ndarray:
        return self.estimator.levels_[y]

    def measure(self, rows: Samples, solver: Solver, *, more_follow: bool = False) -> TargetTransform:
        levels, limits = self.estimator.levels_, np.finfo(rows.X.dtype)
        # A level between zero and the smallest number would be either of them.
        if not 10 * float(limits.smallest_subnormal) <= np.abs(levels).max() <= float(limits.max):
            advice = ", or pass X in float64" if limits.dtype == np.float32 else ""
            raise ValueError(
                f"Predictions have the type of X, {limits.dtype}, which cannot hold the levels of the target: they "
                f"range from {levels[0]:.3g} to {levels[-1]:.3g}. Multiply or divide y by a constant{advice}."
            )
        # The cut-points take the place of the intercept.
        return TargetTransform(0.0, 1.0, np.zeros(1))


class ClassTarget(Target):
    """Classes, numbered in their sorted order."""

    are_labels = True
    is_discrete = True

    def learn(self, y: np.ndarray) -> None:
        check_classification_targets(y)
        classes = np.unique(y)
        if len(classes) < 2:
            raise ValueError(
                f"{type(self.estimator).__name__} needs samples of at least two classes, but the samples with "
                f"positive weight are all of one class: {classes.tolist()[0]!r}."
            )
        self._check_same(classes, "classes_", "classes")
        self.estimator.classes_ = classes

    def learn_online(self, classes: Any) -> None:
        """Learn the classes in the first call of ``partial_fit``, and check that later calls agree with them."""
        if hasattr(self.estimator, "factors_"):
            known = self.estimator.classes_
            if classes is not None and not np.array_equal(np.unique(classes), known):
                raise ValueError(
                    f"classes={np.unique(classes).tolist()} is not the same as on the first call to partial_fit, "
                    f"{known.tolist()}. Leave it out, or fit anew."
                )
            return
        if classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit: all labels there are.")
        if isinstance(self.estimator.class_weight, str):
            raise ValueError(
                "class_weight='balanced' takes all data at once. For partial_fit pass a dict of weights, as "
                "from sklearn.utils.class_weight.compute_class_weight, or use sample_weight."
            )
        self.learn(np.asarray(classes))

    def encode(self, y: np.ndarray, name: str = "y") -> np.ndarray:
        classes = self.estimator.classes_
        unknown = np.setdiff1d(y, classes)
        if len(unknown):
            check_classification_targets(y)
        if len(unknown) and name != "y":
            raise ValueError(
                f"{name} holds classes that y does not: {unknown.tolist()}. Remove these samples from the "
                "validation data, or add samples of these classes to the training data."
            )
        if len(unknown):
            raise ValueError(
                f"{name} holds classes that are not known: {unknown.tolist()}. All classes have to be known from "
                "the start: from y, or from the classes of the first partial_fit or of the chunks. Pass them "
                "there, or remove these samples."
            )
        # A comparison takes a tenth of the time of a search.
        return (y == classes[1]).astype(np.intp) if len(classes) == 2 else np.searchsorted(classes, y)

    def decode(self, y: np.ndarray) -> np.ndarray:
        return self.estimator.classes_[y]

    def measure(self, rows: Samples, solver: Solver, *, more_follow: bool = False) -> TargetTransform:
        n_classes = len(self.estimator.classes_)
        class_weight = self.class_weight(rows)
        n_outputs = n_classes if n_classes > 2 else 1
        weight = class_weight[rows.y] * rows.sample_weight
        model = solver.model(self.estimator.loss, n_outputs)
        if isinstance(model, MinibatchLoss):
            y, outputs = torch.from_numpy(rows.y.astype(np.float64)), None
            start = model.constant(y, torch.from_numpy(weight.astype(np.float64)), n_outputs)
        else:
            # Two classes are one output, more of them one each against the rest.
            outputs = np.arange(n_classes) if n_classes > 2 else np.array([1])
            totals = np.bincount(rows.y, weights=weight, minlength=n_classes)
            # Half a sample of either kind is added, so that a class without samples does not start at minus infinity.
            start = model.link(torch.from_numpy((totals[outputs] + 0.5) / (totals.sum() + 1)))
        return TargetTransform(0.0, 1.0, start.numpy(), outputs=outputs, class_weight=class_weight)

    def class_weight(self, rows: Samples) -> np.ndarray:
        """Return the weight of each class."""
        given, classes = self.estimator.class_weight, self.estimator.classes_
        if isinstance(given, str):
            # This is the formula of scikit-learn, with sample weights that are equivalent to repeats.
            totals = np.bincount(rows.y, weights=rows.sample_weight, minlength=len(classes))
            if not totals.all():
                raise ValueError(
                    "class_weight='balanced' goes by the first chunk of a stream, which has no samples of "
                    f"{classes[totals == 0].tolist()}. Pass a dict of weights."
                )
            return totals.sum() / (len(totals) * totals)
        if given is None:
            return np.ones(len(classes))
        weight = compute_class_weight(given, classes=classes, y=self.decode(rows.y))
        if not (np.isfinite(weight).all() and (weight > 0).all()):
            raise ValueError(
                f"class_weight must hold positive numbers, got {given!r}. To leave a class out, remove its samples."
            )
        return weight


class OrderedClassTarget(ClassTarget):
    """Classes whose sorted order has a meaning."""

    needs_every_value = True

    def measure(self, rows: Samples, solver: Solver, *, more_follow: bool = False) -> TargetTransform:
        # The cut-points take the place of the intercept.
        return TargetTransform(0.0, 1.0, np.zeros(1), class_weight=self.class_weight(rows))


#: The kinds of targets of either task, by what the model of the loss declares; the first also for unknown losses.
REGRESSION_TARGETS: dict[str, type[Target]] = {"numbers": NumericTarget, "levels": OrdinalTarget}
CLASSIFICATION_TARGETS: dict[str, type[ClassTarget]] = {"labels": ClassTarget, "levels": OrderedClassTarget}


def target_kind(loss: Any, kinds: dict[str, Any]) -> Any:
    """Return the class of the target of a loss, which may still be anything: it is checked in fit only."""
    model = find_model(loss)
    return kinds.get("" if model is None else model.target, next(iter(kinds.values())))


def default_loss(estimator: Any) -> str:
    """Return the default of the parameter `loss`."""
    return inspect.signature(type(estimator)).parameters["loss"].default


def parameters_of(estimator: Any) -> dict[str, float]:
    """Return the parameters of an estimator that only some losses read."""
    return {name: getattr(estimator, name, default) for name, default in loss_parameters().items()}
