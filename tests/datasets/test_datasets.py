"""skfm.datasets: the MovieLens fetcher on tiny archives in GroupLens's layout, and the planted generator."""

import dataclasses
import hashlib
import http.client
import itertools
import lzma
import sys
import urllib.error
import zipfile

import numpy as np
import pandas
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skfm.datasets import _download, _releases, fetch_movielens, make_factorization

RATINGS = [(1, 1, 5, 874965758), (1, 3, 3, 876893171), (2, 1, 4, 888550871), (3, 2, 1, 889237269)]
TRAIN, TEST = [3, 0, 1], [2]  # not in the order of u.data, as in the official files


def lines(separator, rows):
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def content_100k():
    users = [
        (1, 24, "M", "technician", "85711"),
        (2, 53, "F", "other", "T8H1N"),
        (3, 23, "M", "writer", "32067"),
    ]
    genres = [[0, 0, 0, 1, 1, 1], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    movies = [
        (item, f"Émile {item} (1995)", "01-Jan-1995", "", f"http://imdb/{item}", *genres[item - 1], *[0] * 13)
        for item in (1, 2, 3)
    ]
    files = {"u.data": lines("\t", RATINGS), "u.user": lines("|", users), "u.item": lines("|", movies)}
    for split in ("u1", "u2", "u3", "u4", "u5", "ua", "ub"):
        files[f"{split}.base"] = lines("\t", [RATINGS[row] for row in TRAIN])
        files[f"{split}.test"] = lines("\t", [RATINGS[row] for row in TEST])
    return {name: text.encode("latin-1") for name, text in files.items()}


def content_1m():
    return {
        "README": b"terms",
        "ratings.dat": lines("::", RATINGS).encode(),
        "users.dat": b"1::F::1::10::48067\n2::M::56::16::70072\n3::M::25::15::55117-1234\n",
        "movies.dat": '1::"Émile": the movie (1995)::Animation|Comedy\n3::Heat (1995)::Action\n'.encode(
            "latin-1"
        ),
    }


def content_10m():
    half_stars = [(user, item, rating - 0.5, time) for user, item, rating, time in RATINGS]
    return {
        "ratings.dat": lines("::", half_stars).encode(),
        "movies.dat": "1::Émile (1995)::Comedy\n".encode(),
        "tags.dat": b"1::1::fun::1215184630\n",
    }


def content_latest_small():
    half_stars = [(user, item, rating - 0.5, time) for user, item, rating, time in RATINGS]
    return {
        "ratings.csv": ("userId,movieId,rating,timestamp\n" + lines(",", half_stars)).encode(),
        "movies.csv": 'movieId,title,genres\r\n1,"Émile, or ""Education"" (1995)",Comedy|Drama\r\n'.encode(),
    }


CONTENTS = {
    "100k": ("ml-100k", "ml-100k", content_100k),
    "1m": ("ml-1m", "ml-1m", content_1m),
    "10m": ("ml-10m", "ml-10M100K", content_10m),
    "latest-small": ("ml-latest-small", "ml-latest-small", content_latest_small),
}


def put(home, name, as_archive=True, drop=(), **replaced):
    """Write release `name` below `home` in GroupLens's layout; return the path of the archive or folder."""
    archive, folder, content = CONTENTS[name]
    files = {file: data for file, data in (content() | replaced).items() if file not in drop}
    home.mkdir(parents=True, exist_ok=True)
    if as_archive:
        with zipfile.ZipFile(home / f"{archive}.zip", "w", zipfile.ZIP_DEFLATED) as target:
            for file, data in files.items():
                target.writestr(f"{folder}/{file}", data)
        return home / f"{archive}.zip"
    (home / folder).mkdir()
    for file, data in files.items():
        (home / folder / file).write_bytes(data)
    return home / folder


def load(home, name="100k", **kwargs):
    return fetch_movielens(name, data_home=home, download_if_missing=False, **kwargs)


# ---------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("as_archive", [True, False])
@pytest.mark.parametrize("name", CONTENTS)
def test_ratings_of_every_release(tmp_path, name, as_archive):
    put(tmp_path, name, as_archive)
    movielens = load(tmp_path, name)
    shift = 0.5 if name in ("10m", "latest-small") else 0
    expected = np.array(RATINGS)
    assert_array_equal(movielens.data, expected[:, :2])
    assert_array_equal(movielens.target, expected[:, 2] - shift)
    assert_array_equal(movielens.timestamp, expected[:, 3])
    assert (movielens.data.dtype, movielens.target.dtype, movielens.timestamp.dtype) == ("i8", "f8", "i8")
    assert (movielens.feature_names, movielens.target_names) == (["user", "item"], ["rating"])
    assert movielens.frame is movielens.users is movielens.movies is None
    assert f"MovieLens {name}: 4 ratings of 3 movies by 3 users" in movielens.DESCR

    X, y = load(tmp_path, name, return_X_y=True)
    assert_array_equal(X, movielens.data)
    assert_array_equal(y, movielens.target)


@pytest.mark.parametrize("name", CONTENTS)
def test_frames_of_every_release(tmp_path, name):
    put(tmp_path, name)
    arrays, frames = load(tmp_path, name), load(tmp_path, name, as_frame=True)
    assert list(frames.frame) == ["user", "item", "rating", "timestamp"]
    assert list(frames.data) == frames.feature_names
    for key in ("data", "target", "timestamp"):
        assert_array_equal(frames[key].to_numpy(), arrays[key])
    assert isinstance(frames.target, pandas.Series)
    assert frames.target.name == "rating"
    assert "Émile" in frames.movies.loc[1, "title"]
    assert frames.movies.index.name == "item"
    joined = frames.data.join(frames.movies, on="item")
    assert len(joined) == len(frames.data)

    X, y = load(tmp_path, name, as_frame=True, return_X_y=True)
    pandas.testing.assert_frame_equal(X, frames.data)
    pandas.testing.assert_series_equal(y, frames.target)


def test_side_information(tmp_path):
    for name in CONTENTS:
        put(tmp_path, name)
    small = load(tmp_path, "100k", as_frame=True)
    assert small.users.loc[2].to_dict() == {
        "age": 53,
        "gender": "F",
        "occupation": "other",
        "zip_code": "T8H1N",
    }
    assert small.movies.loc[1].to_dict() == {
        "title": "Émile 1 (1995)",
        "release_date": "01-Jan-1995",
        "imdb_url": "http://imdb/1",
        "genres": "Animation|Children's|Comedy",
    }
    assert small.movies.loc[[2, 3], "genres"].tolist() == ["unknown", ""]
    million = load(tmp_path, "1m", as_frame=True)
    assert million.users.loc[3].to_dict() == {
        "gender": "M",
        "age": 25,
        "occupation": 15,
        "zip_code": "55117-1234",
    }
    assert million.movies.loc[1].tolist() == ['"Émile": the movie (1995)', "Animation|Comedy"]
    assert load(tmp_path, "10m", as_frame=True).users is None
    latest = load(tmp_path, "latest-small", as_frame=True)
    assert latest.users is None
    assert latest.movies.loc[1].tolist() == ['Émile, or "Education" (1995)', "Comedy|Drama"]


def test_splits_reproduce_the_official_files(tmp_path):
    put(tmp_path, "100k")
    put(tmp_path, "1m")
    movielens = load(tmp_path)
    assert list(movielens.splits) == ["u1", "u2", "u3", "u4", "u5", "ua", "ub"]
    for train, test in movielens.splits.values():
        assert_array_equal(train, TRAIN)
        assert_array_equal(test, TEST)
    assert load(tmp_path, "1m").splits == {}


def test_compressed_csv_in_a_folder(tmp_path):
    folder = put(tmp_path, "latest-small", as_archive=False)
    for file in list(folder.iterdir()):
        (folder / f"{file.name}.xz").write_bytes(lzma.compress(file.read_bytes()))
        file.unlink()
    assert load(tmp_path, "latest-small").data.shape == (4, 2)


def test_where_data_is_looked_for(tmp_path, monkeypatch):
    sklearn_home, skfm_home = tmp_path / "sklearn", tmp_path / "skfm"
    monkeypatch.delenv("SKFM_DATA", raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(sklearn_home))
    put(sklearn_home / "movielens", "1m")
    assert load(None, "1m").data.shape == (4, 2)
    monkeypatch.setenv("SKFM_DATA", str(skfm_home))
    with pytest.raises(OSError, match=r"is not in .*skfm"):
        load(None, "1m")
    put(skfm_home, "1m")
    assert load(None, "1m").data.shape == (4, 2)
    assert load(str(skfm_home), "1m").data.shape == (4, 2)


def test_pandas_is_optional(tmp_path, monkeypatch):
    put(tmp_path, "100k")
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert load(tmp_path).data.shape == (4, 2)
    with pytest.raises(
        ImportError, match=r"as_frame=True requires pandas.*pip install pandas.*as_frame=False"
    ):
        load(tmp_path, as_frame=True)


# ----------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": "2m"}, r"The 'name' parameter of fetch_movielens must be a str among .*'100k'.* Got '2m'"),
        ({"n_retries": -1}, r"The 'n_retries' parameter .* must be an int in the range \[0, inf\)\. Got -1"),
        ({"delay": -1}, r"The 'delay' parameter .* must be a float in the range \[0.*\)\. Got -1"),
        ({"data_home": 3}, r"The 'data_home' parameter .* Got 3"),
    ],
)
def test_bad_parameters(kwargs, message):
    with pytest.raises(ValueError, match=message):
        fetch_movielens(**kwargs)


def test_missing_data(tmp_path):
    (tmp_path / "ml-100k").mkdir()  # an empty folder is not data
    with pytest.raises(
        OSError, match=r"'100k' is not in .*download_if_missing=True.*ml-100k\.zip.*SKFM_DATA"
    ):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("100k", {"drop": ["u3.test"]}, r"no file 'u3\.test'"),
        ("100k", {"u.data": b"\n"}, r"'u\.data' has no ratings"),
        ("100k", {"u.data": b"1\t2\tgood\t3\n"}, r"could not convert string 'good'"),
        ("100k", {"u1.base": b"9\t9\t1\t1\n"}, r"'u1\.base' has ratings that 'u\.data' does not have"),
        (
            "latest-small",
            {"ratings.csv": b"userId,movieId,rating,timestamp\n"},
            r"'ratings\.csv' has no ratings",
        ),
        ("1m", {"ratings.dat": b"1::2::3\n"}, "cannot be read as MovieLens '1m'"),
    ],
)
def test_malformed_files(tmp_path, name, change, message):
    path = put(tmp_path, name, **change)
    with pytest.raises(OSError, match=message) as error:
        load(tmp_path, name)
    assert str(path) in str(error.value)
    assert "Remove it and call fetch_movielens again" in str(error.value)


def test_malformed_side_information(tmp_path):
    put(tmp_path, "1m", **{"users.dat": b"1::F::1::10::48067\n2::M::56\n"})
    with pytest.raises(OSError, match=r"line 2 of 'users\.dat' has 3 columns instead of 5"):
        load(tmp_path, "1m", as_frame=True)


@pytest.mark.parametrize("damage", ["not an archive", "truncated", "flipped"])
def test_damaged_archive(tmp_path, damage):
    path = put(tmp_path, "100k")
    data = bytearray(path.read_bytes())
    if damage == "not an archive":
        data = b"<html>sign in</html>"
    elif damage == "truncated":
        data = data[: len(data) // 2]
    else:
        data[60:70] = bytes(byte ^ 0xFF for byte in data[60:70])  # inside the compressed u.data
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"ml-100k\.zip cannot be read as MovieLens '100k'"):
        load(tmp_path)


# --------------------------------------------------------------------------------------------- download


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder served in GroupLens's place, with the checksum of its own archive."""
    folder = tmp_path / "server"
    path = put(folder, "100k")
    monkeypatch.setattr(_releases, "BASE_URL", folder.as_uri())
    release = dataclasses.replace(_releases.RELEASES["100k"], md5=hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setitem(_releases.RELEASES, "100k", release)
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_download_once(tmp_path, server):
    home = tmp_path / "home"
    assert fetch_movielens(data_home=home).data.shape == (4, 2)
    assert names(home) == ["ml-100k.zip"]
    assert (home / "ml-100k.zip").read_bytes() == (server / "ml-100k.zip").read_bytes()
    (server / "ml-100k.zip").unlink()
    assert fetch_movielens(data_home=home).data.shape == (4, 2)


def test_present_archive_needs_no_checksum(tmp_path, server):
    put(tmp_path / "home", "100k", **{"README": b"repacked"})
    assert fetch_movielens(data_home=tmp_path / "home").data.shape == (4, 2)


def test_bad_checksum_leaves_nothing(tmp_path, server):
    put(server, "100k", **{"README": b"tampered"})
    with pytest.raises(OSError, match=r"The MD5 checksum of file:.* is \w{32} instead of \w{32}.*removed"):
        fetch_movielens(data_home=tmp_path / "home")
    assert names(tmp_path / "home") == []


def test_login_page_is_not_an_archive(tmp_path, server):
    (server / "ml-latest-small.zip").write_text("<html>sign in</html>")
    with pytest.raises(
        OSError, match=r"did not return a zip archive.*manually and save it as .*ml-latest-small\.zip"
    ):
        fetch_movielens("latest-small", data_home=tmp_path / "home")
    assert names(tmp_path / "home") == []


def test_failing_download_names_url_and_remedy(tmp_path, server):
    (server / "ml-100k.zip").unlink()
    with (
        pytest.warns(UserWarning, match=r"Could not download file:.*Retrying in"),
        pytest.raises(
            OSError, match=r"Could not download file:.*ml-100k\.zip.*manually and save it as .*ml-100k\.zip"
        ),
    ):
        fetch_movielens(data_home=tmp_path / "home", n_retries=1, delay=0)
    assert names(tmp_path / "home") == []


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("no route"),
        TimeoutError("slow"),
        ConnectionResetError("gone"),
        http.client.IncompleteRead(b""),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_retries(tmp_path, server, monkeypatch, failure):
    urlopen, sleeps, calls = _download.urlopen, [], itertools.count(1)

    def unreliable(url, timeout):
        if next(calls) <= 2:
            raise failure
        return urlopen(url, timeout=timeout)

    monkeypatch.setattr(_download, "urlopen", unreliable)
    monkeypatch.setattr(_download.time, "sleep", sleeps.append)
    with pytest.warns(UserWarning, match="Retrying in"):
        assert fetch_movielens(data_home=tmp_path / "home", n_retries=2, delay=0.5).data.shape == (4, 2)
    assert sleeps == [0.5, 0.5]
    assert names(tmp_path / "home") == ["ml-100k.zip"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_interrupted_download_leaves_nothing(tmp_path, server, monkeypatch, stop):
    class Response:
        chunks = iter([b"half"])

        def __enter__(self):
            return self

        def __exit__(self, *exc_info):
            pass

        def read(self, size):
            for chunk in self.chunks:
                return chunk
            raise stop

    monkeypatch.setattr(_download, "urlopen", lambda url, timeout: Response())
    with pytest.raises(stop):
        fetch_movielens(data_home=tmp_path / "home")
    assert names(tmp_path / "home") == []


# -------------------------------------------------------------------------------------------- real data


def real(name, file, *counts):
    return pytest.param(name, *counts, marks=pytest.mark.needs_data(file), id=name)


@pytest.mark.parametrize(
    ("name", "n_ratings", "n_users", "n_items", "rating_sum"),
    [
        real("100k", "ml-100k.zip", 100_000, 943, 1682, 352_986),
        real("1m", "ml-1m.zip", 1_000_209, 6040, 3706, 3_582_313),
        real("latest-small", "ml-latest-small", 100_836, 610, 9724, 353_083),
    ],
)
def test_real_archives(data_path, name, n_ratings, n_users, n_items, rating_sum):
    movielens = load(data_path.parent, name)
    assert movielens.data.shape == (n_ratings, 2)
    assert [len(np.unique(column)) for column in movielens.data.T] == [n_users, n_items]
    assert movielens.target.sum() == rating_sum
    for train, test in movielens.splits.values():
        assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n_ratings))
    if name == "100k":
        assert [len(test) for _, test in movielens.splits.values()] == [20_000] * 5 + [9430] * 2
        assert_array_equal(
            np.sort(np.concatenate([movielens.splits[f"u{k}"][1] for k in range(1, 6)])), np.arange(n_ratings)
        )


# -------------------------------------------------------------------------------------------- generator


def brute_force(x, intercept, coef, factors):
    """The model's definition: a double loop over pairs, one row at a time."""
    linear = sum(coef[j] * x[j] for j in range(len(x)))
    pairs = sum(factors[i] @ factors[j] * x[i] * x[j] for i, j in itertools.combinations(range(len(x)), 2))
    return intercept + linear + pairs


@settings(deadline=None, max_examples=40)
@given(
    n_samples=st.integers(1, 8),
    cardinalities=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    n_factors=st.integers(0, 3),
    n_numeric=st.integers(0, 2),
    n_classes=st.integers(2, 4),
    task=st.sampled_from(["regression", "classification"]),
    skew=st.sampled_from([0, 1.1]),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 100),
)
def test_generated_problem(
    n_samples, cardinalities, n_factors, n_numeric, n_classes, task, skew, dtype, seed
):
    X, y, truth = make_factorization(
        n_samples,
        cardinalities,
        n_factors=n_factors,
        n_numeric=n_numeric,
        task=task,
        n_classes=n_classes,
        intercept=0.5,
        noise=0,
        skew=skew,
        return_parameters=True,
        dtype=dtype,
        random_state=seed,
    )
    n_onehot = sum(cardinalities)
    assert sp.issparse(X)
    assert X.format == "csr"
    assert X.shape == (n_samples, n_onehot + n_numeric)
    assert X.dtype == dtype
    assert X.indices.dtype == np.int32
    X.check_format(full_check=True)
    assert_array_equal(X.indices, X.tocsc().tocsr().indices)  # sorted
    dense = X.toarray()
    for block in np.split(dense[:, :n_onehot], np.cumsum(cardinalities)[:-1], axis=1):
        assert_array_equal(np.sort(block, axis=1)[:, -1], 1)
        assert_array_equal(block.sum(axis=1), 1)
    assert (dense[:, n_onehot:] != 0).all()

    models = 1 if task == "regression" or n_classes == 2 else n_classes
    leading = () if models == 1 else (models,)
    assert np.shape(truth.intercept) == leading
    assert truth.coef.shape == (*leading, X.shape[1])
    assert truth.factors.shape == (*leading, X.shape[1], n_factors)
    parameters = [(truth.intercept, truth.coef, truth.factors)]
    if leading:
        parameters = list(zip(truth.intercept, truth.coef, truth.factors, strict=True))
    expected = np.array([[brute_force(x, *model) for model in parameters] for x in dense.astype(np.float64)])
    assert_allclose(truth.raw_prediction.reshape(expected.shape), expected, rtol=1e-9, atol=1e-9)
    if task == "regression":
        assert y.dtype == dtype
        assert_allclose(y, truth.raw_prediction, rtol=1e-6)
    else:
        assert y.dtype.kind == "i"
        assert set(y) <= set(range(n_classes))


def test_generator_scales_and_noise():
    raws, noises = [], []
    for seed in range(30):
        _, y, truth = make_factorization(
            2000, [20] * 6, n_numeric=2, linear_scale=0.6, interaction_scale=0.8, noise=0.3,
            return_parameters=True, random_state=seed,
        )  # fmt: skip
        raws.append(truth.raw_prediction)
        noises.append(y - truth.raw_prediction)
    assert_allclose(np.std(raws), 1.0, rtol=0.1)
    assert_allclose(np.std(noises), 0.3, rtol=0.02)


def test_generator_without_interactions_is_linear():
    X, y, truth = make_factorization(
        200, [5, 4], interaction_scale=0, noise=0, return_parameters=True, random_state=0
    )
    assert_allclose(y, X @ truth.coef)
    X, y, truth = make_factorization(
        200, [5, 4], n_factors=0, noise=0, return_parameters=True, random_state=0
    )
    assert_allclose(y, X @ truth.coef)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_follow_their_probabilities(n_classes):
    _, y, truth = make_factorization(
        100_000, [4, 3], task="classification", n_classes=n_classes, return_parameters=True, random_state=1
    )
    raw = truth.raw_prediction
    logits = np.column_stack([np.zeros(len(y)), raw]) if n_classes == 2 else raw
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for cell in np.unique(raw.reshape(len(y), -1), axis=0):  # at most 12 distinct rows
        rows = (raw.reshape(len(y), -1) == cell).all(axis=1)
        observed = np.bincount(y[rows], minlength=n_classes) / rows.sum()
        assert_allclose(observed, probabilities[rows][0], atol=0.03)


def test_skew():
    X, _ = make_factorization(20_000, [50], n_numeric=1, skew=1.5, random_state=0)
    frequency = np.sort(np.bincount(X.indices[::2], minlength=50))[::-1] / 20_000
    expected = np.arange(1, 51) ** -1.5
    assert_allclose(frequency, expected / expected.sum(), atol=0.01)
    uniform, _ = make_factorization(20_000, [50], n_numeric=1, random_state=0)
    assert np.bincount(uniform.indices[::2]).max() < 600


def test_generator_random_state():
    first, second, other = (make_factorization(50, random_state=seed) for seed in (0, 0, 1))
    assert_array_equal(first[0].toarray(), second[0].toarray())
    assert_array_equal(first[1], second[1])
    assert (first[0] != other[0]).nnz > 0
    rng = np.random.RandomState(0)
    assert_array_equal(make_factorization(50, random_state=rng)[1], first[1])
    assert not np.array_equal(make_factorization(50, random_state=rng)[1], first[1])
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make_factorization(50, random_state=0)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"n_samples": 0},
            r"The 'n_samples' parameter of make_factorization must be an int .* Got 0 instead",
        ),
        ({"cardinalities": [3, 0]}, r"cardinalities must be .* positive integers.* Got \[3, 0\]"),
        ({"cardinalities": [2.5]}, r"cardinalities must be .* positive integers.* Got \[2\.5\]"),
        ({"cardinalities": [[2], [3]]}, r"cardinalities must be a one-dimensional"),
        ({"cardinalities": []}, r"no column to generate.*Give at least one cardinality or n_numeric >= 1"),
        ({"task": "ranking"}, r"The 'task' parameter .*'classification'.* Got 'ranking' instead"),
        ({"n_classes": 1, "task": "classification"}, r"The 'n_classes' parameter .* Got 1 instead"),
        ({"noise": -1.0}, r"The 'noise' parameter .* Got -1\.0 instead"),
        ({"skew": np.nan}, r"The 'skew' parameter .* Got nan instead"),
        ({"dtype": np.int64}, r"dtype must be numpy\.float32 or numpy\.float64\. Got 'int64'"),
        ({"random_state": "seed"}, r"The 'random_state' parameter .* Got 'seed' instead"),
    ],
)
def test_generator_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_factorization(**kwargs)


def test_numeric_columns_alone():
    X, y = make_factorization(100, [], n_numeric=3, random_state=0)
    assert X.shape == (100, 3)
    assert np.isfinite(y).all()
