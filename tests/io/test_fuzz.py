"""Damaged files: a clear error or a correct load, in memory that is bounded by the size of the file."""

import contextlib
import json
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from skfm import FMClassifier
from skfm.datasets import make_factorization
from skfm.io import (
    LibffmChunks,
    load_model,
    read_libffm,
    read_libfm_model,
    read_libsvm,
    save_model,
    write_libffm,
    write_libfm_model,
    write_libsvm,
)
from skfm.streaming import SvmlightChunks
from tests.helpers.saved import data, small

#: What a load takes whatever the file: Python's own objects, a signature, a few short arrays.
FREE = 1 << 17


def safetensors(folder):
    for model in (
        small(solver="vb"),
        small(
            FMClassifier,
            np.array(["no", "maybe", "yes"])[data()[1] - 1],
            solver="mcmc",
            n_draws=2,
            max_iter=4,
        ),
        small(FMClassifier, solver="adam"),
    ):
        save_model(model, folder / "file")
        yield (folder / "file").read_bytes()


def libfm(folder):
    for model in (small(), small(fit_linear=False), small(fit_intercept=False)):
        write_libfm_model(model, folder / "file")
        yield (folder / "file").read_bytes()


def table():
    rng = np.random.default_rng(0)
    return sparse.random(12, 9, 0.4, random_state=0, format="csr"), rng.standard_normal(12).round(3)


def libsvm(folder):
    for zero_based in (True, False):
        write_libsvm(*table(), folder / "file", zero_based=zero_based)
        yield b"# comment\n" + (folder / "file").read_bytes()


def libffm(folder):
    write_libffm(*table(), np.arange(9) // 3, folder / "file")
    yield (folder / "file").read_bytes()


def load_and_predict(path):
    model = load_model(path)
    X, y = data()
    # Changed numbers may be so large that predictions overflow, but they are made.
    with np.errstate(all="ignore"):
        assert model.predict(X).shape == y.shape


def predict_with(path):
    for task in (None, "regression", "classification"):
        model = read_libfm_model(path, task)
    X = sparse.csr_matrix((2, len(model.coef_)))
    assert model.predict(X).shape == (2,)


def read_rows(read):
    def load(path):
        X, y, *_ = read(path)
        assert X.shape[0] == len(y)
        X.check_format(full_check=True)
        assert np.isfinite(X.data).all()
        assert np.isfinite(y).all()

    return load


FORMATS = {
    "safetensors": (safetensors, [load_and_predict]),
    "libFM": (libfm, [predict_with]),
    "libsvm": (libsvm, [read_rows(read_libsvm), lambda path: list(SvmlightChunks(path, chunk_bytes=100))]),
    "libffm": (libffm, [read_rows(read_libffm), lambda path: list(LibffmChunks(path, chunk_bytes=100))]),
}

WORDS = [
    b"\x00",
    b"\n",
    b" ",
    b":",
    b"#",
    b"-",
    b"nan",
    b"1e999",
    b"9" * 30,
    b"2147483648",
    b"{",
    b"[",
    b'"',
    b"\xff",
]


@st.composite
def damage(draw):
    """A function that changes a file in one to four places."""
    place = st.floats(0, 1, exclude_max=True)
    steps = draw(
        st.lists(
            st.tuples(st.just("flip"), place, st.integers(0, 7))
            | st.tuples(st.just("cut"), place, st.none())
            | st.tuples(st.sampled_from(["drop", "repeat"]), place, st.integers(1, 40))
            | st.tuples(st.just("insert"), place, st.sampled_from(WORDS) | st.binary(max_size=8)),
            min_size=1,
            max_size=4,
        )
    )

    def apply(content):
        content = bytearray(content)
        for kind, where, how in steps:
            at = int(where * len(content))
            if kind == "flip" and content:
                content[at] ^= 1 << how
            elif kind == "cut":
                del content[at:]
            elif kind == "drop":
                del content[at : at + how]
            elif kind == "repeat":
                content[at:at] = content[at : at + how]
            elif kind == "insert":
                content[at:at] = how
        return bytes(content)

    return apply


def peak_of(load, path):
    """The memory that a load has taken at most, and what has come of it: None or the error."""
    tracemalloc.start()
    try:
        try:
            load(path)
            error = None
        except (ValueError, OSError) as caught:
            error = caught
        return tracemalloc.get_traced_memory()[1], error
    finally:
        tracemalloc.stop()


def load_bounded(load, path):
    """Return None or the error of a load, which has to name the file, and to have taken memory in proportion to it."""
    limit = 10 * path.stat().st_size + FREE
    peak, error = peak_of(load, path)
    if peak > limit:
        # What Python and others cache on the way is not taken a second time.
        peak, error = peak_of(load, path)
    assert peak <= limit
    assert error is None or str(path) in str(error)
    return error


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    return {
        name: None if name == "safetensors" else list(make(folder)) for name, (make, _) in FORMATS.items()
    }


#: Few examples in every run, many in the slow one.
N_EXAMPLES = pytest.mark.parametrize("n_examples", [60, pytest.param(500, marks=pytest.mark.slow)])


@N_EXAMPLES
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(name, n_examples, originals, tmp_path):
    make, loads = FORMATS[name]
    files = originals[name] or list(make(tmp_path))
    path = tmp_path / "damaged"
    for content in files:
        path.write_bytes(content)
        for load in loads:
            assert load_bounded(load, path) is None

    @settings(
        max_examples=n_examples,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(st.sampled_from(files), damage())
    def check(content, change):
        path.write_bytes(change(content))
        for load in loads:
            load_bounded(load, path)

    check()


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 5)
    | st.sampled_from(
        [10**20, 2**31, 1.5, -0.0, 1e300, "", "x", "adam", "vb", "log_loss", "float32", [], [1], {}]
    )
    | st.sampled_from(["nan", "inf"]).map(lambda word: {"float": word})
    | st.sampled_from(["coef_", "factors_", "classes_", "_coding/start", "nowhere"]).map(
        lambda name: {"array": name}
    )
    | st.sampled_from(["list", "tuple", "dict", "pairs", "objects", "text", "scalar", "device", "?"]).map(
        lambda tag: {tag: []}
    )
)
CHANGES = {
    "drop": lambda a: a[:-1] if a.ndim else a[None],
    "flatten": lambda a: a.ravel(),
    "wrap": lambda a: a[None],
    "empty": lambda a: a[:0] if a.ndim else a,
    "float32": lambda a: a.astype("f4"),
    "integers": lambda a: a.astype("i8"),
    "negative": lambda a: -1 - a if a.dtype.kind in "if" else a,
    "nan": lambda a: np.full_like(a, np.nan) if a.dtype.kind == "f" else a,
    "huge": lambda a: np.full_like(a, 1e300) if a.dtype == "f8" else a,
    "reversed": lambda a: a[::-1] if a.ndim else a,
}


def places_in(node, path=()):
    """The paths of all parts of a nested structure."""
    yield path
    for key, part in (
        node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    ):
        yield from places_in(part, (*path, key))


@N_EXAMPLES
def test_changed_settings_and_arrays(n_examples, tmp_path):
    """What stands in a file of the right format is changed, so that the damage is not seen in the header already."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    path, originals = tmp_path / "model", []
    for content in safetensors(tmp_path):
        path.write_bytes(content)
        with safe_open(str(path), framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            originals.append((arrays, file.metadata()["skfm"]))

    @settings(max_examples=n_examples, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(range(len(originals))), st.integers(1, 2), st.data())
    def check(which, n_changes, draw):
        arrays, text = originals[which]
        arrays, document = dict(arrays), json.loads(text)
        for _ in range(n_changes):
            if draw.draw(st.booleans()):
                name = draw.draw(st.sampled_from(sorted(arrays)))
                change = CHANGES[draw.draw(st.sampled_from(sorted(CHANGES)))]
                with np.errstate(all="ignore"):
                    arrays[name] = np.ascontiguousarray(change(arrays[name]))
                continue
            *way, last = draw.draw(st.sampled_from([place for place in places_in(document) if place]))
            parent = document
            for key in way:
                parent = parent[key]
            if draw.draw(st.booleans()):
                parent[last] = draw.draw(VALUES)
            else:
                del parent[last]
        save_file(arrays, str(path), metadata={"skfm": json.dumps(document)})
        if load_bounded(load_model, path) is None:
            load_and_predict(path)
            learn_on(load_model(path))

    check()


def learn_on(model):
    """Take a step, which may be refused for the numbers that it starts from, but in words."""
    if hasattr(model, "_online") and hasattr(model, "partial_fit"):
        X, y = data()
        with (
            np.errstate(all="ignore"),
            warnings.catch_warnings(action="ignore"),
            contextlib.suppress(ValueError),
        ):
            model.partial_fit(X, y)


@pytest.mark.parametrize("name", FORMATS)
@given(st.binary(max_size=300))
@settings(max_examples=50)
def test_files_of_anything(name, tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "anything"
    path.write_bytes(content)
    for load in FORMATS[name][1]:
        load_bounded(load, path)


def large_files(folder):
    """Files that are large for what they hold, and files that hold much for their size."""
    X, y = make_factorization(4000, (3000, 2000), random_state=0)
    write_libffm(X, y, np.repeat([0, 1], [3000, 2000]), folder / "rows.ffm")
    yield read_libffm, folder / "rows.ffm"
    write_libsvm(X, y, folder / "rows.libfm")
    yield read_libsvm, folder / "rows.libfm"
    head, tail = "#unary interactions Wj\n", "#pairwise interactions Vj,f\n"
    for name, read, text in (
        ("one value a row", read_libffm, "1 0:0:1\n" * 24_000),
        ("one long row", read_libffm, "1" + " 0:0:1" * 32_000 + "\n"),
        ("labels only", read_libffm, "1\n" * 80_000),
        ("many columns", read_libffm, "1 0:80000:1\n" * 14_000),
        ("one value a row", read_libsvm, "1 0:1\n" * 32_000),
        ("long rows", read_libsvm, ("1" + "".join(f" {i}:1" for i in range(1000)) + "\n") * 30),
        ("short numbers", read_libfm_model, tail + "0 0\n" * 50_000),
        ("one long row", read_libfm_model, tail + "0 " * 100_000 + "\n"),
        ("no factors", read_libfm_model, head + "0\n" * 100_000 + tail),
    ):
        path = folder / f"{name}.{read.__name__}"
        path.write_text(text)
        yield read, path


@pytest.mark.parametrize("solver", ["vb", "mcmc", "adam"])
def test_memory_of_a_large_model(solver, tmp_path):
    X, y = make_factorization(3000, (3000, 2000), random_state=0)
    model = FMClassifier(8, solver=solver, max_iter=3, random_state=0)
    if solver != "adam":
        model.set_params(select_factors=False)
    save_model(model.fit(X, y > np.median(y)), tmp_path / "model")
    size = (tmp_path / "model").stat().st_size
    assert size > 1 << 20
    assert peak_of(load_model, tmp_path / "model")[0] <= 10 * size


@pytest.mark.parametrize(
    "bomb",
    [
        "[" * 500_000,
        '{"a":' * 100_000,
        "[" + "[]," * 150_000 + "[]]",
        "[" + '{"":0},' * 60_000 + "0]",
        "[" + '"ab",' * 150_000 + "0]",
        "[" + "1.5," * 150_000 + "0]",
        '"' + "\N{GRINNING FACE}" * 100_000 + '"',
        json.dumps(
            {"format": 1, "class": "FMRegressor", "parameters": {}, "state": {"x": {"list": [0] * 200_000}}}
        ),
    ],
    ids=lambda bomb: bomb[:12],
)
def test_memory_of_settings(bomb, tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "model"
    save_file({"a": np.zeros(1)}, str(path), metadata={"skfm": bomb})
    assert isinstance(load_bounded(load_model, path), ValueError)
