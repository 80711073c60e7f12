"""Encoding of the columns of Arrow tables: numeric, hashed and one-hot encoded columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction import FeatureHasher
from sklearn.preprocessing import OneHotEncoder

from ._arrow_values import as_numbers, combined_column, dictionary_codes

#: The category as which a null is hashed: "column=<missing>".
MISSING = "<missing>"

#: Names of the string types of Arrow.
_TEXT = ("string", "large_string", "string_view")

#: Function that maps an Arrow array of distinct values without nulls to the column of X and the value of each. The
#: column is -1 for values that have no entry in X.
Lookup = Callable[[Any], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class HashLookup:
    """Maps categories to columns by hashing "name=category".

    Attributes
    ----------
    name : str
        Name of the column of the table.
    hasher : FeatureHasher
        Hasher with ``input_type="string"``.
    """

    name: str
    hasher: FeatureHasher

    def __call__(self, values: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the column of X and the value of each category."""
        return _hash(self.hasher, [f"{self.name}={value}" for value in values.to_pylist()])


@dataclass(frozen=True)
class OneHotLookup:
    """Maps known categories to their one-hot columns.

    Attributes
    ----------
    encoder : OneHotEncoder
        Fitted encoder of one column.
    first : int
        Column of X of the first category.
    """

    encoder: OneHotEncoder
    first: int

    def __call__(self, values: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the column of X and the value of each category."""
        positions = np.full(len(values), -1)
        if len(values):
            X = self.encoder.transform(values.to_numpy(zero_copy_only=False).reshape(-1, 1))
            positions[np.diff(X.indptr) > 0] = X.indices + self.first  # unknown categories have no entry
        return positions, np.ones(len(values))


class ColumnEncoder(NamedTuple):
    """Encodes one column of the table.

    Attributes
    ----------
    name : str
        Name of the column of the table.
    position : int
        For a numeric column, its column of X. For a categorical column, the column of X for nulls, or -1 if nulls have
        no entry.
    value : float
        For a numeric column, the factor by which values are multiplied. For a categorical column, the value for nulls.
    lookup : Lookup or None
        Maps categories to columns of X; None for a numeric column.
    """

    name: str
    position: int
    value: float
    lookup: Lookup | None = None

    def encode(self, column: Any, first_row: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the column of X, or -1 if there is no entry, and the value for each row."""
        if self.lookup is None:
            values = as_numbers(column, self.name, first_row, dtype)
            return np.where(values != 0, self.position, -1), values * np.asarray(self.value, dtype)
        categories, codes = dictionary_codes(column)
        positions, values = self.lookup(categories)
        positions, values = np.append(positions, self.position), np.append(values, self.value)
        return positions[codes], values[codes].astype(dtype, copy=False)


class ColumnKind(NamedTuple):
    """How a column can be encoded, depending on its type.

    Attributes
    ----------
    is_category : bool
        Whether the column is categorical even if its categories are not given.
    is_text : bool
        Whether the values are strings. Otherwise they are numbers.
    """

    is_category: bool
    is_text: bool


def kind_of(column_type: Any) -> ColumnKind | None:
    """Return how a column of the given type can be encoded, or None if it cannot."""
    import pyarrow

    types = pyarrow.types
    is_dictionary = types.is_dictionary(column_type)
    inner = column_type.value_type if is_dictionary else column_type
    if str(inner) in _TEXT:
        return ColumnKind(True, True)
    if types.is_integer(inner):
        return ColumnKind(is_dictionary, False)
    is_number = types.is_floating(inner) or types.is_boolean(inner) or types.is_decimal(inner)
    return ColumnKind(False, False) if is_number and not is_dictionary else None


def hashed_columns(kinds: Mapping[str, ColumnKind], hasher: FeatureHasher) -> list[ColumnEncoder]:
    """Return encoders that hash the columns in the same way as `hasher` hashes dicts."""
    strings = FeatureHasher(
        hasher.n_features, input_type="string", alternate_sign=hasher.alternate_sign, dtype=np.float64
    )
    columns = []
    for name, kind in kinds.items():
        (position,), (sign,) = _hash(strings, [f"{name}={MISSING}" if kind.is_category else name])
        lookup = HashLookup(name, strings) if kind.is_category else None
        columns.append(ColumnEncoder(name, int(position), float(sign), lookup))
    return columns


def one_hot_columns(
    kinds: Mapping[str, ColumnKind], categories: Mapping[str, Any]
) -> tuple[list[ColumnEncoder], np.ndarray, np.ndarray]:
    """Return encoders that one-hot encode the columns with given categories, with the fields and feature names of X."""
    columns: list[ColumnEncoder] = []
    fields: list[int] = []
    names: list[str] = []
    for field, (name, kind) in enumerate(kinds.items()):
        first = len(names)
        if name not in categories:
            columns.append(ColumnEncoder(name, first, 1.0))
            names.append(name)
        else:
            known, has_missing = _check_categories(name, kind.is_text, categories[name])
            encoder = OneHotEncoder(categories=[known], handle_unknown="ignore")
            encoder.set_output(transform="default")  # independent of the user's global configuration
            try:
                encoder.fit(known[:1].reshape(-1, 1))
            except ValueError as error:
                raise ValueError(f"The categories of column {name!r} cannot be used: {error}") from error
            names += list(encoder.get_feature_names_out([name])) + [f"{name}_None"] * has_missing
            missing = len(names) - 1 if has_missing else -1
            columns.append(ColumnEncoder(name, missing, 1.0, OneHotLookup(encoder, first)))
        fields += [field] * (len(names) - first)
    return columns, np.array(fields), np.array(names, dtype=object)


def to_csr(
    columns: list[ColumnEncoder], table: Any, first_row: int, n_features: int, dtype: Any
) -> sp.csr_matrix:
    """Encode the rows of a table as a CSR matrix."""
    encoded = [column.encode(combined_column(table, column.name), first_row, dtype) for column in columns]
    positions = np.stack([positions for positions, _ in encoded], axis=1)
    values = np.stack([values for _, values in encoded], axis=1)
    present = positions >= 0
    indptr = np.append(0, np.cumsum(present.sum(axis=1)))
    X = sp.csr_matrix((values[present], positions[present], indptr), shape=(table.num_rows, n_features))
    X.sum_duplicates()  # different columns of the table may be hashed to the same column of X
    return X


def to_dense(names: list[str], table: Any, first_row: int, dtype: Any) -> np.ndarray:
    """Return the numeric columns of a table as a dense array."""
    return np.stack(
        [as_numbers(combined_column(table, name), name, first_row, dtype) for name in names], axis=1
    )


def _hash(hasher: FeatureHasher, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    if not names:
        return np.zeros(0, dtype=np.int32), np.zeros(0)
    X = hasher.transform([name] for name in names)  # each row has exactly one entry
    return X.indices, X.data


def _check_categories(name: str, is_text: bool, categories: Any) -> tuple[np.ndarray, bool]:
    """Validate given categories. Return them without a final None, and whether there was one."""
    given = np.asarray(categories, dtype=object)
    if given.ndim != 1:
        raise TypeError(f"The categories of column {name!r} must be a list, got {categories!r}.")
    values = given.tolist()
    has_missing = bool(values) and values[-1] is None
    known = values[:-1] if has_missing else values
    if not known:
        raise ValueError(f"Column {name!r} has no categories. Give at least one, or omit it from columns.")
    if len(set(known)) < len(known):
        twice = Counter(known).most_common(1)[0][0]
        raise ValueError(
            f"Category {twice!r} of column {name!r} is given more than once. Remove the duplicates."
        )
    for value in known:
        if not isinstance(value, str if is_text else Real):
            raise TypeError(
                f"Category {value!r} of column {name!r} must be a {'string' if is_text else 'number'}, like the "
                "values of the column. None, which stands for nulls, must be the last category."
            )
    return np.array(known, dtype=object if is_text else None), has_missing
