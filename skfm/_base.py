"""The base class of both estimators: the parameters, and the steps of ``fit`` and ``partial_fit``."""

from __future__ import annotations

import inspect
import os
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions

from .core.solvers import SOLVERS
from .data.categories import LIST_WEIGHTS
from .data.targets import Target
from .fitted.cache import forget
from .fitted.mixin import FittedMixin
from .streaming import Chunks
from .training.arguments import explain_arguments
from .training.callbacks import CallbackSupportMixin
from .training.fit import attach_stream, attributes_of, describe_fit, observe, plan_fit, start_run
from .training.inputs import UserData, held_out_loss, read_data
from .training.loop import train
from .training.partial_fit import learn_more
from .training.result import OPTIONAL
from .training.rollback import FailureAfterFit, all_or_nothing
from .training.start import continues


def learns_online(estimator: Any) -> bool:
    """Return whether the solver of an estimator has a ``partial_fit``."""
    solver = SOLVERS.get(estimator.solver) if isinstance(estimator.solver, str) else None
    if solver is None or solver.learns_online:
        return True
    others = ", ".join(repr(name) for name, other in SOLVERS.items() if other.learns_online)
    raise AttributeError(
        f"partial_fit is not available with solver={estimator.solver!r}, which needs all data at once. Use one of "
        f"{others}."
    )


class BaseFM(FittedMixin, CallbackSupportMixin, BaseEstimator):
    """A factorization machine for any kind of target."""

    _doc_link_module = "skfm"
    _doc_link_template = (
        "https://skfm.readthedocs.io/en/stable/generated/{estimator_module}.{estimator_name}.html"
    )
    _parameter_constraints: dict = {
        "n_factors": [Interval(Integral, 0, None, closed="left")],
        "solver": [StrOptions(SOLVERS.keys())],
        "l2_linear": [StrOptions({"auto"}), Interval(Real, 0, np.inf, closed="left")],
        "l2_factors": [StrOptions({"auto"}), Interval(Real, 0, np.inf, closed="left")],
        "fit_intercept": ["boolean"],
        "fit_linear": ["boolean"],
        "l1_linear": [Interval(Real, 0, np.inf, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "init_scale": [StrOptions({"auto"}), Interval(Real, 0, np.inf, closed="neither")],
        "fields": [StrOptions({"auto"}), "array-like"],
        "categorical_features": [StrOptions({"from_dtype", "all"}), "array-like", None],
        "min_frequency": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
            None,
        ],
        "max_categories": [Interval(Integral, 1, None, closed="left"), None],
        "multi_value_features": [dict, "array-like", None],
        "multi_value_weights": [StrOptions(set(LIST_WEIGHTS))],
        "select_factors": ["boolean"],
        "covariance_type": [StrOptions({"auto", "full", "diag"})],
        "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, np.inf, closed="neither")],
        "learning_rate_schedule": [StrOptions({"linear", "constant"})],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "burn_in": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "n_draws": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "checkpoint": [str, os.PathLike, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __setstate__(self, state):
        super().__setstate__(state)
        # Models that were saved by earlier versions lack the parameters that have been added since.
        for name, parameter in inspect.signature(type(self)).parameters.items():
            if name not in self.__dict__:
                setattr(self, name, parameter.default)

    #: Seed of the validation split and of the order of the rows.
    _seed: int

    @property
    def _target(self) -> Target:
        """The kind of target that the loss has."""
        raise NotImplementedError

    @explain_arguments
    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the factorization machine.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features) or Chunks
            Training data: a DataFrame with numbers, dates and categories (see `categorical_features`), or numbers, with
            categories one-hot encoded, best as a sparse matrix. Numbers of a DataFrame may be missing: the mean of the
            column takes their place, and a column of zeros and ones indicates them. Or a stream of chunks from
            :mod:`skfm.streaming`, which brings targets and weights along, for the minibatch solvers.
        y : array-like of shape (n_samples,), default=None
            Target values or class labels. None only for a stream.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples. A weight of two means the same as the sample twice.
        X_val : {array-like, sparse matrix, DataFrame} of shape (n_val, n_features) or Chunks, default=None
            Validation data. If given, training stops when the loss on them has not fallen for
            `n_iter_no_change` sweeps, and the model of the lowest loss is kept, with or without
            `early_stopping`. A :class:`~sklearn.pipeline.Pipeline` transforms them as it does X
            with ``Pipeline(..., transform_input=["X_val"])`` and metadata routing.
        y_val : array-like of shape (n_val,), default=None
            Target values or class labels of the validation data.
        sample_weight_val : array-like of shape (n_val,), default=None
            Weights of the validation data.

        Returns
        -------
        self : object
            The fitted estimator. If the fit fails, the estimator stays as it was; but if a stream fails
            after something was learned from it, that is kept. A KeyboardInterrupt after the first sweep
            leaves the estimator fitted with the best model so far, and is raised again.
        """
        training, validation = UserData(X, y, sample_weight), UserData(X_val, y_val, sample_weight_val)
        plan = plan_fit(self)
        data = read_data(self, plan.target, plan.solver, training, validation, plan.seed)
        problem, settings = describe_fit(self, plan, data)
        max_iter = settings.max_iter
        attached, problem = attach_stream(self, plan, data, problem, settings)
        observers = observe(self, plan, data, problem, max_iter, is_weighted=sample_weight is not None)
        data = attached
        run = start_run(self, plan, problem, settings)
        validation_loss = held_out_loss(self, plan.target, data, problem)
        outcome = None
        try:
            outcome = train(
                run,
                objective_name=plan.solver.objective_name,
                max_iter=max_iter,
                tol=self.tol if plan.solver.converges else 0.0,
                validation=validation_loss,
                n_iter_no_change=self.n_iter_no_change,
                events=observers.events,
            )
            self._store(attributes_of(self, plan, problem, run, outcome))
            observers.callbacks.end_fit()
        except KeyboardInterrupt as interrupt:
            if outcome is None:
                raise
            outcome = outcome._replace(failure=interrupt)
            self._store(attributes_of(self, plan, problem, run, outcome))
        if outcome.failure is not None:
            raise FailureAfterFit(outcome.failure)
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        """Learn from further samples."""
        if isinstance(X, Chunks):
            raise TypeError(
                "partial_fit takes arrays. Pass a stream of chunks to fit, or go through it: for chunk in "
                "chunks: estimator.partial_fit(chunk.X, chunk.y, sample_weight=chunk.sample_weight)."
            )
        self._validate_params()  # scikit-learn does so in the first call only
        self._store(learn_more(self, self._target, X, y, sample_weight))

    def _store(self, attributes: dict[str, Any]) -> None:
        """Set the fitted attributes, and remove those of an earlier fit that are not among them."""
        for name in (*OPTIONAL, "_online"):
            self.__dict__.pop(name, None)
        self.__dict__.update(attributes)
        forget(self)

    def _continues(self) -> bool:
        return continues(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
