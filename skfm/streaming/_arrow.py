"""Chunks of Arrow tables, datasets and streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ._record_batches import RecordBatchChunks, import_pyarrow, skip_rows


class ArrowChunks(RecordBatchChunks):
    """Chunks of an Arrow table, dataset or stream, with encoded categories.

    Categorical columns, which are those of a string or dictionary type, are hashed, or one-hot encoded if their
    categories are given. Numeric columns are used unchanged; booleans are converted to 0 and 1. If all columns are
    numeric, `X` is dense, else it is a CSR matrix.

    Parameters
    ----------
    data : pyarrow.Table, pyarrow.dataset.Dataset or callable
        The data, or a function without arguments that returns a new :class:`pyarrow.RecordBatchReader` on each call.
        The function is also called on construction, to read the schema.

    target : str
        Name of the column with the targets: numbers, booleans or strings.

    weight : str, default=None
        Name of the column with the sample weights.

    columns : list of str, default=None
        Names of the columns to use, in the order of the features. By default, all columns except `target` and `weight`
        are used.

    categories : dict of str to list, default=None
        Categories of each column to one-hot encode, as for :class:`~sklearn.preprocessing.OneHotEncoder`: numbers must
        be sorted. Numeric columns can be encoded as well. Unknown values and nulls are encoded as all zeros; if the
        last category is None, nulls are a category of their own.

    hasher : int or FeatureHasher, default=None
        Number of columns to hash into, or a hasher from which `n_features` and `alternate_sign` are taken. A category
        is hashed as "column=category" and a null as "column=<missing>". The values of a numeric column are stored in
        the column to which its name is hashed. If an int is passed, all signs are positive: a factorization machine
        does not benefit from alternating signs, which only flip the signs of the parameters.

    batch_rows : int, default=65536
        Number of rows per chunk. The last chunk may have fewer.

    dtype : dtype, default=numpy.float32
        Data type of `X`, float32 or float64. Weights and floating-point targets are float64.

    classes : array-like of shape (n_classes,), default=None
        All class labels. Required by classifiers.

    Attributes
    ----------
    source : object
        The parameter `data`.

    n_features : int
        Number of columns of `X`.

    fields : ndarray of shape (n_features,), dtype int64, or None
        For each feature, the index in `columns` of the column that it was derived from. Can be passed to an estimator
        as its parameter `fields`. None with hashing, which mixes columns.

    feature_names : ndarray of shape (n_features,), dtype object, or None
        Names of the features: "column_category", or the name of a numeric column. None with hashing.

    columns : list of str
        Names of the columns that are used.

    classes : ndarray of shape (n_classes,) or None
        The distinct class labels, sorted; None if they were not given.

    n_chunks : int or None
        Number of chunks if `data` is a table, else None.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    TypeError, ValueError
        On construction, if columns are missing or cannot be encoded; while reading, if a numeric column, the target or
        the weight has a null or a value that is not finite. The message names the column and the row, counted from 0.

    See Also
    --------
    ParquetChunks : Chunks of Parquet files, with fast access to any chunk.
    SvmlightChunks : Chunks of text files in the svmlight / libsvm format.

    Notes
    -----
    Chunk ``k`` starts at row ``k * batch_rows``, regardless of the sizes of the record batches in `data`. To start a
    pass at chunk ``k``, datasets and streams are read from the beginning and the preceding rows are discarded.

    Integer identifiers, such as user numbers, are categories. Pass them in `categories`, or convert their column to
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
                        "The reader that data() returned has a different schema than the first one: "
                        f"{_describe_schema(reader.schema)} instead of {_describe_schema(self._schema)}. Return a "
                        "reader with the same schema on every call."
                    )
                yield from skip_rows((batch.select(self._names) for batch in reader), first_row)
        else:
            # By default, pyarrow prefetches 16 batches of each of 4 files, which may not fit in memory.
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
            "data is a RecordBatchReader, which can be read only once. Pass a function that returns a new one."
        )
    raise TypeError(
        "data must be a pyarrow.Table, a pyarrow.dataset.Dataset or a function that returns a "
        f"RecordBatchReader, got {type(data).__name__}. For a DataFrame, pass pyarrow.Table.from_pandas(data)."
    )


def _open_reader(data: Callable[[], Any]) -> Any:
    import pyarrow

    reader = data()
    if not isinstance(reader, pyarrow.RecordBatchReader):
        raise TypeError(
            f"data() must return a RecordBatchReader, got {type(reader).__name__}. "
            "Create one with pyarrow.RecordBatchReader.from_batches(schema, batches)."
        )
    return reader


def _describe_schema(schema: Any) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
