"""The lines of data files in the libffm format."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..streaming._svmlight_line import REPAIR, number_fault, show
from ._rows import as_array

WORD = re.compile(rb"\S+")
FEATURE = re.compile(rb"([0-9]+):([0-9]+):([^:]+)")
LARGEST, LARGEST_NUMBER = int(np.iinfo(np.int32).max), float(np.finfo(np.float64).max)
#: Columns that are made for any file, and bytes of a file for each one more: a short line must not take much memory.
FREE_COLUMNS, BYTES_A_COLUMN = 1024, 2


class FieldTable:
    """The field of each column, learned from the rows.

    Parameters
    ----------
    n_features : int or None
        The number of columns, None to find it.
    n_bytes : int
        Size of the files.

    Attributes
    ----------
    fields : array of int
        -1 for columns that were not seen yet.
    """

    def __init__(self, n_features: int | None, n_bytes: int) -> None:
        self.n_features = n_features
        self.limit = n_features or max(FREE_COLUMNS, n_bytes // BYTES_A_COLUMN)
        self.fields = array("i", [-1]) * (n_features or 0)

    def learn(self, column: int, field: int) -> None:
        """Take notice of an entry, or raise a ValueError if it does not go with those before."""
        fields = self.fields
        if column >= len(fields):
            self._extend(column)
        if fields[column] != field:
            if fields[column] != -1:
                raise ValueError(
                    f"column {column} is of field {field} here, and of field {fields[column]} before. Give each field "
                    "columns of its own, as in column * n_fields + field."
                )
            fields[column] = field

    def _extend(self, column: int) -> None:
        if self.n_features is not None:
            raise ValueError(
                f"index {column} is beyond the last column, number {self.n_features - 1} (n_features="
                f"{self.n_features}). Pass a larger n_features."
            )
        if column >= self.limit:
            raise ValueError(
                f"index {column} makes more columns than a file of this size can be expected to have ({self.limit}). "
                f"{REPAIR} If it is right, pass n_features."
            )
        self.fields.extend([-1] * (column + 1 - len(self.fields)))


class LibffmRows:
    """Rows as arrays that grow.

    Parameters
    ----------
    path : Path
        The file that they are from.
    table : FieldTable
        Learns from them.
    dtype : dtype
        Of the values.
    """

    def __init__(self, path: Path, table: FieldTable, dtype: Any) -> None:
        self.path, self.table, self.dtype = path, table, dtype
        self._largest = float(np.finfo(dtype).max)
        self.labels, self.values = array("d"), array("d")
        self.columns, self.ends = array("i"), array("i", [0])

    def read(self, lines: Iterable[bytes], first_line: int) -> None:
        """Take all lines, of which the first one has this number in the file."""
        for number, line in enumerate(lines, first_line):
            try:
                self._add(line)
            except ValueError as error:
                begins = show(line.strip(), 60)
                raise ValueError(
                    f"{self.path}, line {number}: {error} The line begins with {begins}."
                ) from None
            except OverflowError:
                raise ValueError(
                    f"{self.path} has more than {LARGEST} entries. Read it with LibffmChunks."
                ) from None

    def _add(self, line: bytes) -> None:
        # Word by word: a list of them would take many times the memory of a long line.
        words = WORD.finditer(line)
        label = next(words, None)
        if label is None:
            return
        self.labels.append(_number(label[0], "label", LARGEST_NUMBER))
        for word in words:
            match = FEATURE.fullmatch(word[0])
            if match is None:
                raise ValueError(f"{show(word[0])} is not of the form field:index:value. {REPAIR}")
            field, column = _index(match[1], "field"), _index(match[2], "index")
            self.table.learn(column, field)
            self.columns.append(column)
            self.values.append(_number(match[3], "value", self._largest))
        self.ends.append(len(self.columns))

    def matrix(self, n_features: int) -> tuple[sp.csr_matrix, np.ndarray]:
        """Return X and y of the rows so far."""
        parts: tuple[array[Any], ...] = (self.values, self.columns, self.ends, self.labels)
        values, columns, ends, labels = map(as_array, parts)
        X = sp.csr_matrix(
            (values.astype(self.dtype, copy=False), columns, ends), shape=(len(labels), n_features)
        )
        # Entries of one column in a row add up, as in any matrix.
        with np.errstate(over="ignore"):
            X.sum_duplicates()
        if not np.isfinite(X.data).all():
            raise ValueError(
                f"{self.path}: entries of one column in a row add up to more than a {self.dtype} can be."
            )
        return X, labels


def _index(digits: bytes, what: str) -> int:
    number = int(digits) if len(digits) <= 10 else LARGEST + 1
    if number > LARGEST:
        raise ValueError(f"the {what} {show(digits)} is larger than {LARGEST}. Number the {what}s anew.")
    return number


def _number(word: bytes, what: str, largest: float) -> float:
    """Return a finite number, up to the largest of a type."""
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    # An underscore between digits is Python's own.
    if abs(number) <= largest and b"_" not in word:
        return number
    dtype = np.float32 if largest < LARGEST_NUMBER else np.float64
    reason = number_fault(word, dtype) or f"{show(word)} is not a number"
    raise ValueError(f"the {what} {reason}. {REPAIR}")
