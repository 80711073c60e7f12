"""Conversion of Arrow columns to numpy arrays: numbers, targets and codes of categories."""

from __future__ import annotations

from typing import Any

import numpy as np


def combined_column(table: Any, name: str) -> Any:
    """Return a column of a table as one array. Decimals are converted to float64."""
    import pyarrow

    chunks = table.column(name)
    column = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.unify_dictionaries().combine_chunks()
    return column.cast(pyarrow.float64()) if pyarrow.types.is_decimal(column.type) else column


def as_numbers(column: Any, name: str, first_row: int, dtype: Any) -> np.ndarray:
    """Return a numeric column in the given dtype, or raise a ValueError if a value is null or not finite."""
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(
            f"Column {name!r} has a null in row {first_row + row}. Replace it with a number "
            "(pyarrow.compute.fill_null) or remove the row."
        )
    with np.errstate(over="ignore"):  # values that overflow become infinite and are detected below
        values = column.to_numpy(zero_copy_only=False).astype(dtype)
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(
            f"Column {name!r} has the value {column[row].as_py()} in row {first_row + row}, which is not finite "
            f"in {np.dtype(dtype)}. Correct it or remove the row."
        )
    return values


def to_target(table: Any, name: str, first_row: int) -> np.ndarray:
    """Return the targets, which may be numbers or labels, or raise a ValueError if one is null."""
    import pyarrow

    column = combined_column(table, name)
    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(
            f"The target {name!r} has a null in row {first_row + row}. Remove the rows without a target."
        )
    if pyarrow.types.is_floating(column.type):
        return as_numbers(column, name, first_row, np.float64)
    return column.to_numpy(zero_copy_only=False)


def dictionary_codes(column: Any) -> tuple[Any, np.ndarray]:
    """Return the distinct values of a column and the index of each row's value; nulls have the index after the last."""
    import pyarrow

    if str(column.type) == "string_view":
        # Older versions of pyarrow cannot cast this type.
        column = pyarrow.array(column.to_pylist(), pyarrow.large_string())
    if pyarrow.types.is_dictionary(column.type):
        # The dictionary may be that of the whole dataset. Encode only the values that occur in this chunk.
        if len(column.dictionary) > len(column) or column.dictionary.null_count:
            column = column.dictionary_decode().dictionary_encode()
    else:
        column = column.dictionary_encode()
    codes = column.indices.cast(pyarrow.int64()).fill_null(len(column.dictionary))
    return column.dictionary, codes.to_numpy(zero_copy_only=False)
