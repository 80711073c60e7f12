"""Splitting of text files into byte ranges that begin at the start of a line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

#: Magic numbers of compressed file formats.
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}


class ByteRange(NamedTuple):
    """A range of complete lines of a file.

    Attributes
    ----------
    path : Path
        The file.
    start, stop : int
        Positions in the file, in bytes.
    stamp : tuple of int
        Size in bytes and modification time in nanoseconds of the file when it was split.
    """

    path: Path
    start: int
    stop: int
    stamp: tuple[int, int]


def check_file(path: Path) -> None:
    """Raise an error if `path` is not a regular file, is empty or is compressed."""
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a directory. Pass a list of its files: sorted(Path(...).glob('*'))."
        )
    if path.exists() and not path.is_file():
        raise OSError(
            f"{path} is not a regular file, so it cannot be read in parts. Write its content to a regular file first."
        )
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise ValueError(f"{path} is empty. Pass a file with at least one row.")
    for magic, kind in _COMPRESSED.items():
        if head.startswith(magic):
            raise ValueError(
                f"{path} is compressed ({kind}). Decompress it first: only plain text files can be read in parts."
            )


def split_file(path: Path, n_bytes: int, is_row: Callable[[bytes], bool]) -> list[ByteRange]:
    """Split a file into ranges that begin with a row and have at least `n_bytes` bytes, except the last one.

    Parameters
    ----------
    path : Path
    n_bytes : int
        Minimum size of a range in bytes.
    is_row : callable
        Function that returns whether a line is a row of data, not a comment or a blank line.

    Returns
    -------
    ranges : list of ByteRange
        The ranges. Each row of the file is in exactly one of them.
    """
    with path.open("rb") as file:
        stamp = _stamp(file)
        starts = []
        at = _next_row(file, 0, is_row)
        while at is not None:
            starts.append(at)
            at = _next_row(file, at + n_bytes, is_row)
    if not starts:
        raise ValueError(
            f"{path} has no rows, only blank lines and comments. Pass a file with at least one row."
        )
    stops = [*starts[1:], stamp[0]]
    return [ByteRange(path, start, stop, stamp) for start, stop in zip(starts, stops, strict=True)]


def read_range(piece: ByteRange) -> bytes:
    """Read the lines of a range, or raise an OSError if the file has changed since it was split."""
    with piece.path.open("rb") as file:
        file.seek(piece.start)
        text = file.read(piece.stop - piece.start)
        stamp = _stamp(file)
    if stamp != piece.stamp or len(text) != piece.stop - piece.start:
        raise OSError(
            f"{piece.path} has changed since it was split into chunks: it had {piece.stamp[0]} bytes and now has "
            f"{stamp[0]}. Create a new object when the file is complete."
        )
    return text


def count_lines(path: Path, stop: int) -> int:
    """Return the number of line ends before the position `stop`."""
    n_lines, block = 0, 1 << 20
    with path.open("rb") as file:
        for at in range(0, stop, block):
            n_lines += file.read(min(block, stop - at)).count(b"\n")
    return n_lines


def _next_row(file: BinaryIO, position: int, is_row: Callable[[bytes], bool]) -> int | None:
    """Return the start of the first row that begins at `position` or later, or None if there is none."""
    file.seek(max(position - 1, 0))
    if position > 0:
        file.readline()  # skip the rest of the previous line
    at = file.tell()
    for line in file:
        if is_row(line):
            return at
        at += len(line)
    return None


def _stamp(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
