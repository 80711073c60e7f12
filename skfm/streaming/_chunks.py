"""Data in chunks: what a chunk is, and the base class of all sources of chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ._checks import check_integer


class Chunk(NamedTuple):
    """Some rows of a data set, small enough for memory.

    Attributes
    ----------
    X : ndarray, csr matrix or data frame of shape (n_rows, n_features)
        The features, sparse or dense. The columns of a data frame keep their names.

    y : ndarray of shape (n_rows,)
        The targets: numbers, or labels of any type.

    sample_weight : ndarray of shape (n_rows,) or None
        Weights of the rows, None where all have the same.
    """

    X: Any
    y: np.ndarray
    sample_weight: np.ndarray | None = None


class Chunks:
    """A data set in chunks of rows, which can be read again and again.

    Every iteration is one pass over the data. The chunks of a pass are numbered from 0, and every pass
    gives the same chunks in the same order, so a pass can begin in the middle: ``chunks(start=k)``.

    Parameters
    ----------
    source : iterable of tuple, or callable
        Tuples ``(X, y)`` or ``(X, y, sample_weight)``, all with the same number of columns. `X` is a dense
        or sparse matrix of numbers. Pass something that can be iterated over more than once (a list, or an
        object whose ``__iter__`` makes a new iterator), or a function without arguments that returns a new
        iterator. An iterator or generator object itself is good for one pass only.

    n_features : int, default=None
        Number of columns of each `X`. By default that of the first chunk of a pass.

    classes : array-like of shape (n_classes,), default=None
        For classifiers: all labels, since a single chunk may not have them all.

    Attributes
    ----------
    source : object
        What was passed.

    n_features : int or None
        Number of columns, None if it was not given.

    classes : ndarray of shape (n_classes,) or None
        The distinct labels in ascending order, None if they were not given.

    n_chunks : int or None
        Number of chunks, None if that is not known before they are read.

    See Also
    --------
    SvmlightChunks : Chunks of text files in the svmlight / libsvm format.
    ParquetChunks : Chunks of Parquet files.
    ArrowChunks : Chunks of Arrow tables, data sets and streams.

    Notes
    -----
    Values (whether they are finite, which labels there are) are for the user of the chunks to check. Chunks
    without rows are passed on, since they count.

    For a source of your own, write a subclass with a method ``_read(start)`` that yields the tuples from
    chunk number `start` on, as fast as it can get there. Let ``__init__`` call
    ``super().__init__(source, n_features=..., classes=...)``; `source` may then be anything, since only
    ``_read`` uses it. Override the property `n_chunks` where the number is known. The shapes of what
    ``_read`` yields are checked here.

    Examples
    --------
    >>> import numpy as np
    >>> from skfm.streaming import Chunks
    >>> def days():
    ...     for day in range(3):
    ...         yield np.eye(2) * day, np.array([0.0, day])
    >>> data = Chunks(days, n_features=2)
    >>> [chunk.y.tolist() for chunk in data]
    [[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]]
    >>> [chunk.y.tolist() for chunk in data.chunks(start=2)]
    [[0.0, 2.0]]
    """

    def __init__(
        self,
        source: Any,
        *,
        n_features: int | None = None,
        classes: Any = None,
    ) -> None:
        # A subclass with a `_read` of its own may take any source.
        if type(self)._read is Chunks._read and not (callable(source) or isinstance(source, Iterable)):
            raise TypeError(
                f"source must be an iterable of (X, y) or (X, y, sample_weight), or a function that returns "
                f"one, got {type(source).__name__}. For a single chunk pass [(X, y)]."
            )
        if n_features is not None:
            check_integer("n_features", n_features, at_least=1)
        self.source = source
        self._n_features = None if n_features is None else int(n_features)
        self._classes = None if classes is None else _check_classes(classes)
        self._is_exhausted = False

    @property
    def n_features(self) -> int | None:
        """Number of columns.

        Returns
        -------
        n_features : int or None
            None if it was not given.
        """
        return self._n_features

    @property
    def classes(self) -> np.ndarray | None:
        """All labels.

        Returns
        -------
        classes : ndarray of shape (n_classes,) or None
            In ascending order; None if they were not given.
        """
        return self._classes

    @property
    def n_chunks(self) -> int | None:
        """Number of chunks.

        Returns
        -------
        n_chunks : int or None
            None if it is not known before they are read.
        """
        return len(self.source) if isinstance(self.source, Sized) and not callable(self.source) else None

    @property
    def has_one_pass(self) -> bool:
        """Whether the source is an iterator, which cannot be read again.

        Returns
        -------
        has_one_pass : bool
            True for generators and other iterators.
        """
        return isinstance(self.source, Iterator)

    def __iter__(self) -> Iterator[Chunk]:
        return self.chunks()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Say that this is no array: `fit` of the minibatch solvers takes it, and nothing else does.

        Parameters
        ----------
        dtype, copy
            Of no use.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            f"{type(self).__name__} is a stream of chunks and no array. Only fit takes it, of FMRegressor or "
            "FMClassifier with a minibatch solver. Elsewhere go through it: for X, y, sample_weight in chunks."
        )

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """Make one pass over the data.

        Parameters
        ----------
        start : int, default=0
            Number of the chunk to begin with. A `start` behind the last chunk gives an empty pass.

        Returns
        -------
        chunks : iterator of Chunk
            The chunks, each read when it is asked for.

        Raises
        ------
        TypeError, ValueError
            If a chunk is not of the right form, if there is none at all, or if the source is an iterator
            that was used up by an earlier pass.
        """
        check_integer("start", start, at_least=0)
        return self._checked(int(start))

    def _read(self, start: int) -> Iterator[Any]:
        """Yield tuples (X, y) or (X, y, sample_weight) from chunk number `start` on. Subclasses override it."""
        iterator = iter(self.source() if callable(self.source) else self.source)
        if iterator is self.source:
            if self._is_exhausted:
                raise ValueError(
                    f"A {type(self.source).__name__} object can be read once only, and an earlier pass has "
                    "used it up. Pass a function that makes a new generator, or fit with max_iter=1."
                )
            self._is_exhausted = True
        return islice(iterator, start, None)

    def _checked(self, start: int) -> Iterator[Chunk]:
        number, n_features = start, self.n_features
        for item in self._read(start):
            chunk = _as_chunk(item, number)
            n_columns = chunk.X.shape[1]
            if n_features is None:
                n_features = n_columns
            if n_columns != n_features:
                expected = "those before it have" if self.n_features is None else "n_features is"
                raise ValueError(
                    f"X of chunk {number} has {n_columns} columns, but {expected} {n_features}. All chunks must "
                    "have the same columns."
                )
            yield chunk
            # Neither may outlive its turn: two chunks are all that memory has to hold while the next is read.
            del item, chunk
            number += 1
        if number == 0:
            raise ValueError(
                f"{type(self).__name__} holds no chunks: there is nothing to read. If its source is a "
                "function, that must return a new iterator each time it is called."
            )


def _check_classes(classes: Any) -> np.ndarray:
    labels = np.asarray(classes)
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"classes must be a list of one or more labels, got shape {labels.shape}.")
    return np.unique(labels)


def _as_chunk(item: Any, number: int) -> Chunk:
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        found = type(item).__name__
        if hasattr(item, "shape"):
            found += f" of shape {item.shape}"
        elif isinstance(item, Sized):
            found += f" of {len(item)}"
        raise TypeError(
            f"Chunk {number} must be a tuple (X, y) or (X, y, sample_weight), got {found}. For a single chunk "
            "pass [(X, y)]."
        )
    X, y, weight = (*item, None)[:3]
    # A data frame stays one, for the names of its columns.
    is_frame = hasattr(X, "columns")
    if not is_frame:
        X = X.tocsr() if sp.issparse(X) else np.asarray(X)
    if len(X.shape) != 2:
        raise ValueError(f"X of chunk {number} must be a matrix, got shape {X.shape}.")
    if not is_frame and X.dtype.kind not in "buif":
        raise TypeError(f"X of chunk {number} must hold numbers, got dtype {X.dtype}. Encode it first.")
    y = _check_column("y", y, X.shape[0], number)
    return Chunk(X, y, None if weight is None else _check_column("sample_weight", weight, X.shape[0], number))


def _check_column(name: str, values: Any, n_rows: int, number: int) -> np.ndarray:
    column = np.asarray(values)
    if column.shape != (n_rows,):
        raise ValueError(
            f"{name} of chunk {number} must have shape ({n_rows},), one value for each row of X, got "
            f"{column.shape}."
        )
    return column
