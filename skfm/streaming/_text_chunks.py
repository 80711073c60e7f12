"""What chunks of text files have in common, whatever the form of their lines."""

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
    """Chunks of text files with a row a line, cut by bytes.

    Parameters
    ----------
    path : str, path-like or list of these
    n_features : int or None
        Found by `_survey` if it is None.
    chunk_bytes : int
    dtype : dtype
    classes : array-like or None
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
            raise ValueError("path is an empty list: pass one file or more.")
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
            If it was not given, the files are read when it is first asked for.
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
            The files are looked into every `chunk_bytes` when it is first asked for.
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
        """Tell rows from other lines."""

    @abstractmethod
    def _scan_files(self) -> None:
        """Read the files to find what was not given."""
