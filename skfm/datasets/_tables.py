"""Fetchers of two tables with numeric and categorical columns: census income and bicycle rentals."""

import lzma
import zipfile
import zlib
from io import BytesIO
from numbers import Integral, Real
from os import PathLike

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, validate_params

from skfm.datasets._download import _download
from skfm.datasets._movielens import _data_home, _import_pandas
from skfm.datasets._releases import _Files

UCI = "https://archive.ics.uci.edu/static/public"
PARAMETERS = {
    "data_home": [str, PathLike, None],
    "download_if_missing": ["boolean"],
    "n_retries": [Interval(Integral, 0, None, closed="left")],
    "delay": [Interval(Real, 0, None, closed="left")],
}
INCOME = [
    *("age", "workclass", "final_weight", "education", "education_years", "marital_status", "occupation"),
    *("relationship", "race", "sex", "capital_gain", "capital_loss", "hours_per_week", "country", "income"),
]
INCOME_NUMBERS = ["age", "final_weight", "education_years", "capital_gain", "capital_loss", "hours_per_week"]
BIKES = {
    "season": "season",
    "yr": "year",
    "mnth": "month",
    "hr": "hour",
    "holiday": "holiday",
    "weekday": "weekday",
    "workingday": "workingday",
    "weathersit": "weather",
    "temp": "temperature",
    "atemp": "feeling_temperature",
    "hum": "humidity",
    "windspeed": "windspeed",
}
BIKE_CATEGORIES = [*BIKES.values()][:8]
#: Scale and offset that convert the normalized columns to degrees Celsius, percent and km/h.
BIKE_UNITS = {
    "temperature": (47, -8),
    "feeling_temperature": (66, -16),
    "humidity": (100, 0),
    "windspeed": (67, 0),
}
SEASONS = {1: "winter", 2: "spring", 3: "summer", 4: "fall"}
WEATHER = {1: "clear", 2: "mist", 3: "light rain", 4: "heavy rain"}


@validate_params(PARAMETERS, prefer_skip_nested_validation=True)
def fetch_adult(*, data_home=None, download_if_missing=True, n_retries=3, delay=1.0):
    """Load the census income dataset, also known as "Adult" (classification).

    ====================  ======
    Classes                    2
    Samples, training     32,561
    Samples, test         16,281
    Columns, numeric           6
    Columns, categorical       8
    ====================  ======

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the data. By default, it is the value of the environment variable `SKFM_DATA`, or else the folder of
        scikit-learn (:func:`sklearn.datasets.get_data_home`). If it already contains the archive ``adult.zip`` of the
        UCI repository, or a folder ``adult`` with its files, nothing is downloaded. Extracted files may be compressed
        with xz, for example ``adult.data.xz``.

    download_if_missing : bool, default=True
        If False, raise an OSError if the data is not locally available, instead of downloading it.

    n_retries : int, default=3
        Number of retries when HTTP errors are encountered.

    delay : float, default=1.0
        Number of seconds between retries.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data, data_test : DataFrame of shape (32561, 14) and (16281, 14)
            The training and the test samples. Categorical columns have the dtype "category"; the entries "?" of the
            original files are missing values.
        target, target_test : Series of shape (32561,) and (16281,)
            Yearly income: ``"<=50K"`` or ``">50K"``, in US dollars.
        feature_names : list of str
            The names of the columns.
        DESCR : str
            Description and citation.

    Raises
    ------
    ImportError
        If pandas is not installed.
    OSError
        If the data is not locally available and cannot be downloaded or `download_if_missing` is False, or if a file
        cannot be parsed.

    References
    ----------
    B. Becker and R. Kohavi (1996). Adult. UCI Machine Learning Repository. https://doi.org/10.24432/C5XW20

    Examples
    --------
    >>> from skfm.datasets import fetch_adult
    >>> fetch_adult().data.shape  # doctest: +SKIP
    (32561, 14)
    """
    pandas = _import_pandas("fetch_adult")

    def read(files):
        parts = []
        # The first line of the test file is a comment.
        for name, n_skipped in (("adult.data", 0), ("adult.test", 1)):
            frame = pandas.read_csv(
                BytesIO(files.read(name)),
                names=INCOME,
                skiprows=n_skipped,
                skipinitialspace=True,
                na_values="?",
                dtype=dict.fromkeys(INCOME_NUMBERS, np.float64),
                # Otherwise pandas would use the first field of longer lines as an index.
                index_col=False,
            )
            income = frame.pop("income").str.rstrip(".")
            if not income.isin(["<=50K", ">50K"]).all():
                line = int(np.argmin(income.isin(["<=50K", ">50K"]))) + n_skipped + 1
                raise ValueError(f"line {line} of {name!r} does not end with an income")
            parts.append((frame, income))
        both = pandas.concat([frame for frame, _ in parts])
        for column in both.columns.drop(INCOME_NUMBERS):
            kind = pandas.CategoricalDtype(sorted(both[column].dropna().unique()))
            for frame, _ in parts:
                frame[column] = frame[column].astype(kind)
        return parts

    train, test = _fetch("adult", 2, read, data_home, download_if_missing, n_retries, delay)
    return Bunch(
        data=train[0],
        target=train[1],
        data_test=test[0],
        target_test=test[1],
        feature_names=INCOME[:-1],
        DESCR="Census income: whether persons in the United States earned more than 50,000 dollars per year, from the "
        "census of 1994. B. Becker and R. Kohavi (1996). Adult. UCI Machine Learning Repository. "
        "https://doi.org/10.24432/C5XW20",
    )


@validate_params(PARAMETERS, prefer_skip_nested_validation=True)
def fetch_bike_sharing(*, data_home=None, download_if_missing=True, n_retries=3, delay=1.0):
    """Load the hourly bicycle rentals in Washington, D.C., of 2011 and 2012 (regression on counts).

    ====================  ========
    Samples                 17,379
    Columns, numeric             4
    Columns, categorical         8
    Target                1 to 977
    ====================  ========

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the data. By default, it is the value of the environment variable `SKFM_DATA`, or else the folder of
        scikit-learn (:func:`sklearn.datasets.get_data_home`). If it already contains the archive ``bike-sharing.zip``
        of the UCI repository, or a folder ``bike-sharing`` with its file ``hour.csv``, nothing is downloaded. The
        extracted file may be compressed with xz, as ``hour.csv.xz``.

    download_if_missing : bool, default=True
        If False, raise an OSError if the data is not locally available, instead of downloading it.

    n_retries : int, default=3
        Number of retries when HTTP errors are encountered.

    delay : float, default=1.0
        Number of seconds between retries.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : DataFrame of shape (17379, 12)
            The categorical columns season, year, month, hour, holiday, weekday (0 is Sunday), workingday and weather,
            and the numeric columns temperature and feeling_temperature in degrees Celsius, humidity in percent and
            windspeed in km/h.
        target : Series of shape (17379,)
            Number of bicycles rented in the hour.
        date : Series of shape (17379,)
            Date of each sample.
        feature_names : list of str
            The names of the columns.
        DESCR : str
            Description and citation.

    Raises
    ------
    ImportError
        If pandas is not installed.
    OSError
        If the data is not locally available and cannot be downloaded or `download_if_missing` is False, or if a file
        cannot be parsed.

    References
    ----------
    H. Fanaee-T and J. Gama (2014). Event labeling combining ensemble detectors and background knowledge. Progress in
    Artificial Intelligence 2. https://doi.org/10.24432/C5W894

    Examples
    --------
    >>> from skfm.datasets import fetch_bike_sharing
    >>> fetch_bike_sharing().data.shape  # doctest: +SKIP
    (17379, 12)
    """
    pandas = _import_pandas("fetch_bike_sharing")

    def read(files):
        table = pandas.read_csv(BytesIO(files.read("hour.csv")), parse_dates=["dteday"])
        missing = [name for name in (*BIKES, "cnt") if name not in table]
        if missing:
            raise ValueError(f"'hour.csv' has no column {missing[0]!r}")
        return table

    table = _fetch("bike-sharing", 275, read, data_home, download_if_missing, n_retries, delay)
    data = table[[*BIKES]].rename(columns=BIKES)
    data["season"], data["weather"] = data["season"].map(SEASONS), data["weather"].map(WEATHER)
    data["year"] += 2011
    for name in ("holiday", "workingday"):
        data[name] = data[name].astype(bool)
    data = data.astype(dict.fromkeys(BIKE_CATEGORIES, "category"))
    for name, (scale, offset) in BIKE_UNITS.items():
        data[name] = scale * data[name].astype(float) + offset
    return Bunch(
        data=data,
        target=table["cnt"].rename("rentals"),
        date=table["dteday"].rename("date"),
        feature_names=[*BIKES.values()],
        DESCR="Number of bicycles of Capital Bikeshare in Washington, D.C., that were rented in each hour of 2011 and "
        "2012. H. Fanaee-T and J. "
        "Gama (2014). Event labeling combining ensemble detectors and background knowledge. Progress in Artificial "
        "Intelligence 2. https://doi.org/10.24432/C5W894",
    )


def _fetch(name, number, read, data_home, download_if_missing, n_retries, delay):
    """Locate or download the archive of a dataset, and return the result of applying `read` to its files.

    `name` is the name of the archive, and `number` that of the dataset in the UCI repository.
    """
    home = _data_home(data_home)
    archive = home / f"{name}.zip"
    url = f"{UCI}/{number}/{name.replace('-', '+') + '+dataset' * (name != 'adult')}.zip"
    function = f"fetch_{name.replace('-', '_')}"
    path = next((p for p in (archive, home / name) if p.is_file() or (p.is_dir() and any(p.iterdir()))), None)
    if path is None:
        if not download_if_missing:
            raise OSError(
                f"{name} is not in {home} and download_if_missing=False. Pass download_if_missing=True, or download "
                f"{url} and save it there as {archive.name}, or set data_home or the environment variable SKFM_DATA to "
                "the folder that contains it."
            )
        path = archive
        # The UCI repository does not publish checksums.
        _download(url, path, md5=None, n_retries=n_retries, delay=delay)
    try:
        with _Files(path) as files:
            return read(files)
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise OSError(
            f"{path} cannot be read as the data of {function}: {error}. Remove it and call {function} again to "
            f"download it, or replace it with {url}."
        ) from error
