"""The text of libFM's model files: up to three sections with a heading each."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from ..streaming._svmlight_line import show
from ._rows import as_array

BIAS, LINEAR, FACTORS = b"#global bias W0", b"#unary interactions Wj", b"#pairwise interactions Vj,f"
HEADINGS = (BIAS, LINEAR, FACTORS)
TOKEN = re.compile(rb"\S+")


class Sections(NamedTuple):
    """The numbers of a file.

    Attributes
    ----------
    intercept : float or None
        None where there is no such section.
    coef : ndarray of shape (n_features,) or None
    factors : ndarray of shape (n_features, n_factors)
    """

    intercept: float | None
    coef: np.ndarray | None
    factors: np.ndarray


class Reader:
    """Takes the lines of a file one by one."""

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
            raise ValueError("its last line does not end, so it was cut off")
        return self._sections()

    def _begin(self, text: bytes) -> None:
        if text not in self._left:
            known = ", ".join(repr(heading.decode()) for heading in self._left) or "nothing more"
            raise ValueError(f"the heading {show(text)} stands where {known} is expected")
        self._left = self._left[self._left.index(text) + 1 :]
        self._section = text
        self._begun.add(text)

    def _take(self, text: bytes) -> None:
        if self._section == FACTORS:
            self._take_row(text)
        elif text:
            if not self._section:
                raise ValueError(f"{show(text)} stands before any heading")
            if self._section == BIAS and self.numbers[BIAS]:
                raise ValueError("there are two numbers for the global bias")
            if self._append(text) != 1:
                raise ValueError(f"{show(text)} is more than one number")

    def _take_row(self, text: bytes) -> None:
        if not text and self.n_factors > 0:
            self._n_blank += 1
            return
        if self._n_blank:
            raise ValueError(f"a row of factors follows {self._n_blank} blank lines")
        n_factors = self._append(text)
        if self.n_factors not in (-1, n_factors):
            raise ValueError(f"there are {n_factors} factors where the rows before have {self.n_factors}")
        self.n_factors = n_factors
        self.n_rows += 1

    def _append(self, text: bytes) -> int:
        """Read the numbers of a line, and return how many there are."""
        numbers, n_numbers = self.numbers[self._section], 0
        # One by one: a list of all words would take many times the memory of a long line.
        for word in TOKEN.finditer(text):
            numbers.append(_number(word[0]))
            n_numbers += 1
        return n_numbers

    def _sections(self) -> Sections:
        """Return what was read, or raise a ValueError if something is missing."""
        if FACTORS not in self._begun:
            raise ValueError(f"it ends before {FACTORS.decode()!r}")
        if BIAS in self._begun and not self.numbers[BIAS]:
            raise ValueError("there is no number for the global bias")
        has_linear, n_factors = LINEAR in self._begun, max(self.n_factors, 0)
        n_features = len(self.numbers[LINEAR]) if has_linear else self.n_rows
        if n_features == 0 or (n_factors == 0 and not has_linear):
            raise ValueError("it has no parameters of any column")
        # Without factors a row of them is a blank line, which may be left out.
        if self.n_rows != n_features and self.n_rows + n_factors > 0:
            raise ValueError(
                f"there are linear weights of {n_features} columns, but factors of {self.n_rows}"
            )
        coef, factors = (as_array(self.numbers[heading]) for heading in (LINEAR, FACTORS))
        return Sections(
            self.numbers[BIAS][0] if BIAS in self._begun else None,
            coef if has_linear else None,
            factors.reshape(n_features, n_factors),
        )


def lines_of(sections: Sections) -> Iterator[str]:
    """Yield the lines of a file, with numbers of as many digits as it takes to read the same ones back."""
    intercept, coef, factors = sections
    if intercept is not None:
        yield f"{BIAS.decode()}\n{float(intercept)!r}\n"
    if coef is not None:
        yield f"{LINEAR.decode()}\n"
        yield from (f"{number!r}\n" for number in map(float, coef))
    yield f"{FACTORS.decode()}\n"
    for row in factors:
        yield " ".join(map(repr, row.tolist())) + "\n"


def _number(word: bytes) -> float:
    try:
        # An underscore between digits is Python's own.
        number = math.nan if b"_" in word else float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{show(word)} is not a finite number")
    return number
