"""Chunks of Arrow tables, data sets and streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ._record_batches import RecordBatchChunks, import_pyarrow, skip_rows


class ArrowChunks(RecordBatchChunks):
    """Chunks of an Arrow table, data set or stream, with categories encoded.

    Columns of strings and of dictionaries (categories) are hashed, or one-hot encoded if their categories
    are given. Columns of numbers are taken as they are; booleans are 0 and 1. If there are no others, `X` is
    dense.

    Parameters
    ----------
    data : pyarrow.Table, pyarrow.dataset.Dataset or callable
        The rows, or a function without arguments that returns a new :class:`pyarrow.RecordBatchReader` each
        time. The function is called once at the beginning too, for the schema.

    target : str
        Name of the column with the targets: numbers, booleans or strings.

    weight : str, default=None
        Name of the column with the sample weights.

    columns : list of str, default=None
        Names of the columns to use, in the order of the features. By default all but `target` and `weight`.

    categories : dict of str to list, default=None
        Categories of each column that is to be one-hot encoded, as for
        :class:`~sklearn.preprocessing.OneHotEncoder`: numbers have to ascend. Columns of numbers may be
        encoded too. All other values, and nulls, have no entry in their row, unless the last category is
        None, which stands for nulls.

    hasher : int or FeatureHasher, default=None
        Number of columns to hash into, or a hasher whose `n_features` and `alternate_sign` are used. A
        category is hashed as "column=category", a null as "column=<missing>", and a number goes, as value,
        to the column that its name is hashed to. If a number of columns is passed, all signs are positive:
        a factorization machine gains nothing from signs, which only flip what it learns for a column.

    batch_rows : int, default=65536
        Rows of a chunk; the last one may have fewer.

    dtype : dtype, default=numpy.float32
        Type of the values of `X`, float32 or float64. Weights are float64, and so are targets with a
        fractional part.

    classes : array-like of shape (n_classes,), default=None
        For classifiers: all labels.

    Attributes
    ----------
    source : object
        What was passed as `data`.

    n_features : int
        Number of columns of `X`.

    fields : ndarray of shape (n_features,), dtype int64, or None
        For each feature the number of the column in `columns` that it comes from, to be passed to an
        estimator as its `fields`. None with hashing, which mixes columns.

    feature_names : ndarray of shape (n_features,), dtype object, or None
        Names of the features: "column_category", or the name of a column of numbers. None with hashing.

    columns : list of str
        The columns that are used.

    classes : ndarray of shape (n_classes,) or None
        The distinct labels in ascending order, None if they were not given.

    n_chunks : int or None
        Number of chunks; None except for a table.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    TypeError, ValueError
        If columns are missing or cannot be encoded, when the object is made, or later at a null or a value
        that is not finite; the message has the column and the number of the row, from 0.

    See Also
    --------
    ParquetChunks : The same for Parquet files, where any chunk can be reached at once.
    SvmlightChunks : Chunks of text files in the svmlight / libsvm format.

    Notes
    -----
    Chunk k has the rows from ``k * batch_rows`` on, whatever the batches of `data` are. To begin a pass at
    chunk k, data sets and streams read and drop the rows before it.

    An integer that is a name (of a user, say) is a category: give its categories, or convert its column to
    strings before hashing.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from skfm.streaming import ArrowChunks
    >>> table = pa.table({"user": ["Ann", "Bo", "Ann"], "age": [30.0, 40.0, 30.0], "rating": [5, 3, 4]})
    >>> data = ArrowChunks(table, target="rating", categories={"user": ["Ann", "Bo"]}, batch_rows=2)
    >>> data.feature_names.tolist(), data.fields.tolist()
    (['user_Ann', 'user_Bo', 'age'], [0, 0, 1])
    >>> for X, y, _ in data:
    ...     print(y, X.toarray().tolist())
    [5 3] [[1.0, 0.0, 30.0], [0.0, 1.0, 40.0]]
    [4] [[1.0, 0.0, 30.0]]

    >>> ArrowChunks(table, target="rating", hasher=2**18).n_features
    262144
    """

    def __init__(
        self,
        data: Any,
        *,
        target: str,
        weight: str | None = None,
        columns: Sequence[str] | None = None,
        categories: Mapping[str, Any] | None = None,
        hasher: Any = None,
        batch_rows: int = 1 << 16,
        dtype: Any = np.float32,
        classes: Any = None,
    ) -> None:
        import_pyarrow("ArrowChunks")
        super().__init__(
            data,
            _schema_of(data),
            target=target,
            weight=weight,
            columns=columns,
            categories=categories,
            hasher=hasher,
            batch_rows=batch_rows,
            dtype=dtype,
            classes=classes,
        )

    def _n_rows(self) -> int | None:
        import pyarrow

        return self.source.num_rows if isinstance(self.source, pyarrow.Table) else None

    def _batches(self, first_row: int) -> Iterator[Any]:
        import pyarrow

        if isinstance(self.source, pyarrow.Table):
            yield from self.source.select(self._names).slice(first_row).to_batches(self.batch_rows)
        elif callable(self.source):
            with _open_reader(self.source) as reader:
                if not reader.schema.equals(self._schema):
                    raise ValueError(
                        "The reader that data() returned has another schema than the first one: "
                        f"{_describe_schema(reader.schema)} instead of {_describe_schema(self._schema)}."
                    )
                yield from skip_rows((batch.select(self._names) for batch in reader), first_row)
        else:
            # The default reads 16 batches of 4 files ahead, which need not fit into memory.
            batches = self.source.to_batches(
                columns=self._names, batch_size=self.batch_rows, batch_readahead=1, fragment_readahead=1
            )
            yield from skip_rows(batches, first_row)


def _schema_of(data: Any) -> Any:
    import pyarrow
    import pyarrow.dataset

    if isinstance(data, pyarrow.Table | pyarrow.dataset.Dataset):
        return data.schema
    if callable(data):
        with _open_reader(data) as reader:
            return reader.schema
    if isinstance(data, pyarrow.RecordBatchReader):
        raise TypeError(
            "data is a RecordBatchReader, which can be read once only. Pass a function that returns a new one."
        )
    raise TypeError(
        "data must be a pyarrow.Table, a pyarrow.dataset.Dataset or a function that returns a "
        f"RecordBatchReader, got {type(data).__name__}. For a DataFrame pass pyarrow.Table.from_pandas(data)."
    )


def _open_reader(data: Callable[[], Any]) -> Any:
    import pyarrow

    reader = data()
    if not isinstance(reader, pyarrow.RecordBatchReader):
        raise TypeError(
            f"data() must return a RecordBatchReader, got {type(reader).__name__}. "
            "pyarrow.RecordBatchReader.from_batches(schema, batches) makes one."
        )
    return reader


def _describe_schema(schema: Any) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
