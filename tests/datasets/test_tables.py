"""Census income and bicycle rentals, on tiny files in UCI's layout."""

import lzma
import zipfile

import numpy as np
import pandas as pd
import pytest

from skfm import FMClassifier, FMRegressor
from skfm.datasets import _tables, fetch_adult, fetch_bike_sharing

PEOPLE = [
    "39, State-gov, 77516, Bachelors, 13, Never-married, Clerical, Unmarried, White, Male, 2174, 0, 40, Cuba, <=50K",
    "50, ?, 83311, Masters, 14, Divorced, ?, Husband, Black, Female, 0, 0, 13, United-States, >50K",
]
BIKES = """\
instant,dteday,season,yr,mnth,hr,holiday,weekday,workingday,weathersit,temp,atemp,hum,windspeed,casual,registered,cnt
1,2011-01-01,1,0,1,0,0,6,0,1,0.24,0.2879,0.81,0,3,13,16
2,2012-12-31,4,1,12,23,1,1,0,2,0.5,0.5,0.5,0.5,8,32,40
"""
FILES = {
    "adult": {
        "adult.data": "\n".join(PEOPLE) + "\n\n",
        "adult.test": "|1x3 Cross validator\n" + "\n".join(line + "." for line in PEOPLE[::-1]) + "\n\n",
        "adult.names": "words",
    },
    "bike-sharing": {"hour.csv": BIKES, "day.csv": "words"},
}
FETCH = {"adult": fetch_adult, "bike-sharing": fetch_bike_sharing}


def put(home, name, how):
    """Put the files of a data set somewhere."""
    if how == "archive":
        with zipfile.ZipFile(home / f"{name}.zip", "w") as archive:
            for file, text in FILES[name].items():
                archive.writestr(file, text)
        return
    folder = home / name
    folder.mkdir()
    for file, text in FILES[name].items():
        content = text.encode()
        path = folder / (file + ".xz" * (how == "compressed"))
        path.write_bytes(lzma.compress(content) if how == "compressed" else content)


@pytest.mark.parametrize("how", ["archive", "folder", "compressed"])
def test_adult(how, tmp_path):
    put(tmp_path, "adult", how)
    adult = fetch_adult(data_home=tmp_path, download_if_missing=False)
    assert adult.data.shape == adult.data_test.shape == (2, 14)
    assert adult.target.tolist() == ["<=50K", ">50K"]
    assert adult.target_test.tolist() == [">50K", "<=50K"]
    assert adult.data["workclass"].isna().tolist() == [False, True]
    numbers = adult.data.select_dtypes("number")
    assert numbers.iloc[0].tolist() == [39, 77516, 13, 2174, 0, 40]
    assert all(
        isinstance(kind, pd.CategoricalDtype) for kind in adult.data.drop(columns=numbers.columns).dtypes
    )
    # Both parts have the same categories.
    assert adult.data.dtypes.tolist() == adult.data_test.dtypes.tolist()
    assert adult.feature_names == list(adult.data.columns)
    assert FMClassifier(2, max_iter=2).fit(adult.data, adult.target).predict(adult.data_test).shape == (2,)


@pytest.mark.parametrize("how", ["archive", "folder", "compressed"])
def test_bike_sharing(how, tmp_path, monkeypatch):
    put(tmp_path, "bike-sharing", how)
    monkeypatch.setenv("SKFM_DATA", str(tmp_path))
    bikes = fetch_bike_sharing(download_if_missing=False)
    assert bikes.target.tolist() == [16, 40]
    first = bikes.data.iloc[0]
    assert first[
        ["season", "year", "month", "hour", "holiday", "weekday", "workingday", "weather"]
    ].tolist() == [*("winter", 2011, 1, 0, False, 6, False, "clear")]
    assert np.allclose(
        first[["temperature", "feeling_temperature", "humidity", "windspeed"]].astype(float),
        [3.28, 3.0014, 81, 0],
    )
    assert bikes.date.dt.day.tolist() == [1, 31]
    model = FMRegressor(2, max_iter=2).fit(bikes.data, bikes.target)
    assert set(model.fields_) == set(bikes.feature_names)


@pytest.mark.parametrize("name", FETCH)
def test_missing_data(name, tmp_path):
    with pytest.raises(OSError, match=f"{name} is not in .*SKFM_DATA"):
        FETCH[name](data_home=tmp_path, download_if_missing=False)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("adult", "https://archive.ics.uci.edu/static/public/2/adult.zip"),
        ("bike-sharing", "https://archive.ics.uci.edu/static/public/275/bike+sharing+dataset.zip"),
    ],
)
def test_download(name, address, tmp_path, monkeypatch):
    asked = []

    def download(url, path, **options):
        asked.append(url)
        put(tmp_path, name, "archive")

    monkeypatch.setattr(_tables, "_download", download)
    FETCH[name](data_home=tmp_path)
    FETCH[name](data_home=tmp_path)
    assert asked == [address]


def test_damaged_files(tmp_path):
    put(tmp_path, "adult", "folder")
    data = tmp_path / "adult" / "adult.data"
    data.write_text(data.read_text().replace("<=50K", "much"))
    with pytest.raises(OSError, match=r"line 1 of 'adult.data' does not end with an income. Remove it"):
        fetch_adult(data_home=tmp_path)
    data.write_text(data.read_text().replace("much", "<=50K").replace("77516", "many"))
    with pytest.raises(OSError, match="many"):
        fetch_adult(data_home=tmp_path)
    data.unlink()
    with pytest.raises(OSError, match=r"no file 'adult.data'"):
        fetch_adult(data_home=tmp_path)
    put(tmp_path, "bike-sharing", "folder")
    hours = tmp_path / "bike-sharing" / "hour.csv"
    hours.write_text(hours.read_text().replace("weathersit", "w"))
    with pytest.raises(OSError, match="no column 'weathersit'"):
        fetch_bike_sharing(data_home=tmp_path)
    (tmp_path / "adult.zip").write_bytes(b"PK")
    with pytest.raises(OSError, match="cannot be read as the data of fetch_adult"):
        fetch_adult(data_home=tmp_path)


@pytest.mark.needs_data("adult")
def test_the_real_adult(data_path):
    adult = fetch_adult(data_home=data_path.parent, download_if_missing=False)
    assert (len(adult.data), len(adult.data_test)) == (32561, 16281)
    assert adult.target.eq(">50K").sum() == 7841


@pytest.mark.needs_data("bike-sharing")
def test_the_real_bike_sharing(data_path):
    bikes = fetch_bike_sharing(data_home=data_path.parent, download_if_missing=False)
    assert bikes.data.shape == (17379, 12)
    assert bikes.target.sum() == 3292679
    assert bikes.data["weather"].notna().all()
