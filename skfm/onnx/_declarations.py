"""The outputs that the converters declare, and their types."""

from __future__ import annotations

from typing import Any

import numpy as np
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType, guess_tensor_type
from skl2onnx.common.utils_classifier import get_label_classes

from ._operators import number_type

#: Options of the converter of the classifier. Those of the same names in skl2onnx have the same meaning.
CLASSIFIER_OPTIONS: dict[str, list[Any]] = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False, True],
    "raw_scores": [True, False],
}

#: Options of the converter of the regressor.
REGRESSOR_OPTIONS: dict[str, list[Any]] = {"return_std": [True, False]}


def parse_regressor(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Declare the outputs of a regressor: "variable", and "std" with the option ``return_std``."""
    names = ["variable"]
    if scope.get_options(model, {"return_std": False})["return_std"]:
        names.append("std")
    operator = scope.declare_local_operator("SkfmFMRegressor", model)
    operator.inputs = inputs
    for name in names:
        operator.outputs.append(scope.declare_local_variable(name, guess_tensor_type(inputs[0].type)))
    return operator.outputs


def declare_regressor(operator: Any) -> None:
    """Set the types of the outputs of a regressor, which depend on all inputs."""
    n_samples = operator.inputs[0].get_first_dimension()
    for output in operator.outputs:
        output.set_type(number_type(operator.inputs)([n_samples, 1]))


def declare_classifier(operator: Any) -> None:
    """Set the types of the outputs of a classifier, which depend on all inputs."""
    n_samples = operator.inputs[0].get_first_dimension()
    classes = labels_of(operator)
    label_type = StringTensorType if classes.dtype.kind == "U" else Int64TensorType
    operator.outputs[0].set_type(label_type([n_samples]))
    zipmap = operator.scope_inst.get_options(operator.raw_operator, {"zipmap": True})["zipmap"]
    if zipmap == "columns":
        # The outputs that this one is split into are declared already.
        tensor_type = type(operator.outputs[1].type)
    else:
        # The operator ZipMap, which returns dictionaries, takes float only.
        tensor_type = FloatTensorType if zipmap else number_type(operator.inputs)
    operator.outputs[1].set_type(tensor_type([n_samples, len(classes)]))


def labels_of(operator: Any) -> np.ndarray:
    """Return the labels of the classes as strings or int64, or their numbers with the option ``nocl``."""
    classes = np.asarray(get_label_classes(operator.scope_inst, operator.raw_operator))
    return classes.astype(str if classes.dtype.kind in "OU" else np.int64)
