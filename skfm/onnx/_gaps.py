"""Missing numbers in the inputs of a model that was fitted to a DataFrame, which are NaN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from skl2onnx.algebra.onnx_ops import OnnxCast, OnnxConcat, OnnxGather, OnnxIsNaN, OnnxWhere
from skl2onnx.common.data_types import guess_proto_type

from ._operators import Operators


def fill_gaps(
    operators: Operators, X: Any, means: Sequence[float | None], indicated: Sequence[int], wanted: Any
) -> Any:
    """Return numbers with the means in the place of NaN, followed by indicators of the columns that have one.

    Parameters
    ----------
    operators : Operators
    X : node
        Of shape (n_samples, n_numbers).
    means : list of float or None
        Means of the columns; None where NaN remains.
    indicated : list of int
        Columns with an indicator.
    wanted : type
        Tensor type of X.
    """
    op, dtype = operators.op, np.float32 if "Float" in wanted.__name__ else np.float64
    is_missing = op(OnnxIsNaN, X)
    filled = op(OnnxWhere, is_missing, np.array(means, dtype), X)
    if not indicated:
        return filled
    which = op(OnnxGather, is_missing, np.array(indicated, np.int64), axis=1)
    return op(OnnxConcat, filled, op(OnnxCast, which, to=guess_proto_type(wanted())), axis=1)
