"""The registry of codecs. To store another type, write a codec for it and add it to `CODECS`."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch

from ._array_codecs import (
    MAX_INLINE_LENGTH,
    ArrayCodec,
    LongListCodec,
    NumpyScalarCodec,
    ObjectArrayCodec,
    TextCodec,
)
from ._checks import check_hashes
from ._codec import SCALARS, Codec, Decoder, Encoder, expect
from ._encoder_codec import OneHotCodec

#: The floats that JSON cannot represent, by their names in the file.
NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class FloatCodec(Codec):
    """Codec for floats that JSON cannot represent: nan, inf and -inf."""

    tag = "float"

    def accepts(self, value: Any) -> bool:
        return type(value) is float

    def encode(self, value: Any, to: Encoder, name: str, depth: int) -> Any:
        return str(value)

    def decode(self, content: Any, source: Decoder, depth: int) -> Any:
        return NON_FINITE[expect(content, str, among=NON_FINITE)]


class DictCodec(Codec):
    """Codec for short dicts with string keys."""

    tag = "dict"

    def accepts(self, value: Any) -> bool:
        return (
            type(value) is dict and len(value) <= MAX_INLINE_LENGTH and all(type(key) is str for key in value)
        )

    def encode(self, value: Any, to: Encoder, name: str, depth: int) -> Any:
        return {key: to.encode(item, f"{name}/{key}", depth) for key, item in value.items()}

    def decode(self, content: Any, source: Decoder, depth: int) -> Any:
        return {key: source.decode(item, depth) for key, item in expect(content, dict).items()}


class PairsCodec(Codec):
    """Codec for all other dicts, which are stored as a list of keys and a list of values."""

    tag = "pairs"

    def accepts(self, value: Any) -> bool:
        return type(value) is dict

    def encode(self, value: Any, to: Encoder, name: str, depth: int) -> Any:
        parts = ((list(value), "keys"), (list(value.values()), "values"))
        return [to.encode(part, f"{name}/{what}", depth) for part, what in parts]

    def decode(self, content: Any, source: Decoder, depth: int) -> Any:
        keys, values = (source.decode(part, depth) for part in expect(content, list, length=2))
        known = type(keys) is list and all(isinstance(key, (*SCALARS, np.generic)) for key in keys)
        if known:
            check_hashes(keys)
        if not known or type(values) is not list or len(values) != len(keys) or len(set(keys)) != len(keys):
            raise ValueError("the keys and values of a dict do not match")
        return dict(zip(keys, values, strict=True))


class ListCodec(Codec):
    """Codec for lists that `LongListCodec` does not accept."""

    tag = "list"
    kind: ClassVar[type] = list

    def accepts(self, value: Any) -> bool:
        return type(value) is self.kind

    def encode(self, value: Any, to: Encoder, name: str, depth: int) -> Any:
        return [to.encode(item, f"{name}/{i}", depth) for i, item in enumerate(value)]

    def decode(self, content: Any, source: Decoder, depth: int) -> Any:
        return self.kind(source.decode(item, depth) for item in expect(content, list))


class TupleCodec(ListCodec):
    """Codec for tuples."""

    tag = "tuple"
    kind = tuple


class DeviceCodec(Codec):
    """Codec for torch devices, which are stored by name."""

    tag = "device"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, torch.device)

    def encode(self, value: Any, to: Encoder, name: str, depth: int) -> Any:
        return str(value)

    def decode(self, content: Any, source: Decoder, depth: int) -> Any:
        try:
            return torch.device(expect(content, str))
        except RuntimeError:
            raise ValueError(f"{content!r} is not a torch device") from None


#: The codecs by tag. The first codec that accepts a value encodes it.
CODECS: dict[str, Codec] = {
    codec.tag: codec
    for codec in (
        FloatCodec(),
        DictCodec(),
        PairsCodec(),
        LongListCodec(),
        ListCodec(),
        TupleCodec(),
        ArrayCodec(),
        TextCodec(),
        ObjectArrayCodec(),
        NumpyScalarCodec(),
        DeviceCodec(),
        OneHotCodec(),
    )
}
