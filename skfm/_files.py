"""Atomic writing of files, and opening of regular files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a temporary file, which replaces `path` atomically after it has been written to disk.

    If an error occurs, an existing file at `path` is left unchanged, and the temporary file is removed.
    """
    final = Path(path)
    if final.is_dir():
        raise IsADirectoryError(f"{final} is a folder. Pass the path of a file in it.")
    if not final.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"{final} is in a folder that does not exist. Create {str(final.absolute().parent)!r}, or pass the path "
            "of a file in an existing folder."
        )
    partial = final.with_name(final.name + ".partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(final)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], lines: Iterator[str]) -> None:
    """Write lines, including their line ends, to a file that appears only when it is complete."""
    with replacing(path) as partial, partial.open("w", encoding="ascii", newline="") as file:
        file.writelines(lines)


def open_file(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a regular file for reading in binary mode."""
    found = Path(path)
    if found.is_dir():
        raise IsADirectoryError(f"{found} is a folder. Pass the path of a file in it.")
    if found.exists() and not found.is_file():
        raise OSError(f"{found} is not a regular file. Write its content to a regular file first.")
    return found.open("rb")
