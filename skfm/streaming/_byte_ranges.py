"""Splitting of text files into byte ranges that begin at the start of a line."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

#: Magic numbers of compressed file formats.
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}


#: Functions that open compressed files, by the format.
_DECOMPRESSORS: dict[str, Callable[[Path], Any]] = {"gzip": gzip.GzipFile, "bzip2": bz2.BZ2File}
#: Errors that they raise for damaged files.
_DAMAGE = (OSError, EOFError, zlib.error)


class ByteRange(NamedTuple):
    """A range of complete lines of a file.

    Attributes
    ----------
    path : Path
        The file.
    start, stop : int
        Positions in the file, in bytes; in the decompressed content of a compressed file.
    stamp : tuple of int
        Size in bytes and modification time in nanoseconds of the file when it was split.
    """

    path: Path
    start: int
    stop: int
    stamp: tuple[int, int]


def check_file(path: Path, *, allow_compressed: bool = False) -> None:
    """Raise an error if `path` is not a regular file, is empty or is compressed in a way that cannot be read."""
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a directory. Pass a list of its files: sorted(Path(...).glob('*'))."
        )
    if path.exists() and not path.is_file():
        raise OSError(
            f"{path} is not a regular file, so it cannot be read in parts. Write its content to a regular file first."
        )
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty. Pass a file with at least one row.")
    kind = _compression_of(path)
    if kind is None or (allow_compressed and kind in _DECOMPRESSORS):
        return
    readable = " and ".join(_DECOMPRESSORS) if allow_compressed else "no compressed files"
    raise ValueError(f"{path} is compressed ({kind}). Decompress it first: this reader supports {readable}.")


def _compression_of(path: Path) -> str | None:
    """Return the name of the format in which a file is compressed, or None."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((kind for magic, kind in _COMPRESSED.items() if head.startswith(magic)), None)


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
        kind = _compression_of(path)
        if kind is None:
            starts, end = _starts_of_ranges(file, n_bytes, is_row), stamp[0]
        else:
            starts, end = _starts_in_lines(_decompressed(path, kind), n_bytes, is_row)
    if not starts:
        raise ValueError(
            f"{path} has no rows, only blank lines and comments. Pass a file with at least one row."
        )
    stops = [*starts[1:], end]
    return [ByteRange(path, start, stop, stamp) for start, stop in zip(starts, stops, strict=True)]


def _starts_of_ranges(file: BinaryIO, n_bytes: int, is_row: Callable[[bytes], bool]) -> list[int]:
    """Return the starts of the ranges of an open file. Most of the file is not read."""
    starts = []
    at = _next_row(file, 0, is_row)
    while at is not None:
        starts.append(at)
        at = _next_row(file, at + n_bytes, is_row)
    return starts


def _starts_in_lines(
    lines: Iterable[bytes], n_bytes: int, is_row: Callable[[bytes], bool]
) -> tuple[list[int], int]:
    """Return the same starts for a file that can only be read from its beginning to its end, and its length."""
    starts: list[int] = []
    at = 0
    for line in lines:
        if (not starts or at >= starts[-1] + n_bytes) and is_row(line):
            starts.append(at)
        at += len(line)
    return starts, at


def _decompressed(path: Path, kind: str) -> Iterable[bytes]:
    """Yield the lines of a compressed file, or raise an OSError if it is damaged."""
    try:
        with _DECOMPRESSORS[kind](path) as file:
            yield from file
    except _DAMAGE as error:
        raise OSError(f"{path} cannot be decompressed: {error}") from error


class RangeReader:
    """Reads ranges one after the other. A compressed file stays open between two ranges.

    Closing it is up to the caller.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: Any = None

    def read(self, piece: ByteRange) -> bytes:
        """Return the lines of a range, or raise an OSError if the file has changed since it was split."""
        with piece.path.open("rb") as file:
            kind = _compression_of(piece.path)
            if kind is None:
                file.seek(piece.start)
                text = file.read(piece.stop - piece.start)
            else:
                text = self._read_compressed(piece, kind)
            stamp = _stamp(file)
        if stamp != piece.stamp or len(text) != piece.stop - piece.start:
            raise has_changed(piece, stamp[0])
        return text

    def _read_compressed(self, piece: ByteRange, kind: str) -> bytes:
        if kind not in _DECOMPRESSORS:
            return b""
        try:
            if piece.path != self._path or self._file.tell() > piece.start:
                self.close()
                self._path, self._file = piece.path, _DECOMPRESSORS[kind](piece.path)
            self._file.seek(piece.start)
            return self._file.read(piece.stop - piece.start)
        except _DAMAGE as error:
            raise OSError(f"{piece.path} cannot be decompressed: {error}") from error

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.close()
            self._path = self._file = None


def has_changed(piece: ByteRange, n_bytes: int) -> OSError:
    """Return the error for a file that has changed since it was split, and now has a number of bytes."""
    sizes = f": it had {piece.stamp[0]} bytes and now has {n_bytes}" if n_bytes != piece.stamp[0] else ""
    return OSError(
        f"{piece.path} has changed since it was split into chunks{sizes}. Create a new object when the file is "
        "complete."
    )


def read_range(piece: ByteRange) -> bytes:
    """Read the lines of a range, or raise an OSError if the file has changed since it was split."""
    reader = RangeReader()
    try:
        return reader.read(piece)
    finally:
        reader.close()


def count_lines(path: Path, stop: int) -> int:
    """Return the number of line ends before the position `stop`."""
    n_lines, block = 0, 1 << 20
    kind = _compression_of(path)
    with path.open("rb") if kind is None else _DECOMPRESSORS[kind](path) as file:
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
