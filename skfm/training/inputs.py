"""The data of a fit: checked, with the target encoded and validation samples set apart."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..core.solvers import Solver
from ..core.solvers.minibatch.batch_source import effective_rows
from ..data.samples import Samples
from ..data.targets import Target
from ..data.validation import check_rows, check_validation_rows, split_rows, warn_of_small_weights
from ..streaming import Chunks
from .chunk_checks import ChunkCheck, ValidationChunkCheck, check_stream
from .chunked_validation import ChunkedValidation, HeldOutRows
from .holdout import HeldOutLoss
from .problem import TrainingProblem, describe_validation
from .start import continues
from .stream import Stream


class UserData(NamedTuple):
    """Data as the user passes them to ``fit``."""

    X: Any
    y: Any = None
    sample_weight: Any = None


class TrainingData(NamedTuple):
    """Checked data, with y as numbers.

    Attributes
    ----------
    samples : Samples
        The training samples, or those in the first chunk of a stream.
    held_out : Samples or None
        The validation samples.
    stream : Stream or None
        Where all training samples come from, if they do not fit into memory.
    validation_chunks : Chunks or None
        Where the validation samples come from instead.
    """

    samples: Samples
    held_out: Samples | None = None
    stream: Stream | None = None
    validation_chunks: Chunks | None = None

    def max_iter(self, given: int | None, solver: Solver, weight: np.ndarray) -> int:
        """Return the number of sweeps: the given one, or the default of the solver for these data.

        Parameters
        ----------
        given : int or None
        solver : Solver
        weight : ndarray of shape (n_samples,)
            The weights of ``samples``, those of their classes included.
        """
        if given:
            return given
        n_samples = len(weight)
        n_effective = effective_rows(n_samples, float(weight.sum(dtype=np.float64)))
        if self.stream is None:
            return solver.default_max_iter(n_effective)
        if self.stream.chunks.has_one_pass:
            return 1
        n_stream = self.stream.n_samples
        return solver.default_max_iter(None if n_stream is None else n_stream * n_effective // n_samples)


def read_data(
    estimator: Any, target: Target, solver: Solver, training: UserData, validation: UserData, seed: int
) -> TrainingData:
    """Check the data of a fit, learn the columns and the values of the target from them, and set samples apart.

    What is learned of the columns, the classes and the levels is set on the estimator, as scikit-learn does it.

    Parameters
    ----------
    estimator : estimator
    target : Target
    solver : Solver
    training, validation : UserData
        ``validation.X`` is None if there are no validation data.
    seed : int
        Seed of the split of the training data.
    """
    X, reset = training.X, not continues(estimator)
    if callable(X) or isinstance(X, Iterator):
        raise TypeError(
            f"X is a {type(X).__name__} object. To learn from chunks, wrap it: fit(skfm.streaming.Chunks(X))."
        )
    stream = None
    if isinstance(X, Chunks):
        check_stream(solver, X, training.y, training.sample_weight, estimator.max_iter)
        stream = Stream(X, ChunkCheck(estimator, target, X.classes, reset=reset))
        samples = stream.first()
    else:
        numeric = not target.are_labels
        samples = check_rows(estimator, *training, reset=reset, y_numeric=numeric, known_new=set())
        target.learn(samples.y)
        samples = samples._replace(y=target.encode(samples.y))
    warn_of_small_weights(samples)
    if isinstance(validation.X, Chunks):
        if validation.y is not None or validation.sample_weight is not None:
            raise ValueError(
                "The chunks contain y and sample_weight. Do not pass them in addition to a stream X_val."
            )
        return TrainingData(samples, stream=stream, validation_chunks=validation.X)
    held_out = check_validation_rows(estimator, *validation, y_numeric=not target.are_labels)
    if held_out is not None:
        held_out = held_out._replace(y=target.encode(held_out.y, "y_val"))
    elif estimator.early_stopping:
        split = functools.partial(
            split_rows,
            validation_fraction=estimator.validation_fraction,
            stratify=target.is_discrete,
            seed=seed,
        )
        if stream is not None:
            stream.keep = lambda first: split(first)[0]
        all_samples = samples
        samples, held_out = split(all_samples)
        target.check_split(all_samples, samples)
    return TrainingData(samples, held_out, stream)


def held_out_loss(
    estimator: Any, target: Target, data: TrainingData, problem: TrainingProblem
) -> HeldOutLoss | None:
    """Return the loss on the validation data, or None if there are none."""
    if data.validation_chunks is None:
        if data.held_out is None or data.stream is None:
            return None if data.held_out is None else describe_validation(data.held_out, problem)
        return HeldOutRows(data.held_out, problem)
    if problem.solver.samples:
        raise ValueError(
            f"solver={problem.solver.name!r} averages what it predicts for X_val over its draws, and cannot do so for "
            "a stream. Pass X_val and y_val as arrays."
        )
    return ChunkedValidation(data.validation_chunks, ValidationChunkCheck(estimator, target), problem)
