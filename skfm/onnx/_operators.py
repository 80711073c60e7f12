"""Construction of ONNX nodes in the data type of the predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType


def number_type(inputs: Sequence[Any]) -> Any:
    """Return the tensor type of the predictions from some inputs: double if one of the inputs is, else float."""
    is_double = any(isinstance(variable.type, DoubleTensorType) for variable in inputs)
    return DoubleTensorType if is_double else FloatTensorType


class Operators:
    """Makes nodes and constants.

    Parameters
    ----------
    version : int
        Target opset.
    tensor_type : type
        Tensor type of the predictions.
    """

    def __init__(self, version: int, tensor_type: Any) -> None:
        self.version = version
        self.tensor_type = tensor_type
        self.dtype = np.float64 if tensor_type is DoubleTensorType else np.float32

    def op(self, kind: Any, *inputs: Any, **attributes: Any) -> Any:
        """Return a node."""
        return kind(*inputs, op_version=self.version, **attributes)

    def array(self, values: Any) -> np.ndarray:
        """Return a constant."""
        return np.asarray(values).astype(self.dtype)
