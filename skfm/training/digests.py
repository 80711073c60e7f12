"""Digests of data, by which a resumed run recognizes the data of the run before it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from ..data.frames import frame_encoder
from ..data.samples import Samples

#: Number of elements of an array that are converted to bytes at a time.
BLOCK = 1 << 20


class AnotherRunError(ValueError):
    """A checkpoint belongs to a run with other parameters or other data."""


def digest_of(*values: Any) -> str:
    """Return a digest of arrays, sparse matrices or lists, which depends on all values and on their order."""
    state = hashlib.sha256()
    for value in values:
        if sparse.issparse(value):
            parts = [value.data, value.indices, value.indptr]
            state.update(f"sparse {value.shape}".encode())
        else:
            parts = [np.asarray(value)]
        for part in parts:
            _add_array(state, part)
    return state.hexdigest()[:16]


def _add_array(state: Any, array: np.ndarray) -> None:
    # The width of indices depends on how a matrix was made.
    kind = "i8" if array.dtype.kind == "i" else array.dtype.str
    state.update(f"{kind} {array.shape}".encode())
    if array.dtype.hasobject:
        state.update(repr(array.tolist()).encode("utf-8", "backslashreplace"))
        return
    rows = array.reshape(1) if array.ndim == 0 else array
    # A copy of the whole array in another order or type could exceed the memory.
    step = max(1, BLOCK // max(1, rows[:1].size))
    for start in range(0, len(rows), step):
        state.update(np.ascontiguousarray(rows[start : start + step], dtype=kind).tobytes())


def digest_of_samples(samples: Samples) -> str:
    """Return a digest of samples, which depends on their order and that of their columns."""
    return digest_of(samples.X, samples.y, samples.sample_weight)


def digest_of_names(estimator: Any) -> str:
    """Return a digest of the names of the columns, of their categories and of the labels."""
    encoder = frame_encoder(estimator)
    names = [
        getattr(estimator, "feature_names_in_", ()),
        () if encoder is None else encoder.encoded_names,
        getattr(estimator, "classes_", ()),
        getattr(estimator, "levels_", ()),
    ]
    return digest_of(*names)


class ChunkDigests:
    """The digests of the chunks of a stream.

    Within a run, only the latest digest of each chunk is kept. A resumed run compares each chunk with the
    digest in the checkpoint when it reads the chunk for the first time.

    Parameters
    ----------
    of_another_run : callable
        Returns the error for a checkpoint of a run that differs from this one in the given way.
    """

    def __init__(self, of_another_run: Callable[[str], AnotherRunError]) -> None:
        self._of_another_run = of_another_run
        self._latest: dict[int, str] = {}
        self._n_chunks: int | None = None
        self._expected: dict[int, str] = {}
        self._n_expected: int | None = None

    @property
    def are_expected(self) -> bool:
        """Whether a checkpoint holds digests of chunks that have not been read since."""
        return bool(self._expected)

    def add(self, number: int, samples: Samples) -> None:
        """Record a chunk, or raise an error if it is not that of the run before."""
        if self._n_expected is not None and number >= self._n_expected:
            raise self._of_another_run(
                f"there the number of chunks was {self._n_expected}, here there are more"
            )
        found = digest_of_samples(samples)
        if self._expected.pop(number, found) != found:
            raise self._of_another_run(
                f"there the values, the order of the rows or the columns of chunk {number} were different"
            )
        self._latest[number] = found

    def end_pass(self, n_chunks: int) -> None:
        """Record the number of chunks, or raise an error if it is not that of the run before."""
        fewest = max(self._expected, default=-1) + 1 if self._n_expected is None else self._n_expected
        if n_chunks < fewest:
            raise self._of_another_run(
                f"there the number of chunks was at least {fewest}, here it is {n_chunks}"
            )
        self._n_chunks, self._n_expected = n_chunks, None

    def state(self) -> dict[str, Any]:
        """Return what `expect` needs, as JSON-serializable values."""
        # Chunks that have not been read since a checkpoint are still to be compared with it.
        known = self._expected | self._latest
        n_chunks = self._n_expected if self._n_chunks is None else self._n_chunks
        return {"digests": [[number, known[number]] for number in sorted(known)], "n_chunks": n_chunks}

    def expect(self, state: dict[str, Any]) -> None:
        """Compare the chunks from now on with those of another run."""
        self._expected = dict(state["digests"])
        self._n_expected = state["n_chunks"]
