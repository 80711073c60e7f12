"""Columns of Arrow tables as columns of X: numbers, hashed categories and given categories."""

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

#: What a null is hashed as, after "column=".
MISSING = "<missing>"

_TEXT = ("string", "large_string", "string_view")

#: Finds, for each of an Arrow array of distinct values without nulls, the column of X and the value there. A
#: column of -1 means none.
Lookup = Callable[[Any], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class HashLookup:
    """Finds categories by hashing "name=category".

    Attributes
    ----------
    name : str
    hasher : FeatureHasher
        With ``input_type="string"``.
    """

    name: str
    hasher: FeatureHasher

    def __call__(self, values: Any) -> tuple[np.ndarray, np.ndarray]:
        """Find them."""
        return _hash(self.hasher, [f"{self.name}={value}" for value in values.to_pylist()])


@dataclass(frozen=True)
class OneHotLookup:
    """Finds given categories.

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
        """Find them."""
        positions = np.full(len(values), -1)
        if len(values):
            X = self.encoder.transform(values.to_numpy(zero_copy_only=False).reshape(-1, 1))
            positions[np.diff(X.indptr) > 0] = X.indices + self.first  # one entry, or none if unknown
        return positions, np.ones(len(values))


class ColumnEncoder(NamedTuple):
    """What becomes of a column of the table.

    Attributes
    ----------
    name : str
    position : int
        Column of X: of the numbers, or of the nulls among categories, where -1 means that they have none.
    value : float
        What numbers are multiplied by, or the value for a null.
    lookup : Lookup or None
        Finds categories; None for numbers.
    """

    name: str
    position: int
    value: float
    lookup: Lookup | None = None

    def encode(self, column: Any, first_row: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return for each row the column of X, -1 where there is no entry, and the value."""
        if self.lookup is None:
            values = as_numbers(column, self.name, first_row, dtype)
            return np.where(values != 0, self.position, -1), values * np.asarray(self.value, dtype)
        categories, codes = dictionary_codes(column)
        positions, values = self.lookup(categories)
        positions, values = np.append(positions, self.position), np.append(values, self.value)
        return positions[codes], values[codes].astype(dtype, copy=False)


class ColumnKind(NamedTuple):
    """How a column of some type can be used.

    Attributes
    ----------
    is_category : bool
        Whether its values are categories even if they were not given.
    is_text : bool
        Whether its values are strings, not numbers.
    """

    is_category: bool
    is_text: bool


def kind_of(column_type: Any) -> ColumnKind | None:
    """Return how a column can be used, None if it cannot."""
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
    """Plan columns that are hashed as `hasher` hashes dicts."""
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
    """Plan columns of which some have given categories; return their fields and feature names too."""
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
            encoder.set_output(transform="default")  # whatever the user set for other transformers
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
    """Encode some rows."""
    encoded = [column.encode(combined_column(table, column.name), first_row, dtype) for column in columns]
    positions = np.stack([positions for positions, _ in encoded], axis=1)
    values = np.stack([values for _, values in encoded], axis=1)
    present = positions >= 0
    indptr = np.append(0, np.cumsum(present.sum(axis=1)))
    X = sp.csr_matrix((values[present], positions[present], indptr), shape=(table.num_rows, n_features))
    X.sum_duplicates()  # hashes may collide
    return X


def to_dense(names: list[str], table: Any, first_row: int, dtype: Any) -> np.ndarray:
    """Return columns of numbers as they are."""
    return np.stack(
        [as_numbers(combined_column(table, name), name, first_row, dtype) for name in names], axis=1
    )


def _hash(hasher: FeatureHasher, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    if not names:
        return np.zeros(0, dtype=np.int32), np.zeros(0)
    X = hasher.transform([name] for name in names)  # each has exactly one entry
    return X.indices, X.data


def _check_categories(name: str, is_text: bool, categories: Any) -> tuple[np.ndarray, bool]:
    """Return the categories without the last one if that is None, and whether it is."""
    given = np.asarray(categories, dtype=object)
    if given.ndim != 1:
        raise TypeError(f"The categories of column {name!r} must be a list, got {categories!r}.")
    values = given.tolist()
    has_missing = bool(values) and values[-1] is None
    known = values[:-1] if has_missing else values
    if not known:
        raise ValueError(f"Column {name!r} has no categories. Give one or more, or leave it out of columns.")
    if len(set(known)) < len(known):
        twice = Counter(known).most_common(1)[0][0]
        raise ValueError(f"Category {twice!r} of column {name!r} is given twice.")
    for value in known:
        if not isinstance(value, str if is_text else Real):
            raise TypeError(
                f"Category {value!r} of column {name!r} must be a {'string' if is_text else 'number'}, as the "
                "column has them. None, for nulls, comes last."
            )
    return np.array(known, dtype=object if is_text else None), has_missing
