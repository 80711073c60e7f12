"""Columns of whole numbers that look like identifiers, which a model of numbers cannot use."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np

from .columns import SourceColumn, as_frame, source_columns

#: The words with which the name of a column of identifiers ends.
ID_WORD = re.compile(
    "[uigp]?id|ids|user|item|movie|film|product|customer|client|artist|song|track|book|store|shop|zip|zipcode|postcode|"
    "sku|isbn"
)
#: The words with which the name of a quantity begins, for example "n_user" or "num_items".
QUANTITY_WORD = re.compile("n|nr|no|num|number|count|total|sum|mean|avg|average|share|rate|max|min|days")
#: Distinct values, and rows per distinct value, from which a column with such a name counts as identifiers.
FEWEST_NAMED, ROWS_PER_NAMED = 20, 2
#: The same for columns with other names.
FEWEST_UNNAMED, ROWS_PER_UNNAMED = 100, 5


def warn_of_identifiers(X: Any) -> None:
    """Warn if a DataFrame, whose columns are encoded by their dtype, has numeric columns that look like identifiers."""
    if as_frame(X) is None:
        return
    found = {column.name: n for column in source_columns(X) if (n := _distinct_identifiers(column))}
    if not found:
        return
    shown = ", ".join(f"{name!r} ({n} distinct values)" for name, n in found.items())
    plural = len(found) > 1
    warnings.warn(
        f"Column{'s' * plural} {shown} {'hold' if plural else 'holds'} whole numbers that look like identifiers, but "
        f"{'are' if plural else 'is'} treated as {'numbers' if plural else 'a number'}, in which the model is linear. "
        "Include identifiers in categorical_features, together with all other columns of categories, or convert them, "
        "as in X.astype({"
        + ", ".join(f"{name!r}: 'category'" for name in found)
        + "}). Convert quantities to float "
        "to avoid this warning.",
        stacklevel=2,
    )


def _distinct_identifiers(column: SourceColumn) -> int:
    """Return the number of distinct values of a column if they look like identifiers, else 0."""
    if not _holds_integers(column):
        return 0
    values = column.values.drop_nulls()
    if not len(values):
        return 0
    is_named = named_like_identifiers(column.name)
    low, high = int(values.min()), int(values.max())
    n_rows, span = len(values), high - low + 1
    if is_named:
        n = int(values.n_unique())
        return n if n >= FEWEST_NAMED and n_rows >= ROWS_PER_NAMED * n else 0
    if low not in (0, 1) or span < FEWEST_UNNAMED or n_rows < ROWS_PER_UNNAMED * span:
        return 0
    counts = np.bincount(values.to_numpy().astype(np.int64) - low)
    return int(np.count_nonzero(counts)) if _counted_like_identifiers(counts) else 0


def _holds_integers(column: SourceColumn) -> bool:
    return not isinstance(column.values, np.ndarray) and bool(column.values.dtype.is_integer())


def named_like_identifiers(name: str) -> bool:
    """Return whether a name ends with a word for identifiers, for example "user_id", "movieId" or "item"."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    lower = [word.lower() for word in words] or [""]
    return bool(ID_WORD.fullmatch(lower[-1])) and not QUANTITY_WORD.fullmatch(lower[0])


def _counted_like_identifiers(counts: np.ndarray) -> bool:
    """Return whether numbers from 0 or 1 on occur as often as identifiers do, given the rows of each number.

    Nearly all numbers occur, none dominates, and some are much more popular than chance explains, but numbers next to
    each other are not equally popular. The counts of quantities are smooth (ages, counts), have gaps (prices), or are
    concentrated at zero; those of a uniform quantity, such as a day of the year, vary as much as chance explains.
    """
    occurring, n_rows = np.count_nonzero(counts), counts.sum()
    if occurring < 0.9 * len(counts) or counts.max() > 0.05 * n_rows or counts.var() < 3 * counts.mean():
        return False
    ranks = np.argsort(np.argsort(counts, kind="stable"), kind="stable")
    return bool(np.corrcoef(ranks[1:], ranks[:-1])[0, 1] < 0.3)
