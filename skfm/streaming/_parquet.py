"""Chunks of Parquet files."""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ._arrow_types import cast_batch, common_schema, common_type
from ._record_batches import RecordBatchChunks, import_pyarrow, skip_rows

#: What changes if a file is written again.
Stamp: TypeAlias = tuple[int, int, int]


class ParquetChunks(RecordBatchChunks):
    """Chunks of Parquet files, with encoded categories.

    Categorical columns, which are those of a string or dictionary type, are hashed, or one-hot encoded if their
    categories are given. Numeric columns are used unchanged; booleans are converted to 0 and 1. If all columns are
    numeric, `X` is dense, else it is a CSR matrix.

    Parameters
    ----------
    path : str, path-like or list of these
        A file, a list of files in the order in which they are read, or a folder. In a folder, all files ``*.parquet``
        are read in the order of their paths, including those in subfolders, except files whose name starts with a dot
        or an underscore. Every file must have the columns that are used. Their types may differ if they have a common
        type: integers and floats, for example, or strings and dictionaries of strings. A column without any values has
        no type of its own.

    target : str
        Name of the column with the targets: numbers, booleans or strings.

    weight : str, default=None
        Name of the column with the sample weights.

    columns : list of str, default=None
        Names of the columns to use, in the order of the features. By default, all columns except `target` and `weight`
        are used. Other columns are not read. By default, these are the columns of the first file, and there is a
        warning if another file has more.

    categories : dict of str to list, default=None
        Categories of each column to one-hot encode, as for :class:`~sklearn.preprocessing.OneHotEncoder`: numbers must
        be sorted. Numeric columns can be encoded as well. Unknown values and nulls are encoded as all zeros; if the
        last category is None, nulls are a category of their own.

    hasher : int or FeatureHasher, default=None
        Number of columns to hash into, or a hasher from which `n_features` and `alternate_sign` are taken. See
        :class:`ArrowChunks` for details.

    batch_rows : int, default=65536
        Number of rows per chunk. The last chunk may have fewer.

    dtype : dtype, default=numpy.float32
        Data type of `X`, float32 or float64. Weights and floating-point targets are float64.

    classes : array-like of shape (n_classes,), default=None
        All class labels. Required by classifiers.

    Attributes
    ----------
    source : list of Path
        The files.

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

    n_chunks : int
        Number of chunks.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    OSError
        If a file does not exist, cannot be read, or has changed since its rows were counted.
    TypeError, ValueError
        On construction, if a file is not a Parquet file, or if columns are missing or cannot be encoded; while reading,
        if a numeric column, the target or the weight has a null or a value that is not finite. The message names the
        column and the row, counted from 0 over all files.

    See Also
    --------
    ArrowChunks : Chunks of Arrow tables, datasets (with CSV and other formats, filters and partitions) and streams.

    Notes
    -----
    Chunk ``k`` starts at row ``k * batch_rows``, counted over all files. To start a pass at chunk ``k``, complete row
    groups before it are skipped without reading them. In addition to the chunk, memory holds the columns of one row
    group.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pyarrow as pa
    >>> import pyarrow.parquet as pq
    >>> from skfm.streaming import ParquetChunks
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "ratings.parquet"
    >>> pq.write_table(pa.table({"user": ["Ann", "Bo", "Ann"], "rating": [5.0, 3.0, 4.0]}), path)
    >>> data = ParquetChunks(path, target="rating", hasher=1000, batch_rows=2)
    >>> data.n_features, data.n_chunks
    (1000, 2)
    >>> [chunk.y.tolist() for chunk in data]
    [[5.0, 3.0], [4.0]]
    >>> folder.cleanup()
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
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
        import_pyarrow("ParquetChunks")
        paths = _find_files(path)
        # Number of rows in each row group of each file.
        self._row_groups: list[list[int]] = []
        self._stamps: list[Stamp] = []
        schemas = []
        for each in paths:
            with _open_parquet(each) as file:
                groups = file.metadata.num_row_groups
                self._row_groups.append([file.metadata.row_group(i).num_rows for i in range(groups)])
                schemas.append(file.schema_arrow)
            self._stamps.append(_stamp(each))
        super().__init__(
            paths,
            common_schema(schemas),
            target=target,
            weight=weight,
            columns=columns,
            categories=categories,
            hasher=hasher,
            batch_rows=batch_rows,
            dtype=dtype,
            classes=classes,
        )
        for each, schema in zip(paths, schemas, strict=True):
            self._check_schema(each, schema, schemas[0])
            if columns is None:
                self._warn_of_more_columns(each, schema)

    @property
    def n_chunks(self) -> int:
        """Number of chunks.

        Returns
        -------
        n_chunks : int
            The number, computed from the metadata of the files.
        """
        return -(-self._n_rows() // self.batch_rows)

    def _n_rows(self) -> int:
        return sum(map(sum, self._row_groups))

    def _batches(self, first_row: int) -> Iterator[Any]:
        for path, n_rows, stamp in zip(self.source, self._row_groups, self._stamps, strict=True):
            ends = np.cumsum(n_rows)
            groups = np.flatnonzero(ends > first_row).tolist()
            if groups:
                skipped = int(ends[groups[0]]) - n_rows[groups[0]]
                batches = self._row_group_batches(path, groups, sum(n_rows), stamp)
                yield from skip_rows(batches, first_row - skipped)
            first_row = max(0, first_row - sum(n_rows))

    def _row_group_batches(self, path: Path, groups: list[int], n_rows: int, stamp: Stamp) -> Iterator[Any]:
        with _open_parquet(path) as file:
            if _stamp(path) != stamp:
                found = file.metadata.num_rows
                counts = f": it had {n_rows} rows and now has {found}" if found != n_rows else ""
                raise OSError(
                    f"{path} has changed since its rows were counted{counts}. Create a new object when the file is "
                    "complete."
                )
            try:
                for batch in file.iter_batches(self.batch_rows, row_groups=groups, columns=self._names):
                    yield cast_batch(batch, self._schema, self._names)
            except (ValueError, OSError) as error:  # pyarrow raises both types
                raise OSError(f"{path} cannot be read: {error}") from error

    def _check_schema(self, path: Path, schema: Any, first: Any) -> None:
        for name in self._names:
            expected = first.field(name).type
            found = schema.field(name).type if name in schema.names else None
            if found is None or common_type([expected, found]) is None:
                raise ValueError(
                    f"{path} has {f'type {found}' if found else 'nothing'} for column {name!r}, but "
                    f"{self.source[0]} has type {expected}. All files must have the same columns, with types that can "
                    "be converted to a common one."
                )

    def _warn_of_more_columns(self, path: Path, schema: Any) -> None:
        more = [name for name in schema.names if name not in self._names]
        if more:
            warnings.warn(
                f"{path} has the columns {', '.join(map(repr, more))}, which {self.source[0]} does not have. They are "
                "not used. List the columns to use in columns.",
                stacklevel=3,
            )


def _find_files(path: Any) -> list[Path]:
    if not isinstance(path, str | os.PathLike):
        paths = [Path(each) for each in path]
        if not paths:
            raise ValueError("path is an empty list. Pass at least one file.")
        return paths
    path = Path(path)
    if not path.is_dir():
        return [path]
    files = sorted(
        file for file in path.rglob("*.parquet") if file.is_file() and not file.name.startswith((".", "_"))
    )
    if not files:
        raise FileNotFoundError(f"The folder {path} has no files *.parquet. Pass a list of files.")
    return files


def _stamp(path: Path) -> Stamp:
    """Return size, modification time and a checksum of the metadata, which describe the content of a Parquet file."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        # The file ends with the metadata, their length in four bytes, and four letters.
        file.seek(max(0, status.st_size - 8))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, status.st_size - 8 - length))
        return status.st_size, status.st_mtime_ns, zlib.crc32(file.read(length))


def _open_parquet(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read as a Parquet file: {error}") from error
