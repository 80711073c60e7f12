"""Atomic, verified download of zip archives."""

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
_TIMEOUT = 60.0  # seconds without receiving data


def _download(url, path, *, md5, n_retries, delay):
    """Download `url` to `path`, and verify the checksum `md5` unless it is None.

    The data is written to a temporary file with a unique name in the same folder, which is renamed to `path` when it
    is complete. Interruptions therefore never leave a partial file at `path`, and several processes may download at
    the same time.

    Raises
    ------
    OSError
        If the server cannot be reached after `n_retries` retries with `delay` seconds between them, or if the
        downloaded file is not a zip archive or does not have the given checksum.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        digest = _retrieve(url, part, path, n_retries, delay)
        if md5 is not None and digest != md5:
            raise OSError(
                f"The MD5 checksum of {url} is {digest} instead of {md5}, so the file was removed. Try "
                "again. If the error persists, obtain the archive from a source that you trust and save it as "
                f"{path}."
            )
        if not zipfile.is_zipfile(part):
            raise OSError(
                f"{url} did not return a zip archive, so the file was removed. Try again, check for a proxy "
                f"or login page, or download the archive manually and save it as {path}."
            )
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _retrieve(url, part, path, n_retries, delay):
    """Download `url` to the file `part`, and return its MD5 digest."""
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
                    f"archive manually and save it as {path}."
                ) from error
            warnings.warn(f"Could not download {url}: {error}. Retrying in {delay} s.", stacklevel=4)
            n_retries -= 1
            time.sleep(delay)
