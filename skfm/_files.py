"""Files that appear whole or not at all, and what may be read as one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the name of a file to write, which takes the place of ``path`` when it is completely on the disk.

    If anything fails, whatever was at ``path`` before is still there.
    """
    final = Path(path)
    if final.is_dir():
        raise IsADirectoryError(f"{final} is a folder. Name a file in it.")
    if not final.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"{final} is in a folder that does not exist. Make {str(final.absolute().parent)!r}, or name a file in "
            "another one."
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
    """Write lines, which bring their line ends along, in one step."""
    with replacing(path) as partial, partial.open("w", encoding="ascii", newline="") as file:
        file.writelines(lines)


def open_file(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a regular file to read bytes from."""
    found = Path(path)
    if found.is_dir():
        raise IsADirectoryError(f"{found} is a folder. Name a file in it.")
    if found.exists() and not found.is_file():
        raise OSError(f"{found} is not a regular file. Write it to one first.")
    return found.open("rb")
