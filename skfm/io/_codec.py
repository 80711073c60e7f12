"""The storage format of state: JSON, with the arrays stored separately.

Numbers, strings, booleans and None are written to the JSON unchanged. Any other value is written as a JSON object with
one entry, whose key is the tag of a codec and whose value is the output of that codec.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

#: Maximum nesting depth of state: more than any estimator needs, and few enough levels for the call stack.
MAX_DEPTH = 16
#: Types that JSON represents directly. Stored long lists refer to them by their position, so the order is fixed.
SCALARS = (type(None), bool, int, float, str)


class Encoder:
    """Converts state to JSON-compatible objects, and collects its arrays.

    Parameters
    ----------
    codecs : dict of str to Codec
        The codecs by tag. The first codec that accepts a value encodes it.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The arrays, by the names that refer to them in the JSON.
    """

    def __init__(self, codecs: Mapping[str, Codec]) -> None:
        self.codecs = codecs
        self.arrays: dict[str, np.ndarray] = {}

    def encode(self, value: Any, name: str, depth: int = 0) -> Any:
        """Encode a value. Its arrays and the error messages use the given name."""
        if depth > MAX_DEPTH:
            raise ValueError(
                f"{name} is nested more than {MAX_DEPTH} levels deep, which a model file cannot hold."
            )
        if type(value) in SCALARS and not (type(value) is float and not math.isfinite(value)):
            return value
        for codec in self.codecs.values():
            if codec.accepts(value):
                return {codec.tag: codec.encode(value, self, name, depth + 1)}
        what = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise ValueError(
            f"{name} holds {what}, which a model file cannot hold. Replace it with numbers, strings, lists, dicts or "
            "arrays of these, or save the model with skops."
        )

    def store(self, array: np.ndarray, name: str) -> str:
        """Convert an array to native byte order and C order, store it, and return its name."""
        # Names contain the keys of dicts, which may be arbitrary text.
        name = name.encode("ascii", "backslashreplace").decode()[:100]
        while name in self.arrays:
            name += "+"
        self.arrays[name] = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        return name


class Decoder(ABC):
    """Converts JSON back to state.

    Parameters
    ----------
    codecs : dict of str to Codec
        The codecs by tag.
    """

    def __init__(self, codecs: Mapping[str, Codec]) -> None:
        self.codecs = codecs

    @abstractmethod
    def take(self, name: str) -> np.ndarray:
        """Return an array. Each can be taken only once, so that a small file cannot expand to a large state."""

    def decode(self, node: Any, depth: int = 0) -> Any:
        """Decode the output of `Encoder.encode`, or raise a ValueError."""
        if depth > MAX_DEPTH:
            raise ValueError(f"its state is nested more than {MAX_DEPTH} levels deep")
        if type(node) in SCALARS:
            return node
        if not isinstance(node, dict) or len(node) != 1:
            raise ValueError("its state does not have the format that skfm writes")
        ((tag, content),) = node.items()
        if tag not in self.codecs:
            raise ValueError(f"its state holds a {tag!r}, which this version of skfm does not know")
        return self.codecs[tag].decode(content, self, depth + 1)


class Codec(ABC):
    """Stores the values of one type. Codecs have no state, so one instance of each is enough."""

    tag: ClassVar[str]

    @abstractmethod
    def accepts(self, value: Any) -> bool:
        """Return whether this codec stores the value."""

    @abstractmethod
    def encode(self, value: Any, to: Encoder, name: str, depth: int) -> Any:
        """Return a JSON-compatible representation of the value; store its arrays with the encoder."""

    @abstractmethod
    def decode(self, content: Any, source: Decoder, depth: int) -> Any:
        """Undo `encode`, or raise a ValueError if the content does not have the expected format."""


def expect(content: Any, kind: type, *, length: int | None = None, among: Any = None) -> Any:
    """Return the content if it has the given type, list length and allowed values, else raise a ValueError."""
    if type(content) is not kind or (isinstance(content, list) and length not in (None, len(content))):
        raise ValueError("its state does not have the format that skfm writes")
    if among is not None and content not in among:
        raise ValueError(f"{content!r} is not one of {list(among)}")
    return content
