"""Atomic writing of files, and opening of regular files."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a temporary file, which replaces `path` atomically after it has been written to disk.

    The temporary file is in the same folder, and no other process uses it. If an error occurs, an existing file at
    `path` is left unchanged, and the temporary file is removed.
    """
    final = Path(path)
    if final.is_dir():
        raise IsADirectoryError(f"{final} is a folder. Pass the path of a file in it.")
    if not final.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"{final} is in a folder that does not exist. Create {str(final.absolute().parent)!r}, or pass the path "
            "of a file in an existing folder."
        )
    partial = _create_next_to(final)
    try:
        mode = stat.S_IMODE(partial.stat().st_mode)
        yield partial
        # A library may have put a file of its own in this place, which only the user can read.
        partial.chmod(mode)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(final)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _create_next_to(final: Path) -> Path:
    """Create an empty file with a new name in the folder of a file, and return its path.

    Several processes may write to the same path at the same time, so each has a temporary file of its own. It is
    opened exclusively, which neither follows a symbolic link of this name nor opens an existing file.
    """
    while True:
        # The name of a file has at most 255 bytes.
        partial = final.with_name(f"{final.name[:50]}.{secrets.token_hex(8)}.partial")
        try:
            # As for any new file, the permissions are those that the umask of the process leaves.
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        except OSError as error:
            error.filename = str(final)
            raise
        return partial


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
