"""The parser of lines in the libffm format."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..streaming._svmlight_line import REMEDY, number_error, quote
from ._rows import TOKEN_PATTERN, to_ndarray

ENTRY_PATTERN = re.compile(rb"([0-9]+):([0-9]+):([^:]+)")
INT32_MAX, FLOAT64_MAX = int(np.iinfo(np.int32).max), float(np.finfo(np.float64).max)
#: Limits on an inferred number of columns: the number that any file may have, and the bytes of a file that each further
#: column requires. Without them, a short line with a large index would allocate a large array.
MIN_COLUMN_LIMIT, BYTES_PER_COLUMN = 1024, 2


class FieldTable:
    """The field of each column, collected from the entries.

    Parameters
    ----------
    n_features : int or None
        Number of columns, or None to infer it.
    n_bytes : int
        Total size of the files in bytes, which limits an inferred number of columns.

    Attributes
    ----------
    fields : array of int
        The field of each column, or -1 for columns without entries so far.
    """

    def __init__(self, n_features: int | None, n_bytes: int) -> None:
        self.n_features = n_features
        self.limit = n_features or max(MIN_COLUMN_LIMIT, n_bytes // BYTES_PER_COLUMN)
        self.fields = array("i", [-1]) * (n_features or 0)

    def add(self, column: int, field: int) -> None:
        """Record the field of an entry, or raise a ValueError if it contradicts an earlier entry."""
        fields = self.fields
        if column >= len(fields):
            self._extend(column)
        if fields[column] != field:
            if fields[column] != -1:
                raise ValueError(
                    f"column {column} has field {field} here, but field {fields[column]} on an earlier line. Use "
                    "distinct columns for each field, for example column * n_fields + field."
                )
            fields[column] = field

    def _extend(self, column: int) -> None:
        if self.n_features is not None:
            raise ValueError(
                f"index {column} exceeds the index of the last column, {self.n_features - 1} (n_features="
                f"{self.n_features}). Pass a larger n_features."
            )
        if column >= self.limit:
            raise ValueError(
                f"index {column} implies more columns than are expected for a file of this size ({self.limit}). "
                f"{REMEDY} If the index is correct, pass n_features."
            )
        self.fields.extend([-1] * (column + 1 - len(self.fields)))


class LibffmRows:
    """Parsed rows, stored in arrays that grow.

    Parameters
    ----------
    path : Path
        The file, for error messages.
    table : FieldTable
        Table in which the field of each entry is recorded.
    dtype : dtype
        Data type of the values.
    """

    def __init__(self, path: Path, table: FieldTable, dtype: Any) -> None:
        self.path, self.table, self.dtype = path, table, dtype
        self._largest = float(np.finfo(dtype).max)
        self.labels, self.values = array("d"), array("d")
        self.columns, self.ends = array("i"), array("i", [0])

    def read(self, lines: Iterable[bytes], first_line: int) -> None:
        """Parse lines and append their rows; `first_line` is the line number of the first one in the file."""
        for number, line in enumerate(lines, first_line):
            try:
                self._add(line)
            except ValueError as error:
                begins = quote(line.strip(), 60)
                raise ValueError(
                    f"{self.path}, line {number}: {error} The line begins with {begins}."
                ) from None
            except OverflowError:
                raise ValueError(
                    f"{self.path} has more than {INT32_MAX} entries. Use LibffmChunks to read it in chunks."
                ) from None

    def _add(self, line: bytes) -> None:
        # Iterate over the tokens: a list of them would take many times the memory of a long line.
        words = TOKEN_PATTERN.finditer(line)
        label = next(words, None)
        if label is None:
            return
        self.labels.append(_parse_number(label[0], "label", FLOAT64_MAX))
        for word in words:
            match = ENTRY_PATTERN.fullmatch(word[0])
            if match is None:
                raise ValueError(f"{quote(word[0])} is not of the form field:index:value. {REMEDY}")
            field, column = _parse_index(match[1], "field"), _parse_index(match[2], "index")
            self.table.add(column, field)
            self.columns.append(column)
            self.values.append(_parse_number(match[3], "value", self._largest))
        self.ends.append(len(self.columns))

    def matrix(self, n_features: int) -> tuple[sp.csr_matrix, np.ndarray]:
        """Return X and y of the rows that were read so far."""
        parts: tuple[array[Any], ...] = (self.values, self.columns, self.ends, self.labels)
        values, columns, ends, labels = map(to_ndarray, parts)
        X = sp.csr_matrix(
            (values.astype(self.dtype, copy=False), columns, ends), shape=(len(labels), n_features)
        )
        # As in other sparse formats, repeated entries are summed.
        with np.errstate(over="ignore"):
            X.sum_duplicates()
        if not np.isfinite(X.data).all():
            raise ValueError(
                f"{self.path}: the sum of the repeated entries of a column overflows {self.dtype}. Remove the "
                "repetitions."
            )
        return X, labels


def _parse_index(digits: bytes, what: str) -> int:
    number = int(digits) if len(digits) <= 10 else INT32_MAX + 1
    if number > INT32_MAX:
        raise ValueError(f"the {what} {quote(digits)} is greater than {INT32_MAX}. Use smaller numbers.")
    return number


def _parse_number(word: bytes, what: str, largest: float) -> float:
    """Return a finite number whose absolute value does not exceed `largest`."""
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    # float() accepts underscores between digits, which are not part of the format.
    if abs(number) <= largest and b"_" not in word:
        return number
    dtype = np.float32 if largest < FLOAT64_MAX else np.float64
    reason = number_error(word, dtype) or f"{quote(word)} is not a number"
    raise ValueError(f"the {what} {reason}. {REMEDY}")
