"""Export to ONNX, through skl2onnx."""

from ._export import register_converters, to_onnx

__all__ = ["register_converters", "to_onnx"]
