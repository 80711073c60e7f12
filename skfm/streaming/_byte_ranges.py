"""Text files cut into ranges of bytes at the beginnings of lines."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

#: First bytes of compressed files.
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}


class ByteRange(NamedTuple):
    """Some whole lines of a file.

    Attributes
    ----------
    path : Path
    start, stop : int
        Positions in the file, in bytes.
    stamp : tuple of int
        Size and time of change of the file when it was cut.
    """

    path: Path
    start: int
    stop: int
    stamp: tuple[int, int]


def check_file(path: Path) -> None:
    """Raise an error if `path` is not a file of plain text, as far as its first bytes tell."""
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a directory. Pass its files as a list: sorted(Path(...).glob('*'))."
        )
    if path.exists() and not path.is_file():
        raise OSError(
            f"{path} is not a regular file, so it cannot be read in parts. Write it to a file first."
        )
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise ValueError(f"{path} is empty.")
    for magic, kind in _COMPRESSED.items():
        if head.startswith(magic):
            raise ValueError(
                f"{path} is compressed ({kind}). Decompress it first: only plain text can be read in parts."
            )


def split_file(path: Path, n_bytes: int, is_row: Callable[[bytes], bool]) -> list[ByteRange]:
    """Cut a file into ranges that begin with a row and are at least `n_bytes` long, but for the last one.

    Parameters
    ----------
    path : Path
    n_bytes : int
    is_row : callable
        Tells rows from lines that do not count, such as comments.

    Returns
    -------
    list of ByteRange
        They hold every row exactly once.
    """
    with path.open("rb") as file:
        stamp = _stamp(file)
        starts = []
        at = _next_row(file, 0, is_row)
        while at is not None:
            starts.append(at)
            at = _next_row(file, at + n_bytes, is_row)
    if not starts:
        raise ValueError(f"{path} has no rows, only blank lines and comments.")
    stops = [*starts[1:], stamp[0]]
    return [ByteRange(path, start, stop, stamp) for start, stop in zip(starts, stops, strict=True)]


def read_range(piece: ByteRange) -> bytes:
    """Read the lines of a range, which must be as they were when the file was cut."""
    with piece.path.open("rb") as file:
        file.seek(piece.start)
        text = file.read(piece.stop - piece.start)
        stamp = _stamp(file)
    if stamp != piece.stamp or len(text) != piece.stop - piece.start:
        raise OSError(
            f"{piece.path} was changed since its chunks were numbered: it had {piece.stamp[0]} bytes and has "
            f"{stamp[0]} now. Make a new object when the file is complete."
        )
    return text


def count_lines(path: Path, stop: int) -> int:
    """Return the number of line ends before position `stop`."""
    n_lines, block = 0, 1 << 20
    with path.open("rb") as file:
        for at in range(0, stop, block):
            n_lines += file.read(min(block, stop - at)).count(b"\n")
    return n_lines


def _next_row(file: BinaryIO, position: int, is_row: Callable[[bytes], bool]) -> int | None:
    """Return where the first row begins that begins at `position` or later."""
    file.seek(max(position - 1, 0))
    if position > 0:
        file.readline()  # what is left of the line before
    at = file.tell()
    for line in file:
        if is_row(line):
            return at
        at += len(line)
    return None


def _stamp(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
