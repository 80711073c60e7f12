"""Encoding of a column of categories with ONNX operators."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from skl2onnx.algebra.onnx_ops import (
    OnnxAdd,
    OnnxCast,
    OnnxEqual,
    OnnxFloor,
    OnnxLabelEncoder_2,
    OnnxMatMul,
    OnnxReshape,
    OnnxWhere,
)
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
    guess_numpy_type,
    guess_proto_type,
)
from sklearn.preprocessing import OneHotEncoder

from ..data.categories import codes_of, encoded_width, infrequent_categories
from ._operators import Operators

#: What onnxruntime makes of missing values in an array of objects that it takes as strings.
MISSING = ("None", "nan", "<NA>")

#: Types of categories that have an ONNX type.
TYPES = (str, np.bool_, Real)

#: The integers that ONNX has.
INT64 = np.iinfo(np.int64)


def category_codes(
    operators: Operators, values: Any, tensor_type: Any, encoder: OneHotEncoder, name: str
) -> Any:
    """Return the position of the column for each value of a column of categories.

    Parameters
    ----------
    operators : Operators
    values : node
        Values of shape (n_samples,).
    tensor_type : TensorType
        Their type.
    encoder : OneHotEncoder
        The encoder of the column.
    name : str
        Name of the column.

    Returns
    -------
    node
        int64 of shape (n_samples,). Unknown values have the position that `codes_of` gives them.
    """
    codes = category_positions(encoder, name)
    rare = infrequent_categories(encoder)
    unknown = codes[next(iter(rare))] if rare else encoded_width(encoder) - 1
    missing = codes.pop(None, unknown)
    if isinstance(tensor_type, StringTensorType):
        keys = {**dict.fromkeys(MISSING, missing), **{str(value): code for value, code in codes.items()}}
        return _looked_up(operators, values, list(keys), keys.values(), unknown)
    if any(isinstance(value, str) for value in codes):
        raise ValueError(
            f"Column {name!r} holds strings, but its ONNX input is a {type(tensor_type).__name__}. Pass one input per "
            "column, for example with a DataFrame as X."
        )
    return _number_codes(operators, values, tensor_type, codes, unknown, missing)


def category_positions(encoder: OneHotEncoder, name: str) -> dict[Any, int]:
    """Return the position of the column for each known category, or raise an error if ONNX has no such type."""
    categories = encoder.categories_[0]
    for value in categories.tolist():
        if value is not None and not isinstance(value, TYPES):
            raise NotImplementedError(
                f"Column {name!r} holds categories of type {type(value).__name__}, which ONNX does not have. Convert "
                "them to strings before the model is fitted."
            )
        if isinstance(value, Integral) and not INT64.min <= int(value) <= INT64.max:
            raise NotImplementedError(
                f"Column {name!r} holds the category {value}, which is outside of the range of int64. Convert the "
                "categories to strings before the model is fitted."
            )
    return dict(zip(categories.tolist(), codes_of(encoder, categories, name).tolist(), strict=True))


def _number_codes(
    operators: Operators, values: Any, tensor_type: Any, codes: dict[Any, int], unknown: int, missing: int
) -> Any:
    """Return the positions of numbers, NaN being a missing value."""
    op = operators.op
    whole = {int(value): code for value, code in codes.items() if _is_integer(value)}
    to_int = guess_proto_type(Int64TensorType())
    integers = values if isinstance(tensor_type, Int64TensorType) else op(OnnxCast, values, to=to_int)
    found = _looked_up(operators, integers, list(whole), whole.values(), unknown)
    if not isinstance(tensor_type, FloatTensorType | DoubleTensorType):
        return found
    at_unknown = np.array([unknown], np.int64)
    # NaN differs from itself, so that it is no whole number.
    found = op(OnnxWhere, op(OnnxEqual, values, op(OnnxFloor, values)), found, at_unknown)
    dtype = guess_numpy_type(tensor_type)
    fractions = {dtype(value): code for value, code in codes.items() if not _is_integer(value)}
    if fractions:
        # Numbers with a fraction cannot be looked up, only compared. The product of the comparisons and the positions
        # is the position of the only category that is equal.
        column = op(OnnxReshape, values, np.array([-1, 1], np.int64))
        equal = op(OnnxEqual, column, np.array([list(fractions)], dtype))
        steps = np.array([[code - unknown] for code in fractions.values()], np.float64)
        step = op(OnnxMatMul, op(OnnxCast, equal, to=guess_proto_type(DoubleTensorType())), steps)
        step = op(OnnxReshape, op(OnnxCast, step, to=to_int), np.array([-1], np.int64))
        found = op(OnnxAdd, found, step)
    return op(OnnxWhere, op(OnnxEqual, values, values), found, np.array([missing], np.int64))


def _is_integer(value: Any) -> bool:
    """Return whether a number equals an integer of ONNX."""
    return bool(INT64.min <= value <= INT64.max) and value == int(value)


def _looked_up(operators: Operators, values: Any, keys: Sequence[Any], codes: Any, unknown: int) -> Any:
    """Return the code of each value, which is a string or an integer."""
    kind = "strings" if keys and isinstance(keys[0], str) else "int64s"
    # An encoder needs a key.
    keys, codes = (keys, list(codes)) if keys else ([0], [unknown])
    attributes = {f"keys_{kind}": keys, "values_int64s": codes, "default_int64": unknown}
    return operators.op(OnnxLabelEncoder_2, values, **attributes)
