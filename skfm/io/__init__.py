"""Reading and writing of models and data: safetensors, libFM, libffm and LIBSVM files."""

from ._libffm import LibffmChunks, read_libffm, write_libffm
from ._libfm import LibFMParameters, read_libfm_model, write_libfm_model
from ._libsvm import read_libsvm, write_libsvm
from ._model_file import load_model, save_model

__all__ = [
    "LibFMParameters",
    "LibffmChunks",
    "load_model",
    "read_libffm",
    "read_libfm_model",
    "read_libsvm",
    "save_model",
    "write_libffm",
    "write_libfm_model",
    "write_libsvm",
]
