"""The chunk of a dataset, and the base class of all sources of chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
import scipy.sparse as sp

from ._checks import check_integer

Read = TypeVar("Read", bound=Callable[..., Iterator[Any]])


def yields_new_arrays(read: Read) -> Read:
    """Mark a method ``_read`` whose chunks are new arrays each time, so that they need not be copied.

    Parameters
    ----------
    read : function
        The method.

    Returns
    -------
    read : function
        The same method.
    """
    read.yields_new_arrays = True  # type: ignore[attr-defined]
    return read


class Chunk(NamedTuple):
    """Consecutive rows of a dataset that fit in memory.

    Attributes
    ----------
    X : ndarray, csr matrix or DataFrame of shape (n_rows, n_features)
        The features.

    y : ndarray of shape (n_rows,)
        The targets: numbers, or class labels of any type.

    sample_weight : ndarray of shape (n_rows,) or None
        Sample weights, or None if all rows have equal weights.
    """

    X: Any
    y: np.ndarray
    sample_weight: np.ndarray | None = None


class Chunks:
    """A dataset in chunks of rows, which can be iterated over repeatedly.

    Each iteration is one pass over the data. The chunks are numbered from 0, and every pass yields the same chunks in
    the same order. A pass can therefore start at any chunk: ``chunks(start=k)``.

    Parameters
    ----------
    source : iterable of tuple, or callable
        Tuples ``(X, y)`` or ``(X, y, sample_weight)``, all with the same number of columns. `X` is a dense or sparse
        matrix of numbers or a DataFrame. Pass an iterable that can be iterated over more than once, such as a list or
        an object whose ``__iter__`` returns a new iterator, or a function without arguments that returns a new
        iterator. An iterator or generator object can be used for one pass only.

    n_features : int, default=None
        Number of columns of each `X`. By default, it is that of the first chunk of a pass.

    classes : array-like of shape (n_classes,), default=None
        All class labels. Required by classifiers, since a chunk may not contain all of them.

    Attributes
    ----------
    source : object
        The parameter `source`.

    n_features : int or None
        Number of columns; None if it was not given.

    classes : ndarray of shape (n_classes,) or None
        The distinct class labels, sorted; None if they were not given.

    n_chunks : int or None
        Number of chunks; None if it is not known in advance.

    See Also
    --------
    SvmlightChunks : Chunks of text files in the svmlight / libsvm format.
    ParquetChunks : Chunks of Parquet files.
    ArrowChunks : Chunks of Arrow tables, datasets and streams.

    Notes
    -----
    This class checks the shapes of the chunks. Their values, for example whether they are finite, are checked by the
    estimators. Chunks without rows are not skipped, so that the numbering does not change.

    A chunk is copied before the next one is requested, so that a function or an iterable may fill the same arrays again
    and again. The chunks of a list or a tuple are not copied.

    To implement another source, write a subclass with a method ``_read(start)`` that yields the tuples beginning with
    chunk number `start`, and skips the preceding chunks as efficiently as possible. Its ``__init__`` must call
    ``super().__init__(source, n_features=..., classes=...)``, where `source` may be any object, since only ``_read``
    uses it. Override the property `n_chunks` if the number of chunks is known.

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
        # Subclasses that override `_read` may accept any source.
        if type(self)._read is Chunks._read and not (callable(source) or isinstance(source, Iterable)):
            raise TypeError(
                f"source must be an iterable of tuples (X, y) or (X, y, sample_weight), or a function that returns "
                f"one, got {type(source).__name__}. For a single chunk, pass [(X, y)]."
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
            The number, or None if it was not given.
        """
        return self._n_features

    @property
    def classes(self) -> np.ndarray | None:
        """All class labels.

        Returns
        -------
        classes : ndarray of shape (n_classes,) or None
            The distinct labels, sorted; None if they were not given.
        """
        return self._classes

    @property
    def n_chunks(self) -> int | None:
        """Number of chunks.

        Returns
        -------
        n_chunks : int or None
            The number, or None if it is not known in advance.
        """
        return len(self.source) if isinstance(self.source, Sized) and not callable(self.source) else None

    @property
    def has_one_pass(self) -> bool:
        """Whether only one pass over the data is possible.

        Returns
        -------
        has_one_pass : bool
            True if the source is a generator or another iterator.
        """
        return isinstance(self.source, Iterator)

    @property
    def _skips_cheaply(self) -> bool:
        """Whether a pass can start at any chunk without reading the preceding ones."""
        return type(self)._read is not Chunks._read

    def __iter__(self) -> Iterator[Chunk]:
        return self.chunks()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Raise a TypeError, since a stream of chunks cannot be converted to an array.

        Parameters
        ----------
        dtype, copy
            Ignored.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            f"{type(self).__name__} is a stream of chunks, not an array. It can only be passed to the method fit of an "
            "FMRegressor or FMClassifier with a minibatch solver. Elsewhere, iterate over it: "
            "for X, y, sample_weight in chunks."
        )

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """Make one pass over the data.

        Parameters
        ----------
        start : int, default=0
            Number of the first chunk of the pass. If it is not less than the number of chunks, the pass is empty.

        Returns
        -------
        chunks : iterator of Chunk
            The chunks, which are read lazily.

        Raises
        ------
        TypeError, ValueError
            If a chunk is invalid, if there are no chunks, or if the source is an iterator that an earlier pass has
            exhausted.
        """
        check_integer("start", start, at_least=0)
        return self._checked(int(start))

    @property
    def _may_reuse_arrays(self) -> bool:
        """Whether the arrays of a chunk may be overwritten when the next one is requested."""
        read = type(self)._read
        if read is Chunks._read:
            return not isinstance(self.source, list | tuple)
        return not getattr(read, "yields_new_arrays", False)

    def _read(self, start: int) -> Iterator[Any]:
        """Yield tuples (X, y) or (X, y, sample_weight), beginning with chunk number `start`."""
        iterator = iter(self.source() if callable(self.source) else self.source)
        if iterator is self.source:
            if self._is_exhausted:
                raise ValueError(
                    f"A {type(self.source).__name__} object can be read only once, and an earlier pass has "
                    "exhausted it. Pass a function that returns a new generator, or fit with max_iter=1."
                )
            self._is_exhausted = True
        return islice(iterator, start, None)

    def _checked(self, start: int) -> Iterator[Chunk]:
        number, n_features, copy = start, self.n_features, self._may_reuse_arrays
        for item in self._read(start):
            chunk = _as_chunk(item, number, copy=copy)
            # Memory holds a chunk only once while it is in use.
            del item
            n_columns = chunk.X.shape[1]
            if n_features is None:
                n_features = n_columns
            if n_columns != n_features:
                expected = "the previous chunks have" if self.n_features is None else "n_features is"
                raise ValueError(
                    f"X of chunk {number} has {n_columns} columns, but {expected} {n_features}. All chunks must "
                    "have the same columns."
                )
            yield chunk
            # Release the chunk, so that memory holds at most two of them while the next one is read.
            del chunk
            number += 1
        if number == 0:
            raise ValueError(
                f"{type(self).__name__} has no chunks. If its source is a function, it must return a new iterator "
                "on every call."
            )


def _check_classes(classes: Any) -> np.ndarray:
    labels = np.asarray(classes)
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(
            f"classes must be a one-dimensional list of at least one label, got shape {labels.shape}."
        )
    return np.unique(labels)


def _as_chunk(item: Any, number: int, *, copy: bool) -> Chunk:
    """Return a tuple as a chunk with checked shapes, whose arrays are copies on request."""
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        found = type(item).__name__
        if hasattr(item, "shape"):
            found += f" of shape {item.shape}"
        elif isinstance(item, Sized):
            found += f" of {len(item)}"
        raise TypeError(
            f"Chunk {number} must be a tuple (X, y) or (X, y, sample_weight), got {found}. For a single chunk, "
            "pass [(X, y)]."
        )
    X, y, weight = (*item, None)[:3]
    if hasattr(X, "collect") and not hasattr(X, "shape"):
        raise TypeError(
            f"X of chunk {number} is a {type(X).__name__}, which has not been evaluated yet. Yield X.collect()."
        )
    # DataFrames are not converted, since the estimators need the names and types of their columns.
    is_frame = hasattr(X, "columns")
    if not is_frame:
        X = X.tocsr() if sp.issparse(X) else np.asarray(X)
    if len(X.shape) != 2:
        raise ValueError(f"X of chunk {number} must be two-dimensional, got shape {X.shape}.")
    if not is_frame and X.dtype.kind not in "buif":
        raise TypeError(
            f"X of chunk {number} must hold numbers, got dtype {X.dtype}. Encode its categories, or pass a DataFrame."
        )
    y = _check_column("y", y, X.shape[0], number)
    weight = None if weight is None else _check_column("sample_weight", weight, X.shape[0], number)
    if copy:
        X, y, weight = _copy_features(X), y.copy(), None if weight is None else weight.copy()
    return Chunk(X, y, weight)


def _copy_features(X: Any) -> Any:
    """Return a copy of an array, a sparse matrix or a DataFrame, whose columns may be views of arrays."""
    if isinstance(X, np.ndarray):
        return X.copy(order="K")
    if hasattr(X, "copy"):  # scipy and pandas
        return X.copy()
    # The `clone` of polars and the `slice` of pyarrow share memory with the original.
    rows = np.arange(X.shape[0])
    return X.take(rows) if hasattr(X, "take") else X[rows]


def _check_column(name: str, values: Any, n_rows: int, number: int) -> np.ndarray:
    column = np.asarray(values)
    if column.shape != (n_rows,):
        raise ValueError(
            f"{name} of chunk {number} must have shape ({n_rows},), one value for each row of X, got "
            f"{column.shape}."
        )
    return column
