"""Safetensors files with named arrays and one text. All content of a file is validated before it is used."""

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

#: Maximum lengths of the header and of the text. Those of a model have a few thousand bytes.
MAX_HEADER_BYTES, MAX_TEXT_LENGTH = 1 << 22, 1 << 20
#: Dtypes by their names in the safetensors format.
SAFETENSORS_DTYPES = {
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
#: Maximum number of dimensions of an array.
MAX_NDIM = 8


def import_safetensors(module: str, purpose: str) -> Any:
    """Import a module of safetensors, or raise an ImportError that says how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{purpose} needs safetensors. Install it with: pip install safetensors") from error


def write_tensors(path: str | os.PathLike[str], arrays: dict[str, np.ndarray], key: str, text: str) -> None:
    """Write arrays, and a text in the metadata, to a file that appears only when it is complete.

    Parameters
    ----------
    path : path-like
    arrays : dict of str to ndarray
    key, text : str
        Key and value of the metadata entry.
    """
    save_file = import_safetensors("safetensors.numpy", "save_model").save_file
    n_bytes = len(text) + sum(len(name) + 100 for name in arrays)
    if len(text) > MAX_TEXT_LENGTH or 2 * n_bytes > MAX_HEADER_BYTES:
        raise ValueError(
            f"The settings of the model and the names of its {len(arrays)} arrays take {n_bytes} bytes, which is more "
            "than a model file can hold. Save the model with skops."
        )
    with replacing(path) as partial:
        save_file(arrays, str(partial), metadata={key: text})


class TensorFile(Decoder):
    """An open safetensors file, from which each array can be taken once.

    Parameters
    ----------
    file : safe_open
        The open file.
    """

    def __init__(self, file: Any) -> None:
        super().__init__(CODECS)
        self._file = file
        self._left = set(file.keys())

    def text(self, key: str) -> str:
        """Return the metadata entry with the given key."""
        text: str | None = (self._file.metadata() or {}).get(key)
        if text is None:
            raise ValueError(f"its metadata has no entry {key!r}, so another program wrote it")
        if len(text) > MAX_TEXT_LENGTH:
            raise ValueError(
                f"its settings have {len(text)} characters, but at most {MAX_TEXT_LENGTH} are allowed"
            )
        return text

    def take(self, name: Any) -> np.ndarray:
        """Return an array that has not been taken before."""
        if type(name) is not str or name not in self._left:
            raise ValueError(
                f"its settings refer to an array {name!r} that is missing, or refer to it more than once"
            )
        self._left.discard(name)
        view = self._file.get_slice(name)
        kind, shape = view.get_dtype(), view.get_shape()
        if kind not in SAFETENSORS_DTYPES:
            raise ValueError(f"{name} has dtype {kind}, which is not one of {', '.join(SAFETENSORS_DTYPES)}")
        if len(shape) > MAX_NDIM or math.prod(max(n, 1) for n in shape) >= 2**48:
            raise ValueError(f"{name} has shape {shape}, which is not possible for an array of a model")
        array: np.ndarray = self._file.get_tensor(name)
        if array.dtype == bool and array.view(np.uint8).max(initial=0) > 1:
            raise ValueError(f"{name} is boolean, but has bytes other than 0 and 1")
        return array

    def check_all_taken(self) -> None:
        """Raise a ValueError if the file has arrays that have not been taken."""
        if self._left:
            raise ValueError(f"it has arrays that its settings do not refer to: {sorted(self._left)[:5]}")


@contextlib.contextmanager
def open_tensors(path: str | os.PathLike[str]) -> Iterator[TensorFile]:
    """Open a safetensors file, or raise a ValueError if it is truncated or its header is too large."""
    safe_open = import_safetensors("safetensors", "load_model").safe_open
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
    header = int.from_bytes(start, "little")
    if len(start) < 8 or header > size - 8:
        raise ValueError(f"it has only {size} bytes and ends within its header")
    if header > MAX_HEADER_BYTES:
        raise ValueError(f"its header has {header} bytes, but at most {MAX_HEADER_BYTES} are allowed")
    with safe_open(str(Path(path)), framework="numpy") as opened:
        yield TensorFile(opened)
