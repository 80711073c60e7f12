"""The base class of all sources of Arrow record batches: it selects and encodes columns, and forms equal chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.feature_extraction import FeatureHasher

from ._arrow_columns import (
    ColumnEncoder,
    ColumnKind,
    hashed_columns,
    kind_of,
    one_hot_columns,
    to_csr,
    to_dense,
)
from ._arrow_values import as_numbers, combined_column, to_target
from ._checks import check_float_type, check_integer
from ._chunks import Chunks, yields_new_arrays


class RecordBatchChunks(Chunks):
    """Chunks of equal size, formed from record batches of any size that subclasses read.

    The parameters and attributes are those of :class:`ArrowChunks`.
    """

    def __init__(
        self,
        source: Any,
        schema: Any,
        *,
        target: str,
        weight: str | None,
        columns: Sequence[str] | None,
        categories: Mapping[str, Any] | None,
        hasher: Any,
        batch_rows: int,
        dtype: Any,
        classes: Any,
    ) -> None:
        check_integer("batch_rows", batch_rows, at_least=1)
        self.batch_rows = int(batch_rows)
        self.dtype = check_float_type(dtype)
        self.target, self.weight = target, weight
        self.columns = _choose_columns(schema, target, weight, columns)
        self.fields: np.ndarray | None = None
        self.feature_names: np.ndarray | None = None
        self._schema = schema
        self._names = [*self.columns, target] + ([weight] if weight is not None else [])

        kinds = _check_kinds(schema, self.columns, target, weight, categories, hasher)
        self._encoders: list[ColumnEncoder]
        if hasher is not None:
            hasher = _check_hasher(hasher)
            self._encoders, self._n_encoded = hashed_columns(kinds, hasher), int(hasher.n_features)
        else:
            self._encoders, self.fields, self.feature_names = one_hot_columns(kinds, categories or {})
            self._n_encoded = len(self.fields)
        self._is_dense = hasher is None and not categories
        super().__init__(source, n_features=self._n_encoded, classes=classes)

    @property
    def n_chunks(self) -> int | None:
        """Number of chunks; None if it is not known in advance."""
        n_rows = self._n_rows()
        return None if n_rows is None else -(-n_rows // self.batch_rows)

    def _n_rows(self) -> int | None:
        """Return the number of rows, or None if it is not known in advance."""
        return None

    def _batches(self, first_row: int) -> Iterator[Any]:
        """Yield record batches of any size with the columns `_names`, beginning with row `first_row`."""
        raise NotImplementedError

    @yields_new_arrays
    def _read(self, start: int) -> Iterator[Any]:
        first_row = start * self.batch_rows
        for table in _regroup(self._batches(first_row), self.batch_rows):
            yield self._encode(table, first_row)
            first_row += self.batch_rows

    def _encode(self, table: Any, first_row: int) -> tuple[Any, np.ndarray, np.ndarray | None]:
        if self._is_dense:
            X = to_dense(self.columns, table, first_row, self.dtype)
        else:
            X = to_csr(self._encoders, table, first_row, self._n_encoded, self.dtype)
        weight = None
        if self.weight is not None:
            weight = as_numbers(combined_column(table, self.weight), self.weight, first_row, np.float64)
        return X, to_target(table, self.target, first_row), weight


def import_pyarrow(user: str) -> None:
    """Raise an ImportError with instructions if pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{user} requires pyarrow. Install it with: pip install 'skfm[arrow]' ({error})"
        ) from error


def skip_rows(batches: Iterable[Any], n_rows: int) -> Iterator[Any]:
    """Yield record batches without their first `n_rows` rows."""
    for batch in batches:
        if n_rows < batch.num_rows:
            yield batch.slice(n_rows)
        n_rows = max(0, n_rows - batch.num_rows)


def _regroup(batches: Iterable[Any], n_rows: int) -> Iterator[Any]:
    """Yield tables of `n_rows` rows each; the last one has the remaining rows."""
    import pyarrow

    waiting, n_waiting = [], 0
    for batch in batches:
        waiting.append(pyarrow.Table.from_batches([batch]))
        n_waiting += batch.num_rows
        if n_waiting >= n_rows:
            table = pyarrow.concat_tables(waiting)
            at = 0
            while n_waiting - at >= n_rows:
                yield table.slice(at, n_rows)
                at += n_rows
            waiting, n_waiting = [table.slice(at)], n_waiting - at
    if n_waiting:
        yield pyarrow.concat_tables(waiting)


def _choose_columns(schema: Any, target: str, weight: str | None, columns: Sequence[str] | None) -> list[str]:
    """Return the names of the columns to use, or raise an error unless each occurs once in the schema."""
    reserved = {"target": target} if weight is None else {"target": target, "weight": weight}
    if isinstance(columns, str):
        raise TypeError(f"columns must be a list of names, got the string {columns!r}.")
    chosen = (
        [name for name in schema.names if name not in reserved.values()] if columns is None else list(columns)
    )
    for role, name in [*reserved.items(), *(("columns", name) for name in chosen)]:
        count = schema.names.count(name)
        if count != 1:
            raise ValueError(
                f"{role}: there is no column {name!r}. The columns are {', '.join(map(repr, schema.names))}."
                if count == 0
                else f"{role}: there are {count} columns {name!r}. Rename them, or omit them from columns."
            )
    for role, name in reserved.items():
        if name in chosen:
            raise ValueError(f"{name!r} is the {role}, so it cannot also be in columns. Remove it there.")
    if target == weight:
        raise ValueError(f"{target!r} cannot be both the target and the weight.")
    if not chosen:
        raise ValueError("There are no columns to use as features other than the target and the weight.")
    if len(set(chosen)) < len(chosen):
        twice = next(name for name in chosen if chosen.count(name) > 1)
        raise ValueError(f"Column {twice!r} is in columns more than once. Remove the duplicates.")
    return chosen


def _check_kinds(
    schema: Any,
    columns: list[str],
    target: str,
    weight: str | None,
    categories: Mapping[str, Any] | None,
    hasher: Any,
) -> dict[str, ColumnKind]:
    """Return how each column can be encoded, or raise an error if a column cannot be used."""
    if categories is not None and hasher is not None:
        raise ValueError("categories and hasher are mutually exclusive. Pass only one of them.")
    unknown = [name for name in categories or () if name not in columns]
    if unknown:
        raise ValueError(
            f"categories has {unknown[0]!r}, which is not one of the columns {', '.join(map(repr, columns))}."
        )
    kinds = {}
    for name in columns:
        column_type = schema.field(name).type
        kind = kind_of(column_type)
        if kind is None:
            raise TypeError(
                f"Column {name!r} has type {column_type}, which is neither a number, a boolean, a string nor a "
                "dictionary of strings or integers. Convert it, or omit it from columns."
            )
        if kind.is_category and hasher is None and name not in (categories or {}):
            raise ValueError(
                f"Column {name!r} is categorical (type {column_type}). Pass the number of columns to hash into as "
                "hasher, list its categories in categories, or omit it from columns."
            )
        kinds[name] = kind
    if weight is not None:
        kind = kind_of(schema.field(weight).type)
        if kind is None or kind.is_text or kind.is_category:
            raise TypeError(f"The weight {weight!r} must be a number, got type {schema.field(weight).type}.")
    if kind_of(schema.field(target).type) is None:
        raise TypeError(
            f"The target {target!r} must be a number, a boolean or a string, got type {schema.field(target).type}."
        )
    return kinds


def _check_hasher(hasher: Any) -> FeatureHasher:
    if isinstance(hasher, FeatureHasher):
        return hasher.fit()  # only validates the parameters
    if not isinstance(hasher, Integral) or isinstance(hasher, bool):
        raise TypeError(
            f"hasher must be an integer number of columns or a FeatureHasher, got {type(hasher).__name__}."
        )
    check_integer("hasher", hasher, at_least=1)
    # Alternating signs would only flip the signs of the learned weights and factors.
    return FeatureHasher(int(hasher), alternate_sign=False).fit()
