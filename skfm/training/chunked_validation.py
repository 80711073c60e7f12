"""The validation loss of a fit to a stream, from rows that were set apart or from further chunks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from ..core.solvers import Iterate
from ..data.samples import Samples
from ..data.scaling import Scaling
from ..streaming import Chunk, Chunks
from .chunked_batches import current
from .holdout import HeldOutLoss
from .problem import TrainingProblem, describe_held_out, describe_validation
from .stream import Stream


class HeldOutRows:
    """Held-out samples of a fit to a stream, whose units can change in the first epoch.

    Parameters
    ----------
    samples : Samples
    task : TrainingProblem
    """

    def __init__(self, samples: Samples, task: TrainingProblem) -> None:
        self._samples, self._task = samples, task
        self._described: tuple[Scaling, HeldOutLoss] | None = None

    def loss(self, iterate: Iterate) -> float:
        """Return the weighted mean over the samples, as `Validation` does."""
        task = current(self._task)
        if self._described is None or self._described[0] is not task.units:
            self._described = task.units, describe_validation(self._samples, task)
        return self._described[1].loss(iterate)


class ChunkedValidation:
    """Held-out chunks, read again for every evaluation.

    Parameters
    ----------
    chunks : Chunks
    check : callable
        Turns a chunk into samples, as for `Stream`.
    problem : TrainingProblem
    """

    def __init__(
        self, chunks: Chunks, check: Callable[[Chunk, bool], Samples], problem: TrainingProblem
    ) -> None:
        if chunks.has_one_pass:
            raise ValueError(
                f"X_val comes from a {type(chunks.source).__name__} object, which can be read once only, but is "
                "looked at after every sweep. Let Chunks have a function that makes a new one."
            )
        self._chunks, self._check, self._problem = chunks, check, problem

    def loss(self, iterate: Iterate) -> float:
        """Return the weighted mean over all rows, as `Validation` does."""
        loss = weight = 0.0
        with closing(Stream(self._chunks, self._check).rows(0)) as chunks:
            for _, rows in chunks:
                if len(rows.y):
                    part = describe_held_out(rows, current(self._problem))
                    share = float(part.sample_weight.sum())
                    loss, weight = loss + share * part.loss(iterate), weight + share
        if not weight:
            raise ValueError("X_val holds no rows with a positive weight.")
        return loss / weight
