"""The columns of the inputs: numbers in the units of the solver, and categories as indices of rows of tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from skl2onnx.algebra.onnx_ops import (
    OnnxAdd,
    OnnxCast,
    OnnxConcat,
    OnnxDiv,
    OnnxGather,
    OnnxMatMul,
    OnnxMul,
    OnnxSub,
)
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    StringTensorType,
    guess_proto_type,
)

from ..data.columns import CATEGORY, NUMERIC
from ..data.frames import FrameEncoder
from ._categories import category_codes
from ._gaps import fill_gaps
from ._operators import Operators
from ._times import refuse_times


class Block(NamedTuple):
    """The columns of the matrix that encode a column of categories.

    Attributes
    ----------
    start, stop : int
        Range of the columns.
    codes : node
        Position of the category of each row within the range, int64 of shape (n_samples,).
    """

    start: int
    stop: int
    codes: Any


class Rows:
    """The rows to predict, in the units of the solver.

    The one-hot encoding of a column of categories is not computed: its product with a table of parameters has the
    rows of the table that belong to the categories.

    Parameters
    ----------
    operators : Operators
    inputs : list of Variable
    names : list of str or None
        Names of the columns that the model was fitted to.
    encoder : FrameEncoder or None
    means : list of float or None, or None
        Means of the columns that the model was fitted to, which replace missing numbers: see `FrameEncoder`.
    center, scale : ndarray of shape (n_columns,)
        Of the columns of the matrix.
    """

    def __init__(
        self,
        operators: Operators,
        inputs: Sequence[Any],
        names: list[str] | None,
        encoder: FrameEncoder | None,
        means: list[float | None] | None,
        center: np.ndarray,
        scale: np.ndarray,
    ) -> None:
        self.operators = operators
        self.scale = scale
        self.blocks: list[Block] = []
        inputs = _in_order(inputs, names)
        self.numbers = np.arange(len(center))
        numeric: list[tuple[Any, Any]] = [(variable, None) for variable in inputs]
        indicators: dict[int, int] = {}
        if encoder is not None:
            self.numbers, numeric, indicators = self._encode(encoder, inputs)
        if means is not None and encoder is not None:
            means = [mean for mean, kind in zip(means, encoder.kinds, strict=True) if kind == NUMERIC]
        self.powers: dict[int, Any] = {}
        if len(self.numbers):
            is_float = all(isinstance(variable.type, FloatTensorType) for variable, _ in numeric)
            wanted = FloatTensorType if is_float else DoubleTensorType
            X = self._join(numeric, wanted)
            if means is not None:
                X = fill_gaps(operators, X, means, list(indicators), wanted)
                self.numbers = np.array([*self.numbers, *indicators.values()], np.int64)
            dtype = np.float32 if is_float else np.float64
            self.powers[1] = self._standardize(X, center[self.numbers], scale[self.numbers], dtype)

    def product(self, table: np.ndarray, power: int = 1) -> Any:
        """Return the ``power`` of the columns times a table of shape (n_columns, width)."""
        op, array = self.operators.op, self.operators.array
        terms = [
            op(OnnxGather, array(table[start:stop] / self.scale[start:stop, None] ** power), codes, axis=0)
            for start, stop, codes in self.blocks
        ]
        if self.powers:
            terms.append(op(OnnxMatMul, self._power(power), array(table[self.numbers])))
        total = terms[0]
        for term in terms[1:]:
            total = op(OnnxAdd, total, term)
        return total

    def _power(self, exponent: int) -> Any:
        """Return a power of the numeric columns, each made once."""
        if exponent not in self.powers:
            self.powers[exponent] = self.operators.op(OnnxMul, self._power(exponent - 1), self.powers[1])
        return self.powers[exponent]

    def _encode(
        self, encoder: FrameEncoder, inputs: Sequence[Any]
    ) -> tuple[np.ndarray, list[tuple[Any, Any]], dict[int, int]]:
        """Collect the blocks of the categories, and return the columns of numbers with their inputs.

        The last of the results maps the positions of numbers among these to the columns that indicate missing ones.
        """
        refuse_times(encoder)
        columns = [(variable, place) for variable in inputs for place in range(_width(variable))]
        if len(columns) != len(encoder.names):
            raise ValueError(
                f"The model was fitted to {len(encoder.names)} columns, but its ONNX inputs have {len(columns)}. Pass "
                "one input per column, or a single one with all columns."
            )
        ends = np.cumsum(encoder.widths)
        numbers: list[int] = []
        numeric: list[tuple[Any, Any]] = []
        indicators: dict[int, int] = {}
        for number, (name, kind) in enumerate(zip(encoder.names, encoder.kinds, strict=True)):
            variable, place = columns[number]
            start, stop = int(ends[number] - encoder.widths[number]), int(ends[number])
            if kind == CATEGORY:
                values = self.operators.op(OnnxGather, variable, np.array(place, np.int64), axis=1)
                categories = encoder.encoders[number]
                codes = category_codes(self.operators, values, variable.type, categories, name)
                self.blocks.append(Block(start, stop, codes))
                continue
            if kind != NUMERIC:
                raise NotImplementedError(
                    f"Column {name!r} is of kind {kind!r}, which cannot be exported: ONNX has no operators that "
                    "encode several values per row. Encode this column before the model, or drop it."
                )
            if isinstance(variable.type, StringTensorType):
                raise ValueError(
                    f"Column {name!r} holds numbers, but its ONNX input holds strings. Pass one input per column, "
                    "for example with a DataFrame as X."
                )
            if stop == start + 2:
                indicators[len(numbers)] = start + 1
            numbers.append(start)
            numeric.append((variable, place))
        return np.array(numbers, np.int64), numeric, indicators

    def _join(self, columns: list[tuple[Any, Any]], wanted: Any) -> Any:
        """Return the columns of numbers as one node of the given tensor type."""
        op = self.operators.op
        parts = []
        for _, group in groupby(columns, key=lambda column: id(column[0])):
            variables, places = zip(*group, strict=True)
            node = variable = variables[0]
            if places[0] is not None and places != tuple(range(_width(variable))):
                node = op(OnnxGather, variable, np.array(places, np.int64), axis=1)
            if not isinstance(variable.type, wanted):
                node = op(OnnxCast, node, to=guess_proto_type(wanted()))
            parts.append(node)
        return parts[0] if len(parts) == 1 else op(OnnxConcat, *parts, axis=1)

    def _standardize(self, X: Any, center: np.ndarray, scale: np.ndarray, dtype: Any) -> Any:
        """Return numbers in the units of the solver, in the type of the predictions.

        Parameters
        ----------
        X : node
        center, scale : ndarray of shape (n_numbers,)
        dtype : type
            Type of X. Whole numbers are double here, because float does not have all of their digits.
        """
        op = self.operators.op
        if center.any():
            X = op(OnnxSub, X, center.astype(dtype))
            # What the type has no digits for, of centers far from zero.
            rest = center - center.astype(dtype)
            if rest.any():
                X = op(OnnxSub, X, rest.astype(dtype))
        if (scale != 1).any():
            X = op(OnnxDiv, X, scale.astype(dtype))
        if dtype != self.operators.dtype:
            X = op(OnnxCast, X, to=guess_proto_type(self.operators.tensor_type()))
        return X


def _width(variable: Any) -> int:
    """Return the number of columns of an input."""
    shape = variable.type.shape
    return int(shape[1]) if len(shape) > 1 and shape[1] is not None else 1


def _in_order(inputs: Sequence[Any], names: list[str] | None) -> Sequence[Any]:
    """Return the inputs in the order of the columns if they have their names, else as they are."""
    by_name = {variable.raw_name: variable for variable in inputs}
    if names is None or set(names) != set(by_name):
        return inputs
    return [by_name[name] for name in names]
