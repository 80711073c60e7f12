"""Fetchers of two tables of mixed columns: census income and bicycle rentals."""

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
from skfm.datasets._movielens import _data_home
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
#: What a one stands for, in degrees Celsius less an offset, percent and km/h.
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
    """Load the census income data, also known as "adult" (classification).

    ===================  ======
    Classes                   2
    Samples, training    32,561
    Samples, test        16,281
    Columns, numeric          6
    Columns, categories       8
    ===================  ======

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that holds the data. By default the environment variable `SKFM_DATA`, or else scikit-learn's folder
        (:func:`sklearn.datasets.get_data_home`). UCI's archive ``adult.zip``, or a folder ``adult`` with its files
        (which may be compressed, ``adult.data.xz``), that is already there is used as it is.

    download_if_missing : bool, default=True
        If False, raise an OSError if the data is not there instead of downloading it.

    n_retries : int, default=3
        Number of retries when the download fails.

    delay : float, default=1.0
        Seconds between retries.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data, data_test : DataFrame of shape (32561, 14) and (16281, 14)
            The people of both parts; categories have the type "category", and are missing where UCI has a "?".
        target, target_test : Series
            Yearly income, ``"<=50K"`` or ``">50K"``, in thousands of dollars of 1994.
        feature_names : list of str
            The columns.
        DESCR : str
            Description and citation.

    Raises
    ------
    ImportError
        If pandas is not installed.
    OSError
        If the data is missing and may not or cannot be downloaded, or if a file cannot be read.

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
        # The first line of the test file is a remark.
        for name, n_skipped in (("adult.data", 0), ("adult.test", 1)):
            frame = pandas.read_csv(
                BytesIO(files.read(name)),
                names=INCOME,
                skiprows=n_skipped,
                skipinitialspace=True,
                na_values="?",
                dtype=dict.fromkeys(INCOME_NUMBERS, np.float64),
                # More fields than names would be taken for an index.
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
        DESCR="Census income: whether people of the United States earned more than 50,000 dollars a year, from the "
        "census of 1994. B. Becker and R. Kohavi (1996). Adult. UCI Machine Learning Repository. "
        "https://doi.org/10.24432/C5XW20",
    )


@validate_params(PARAMETERS, prefer_skip_nested_validation=True)
def fetch_bike_sharing(*, data_home=None, download_if_missing=True, n_retries=3, delay=1.0):
    """Load the hourly bicycle rentals of Washington, D.C., in 2011 and 2012 (regression, counts).

    ===================  ========
    Samples                17,379
    Columns, numeric            4
    Columns, categories         8
    Target               1 to 977
    ===================  ========

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that holds the data. By default the environment variable `SKFM_DATA`, or else scikit-learn's folder
        (:func:`sklearn.datasets.get_data_home`). UCI's archive ``bike-sharing.zip``, or a folder ``bike-sharing`` with
        its file ``hour.csv`` (which may be compressed, ``hour.csv.xz``), that is already there is used as it is.

    download_if_missing : bool, default=True
        If False, raise an OSError if the data is not there instead of downloading it.

    n_retries : int, default=3
        Number of retries when the download fails.

    delay : float, default=1.0
        Seconds between retries.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : DataFrame of shape (17379, 12)
            Season, year, month, hour, holiday, weekday (0 is Sunday), workingday and weather as categories;
            temperature and how it feels in degrees Celsius, humidity in percent and windspeed in km/h as numbers.
        target : Series of shape (17379,)
            Bicycles rented in the hour.
        date : Series of shape (17379,)
            The days.
        feature_names : list of str
            The columns.
        DESCR : str
            Description and citation.

    Raises
    ------
    ImportError
        If pandas is not installed.
    OSError
        If the data is missing and may not or cannot be downloaded, or if a file cannot be read.

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
        DESCR="Bicycles of Capital Bikeshare rented each hour of 2011 and 2012 in Washington, D.C. H. Fanaee-T and J. "
        "Gama (2014). Event labeling combining ensemble detectors and background knowledge. Progress in Artificial "
        "Intelligence 2. https://doi.org/10.24432/C5W894",
    )


def _fetch(name, number, read, data_home, download_if_missing, n_retries, delay):
    """Return what `read` makes of the files of a data set, which is downloaded if it has to be."""
    home = _data_home(data_home)
    archive = home / f"{name}.zip"
    url = f"{UCI}/{number}/{name.replace('-', '+') + '+dataset' * (name != 'adult')}.zip"
    function = f"fetch_{name.replace('-', '_')}"
    path = next((p for p in (archive, home / name) if p.is_file() or (p.is_dir() and any(p.iterdir()))), None)
    if path is None:
        if not download_if_missing:
            raise OSError(
                f"{name} is not in {home} and download_if_missing=False. Pass download_if_missing=True, or download "
                f"{url} and put it there as {archive.name}, or set data_home or the environment variable SKFM_DATA to "
                "the folder that holds it."
            )
        path = archive
        # UCI publishes no checksums.
        _download(url, path, md5=None, n_retries=n_retries, delay=delay)
    try:
        with _Files(path) as files:
            return read(files)
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise OSError(
            f"{path} cannot be read as the data of {function}: {error}. Remove it and call {function} again to "
            f"download it, or replace it with {url}."
        ) from error


def _import_pandas(function):
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"{function} returns pandas DataFrames. Install it with: pip install pandas"
        ) from error
    return pandas
