"""Values of Arrow columns as numpy arrays: numbers, targets and the codes of categories."""

from __future__ import annotations

from typing import Any

import numpy as np


def combined_column(table: Any, name: str) -> Any:
    """Return a column in one piece, decimals as floats."""
    import pyarrow

    chunks = table.column(name)
    column = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.unify_dictionaries().combine_chunks()
    return column.cast(pyarrow.float64()) if pyarrow.types.is_decimal(column.type) else column


def as_numbers(column: Any, name: str, first_row: int, dtype: Any) -> np.ndarray:
    """Return a column of numbers, of which none may be missing or infinite."""
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(
            f"Column {name!r} has a null in row {first_row + row}. Fill in a number (pyarrow.compute.fill_null "
            "does) or remove the row."
        )
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is found below
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
    """Return numbers or labels, of which none may be missing."""
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
    """Return distinct values and the number of each row's, that behind the last one for a null."""
    import pyarrow

    if str(column.type) == "string_view":
        column = pyarrow.array(column.to_pylist(), pyarrow.large_string())  # older pyarrow cannot cast it
    if pyarrow.types.is_dictionary(column.type):
        # A dictionary may be of the whole data set: only its values that occur here are worth encoding.
        if len(column.dictionary) > len(column) or column.dictionary.null_count:
            column = column.dictionary_decode().dictionary_encode()
    else:
        column = column.dictionary_encode()
    codes = column.indices.cast(pyarrow.int64()).fill_null(len(column.dictionary))
    return column.dictionary, codes.to_numpy(zero_copy_only=False)
