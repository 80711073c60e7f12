"""The ONNX inputs of a model that was fitted to a DataFrame: one per column, of the type of the column."""

from __future__ import annotations

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int8TensorType,
    Int32TensorType,
    Int64TensorType,
    StringTensorType,
    UInt8TensorType,
)

from ..data.columns import SourceColumn, source_columns
from ..data.frames import frame_encoder
from ._categories import category_positions

#: Integers whose type is kept. All others are int64.
INTEGERS = {np.int8: Int8TensorType, np.uint8: UInt8TensorType, np.int32: Int32TensorType}


def column_types(estimator: Any, X: Any) -> list[tuple[str, Any]]:
    """Return the name and the type of the input for each column of a DataFrame or an array.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    X : DataFrame or ndarray
    """
    columns = list(source_columns(X))
    encoder = frame_encoder(estimator)
    encoders = [None] * len(columns) if encoder is None else encoder.encoders
    indicators = None if encoder is None else encoder.indicators
    return [
        (column.name, _column_type(column, categories, has_gaps=has_gaps))
        for column, categories, has_gaps in zip(
            columns, encoders, indicators or [False] * len(columns), strict=True
        )
    ]


def _column_type(column: SourceColumn, categories: Any, *, has_gaps: bool) -> Any:
    """Return the tensor type of a column, in which numbers may have been missing in ``fit``."""
    values = column.values if isinstance(column.values, np.ndarray) else column.values.to_numpy()
    if categories is None:
        if values.dtype.kind not in "biuf":
            values = column.numbers(np.float64, allow_missing=column.can_have_gaps())
        # Only floats have a value for what is missing.
        return (DoubleTensorType if has_gaps and values.dtype.kind != "f" else _tensor_type(values.dtype))(
            [None, 1]
        )
    has_missing = None in category_positions(categories, column.name)
    dtype = values.dtype
    if not isinstance(column.values, np.ndarray) and column.dtype == nw.Boolean:
        # Booleans are objects where some are missing.
        dtype = np.dtype(bool)
    if dtype.kind not in "biuf":
        return StringTensorType([None, 1])
    # Only floats have a value for what is missing.
    return (DoubleTensorType if has_missing and dtype.kind != "f" else _tensor_type(dtype))([None, 1])


def _tensor_type(dtype: np.dtype) -> Any:
    """Return the tensor type for an array of numbers or booleans."""
    if dtype.kind == "b":
        return BooleanTensorType
    if dtype.kind in "iu":
        return INTEGERS.get(dtype.type, Int64TensorType)
    return DoubleTensorType if dtype.itemsize >= 8 else FloatTensorType
