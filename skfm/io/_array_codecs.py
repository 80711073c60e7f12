"""Codecs for arrays, and for objects that are stored more compactly as arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._codec import SCALARS, Codec, Decoder, Encoder, expect

#: Lists and dicts with more items than this are stored as arrays.
MAX_INLINE_LENGTH = 32
#: Dtypes that can be stored without conversion.
STORABLE_DTYPES = tuple(
    np.dtype(code) for code in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")
)
#: Other subclasses of ndarray (masked arrays, matrices) carry information that a file would lose.
ARRAY_TYPES = (np.ndarray, np.memmap)
#: The largest Unicode code point.
MAX_CODE_POINT = 0x10FFFF
#: Dtypes in which the items of long lists are stored, by their Python type.
PACKED_DTYPES: dict[type, str] = {bool: "?", int: "i8", float: "f8"}


class LongListCodec(Codec):
    """Codec for long lists of numbers, strings, booleans and None, which are stored as arrays."""

    tag = "long list"

    def accepts(self, value: Any) -> bool:
        return type(value) is list and len(value) > MAX_INLINE_LENGTH and all(map(_fits_array, value))

    def encode(self, value: Any, to: Encoder, name: str, depth: int) -> Any:
        kinds = np.array([SCALARS.index(type(item)) for item in value], np.uint8)
        parts = [
            _store_items([item for item in value if type(item) is kind], kind, to, f"{name}/{kind.__name__}")
            for kind in SCALARS[1:]
        ]
        return [to.store(kinds, f"{name}/kinds"), *parts]

    def decode(self, content: Any, source: Decoder, depth: int) -> Any:
        place, *stored = expect(content, list, length=len(SCALARS))
        kinds = _check_flat(source.take(place), np.uint8)
        parts: list[list[Any]] = [
            [],
            *(_take_items(part, kind, source) for part, kind in zip(stored, SCALARS[1:], strict=True)),
        ]
        counts = [np.count_nonzero(kinds == kind) for kind in range(len(SCALARS))]
        if sum(counts) != len(kinds) or any(
            len(parts[kind]) != counts[kind] for kind in range(1, len(SCALARS))
        ):
            raise ValueError("the parts of a list do not have matching lengths")
        for part in parts[1:]:
            if len(part) == len(kinds):
                return part
        rest = [iter(part) for part in parts]
        return [None if kind == 0 else next(rest[kind]) for kind in kinds]


class ArrayCodec(Codec):
    """Codec for arrays of numbers or booleans."""

    tag = "array"

    def accepts(self, value: Any) -> bool:
        return type(value) in ARRAY_TYPES and value.dtype.newbyteorder("=") in STORABLE_DTYPES

    def encode(self, value: Any, to: Encoder, name: str, depth: int) -> Any:
        return to.store(value, name)

    def decode(self, content: Any, source: Decoder, depth: int) -> Any:
        return source.take(content)


class TextCodec(Codec):
    """Codec for arrays of fixed-width strings, which are stored as Unicode code points."""

    tag = "text"

    def accepts(self, value: Any) -> bool:
        return type(value) in ARRAY_TYPES and value.dtype.kind == "U" and value.dtype.itemsize > 0

    def encode(self, value: Any, to: Encoder, name: str, depth: int) -> Any:
        native = np.array(value, value.dtype.newbyteorder("="), order="C", ndmin=1)
        codes = native[..., None].view(np.uint32)
        return to.store(codes if value.ndim else codes[0], name)

    def decode(self, content: Any, source: Decoder, depth: int) -> Any:
        codes = source.take(content)
        if codes.dtype != np.uint32 or codes.ndim == 0 or codes.shape[-1] == 0:
            raise ValueError("an array of strings does not have the format that skfm writes")
        if codes.max(initial=0) > MAX_CODE_POINT:
            raise ValueError("an array of strings holds an invalid code point")
        return codes.view(f"=U{codes.shape[-1]}")[..., 0]


class ObjectArrayCodec(Codec):
    """Codec for arrays of Python objects, which are stored as their shape and a list."""

    tag = "objects"

    def accepts(self, value: Any) -> bool:
        return type(value) in ARRAY_TYPES and value.dtype == object

    def encode(self, value: Any, to: Encoder, name: str, depth: int) -> Any:
        items = [item.item() if isinstance(item, np.generic) else item for item in value.ravel().tolist()]
        return [list(value.shape), to.encode(items, name, depth)]

    def decode(self, content: Any, source: Decoder, depth: int) -> Any:
        shape, items = expect(content, list, length=2)
        items = source.decode(items, depth)
        if (
            type(shape) is not list
            or type(items) is not list
            or not all(type(n) is int and n >= 0 for n in shape)
        ):
            raise ValueError("an array of objects does not have the format that skfm writes")
        if math.prod(shape) != len(items) or len(shape) > 4:
            raise ValueError(f"an array of shape {shape} cannot hold {len(items)} items")
        array = np.empty(len(items), object)
        for i, item in enumerate(items):
            array[i] = item
        return array.reshape(shape)


class NumpyScalarCodec(Codec):
    """Codec for numpy scalars, which are stored as zero-dimensional arrays."""

    tag = "scalar"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, np.generic) and not isinstance(value, np.void | np.object_)

    def encode(self, value: Any, to: Encoder, name: str, depth: int) -> Any:
        return to.encode(np.asarray(value), name, depth)

    def decode(self, content: Any, source: Decoder, depth: int) -> Any:
        array = source.decode(content, depth)
        if not isinstance(array, np.ndarray) or array.ndim:
            raise ValueError("a scalar does not have the format that skfm writes")
        return array[()]


def _fits_array(item: Any) -> bool:
    return type(item) in SCALARS and (type(item) is not int or -(2**63) <= item < 2**63)


def _store_items(items: list[Any], kind: type, to: Encoder, name: str) -> Any:
    """Store the items of one type. Return the names of the stored arrays, or None if there are no items."""
    if not items:
        return None
    if kind is not str:
        return to.store(np.array(items, PACKED_DTYPES[kind]), name)
    # Lone surrogates are not valid Unicode, but names of files and columns may contain them.
    encoded = [item.encode("utf-8", "surrogatepass") for item in items]
    ends = np.cumsum([len(item) for item in encoded], dtype=np.int64)
    return [
        to.store(np.frombuffer(b"".join(encoded), np.uint8), name),
        to.store(ends, f"{name}/ends"),
    ]


def _take_items(stored: Any, kind: type, source: Decoder) -> list[Any]:
    """Undo `_store_items`."""
    if stored is None:
        return []
    if kind is not str:
        return _check_flat(source.take(stored), PACKED_DTYPES[kind]).tolist()
    places = expect(stored, list, length=2)
    text, ends = (
        _check_flat(source.take(places[0]), "u1").tobytes(),
        _check_flat(source.take(places[1]), "i8"),
    )
    if len(ends) == 0 or ends[0] < 0 or (np.diff(ends) < 0).any() or ends[-1] != len(text):
        raise ValueError(
            "the end positions of strings must be non-decreasing and match the length of the text"
        )
    items, start = [], 0
    for end in ends.tolist():
        items.append(text[start:end].decode("utf-8", "surrogatepass"))
        start = end
    return items


def _check_flat(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Return the array if it is one-dimensional and has the given dtype, else raise a ValueError."""
    if array.ndim != 1 or array.dtype != np.dtype(dtype):
        raise ValueError(
            f"a list must be stored as a one-dimensional array of {np.dtype(dtype)}, got {array.dtype} of shape "
            f"{array.shape}"
        )
    return array
