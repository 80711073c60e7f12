"""The fetcher of the MovieLens ratings, which reads a local archive or folder or downloads from GroupLens."""

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
        The release of GroupLens to load. All releases except "latest-small" are stable.

    data_home : str or path-like, default=None
        Folder of the data. By default, it is the value of the environment variable `SKFM_DATA`, or else the folder of
        scikit-learn (:func:`sklearn.datasets.get_data_home`). If `data_home` or its subfolder ``movielens`` already
        contains the archive, for example ``ml-100k.zip``, or its extracted folder, nothing is downloaded. Extracted
        files may be compressed with xz, for example ``ratings.csv.xz``.

    download_if_missing : bool, default=True
        If False, raise an OSError if the data is not locally available, instead of downloading it.

    as_frame : bool, default=False
        If True, the data is a pandas DataFrame and the target a Series, and `frame`, `users` and `movies` of the
        returned object are not None. Requires pandas.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch object.

    n_retries : int, default=3
        Number of retries when HTTP errors are encountered.

    delay : float, default=1.0
        Number of seconds between retries.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n_ratings, 2), dtype int64
            User and item identifiers of GroupLens, which start at 1. A DataFrame if `as_frame` is True.
        target : ndarray of shape (n_ratings,), dtype float64
            Ratings. A Series if `as_frame` is True.
        timestamp : ndarray of shape (n_ratings,), dtype int64
            Time of each rating in seconds since 1970-01-01 UTC. A Series if `as_frame` is True.
        frame : DataFrame of shape (n_ratings, 4) or None
            DataFrame with `data`, `target` and `timestamp`; None unless `as_frame` is True.
        users : DataFrame or None
            Attributes of the users, indexed by user: age, gender, occupation and zip_code for "100k"; gender, age and
            occupation, as the codes in the README of the release, and zip_code for "1m". Add them to the data with
            ``data.join(users, on="user")``. None for other releases, and unless `as_frame` is True.
        movies : DataFrame or None
            Attributes of the items, indexed by item: title and genres (separated by "|"), and for "100k" also
            release_date and imdb_url. None unless `as_frame` is True.
        splits : dict of str to tuple of two ndarrays
            The official splits of "100k": "u1" to "u5" (five folds), "ua" and "ub" (ten test ratings per user).
            ``train, test = splits["u1"]`` are row indices of `data`, in the order of GroupLens's files.
            ``list(splits.values())[:5]`` can be passed as `cv` to scikit-learn. Empty for other releases.
        feature_names : list of str
            ``["user", "item"]``.
        target_names : list of str
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
        If the data is not locally available and cannot be downloaded or `download_if_missing` is False; if a download
        does not have the published checksum, in which case it is removed; or if a file cannot be parsed.
    ImportError
        If `as_frame` is True and pandas is not installed.

    Notes
    -----
    The checksum published by GroupLens is verified only for archives that this function downloads. There is none for
    "latest-small", which changes over time.

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
        # Fail before the download.
        pandas = _import_pandas(
            "fetch_movielens with as_frame=True", ", or pass as_frame=False for numpy arrays"
        )
    release = RELEASES[name]
    home = _data_home(data_home)
    path = _locate(release, home)
    if path is None:
        path = home / f"{release.archive}.zip"
        if not download_if_missing:
            raise OSError(
                f"MovieLens {name!r} is not in {home} and download_if_missing=False. Pass "
                f"download_if_missing=True, or download {release.url} and save it there as {path.name}, or "
                "set data_home or the environment variable SKFM_DATA to the folder that contains it."
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


def _import_pandas(user, alternative=""):
    """Return the module pandas, or raise an ImportError that says how to install it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"{user} requires pandas. Install it with `pip install pandas`{alternative}."
        ) from error
    return pandas


def _data_home(data_home: str | PathLike | None) -> Path:
    """Return the folder of the data, and create it if it does not exist."""
    return Path(get_data_home(data_home if data_home is not None else environ.get("SKFM_DATA") or None))


def _locate(release, home):
    """Return the path of the archive or of a folder with the ratings, or None if there is neither."""
    for parent in (home, home / "movielens"):
        archive = parent / f"{release.archive}.zip"
        if archive.is_file():
            return archive
        for folder in (parent / release.archive, parent / release.folder):
            if any((folder / (release.ratings.file + suffix)).is_file() for suffix in ("", ".xz")):
                return folder
    return None
