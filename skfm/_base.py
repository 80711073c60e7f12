"""What both estimators do: validate, describe the problem, solve it, store the result."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions

from .core.matrix.device import resolve_device
from .core.solvers import SOLVERS, Solver
from .data.categories import LIST_WEIGHTS
from .data.targets import Target
from .data.validation import Samples, check_rows, check_validation_rows, split_rows
from .fitted.cache import forget
from .fitted.located import last_state, located
from .fitted.mixin import FittedMixin
from .streaming import Chunks
from .training.callbacks import CallbackSupportMixin, FitCallbacks
from .training.checkpoint import Checkpoint
from .training.loop import History, train
from .training.partial_fit import as_tensors, describe_again, lasting, learn_online, online_state
from .training.problem import (
    Start,
    describe,
    describe_validation,
    settings,
    starting_point,
    supported_solver,
)
from .training.result import OPTIONAL, fitted_attributes, warn_if_chains_disagree
from .training.stream import ChunkedBatches, ChunkedValidation, Stream, identity_of, open_stream


def all_or_nothing(fit: Callable) -> Callable:
    """Leave the estimator as it was if ``fit`` fails, unless it ends with a ``_failure`` of the data."""

    @functools.wraps(fit)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = self.__dict__.copy()
        try:
            fit(self, *args, **kwargs)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        # What a stream has taught before it broke off is kept.
        failure = self.__dict__.pop("_failure", None)
        if failure is not None:
            raise failure
        return self

    return wrapper


def learns_online(estimator: Any) -> bool:
    """Tell whether the solver of an estimator has a ``partial_fit``."""
    solver = SOLVERS.get(estimator.solver) if isinstance(estimator.solver, str) else None
    if solver is None or solver.learns_online:
        return True
    others = ", ".join(repr(name) for name, other in SOLVERS.items() if other.learns_online)
    raise AttributeError(
        f"partial_fit is not available with solver={estimator.solver!r}, which needs all data at once. Use one of "
        f"{others}."
    )


class BaseFM(FittedMixin, CallbackSupportMixin, BaseEstimator):
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
        "l1_linear": [Interval(Real, 0, np.inf, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "init_scale": [StrOptions({"auto"}), Interval(Real, 0, np.inf, closed="neither")],
        "fields": [StrOptions({"auto"}), "array-like"],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like", None],
        "min_frequency": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
            None,
        ],
        "max_categories": [Interval(Integral, 1, None, closed="left"), None],
        "multi_value_features": [dict, "array-like", None],
        "multi_value_weights": [StrOptions(set(LIST_WEIGHTS))],
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

    #: Seed of the validation split and of the order of the rows.
    _seed: int

    @property
    def _target(self) -> Target:
        """What kind of target the loss has."""
        raise NotImplementedError

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the factorization machine.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features) or Chunks
            Training data: a DataFrame with numbers and categories (see `categorical_features`), or numbers, with
            categories one-hot encoded, best as a sparse matrix. Or a stream of chunks from
            :mod:`skfm.streaming`, which brings targets and weights along, for the minibatch solvers.
        y : array-like of shape (n_samples,), default=None
            Target values or class labels. None only for a stream.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples. A weight of two means the same as the sample twice.
        X_val : {array-like, sparse matrix, DataFrame} of shape (n_val, n_features) or Chunks, default=None
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
            The fitted estimator. If the fit fails, the estimator stays as it was; but if a stream fails
            after something was learned from it, that is kept.
        """
        solver = supported_solver(self)
        device = resolve_device(self.device)
        rng = check_random_state(self.random_state)
        start = self._start(solver)
        self._draw_seed(rng)
        checkpoint = None if self.checkpoint is None else Checkpoint(self.checkpoint)
        if checkpoint is not None:
            # The order of the rows and the validation rows have to be those of the run that it goes on from.
            self._seed = checkpoint.seed(self._seed)
        if callable(X) or isinstance(X, Iterator):
            raise TypeError(
                f"X is a {type(X).__name__} object. To learn from chunks, wrap it: fit(skfm.streaming.Chunks(X))."
            )
        stream = open_stream(self, solver, X, y, sample_weight) if isinstance(X, Chunks) else None
        rows, held_out = self._validate((X, y, sample_weight), (X_val, y_val, sample_weight_val), stream)
        task = describe(self, rows, self._target.measure(rows, solver), solver, device)
        n_samples = len(rows.y) if stream is None else stream.n_samples
        has_one_pass = stream is not None and stream.chunks.has_one_pass
        max_iter = self.max_iter or (1 if has_one_pass else solver.default_max_iter(n_samples))
        options = settings(self, task, max_iter=max_iter, seed=self._seed, start=start)
        if checkpoint is not None:
            checkpoint.identity = identity_of(self, rows, held_out)
            checkpoint.identity["X_val in chunks"] = isinstance(X_val, Chunks)
        callbacks = FitCallbacks.of(
            self,
            max_iter=max_iter,
            X=rows.as_given,
            y=self._target.decode(rows.y),
            sample_weight=None if sample_weight is None else rows.sample_weight,
            fitted_attributes=functools.partial(fitted_attributes, task),
        )
        problem = task.problem
        if stream is not None:
            # The first chunk has told what there is to know: nothing may keep it in memory.
            rows, task = rows.take(np.arange(0))._replace(source=None), task.without_rows()
            source = ChunkedBatches(stream, task, options.batch_size, self._seed, shuffle=options.shuffle)
            problem = dataclasses.replace(task.problem, source=source)
        validation: Any = None if held_out is None else describe_validation(held_out, task)
        if isinstance(X_val, Chunks):
            if solver.samples:
                raise ValueError(
                    f"solver={solver.name!r} averages what it predicts for X_val over its draws, and cannot do so for "
                    "a stream. Pass X_val and y_val as arrays."
                )
            validation = ChunkedValidation(self, X_val, task)
        run: list[Any] = []
        record = train(
            problem,
            solver,
            starting_point(self, task, rng, start.parameters),
            options,
            max_iter=max_iter,
            tol=self.tol if solver.converges else 0.0,
            validation=validation,
            n_iter_no_change=self.n_iter_no_change,
            callbacks=callbacks,
            checkpoint=checkpoint,
            prepare=functools.partial(self._prepare, run),
            verbose=self.verbose,
        )
        for name in (*OPTIONAL, "_online"):
            self.__dict__.pop(name, None)
        self.__dict__.update(fitted_attributes(task, record.kept, record), _lasting=lasting(self))
        forget(self)
        if solver.learns_online:
            # What the fit has kept need not be the state that it ended in.
            run[0].trainer.move_to(record.kept.parameters)
            self._online = online_state(run[0], n_chunks=0)
        if solver.samples:
            warn_if_chains_disagree(record.history, self.n_chains)
        callbacks.end()
        self._failure = record.failure
        return self

    def _prepare(self, keep: list, run: Any) -> None:
        """Give a warm start what the run before knew of step sizes, and keep the run."""
        keep.append(run)
        if self._continues() and hasattr(self, "_online") and self._model["solver"] == self.solver:
            run.trainer.load_slots(as_tensors(self._online["tensors"]))

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        """Learn from some more rows."""
        if isinstance(X, Chunks):
            raise TypeError(
                "partial_fit takes arrays. Pass a stream of chunks to fit, or go through it: for chunk in "
                "chunks: estimator.partial_fit(chunk.X, chunk.y, sample_weight=chunk.sample_weight)."
            )
        self._validate_params()  # scikit-learn does so in the first call only
        solver = supported_solver(self)
        goes_on = hasattr(self, "factors_")
        device = resolve_device(self.device)
        rng = check_random_state(self.random_state)
        rows = check_rows(self, X, y, sample_weight, reset=not goes_on, y_numeric=not self._target.are_labels)
        rows = rows._replace(y=self._target.encode(rows.y))
        if not goes_on:
            self._draw_seed(rng)
            task = describe(self, rows, self._target.measure(rows, solver), solver, device)
        else:
            task = describe_again(self, rows, solver, device)
        fitted = located(self) if goes_on else None
        options = settings(self, task, max_iter=1, seed=self._seed)
        options = dataclasses.replace(options, learning_rate_schedule="constant")
        record = History(solver.objective_name, validated=False)
        start = starting_point(self, task, rng, fitted)
        iterate, self._online = learn_online(getattr(self, "_online", None), task, options, start)
        if goes_on and "training_loss" in self.history_:
            record.objective.extend(self.history_["training_loss"])
        record.add(iterate, None)
        self.__dict__.update(fitted_attributes(task, record.kept, record), _lasting=lasting(self))
        forget(self)

    def _start(self, solver: Solver) -> Start:
        """Return where a fit starts from."""
        if not self._continues():
            return Start()
        if self._draws is None:
            return Start("fit", located(self))
        if not solver.samples:
            return Start("fit", last_state(self, 1))
        # Chains of another model have their burn-in before them.
        kind = "chain" if self._model["loss"] == self.loss else "fit"
        return Start(kind, last_state(self, self.n_chains), self._draws["n_sweeps"])

    def _continues(self) -> bool:
        return self.warm_start and hasattr(self, "factors_")

    def _draw_seed(self, rng: np.random.RandomState) -> None:
        """Draw the seed of the validation split and the order of the rows.

        It is drawn whether it is needed or not: the initial factors, drawn next, must not depend on that. A
        warm start sets the same rows apart as the fit before.
        """
        seed = int(rng.randint(np.iinfo(np.int32).max))
        if not self._continues():
            self._seed = seed

    def _validate(
        self, data: tuple, validation: tuple, stream: Stream | None
    ) -> tuple[Samples, Samples | None]:
        """Return training and validation rows, with y encoded."""
        options = {"y_numeric": not self._target.are_labels}
        if stream is None:
            rows = check_rows(self, *data, reset=not self._continues(), **options)
            self._target.learn(rows.y)
            rows = rows._replace(y=self._target.encode(rows.y))
        else:
            rows = stream.first()
        if isinstance(validation[0], Chunks):
            if any(part is not None for part in validation[1:]):
                raise ValueError("A stream X_val brings y and sample_weight along. Pass neither beside it.")
            return rows, None
        held_out = check_validation_rows(self, *validation, **options)
        if held_out is not None:
            return rows, held_out._replace(y=self._target.encode(held_out.y, "y_val"))
        if not self.early_stopping:
            return rows, None
        split = functools.partial(
            split_rows,
            validation_fraction=self.validation_fraction,
            stratify=self._target.is_discrete,
            seed=self._seed,
        )
        if stream is not None:
            stream.keep = lambda first: split(first)[0]
        training, held_out = split(rows)
        self._target.check_split(rows, training)
        return training, held_out

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
