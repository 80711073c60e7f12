"""Encoding of a single categorical column, with one or several categories per row, as columns of a matrix."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.preprocessing import OneHotEncoder

from .columns import CATEGORY, LIST_TYPES, SourceColumn

#: Functions that map the number n of categories in a row of a column of lists to the value of each in the matrix.
LIST_WEIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "one": np.ones_like,
    "sqrt": lambda n: 1 / np.sqrt(n),
    "mean": lambda n: 1 / n,
}


def make_encoder(min_frequency: Any = None, max_categories: Any = None) -> OneHotEncoder:
    """Return an unfitted encoder for one column."""
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=min_frequency, max_categories=max_categories
    )


def fit_categories(encoder: OneHotEncoder, values: np.ndarray, name: str) -> None:
    """Fit an encoder to the values of the column with the given name."""
    if not len(values):
        # All lists are empty. The encoder cannot be fitted to no values, so it gets a missing one.
        values = np.array([None], object)
    try:
        encoder.fit(values[:, None])
    except TypeError as error:
        kinds = sorted({type(value).__name__ for value in values.tolist() if value is not None})
        raise TypeError(
            f"Column {name!r} holds categories of several types: {', '.join(kinds)}. Convert them to one type, for "
            "example to strings."
        ) from error


def infrequent_categories(encoder: OneHotEncoder) -> set[Any]:
    """Return the infrequent categories, which share one column."""
    if encoder.min_frequency is None and encoder.max_categories is None:
        return set()
    rare = encoder.infrequent_categories_[0]
    return set() if rare is None else set(rare.tolist())


def encoded_width(encoder: OneHotEncoder) -> int:
    """Return the number of columns of an encoded column, including the one for unknown categories."""
    n_rare = len(infrequent_categories(encoder))
    return len(encoder.categories_[0]) - n_rare + (n_rare > 0) + 1


def values_of(column: SourceColumn, kind: str, delimiter: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return all categories of a column, row by row, and the number per row, or None if each row has one."""
    objects = column.objects()
    if kind == CATEGORY:
        return objects, None
    rows = [_split(value, delimiter, column.name) for value in objects]
    values = list(itertools.chain.from_iterable(rows))
    flat = np.empty(len(values), object)
    flat[:] = values
    return flat, np.fromiter(map(len, rows), np.int64, len(rows))


def _split(value: Any, delimiter: str | None, name: str) -> list[Any]:
    """Return the distinct categories of a row. A missing list is treated as a list with one missing value."""
    if value is None:
        return [None]
    if isinstance(value, LIST_TYPES) and delimiter is None:
        return list(dict.fromkeys(None if item != item else item for item in value))
    if isinstance(value, str) and delimiter is not None:
        return list(dict.fromkeys(item for part in value.split(delimiter) if (item := part.strip())))
    wanted = "lists of values" if delimiter is None else f"strings with values separated by {delimiter!r}"
    raise ValueError(
        f"Column {name!r} must hold {wanted}, but holds {value!r}. Pass multi_value_features={{{name!r}: "
        "delimiter} for strings, and None instead of the delimiter for lists."
    )


def codes_of(encoder: OneHotEncoder, values: np.ndarray, name: str) -> np.ndarray:
    """Return the column number of each value of a column; that of unknown categories is the last one."""
    codes = np.full(len(values), encoded_width(encoder) - 1)
    if len(values):
        encoded = encoder.transform(values[:, None])
        codes[np.diff(encoded.indptr) == 1] = encoded.indices
        if not len(encoded.indices):
            _warn_of_types(encoder.categories_[0], values, name)
    return codes


def count_new(encoder: OneHotEncoder, values: np.ndarray) -> int:
    """Return the number of distinct categories that an encoder does not know, rare ones being known."""
    return len(set(values.tolist()) - set(encoder.categories_[0].tolist()))


def _warn_of_types(categories: np.ndarray, values: np.ndarray, name: str) -> None:
    """Warn if the values do not match any category because their types differ."""
    known, found = (
        {_type_of(value) for value in part.tolist() if value is not None} for part in (categories, values)
    )
    if known and found and not known & found:
        warnings.warn(
            f"Column {name!r} holds values of type {', '.join(sorted(found))}, but the model was fitted to "
            f"{', '.join(sorted(known))}: all of them are treated as unknown categories. Convert the column.",
            stacklevel=2,
        )


def _type_of(value: Any) -> str:
    """Return the name of the type of a value; all numeric types are called "number"."""
    if isinstance(value, int | float):
        return "number"
    return "str" if isinstance(value, str) else type(value).__name__


def one_hot_block(codes: list[np.ndarray], widths: list[int], dtype: str) -> sparse.csr_matrix:
    """Return the one-hot encoding of several columns next to each other, with one entry per row and column."""
    starts = np.cumsum([0, *widths])
    indices = np.column_stack([code + start for code, start in zip(codes, starts[:-1], strict=True)])
    n_samples, n_columns = indices.shape
    indptr = np.arange(n_samples + 1) * n_columns
    shape = (n_samples, starts[-1])
    return sparse.csr_matrix((np.ones(indices.size, dtype), indices.ravel(), indptr), shape=shape)


def list_block(
    codes: np.ndarray, lengths: np.ndarray, n_columns: int, weights: str, dtype: str
) -> sparse.csr_matrix:
    """Return the encoding of a column of lists. The values of several unknown categories in a row are summed."""
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    data = np.repeat(LIST_WEIGHTS[weights](np.maximum(lengths, 1).astype(dtype)), lengths)
    block = sparse.csr_matrix((data, codes, indptr), shape=(len(lengths), n_columns))
    block.sum_duplicates()
    return block
