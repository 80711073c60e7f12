"""How state is stored: as JSON with its arrays beside it.

Numbers, strings, booleans and None stand in the JSON as they are. Anything else is an object of one entry there: the
tag of a codec, and what that codec wrote.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

#: How deep state may be nested. Deeper than anything an estimator holds, and no danger for the stack.
DEPTH = 16
#: Types that are themselves in JSON, in the order in which long lists number them.
SCALARS = (type(None), bool, int, float, str)


class Encoder:
    """Turns state into what JSON can hold, and collects its arrays.

    Parameters
    ----------
    codecs : dict of Codec
        By tag. The first one that accepts a value encodes it.

    Attributes
    ----------
    arrays : dict of ndarray
        By the names that the JSON knows them by.
    """

    def __init__(self, codecs: Mapping[str, Codec]) -> None:
        self.codecs = codecs
        self.arrays: dict[str, np.ndarray] = {}

    def encode(self, value: Any, name: str, depth: int = 0) -> Any:
        """Encode a value; the name is for its arrays and for errors."""
        if depth > DEPTH:
            raise ValueError(
                f"{name} is nested more than {DEPTH} levels deep, which a model file cannot hold."
            )
        if type(value) in SCALARS and not (type(value) is float and not math.isfinite(value)):
            return value
        for codec in self.codecs.values():
            if codec.accepts(value):
                return {codec.tag: codec.encode(value, self, name, depth + 1)}
        what = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise ValueError(
            f"{name} holds {what}, which a model file cannot hold. Replace it by numbers, strings, lists, dicts or "
            "arrays of these, or save the model with skops."
        )

    def store(self, array: np.ndarray, name: str) -> str:
        """Keep an array in the byte order and layout of the file, and return its name."""
        # Keys of dicts are part of names, and may be any text.
        name = name.encode("ascii", "backslashreplace").decode()[:100]
        while name in self.arrays:
            name += "+"
        self.arrays[name] = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        return name


class Decoder(ABC):
    """Turns JSON back into state.

    Parameters
    ----------
    codecs : dict of Codec
        By tag.
    """

    def __init__(self, codecs: Mapping[str, Codec]) -> None:
        self.codecs = codecs

    @abstractmethod
    def take(self, name: str) -> np.ndarray:
        """Return an array, once only: a small file must not become a large state."""

    def decode(self, node: Any, depth: int = 0) -> Any:
        """Decode what `Encoder.encode` has written, or raise a ValueError."""
        if depth > DEPTH:
            raise ValueError(f"its state is nested more than {DEPTH} levels deep")
        if type(node) in SCALARS:
            return node
        if not isinstance(node, dict) or len(node) != 1:
            raise ValueError("its state is not in the form that skfm writes")
        ((tag, content),) = node.items()
        if tag not in self.codecs:
            raise ValueError(f"its state holds a {tag!r}, which this version of skfm does not know")
        return self.codecs[tag].decode(content, self, depth + 1)


class Codec(ABC):
    """How one type is stored: without state, so that one object of each is enough."""

    tag: ClassVar[str]

    @abstractmethod
    def accepts(self, value: Any) -> bool:
        """Tell whether a value is of this type."""

    @abstractmethod
    def encode(self, value: Any, to: Encoder, name: str, depth: int) -> Any:
        """Return what JSON can hold of it."""

    @abstractmethod
    def decode(self, content: Any, source: Decoder, depth: int) -> Any:
        """Undo `encode`, or raise a ValueError if the content is of another form."""


def expect(content: Any, kind: type, *, length: int | None = None, among: Any = None) -> Any:
    """Return content that is of a type and a length or one of some, or raise a ValueError."""
    if type(content) is not kind or (isinstance(content, list) and length not in (None, len(content))):
        raise ValueError("its state is not in the form that skfm writes")
    if among is not None and content not in among:
        raise ValueError(f"{content!r} is none of {list(among)}")
    return content
