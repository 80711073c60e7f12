"""The base class of chunks of text files, independent of the format of their lines."""

from __future__ import annotations

import os
import zlib
from abc import abstractmethod
from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

from ._byte_ranges import ByteRange, RangeReader, check_file, has_changed, split_file
from ._checks import check_float_type, check_integer
from ._chunks import Chunks


class TextChunks(Chunks):
    """Chunks of text files with one row per line, which are split into byte ranges.

    Parameters
    ----------
    path : str, path-like or list of these
        Paths of text files.
    n_features : int or None
        Number of columns. If None, `_scan_files` infers it.
    chunk_bytes : int
        Minimum size of a chunk in bytes.
    dtype : dtype
        Data type of `X`.
    classes : array-like or None
        All class labels.
    """

    #: Whether files may be compressed.
    reads_compressed: ClassVar[bool] = False

    def __init__(
        self,
        path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        n_features: int | None,
        chunk_bytes: int,
        dtype: Any,
        classes: Any,
    ) -> None:
        paths = [Path(p) for p in ([path] if isinstance(path, str | os.PathLike) else path)]
        if not paths:
            raise ValueError("path is an empty list. Pass at least one file.")
        for each in paths:
            check_file(each, allow_compressed=self.reads_compressed)
        check_integer("chunk_bytes", chunk_bytes, at_least=1)
        super().__init__(paths, n_features=n_features, classes=classes)
        self.chunk_bytes = int(chunk_bytes)
        self.dtype = check_float_type(dtype)
        self._ranges: list[ByteRange] | None = None
        #: The checksums of the ranges that have been read, by their numbers.
        self._checksums: dict[int, int] = {}

    @property
    def n_features(self) -> int:
        """Number of columns.

        Returns
        -------
        n_features : int
            The number. If it was not given, the first access reads the files.
        """
        if self._n_features is None:
            self._scan_files()
        return self._n_features  # type: ignore[return-value]

    @property
    def n_chunks(self) -> int:
        """Number of chunks.

        Returns
        -------
        n_chunks : int
            The number. The first access looks for the end of a row every `chunk_bytes` bytes.
        """
        return len(self._byte_ranges())

    def _byte_ranges(self) -> list[ByteRange]:
        if self._ranges is None:
            self._ranges = [
                piece for path in self.source for piece in split_file(path, self.chunk_bytes, self.is_row)
            ]
        return self._ranges

    def _texts(self, start: int = 0) -> Generator[tuple[ByteRange, bytes], None, None]:
        """Yield each range from a number on with its text, or raise an OSError if it is not that of an earlier pass."""
        with closing(RangeReader()) as reader:
            for number, piece in enumerate(self._byte_ranges()[start:], start):
                text = [reader.read(piece)]
                checksum = zlib.crc32(text[0])
                # A file can be written again with the same size and time.
                if self._checksums.setdefault(number, checksum) != checksum:
                    raise has_changed(piece, piece.stamp[0])
                # The text is not kept here while it is in use.
                yield piece, text.pop()

    @staticmethod
    @abstractmethod
    def is_row(line: bytes) -> bool:
        """Return whether a line is a row of data."""

    @abstractmethod
    def _scan_files(self) -> None:
        """Read the files to infer the parameters that were not given."""
