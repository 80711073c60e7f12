"""Fetcher of the MovieLens ratings, from an archive or folder already there or from GroupLens."""

import lzma
import zipfile
import zlib
from numbers import Integral, Real
from os import PathLike, environ
from pathlib import Path

import numpy as np
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from skfm.datasets._download import _download
from skfm.datasets._releases import RELEASES, _Files, _read_ratings, _read_split, _read_table

FEATURE_NAMES = ["user", "item"]
TARGET_NAMES = ["rating"]

_DESCR = """MovieLens {name}: {n_ratings} ratings of {n_items} movies by {n_users} users of the MovieLens web
site, collected by the GroupLens research group of the University of Minnesota:
https://grouplens.org/datasets/movielens/

The data may be used for research and may not be redistributed; the README in the archive has the terms. Cite:

F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context.
ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. https://doi.org/10.1145/2827872
"""


@validate_params(
    {
        "name": [StrOptions(set(RELEASES))],
        "data_home": [str, PathLike, None],
        "download_if_missing": ["boolean"],
        "as_frame": ["boolean"],
        "return_X_y": ["boolean"],
        "n_retries": [Interval(Integral, 0, None, closed="left")],
        "delay": [Interval(Real, 0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def fetch_movielens(
    name="100k",
    *,
    data_home=None,
    download_if_missing=True,
    as_frame=False,
    return_X_y=False,
    n_retries=3,
    delay=1.0,
):
    """Load MovieLens ratings (regression on user and item).

    ==============  ==========  =======  ======  =============
    name               ratings    users   items  values
    ==============  ==========  =======  ======  =============
    "100k"             100,000      943   1,682  1, 2, ..., 5
    "1m"             1,000,209    6,040   3,706  1, 2, ..., 5
    "10m"           10,000,054   69,878  10,677  0.5, 1, ... 5
    "latest-small"     100,836      610   9,724  0.5, 1, ... 5
    ==============  ==========  =======  ======  =============

    Parameters
    ----------
    name : {"100k", "1m", "10m", "latest-small"}, default="100k"
        Which of GroupLens's releases to load. All but "latest-small" are stable.

    data_home : str or path-like, default=None
        Folder that holds the data. By default the environment variable `SKFM_DATA`, or else
        scikit-learn's folder (:func:`sklearn.datasets.get_data_home`). An archive such as
        ``ml-100k.zip`` or its extracted folder that is already in `data_home`, or in its subfolder
        ``movielens``, is used as it is; a csv file may be compressed (``ratings.csv.xz``).

    download_if_missing : bool, default=True
        If False, raise an OSError if the data is not there instead of downloading it.

    as_frame : bool, default=False
        If True, the data is a pandas DataFrame, the target a Series, and `frame`, `users` and `movies`
        are filled in. Requires pandas.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    n_retries : int, default=3
        Number of retries when the download fails.

    delay : float, default=1.0
        Seconds between retries.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n_ratings, 2), dtype int64
            User and item identifiers, numbered by GroupLens from 1. If `as_frame` is True, a DataFrame.
        target : ndarray of shape (n_ratings,), dtype float64
            Ratings. If `as_frame` is True, a Series.
        timestamp : ndarray of shape (n_ratings,), dtype int64
            Time of each rating in seconds since 1970 (UTC). If `as_frame` is True, a Series.
        frame : DataFrame of shape (n_ratings, 4) or None
            `data`, `target` and `timestamp`; None unless `as_frame` is True.
        users : DataFrame or None
            What is known of the users ("100k": age, gender, occupation, zip_code; "1m": gender, age and
            occupation as the codes of its README, zip_code; others: None), indexed by user, so that
            ``data.join(users, on="user")`` adds it. None unless `as_frame` is True.
        movies : DataFrame or None
            Title and genres (separated by "|") of the items, for "100k" release_date and imdb_url too,
            indexed by item. None unless `as_frame` is True.
        splits : dict of str to tuple of two ndarrays
            For "100k" the official splits "u1" to "u5" (five folds), "ua" and "ub" (ten test ratings a
            user): ``train, test = splits["u1"]`` are row numbers that put `data` in the order of GroupLens's
            files. ``list(splits.values())[:5]`` is a `cv` for scikit-learn. Empty for other releases.
        feature_names : list
            ``["user", "item"]``.
        target_names : list
            ``["rating"]``.
        DESCR : str
            Description, terms of use and citation.

    (data, target) : tuple if `return_X_y` is True
        The two objects described above.

    Raises
    ------
    ValueError
        If `name` is unknown.
    OSError
        If the data is missing and may not or cannot be downloaded, if a download does not have the
        published checksum (the file is then removed), or if a file cannot be read as MovieLens data.
    ImportError
        If `as_frame` is True and pandas is not installed.

    Notes
    -----
    Only what this function downloads is compared with GroupLens's checksum; there is none for
    "latest-small", which changes.

    References
    ----------
    F. Maxwell Harper and Joseph A. Konstan (2015). The MovieLens Datasets: History and Context. ACM
    Transactions on Interactive Intelligent Systems 5, 4, Article 19. https://doi.org/10.1145/2827872

    Examples
    --------
    >>> from skfm.datasets import fetch_movielens
    >>> movielens = fetch_movielens("100k")  # doctest: +SKIP
    >>> movielens.data.shape  # doctest: +SKIP
    (100000, 2)
    >>> train, test = movielens.splits["u1"]  # doctest: +SKIP
    >>> len(train), len(test)  # doctest: +SKIP
    (80000, 20000)
    """
    if name not in RELEASES:
        raise ValueError(
            f"Unknown MovieLens release {name!r}. Choose one of {', '.join(map(repr, RELEASES))}."
        )
    if as_frame:
        pandas = _import_pandas()  # before a download that would be in vain
    release = RELEASES[name]
    home = _data_home(data_home)
    path = _locate(release, home)
    if path is None:
        path = home / f"{release.archive}.zip"
        if not download_if_missing:
            raise OSError(
                f"MovieLens {name!r} is not in {home} and download_if_missing=False. Pass "
                f"download_if_missing=True, or download {release.url} and put it there as {path.name}, or "
                "set data_home or the environment variable SKFM_DATA to the folder that holds it."
            )
        _download(release.url, path, md5=release.md5, n_retries=n_retries, delay=delay)

    try:
        with _Files(path) as files:
            ratings = _read_ratings(files.read(release.ratings.file), release.ratings)
            splits, users, movies = {}, None, None
            if not return_X_y:
                splits = {
                    split: _read_split(files, split, release.ratings, ratings) for split in release.splits
                }
                if as_frame:
                    users = release.users and _read_table(files, release.users, release.encoding, pandas)
                    movies = _read_table(files, release.movies, release.encoding, pandas)
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise OSError(
            f"{path} cannot be read as MovieLens {name!r}: {error}. Remove it and call fetch_movielens again "
            f"to download it, or replace it with {release.url}."
        ) from error

    data = np.column_stack([ratings["user"], ratings["item"]])
    target, timestamp, frame = ratings["rating"].copy(), ratings["timestamp"].copy(), None
    if as_frame:
        frame = pandas.DataFrame(
            {column: ratings[column] for column in (*FEATURE_NAMES, *TARGET_NAMES, "timestamp")}
        )
        data, target, timestamp = frame[FEATURE_NAMES], frame["rating"], frame["timestamp"]
    if return_X_y:
        return data, target
    n_users, n_items = (len(np.unique(ratings[column])) for column in FEATURE_NAMES)
    return Bunch(
        data=data,
        target=target,
        timestamp=timestamp,
        frame=frame,
        users=users,
        movies=movies,
        splits=splits,
        feature_names=list(FEATURE_NAMES),
        target_names=list(TARGET_NAMES),
        DESCR=_DESCR.format(name=name, n_ratings=len(ratings), n_users=n_users, n_items=n_items),
    )


def _import_pandas():
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "fetch_movielens with as_frame=True requires pandas. Install it with `pip install pandas`, "
            "or pass as_frame=False for numpy arrays."
        ) from error
    return pandas


def _data_home(data_home: str | PathLike | None) -> Path:
    return Path(get_data_home(data_home if data_home is not None else environ.get("SKFM_DATA") or None))


def _locate(release, home):
    """Path of the archive or of a folder that holds the ratings, or None."""
    for parent in (home, home / "movielens"):
        archive = parent / f"{release.archive}.zip"
        if archive.is_file():
            return archive
        for folder in (parent / release.archive, parent / release.folder):
            if any((folder / (release.ratings.file + suffix)).is_file() for suffix in ("", ".xz")):
                return folder
    return None
