"""The text format of libFM's model files: up to three sections, each with a heading."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from ..streaming._svmlight_line import quote
from ._rows import TOKEN_PATTERN, to_ndarray

BIAS, LINEAR, FACTORS = b"#global bias W0", b"#unary interactions Wj", b"#pairwise interactions Vj,f"
HEADINGS = (BIAS, LINEAR, FACTORS)


class Sections(NamedTuple):
    """The numbers in a model file.

    Attributes
    ----------
    intercept : float or None
        The global bias, or None if the file has no such section.
    coef : ndarray of shape (n_features,) or None
        The linear weights, or None if the file has no such section.
    factors : ndarray of shape (n_features, n_factors)
        The factors of the pairwise interactions.
    """

    intercept: float | None
    coef: np.ndarray | None
    factors: np.ndarray


class Reader:
    """Parser of model files, which processes the lines one at a time."""

    def __init__(self) -> None:
        self.numbers = {heading: array("d") for heading in HEADINGS}
        self.n_rows, self.n_factors = 0, -1
        self._left, self._section = list(HEADINGS), b""
        self._begun: set[bytes] = set()
        self._n_blank = 0

    def read(self, lines: Iterable[bytes]) -> Sections:
        """Return the numbers of all lines, or raise a ValueError."""
        last = b"\n"
        for number, line in enumerate(lines, 1):
            text = line.strip()
            try:
                if text.startswith(b"#"):
                    self._begin(text)
                else:
                    self._take(text)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
            last = line
        if not last.endswith(b"\n"):
            raise ValueError("its last line has no line end, so the file was truncated")
        return self._sections()

    def _begin(self, text: bytes) -> None:
        if text not in self._left:
            known = ", ".join(repr(heading.decode()) for heading in self._left) or "nothing more"
            raise ValueError(f"found the heading {quote(text)} where {known} is expected")
        self._left = self._left[self._left.index(text) + 1 :]
        self._section = text
        self._begun.add(text)

    def _take(self, text: bytes) -> None:
        if self._section == FACTORS:
            self._take_row(text)
        elif text:
            if not self._section:
                raise ValueError(f"found {quote(text)} before the first heading")
            if self._section == BIAS and self.numbers[BIAS]:
                raise ValueError("there are two numbers for the global bias")
            if self._append(text) != 1:
                raise ValueError(f"expected one number, got {quote(text)}")

    def _take_row(self, text: bytes) -> None:
        if not text and self.n_factors > 0:
            self._n_blank += 1
            return
        if self._n_blank:
            raise ValueError(f"a row of factors follows {self._n_blank} blank lines")
        n_factors = self._append(text)
        if self.n_factors not in (-1, n_factors):
            raise ValueError(f"the row has {n_factors} factors, but the previous rows have {self.n_factors}")
        self.n_factors = n_factors
        self.n_rows += 1

    def _append(self, text: bytes) -> int:
        """Append the numbers of a line to the current section, and return their count."""
        numbers, n_numbers = self.numbers[self._section], 0
        # Iterate over the tokens: a list of them would take many times the memory of a long line.
        for word in TOKEN_PATTERN.finditer(text):
            numbers.append(_parse_finite(word[0]))
            n_numbers += 1
        return n_numbers

    def _sections(self) -> Sections:
        """Return the sections, or raise a ValueError if one is missing or incomplete."""
        if FACTORS not in self._begun:
            raise ValueError(f"it ends before {FACTORS.decode()!r}")
        if BIAS in self._begun and not self.numbers[BIAS]:
            raise ValueError("there is no number for the global bias")
        has_linear, n_factors = LINEAR in self._begun, max(self.n_factors, 0)
        n_features = len(self.numbers[LINEAR]) if has_linear else self.n_rows
        if n_features == 0 or (n_factors == 0 and not has_linear):
            raise ValueError("it has no parameters for any column")
        # If there are no factors, their rows are blank lines, which may be omitted.
        if self.n_rows != n_features and self.n_rows + n_factors > 0:
            raise ValueError(
                f"there are linear weights for {n_features} columns, but factors for {self.n_rows}"
            )
        coef, factors = (to_ndarray(self.numbers[heading]) for heading in (LINEAR, FACTORS))
        return Sections(
            self.numbers[BIAS][0] if BIAS in self._begun else None,
            coef if has_linear else None,
            factors.reshape(n_features, n_factors),
        )


def model_lines(sections: Sections) -> Iterator[str]:
    """Yield the lines of a model file. Numbers have enough digits to be read back exactly."""
    intercept, coef, factors = sections
    if intercept is not None:
        yield f"{BIAS.decode()}\n{float(intercept)!r}\n"
    if coef is not None:
        yield f"{LINEAR.decode()}\n"
        yield from (f"{number!r}\n" for number in map(float, coef))
    yield f"{FACTORS.decode()}\n"
    for row in factors:
        yield " ".join(map(repr, row.tolist())) + "\n"


def _parse_finite(word: bytes) -> float:
    try:
        # float() accepts underscores between digits, which are not part of the format.
        number = math.nan if b"_" in word else float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{quote(word)} is not a finite number")
    return number
