"""Models and data in files of other programs, and models in files that run no code."""

from ._model_file import load_model, save_model

__all__ = ["load_model", "save_model"]
