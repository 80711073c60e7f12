"""safetensors files: arrays by name and one text. Nothing that a file says is believed unchecked."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .._files import open_file, replacing
from ._codec import Decoder
from ._codecs import CODECS

#: Longest header and longest text, in bytes. A model's are a few thousand.
LARGEST_HEADER, LARGEST_TEXT = 1 << 22, 1 << 20
#: Types by the names that the format has for them.
DTYPES = {
    name: np.dtype(code)
    for name, code in (
        ("BOOL", "?"),
        ("I8", "i1"),
        ("I16", "i2"),
        ("I32", "i4"),
        ("I64", "i8"),
        ("U8", "u1"),
        ("U16", "u2"),
        ("U32", "u4"),
        ("U64", "u8"),
        ("F32", "f4"),
        ("F64", "f8"),
    )
}
MOST_AXES = 8


def safetensors(module: str, purpose: str) -> Any:
    """Import a module of safetensors, or say how to get it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{purpose} needs safetensors. Install it with: pip install safetensors") from error


def write_tensors(path: str | os.PathLike[str], arrays: dict[str, np.ndarray], key: str, text: str) -> None:
    """Write arrays, and a text under a key of the metadata, in one step.

    Parameters
    ----------
    path : path-like
    arrays : dict of ndarray
    key, text : str
    """
    save_file = safetensors("safetensors.numpy", "save_model").save_file
    n_bytes = len(text) + sum(len(name) + 100 for name in arrays)
    if len(text) > LARGEST_TEXT or 2 * n_bytes > LARGEST_HEADER:
        raise ValueError(
            f"The settings of the model and the names of its {len(arrays)} arrays take {n_bytes} bytes, more than a "
            "model file can hold. Save it with skops."
        )
    with replacing(path) as partial:
        save_file(arrays, str(partial), metadata={key: text})


class TensorFile(Decoder):
    """An open safetensors file, whose arrays are taken one by one.

    Parameters
    ----------
    file : safe_open
    """

    def __init__(self, file: Any) -> None:
        super().__init__(CODECS)
        self._file = file
        self._left = set(file.keys())

    def text(self, key: str) -> str:
        """Return the text under a key of the metadata."""
        text: str | None = (self._file.metadata() or {}).get(key)
        if text is None:
            raise ValueError(f"it has no {key!r} among its metadata: another program wrote it")
        if len(text) > LARGEST_TEXT:
            raise ValueError(
                f"its settings take {len(text)} characters, more than the {LARGEST_TEXT} allowed"
            )
        return text

    def take(self, name: Any) -> np.ndarray:
        """Return an array that was not taken before."""
        if type(name) is not str or name not in self._left:
            raise ValueError(f"its settings name an array {name!r} that it does not hold, or name it twice")
        self._left.discard(name)
        view = self._file.get_slice(name)
        kind, shape = view.get_dtype(), view.get_shape()
        if kind not in DTYPES:
            raise ValueError(f"{name} is of type {kind}, which is none of {', '.join(DTYPES)}")
        if len(shape) > MOST_AXES or math.prod(max(n, 1) for n in shape) >= 2**48:
            raise ValueError(f"{name} has the shape {shape}, which no array of a model has")
        array: np.ndarray = self._file.get_tensor(name)
        if array.dtype == bool and array.view(np.uint8).max(initial=0) > 1:
            raise ValueError(f"{name} holds bytes that are neither true nor false")
        return array

    def check_all_taken(self) -> None:
        """Say so if there are arrays that nobody has asked for."""
        if self._left:
            raise ValueError(f"it holds arrays that its settings do not name: {sorted(self._left)[:5]}")


@contextlib.contextmanager
def open_tensors(path: str | os.PathLike[str]) -> Iterator[TensorFile]:
    """Open a safetensors file whose header has a reasonable size."""
    safe_open = safetensors("safetensors", "load_model").safe_open
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
    header = int.from_bytes(start, "little")
    if len(start) < 8 or header > size - 8:
        raise ValueError(f"it ends after {size} bytes, before its header does")
    if header > LARGEST_HEADER:
        raise ValueError(f"its header has {header} bytes, more than the {LARGEST_HEADER} allowed")
    with safe_open(str(Path(path)), framework="numpy") as opened:
        yield TensorFile(opened)
