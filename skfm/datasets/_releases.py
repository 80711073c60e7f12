"""Descriptions and parsers of the files of each MovieLens release."""

import csv
import lzma
import zipfile
from dataclasses import dataclass
from io import BytesIO, StringIO

import numpy as np

BASE_URL = "https://files.grouplens.org/datasets/movielens"
RATING_DTYPE = np.dtype([("user", "i8"), ("item", "i8"), ("rating", "f8"), ("timestamp", "i8")])
# fmt: off
_GENRES_100K = [
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
]
# fmt: on


@dataclass(frozen=True)
class _Table:
    """A text file with one record per line.

    `columns` holds pairs of a name and a type; columns whose type is None are skipped. `header` is the number of lines
    to skip.
    """

    file: str
    separator: str
    columns: tuple = ()
    header: int = 0


@dataclass(frozen=True)
class _Release:
    """A release of GroupLens: its archive, checksum and files."""

    archive: str
    folder: str
    md5: str | None
    encoding: str
    ratings: _Table
    movies: _Table
    users: _Table | None = None
    splits: tuple = ()

    @property
    def url(self):
        return f"{BASE_URL}/{self.archive}.zip"


_MOVIE = (("item", int), ("title", str), ("genres", str))
RELEASES = {
    "100k": _Release(
        archive="ml-100k",
        folder="ml-100k",
        md5="0e33842e24a9c977be4e0107933c0723",
        encoding="latin-1",
        ratings=_Table("u.data", "\t"),
        users=_Table(
            "u.user",
            "|",
            (("user", int), ("age", int), ("gender", str), ("occupation", str), ("zip_code", str)),
        ),
        movies=_Table(
            "u.item",
            "|",
            (
                ("item", int),
                ("title", str),
                ("release_date", str),
                ("video_release_date", None),
                ("imdb_url", str),
                *((genre, int) for genre in _GENRES_100K),
            ),
        ),
        splits=("u1", "u2", "u3", "u4", "u5", "ua", "ub"),
    ),
    "1m": _Release(
        archive="ml-1m",
        folder="ml-1m",
        md5="c4d9eecfca2ab87c1945afe126590906",
        encoding="latin-1",
        ratings=_Table("ratings.dat", "::"),
        users=_Table(
            "users.dat",
            "::",
            (("user", int), ("gender", str), ("age", int), ("occupation", int), ("zip_code", str)),
        ),
        movies=_Table("movies.dat", "::", _MOVIE),
    ),
    "10m": _Release(
        archive="ml-10m",
        folder="ml-10M100K",
        md5="ce571fd55effeba0271552578f2648bd",
        encoding="utf-8",
        ratings=_Table("ratings.dat", "::"),
        movies=_Table("movies.dat", "::", _MOVIE),
    ),
    "latest-small": _Release(
        archive="ml-latest-small",
        folder="ml-latest-small",
        md5=None,  # GroupLens regenerates this release from time to time
        encoding="utf-8",
        ratings=_Table("ratings.csv", ",", header=1),
        movies=_Table("movies.csv", ",", _MOVIE, header=1),
    ),
}


class _Files:
    """Access to the files of a dataset in a zip archive or in a folder, where they may be compressed with xz."""

    def __init__(self, path):
        self.path = path
        self.archive = None if path.is_dir() else zipfile.ZipFile(path)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        if self.archive is not None:
            self.archive.close()

    def read(self, file):
        """Return the content of `file` as bytes, or raise a KeyError if there is no such file."""
        if self.archive is not None:
            for member in self.archive.namelist():
                if member.rpartition("/")[2] == file:
                    return self.archive.read(member)
        elif (self.path / file).is_file():
            return (self.path / file).read_bytes()
        elif (self.path / f"{file}.xz").is_file():
            return lzma.decompress((self.path / f"{file}.xz").read_bytes())
        raise KeyError(f"there is no file {file!r} in it")


def _read_ratings(content, table):
    """Return a structured array of shape (n_ratings,) with the fields user, item, rating and timestamp."""
    body = content.split(b"\n", table.header)[-1]
    if not body.strip():  # numpy.loadtxt would only warn
        raise ValueError(f"{table.file!r} has no ratings")
    lines = BytesIO(body.replace(table.separator.encode(), b"\t"))
    return np.loadtxt(lines, dtype=RATING_DTYPE, delimiter="\t", comments=None, ndmin=1)


def _read_split(files, split, table, ratings):
    """Return the row indices in `ratings` of the training and the test file of a split: two int64 arrays."""
    n_items = ratings["item"].max() + 1
    key = ratings["user"] * n_items + ratings["item"]
    order = np.argsort(key)
    rows = []
    for part in ("base", "test"):
        records = _read_ratings(files.read(f"{split}.{part}"), table)
        wanted = records["user"] * n_items + records["item"]
        found = order[np.searchsorted(key, wanted, sorter=order).clip(max=len(key) - 1)]
        if not np.array_equal(ratings[found], records):
            raise ValueError(f"'{split}.{part}' has ratings that {table.file!r} does not have")
        rows.append(found)
    return tuple(rows)


def _read_table(files, table, encoding, pandas):
    """Return a table of side information as a DataFrame, indexed by its first column."""
    lines = files.read(table.file).decode(encoding).replace("\r\n", "\n").split("\n")
    lines = [line for line in lines[table.header :] if line]
    if (
        table.separator == ","
    ):  # only csv files use quoting; in other files quotation marks are part of a title
        rows = list(csv.reader(StringIO("\n".join(lines))))
    else:
        rows = [line.split(table.separator) for line in lines]
    for number, row in enumerate(rows, start=table.header + 1):
        if len(row) != len(table.columns):
            raise ValueError(
                f"line {number} of {table.file!r} has {len(row)} columns instead of {len(table.columns)}"
            )
    columns = dict(zip(table.columns, zip(*rows, strict=True), strict=True))
    frame = pandas.DataFrame(
        {name: list(map(cast, values)) for (name, cast), values in columns.items() if cast}
    )
    return _join_genres(frame.set_index(table.columns[0][0]))


def _join_genres(frame):
    """Convert the genre indicator columns of "100k" to the format of the other releases: "Comedy|Drama"."""
    if _GENRES_100K[0] not in frame:
        return frame
    genres = np.array(_GENRES_100K, dtype=object)
    joined = ["|".join(genres[row]) for row in frame[_GENRES_100K].to_numpy(dtype=bool)]
    return frame.drop(columns=_GENRES_100K).assign(genres=joined)
