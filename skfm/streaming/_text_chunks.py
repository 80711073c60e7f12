"""The base class of chunks of text files, independent of the format of their lines."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ._byte_ranges import ByteRange, check_file, split_file
from ._checks import check_float_type, check_integer
from ._chunks import Chunks


class TextChunks(Chunks):
    """Chunks of text files with one row per line, which are split into byte ranges.

    Parameters
    ----------
    path : str, path-like or list of these
        Paths of plain text files.
    n_features : int or None
        Number of columns. If None, `_scan_files` infers it.
    chunk_bytes : int
        Minimum size of a chunk in bytes.
    dtype : dtype
        Data type of `X`.
    classes : array-like or None
        All class labels.
    """

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
            check_file(each)
        check_integer("chunk_bytes", chunk_bytes, at_least=1)
        super().__init__(paths, n_features=n_features, classes=classes)
        self.chunk_bytes = int(chunk_bytes)
        self.dtype = check_float_type(dtype)
        self._ranges: list[ByteRange] | None = None

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

    @staticmethod
    @abstractmethod
    def is_row(line: bytes) -> bool:
        """Return whether a line is a row of data."""

    @abstractmethod
    def _scan_files(self) -> None:
        """Read the files to infer the parameters that were not given."""
