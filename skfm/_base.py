"""What both estimators do: validate, describe the problem, solve it, store the result."""

from __future__ import annotations

import functools
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ._callbacks import CallbackSupportMixin, FitCallbacks, NoCallbacks
from ._input import X_OPTIONS, Rows, check_rows, check_validation_rows, split_rows
from ._state import OPTIONAL, fitted_attributes, fitted_parameters
from ._task import Coding, Task, describe, describe_validation, settings, starting_point, supported_solver
from ._training import Validation, train
from .core.device import resolve_device
from .core.parameters import FMParameters
from .core.solvers import SOLVERS


def all_or_nothing(fit: Callable) -> Callable:
    """Leave the estimator as it was if ``fit`` fails."""

    @functools.wraps(fit)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = self.__dict__.copy()
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    return wrapper


class BaseFM(CallbackSupportMixin, BaseEstimator):
    """A factorization machine, whatever its target."""

    _doc_link_module = "skfm"
    _doc_link_template = (
        "https://skfm.readthedocs.io/en/stable/generated/{estimator_module}.{estimator_name}.html"
    )
    _parameter_constraints: dict = {
        "n_factors": [Interval(Integral, 0, None, closed="left")],
        "solver": [StrOptions(set(SOLVERS))],
        "l2_linear": [StrOptions({"auto"}), Interval(Real, 0, np.inf, closed="left")],
        "l2_factors": [StrOptions({"auto"}), Interval(Real, 0, np.inf, closed="left")],
        "fit_intercept": ["boolean"],
        "fit_linear": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "init_scale": [Interval(Real, 0, np.inf, closed="neither")],
        "fields": [StrOptions({"auto"}), "array-like"],
        "covariance_type": [StrOptions({"auto", "full", "diag"})],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    #: Whether y are labels: any type, the same shares of each in both parts of a split.
    _y_are_labels = False

    def _encode(self, y: np.ndarray, *, learn: bool) -> np.ndarray:
        """Turn the user's y into numbers; ``learn`` the labels, or check that they are known."""
        raise NotImplementedError

    def _decode(self, y: np.ndarray) -> np.ndarray:
        """Undo `_encode`."""
        raise NotImplementedError

    def _coding(self, rows: Rows) -> Coding:
        """Measure the encoded target."""
        raise NotImplementedError

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the factorization machine.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, with categories one-hot encoded, best as a sparse matrix.
        y : array-like of shape (n_samples,)
            Target values or class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples. A weight of two means the same as the sample twice.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Validation data. If given, training stops when the loss on them has not fallen for
            `n_iter_no_change` sweeps, and the model of the lowest loss is kept, with or without
            `early_stopping`. A :class:`~sklearn.pipeline.Pipeline` transforms them as it does X
            with ``Pipeline(..., transform_input=["X_val"])``.
        y_val : array-like of shape (n_val,), default=None
            Target values or class labels of the validation data.
        sample_weight_val : array-like of shape (n_val,), default=None
            Weights of the validation data.

        Returns
        -------
        self : object
            The fitted estimator. If the fit fails, the estimator stays as it was.
        """
        solver = supported_solver(self)
        task, validation, start, callbacks = self._prepare(
            (X, y, sample_weight), (X_val, y_val, sample_weight_val)
        )
        record = train(
            task.problem,
            solver,
            start,
            settings(self, solver, task),
            max_iter=self.max_iter,
            tol=self.tol,
            validation=validation,
            n_iter_no_change=self.n_iter_no_change,
            callbacks=callbacks,
            verbose=self.verbose,
        )
        for name in OPTIONAL:
            self.__dict__.pop(name, None)
        self.__dict__.update(fitted_attributes(task, record.kept, record))
        callbacks.end()
        return self

    def _prepare(
        self, data: tuple, validation: tuple
    ) -> tuple[Task, Validation | None, FMParameters, NoCallbacks]:
        """Return what to solve, what to validate on, where to start and whom to tell."""
        device = resolve_device(self.device)
        rng = check_random_state(self.random_state)
        fitted = fitted_parameters(self) if self._continues() else None
        rows, held_out = self._validate(rng, data, validation)
        task = describe(self, rows, self._coding(rows), device)
        return (
            task,
            None if held_out is None else describe_validation(held_out, task),
            starting_point(self, task, rng, fitted),
            FitCallbacks.of(
                self,
                max_iter=self.max_iter,
                X=rows.X,
                y=self._decode(rows.y),
                sample_weight=None if data[2] is None else rows.sample_weight,
                fitted_attributes=functools.partial(fitted_attributes, task),
            ),
        )

    def _continues(self) -> bool:
        return self.warm_start and hasattr(self, "factors_")

    def _validate(
        self, rng: np.random.RandomState, data: tuple, validation: tuple
    ) -> tuple[Rows, Rows | None]:
        """Return training and validation rows, with y encoded."""
        # The seed of a split is drawn whether it is needed or not: the initial factors, drawn next,
        # must not depend on that. A warm start sets the same rows apart as the fit before.
        seed = int(rng.randint(np.iinfo(np.int32).max))
        if not self._continues():
            self._split_seed = seed
        options = {"y_numeric": not self._y_are_labels}
        rows = check_rows(self, *data, reset=not self._continues(), **options)
        held_out = check_validation_rows(self, *validation, **options)
        rows = rows._replace(y=self._encode(rows.y, learn=True))
        if held_out is not None:
            held_out = held_out._replace(y=self._encode(held_out.y, learn=False))
        elif self.early_stopping:
            return split_rows(
                rows, self.validation_fraction, stratify=self._y_are_labels, seed=self._split_seed
            )
        return rows, held_out

    def _checked(self, X: Any) -> Any:
        """Return X as the fitted model takes it."""
        check_is_fitted(self)
        return validate_data(self, X, reset=False, **X_OPTIONS)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
