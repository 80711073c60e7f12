"""Download of a zip archive: complete and verified, or not there at all."""

import hashlib
import os
import time
import uuid
import warnings
import zipfile
from http.client import HTTPException
from urllib.error import URLError
from urllib.request import urlopen

_CHUNK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte


def _download(url, path, *, md5, n_retries, delay):
    """Download `url` to `path`, checked against `md5` unless that is None.

    The data goes to a file of its own beside `path`, which takes its name at the end. So `path` is never
    half a file, whatever interrupts, and two processes may download at the same time.

    Raises
    ------
    OSError
        If the server cannot be reached after `n_retries` retries, `delay` seconds apart, or if what came
        is not a zip archive with that checksum.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        digest = _retrieve(url, part, path, n_retries, delay)
        if md5 is not None and digest != md5:
            raise OSError(
                f"The MD5 checksum of {url} is {digest} instead of {md5}, so the file was removed. Try "
                "again; if that does not help, get the archive from a source that you trust and put it at "
                f"{path}."
            )
        if not zipfile.is_zipfile(part):
            raise OSError(
                f"{url} did not return a zip archive, so the file was removed. Try again, check for a proxy "
                f"or login page in between, or download the archive by hand and put it at {path}."
            )
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _retrieve(url, part, path, n_retries, delay):
    """Write `url` to `part`; return the MD5 digest."""
    while True:
        try:
            digest = hashlib.md5(usedforsecurity=False)
            with urlopen(url, timeout=_TIMEOUT) as response, open(part, "wb") as file:
                while chunk := response.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            return digest.hexdigest()
        except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
            if n_retries == 0:
                raise OSError(
                    f"Could not download {url}: {error}. Check the connection and try again, or download the "
                    f"archive by hand and put it at {path}."
                ) from error
            warnings.warn(f"Could not download {url}: {error}. Trying again.", stacklevel=4)
            n_retries -= 1
            time.sleep(delay)
