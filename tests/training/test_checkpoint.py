"""Checkpoints: a run that was killed at any time goes on as if nothing had happened."""

import io
import json
import os

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skfm import FMClassifier, FMRegressor, _files
from skfm.streaming import Chunks, SvmlightChunks
from skfm.training import checkpoint as _checkpoint
from skfm.training.checkpoint import Checkpoint
from tests.helpers.streams import KILLS, case, chunks_of, data, run_script

SOLVERS = ["adagrad", "adam", "ftrl", "sgd"]
LABELS = data("log_loss", 3)
NUMBERS = data()


def assert_same_run(a, b):
    for name in ("intercept_", "coef_", "factors_"):
        assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.history_ == b.history_
    assert a.n_iter_ == b.n_iter_


@pytest.fixture(autouse=True)
def _always_due(request, monkeypatch):
    if "on_time" not in request.fixturenames:
        monkeypatch.setattr(_checkpoint, "INTERVAL", 0)
        monkeypatch.setattr(_checkpoint, "PATIENCE", 0)


@pytest.fixture
def on_time():
    """Checkpoints are written when they are due, not always."""


# ------------------------------------------------------------------------------------------ kill -9

#: One process imports everything; each case is a child of it that kills itself.
CHILDREN = """
    import os, sys
    sys.path.insert(0, {root!r})
    import numpy as np
    import torch
    torch.set_num_threads(1)
    from skfm.training import checkpoint
    from tests.helpers.streams import KILLS, case, in_a_child_that_dies, kill
    checkpoint.INTERVAL = checkpoint.PATIENCE = 0

    def die_at(when):
        where, number = when.split()
        count = [0]
        save, savez = checkpoint.Checkpoint.save, np.savez
        def savez_in_part(file, **arrays):
            if where == "in" and count[0] == int(number):
                file.write(b"PK" + bytes(1000))
                file.flush()
                kill()
            savez(file, **arrays)
        def save_and_die(self, tensors, numbers):
            count[0] += 1
            save(self, tensors, numbers)
            if where == "after" and count[0] == int(number):
                kill()
        np.savez, checkpoint.Checkpoint.save = savez_in_part, save_and_die

    def run(solver, number, is_stream, when, is_validated):
        die_at(when)
        model, arguments = case(solver, is_stream, is_validated)
        path = os.path.join({folder!r}, f"{{solver}}-{{number}}-{{is_validated}}")
        model.set_params(checkpoint=path).fit(**arguments)

    for solver in {solvers!r}:
        for number, (is_stream, when) in enumerate(KILLS.values()):
            for is_validated in (0, 1):
                in_a_child_that_dies(run, solver, number, is_stream, when, is_validated)
"""


@pytest.fixture(scope="module")
def remains(tmp_path_factory):
    """The folder with the checkpoints of all runs that were killed."""
    folder = tmp_path_factory.mktemp("killed")
    run_script(CHILDREN, solvers=SOLVERS, folder=str(folder))
    return folder


@pytest.fixture(scope="module")
def whole_runs():
    """The same runs, not interrupted."""
    found = {}

    def run(*which):
        if which not in found:
            model, arguments = case(*which)
            found[which] = model.fit(**arguments)
        return found[which]

    return run


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork, no SIGKILL")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", KILLS)
@pytest.mark.parametrize("is_validated", [False, True])
def test_killed(solver, name, is_validated, remains, whole_runs):
    is_stream, when = KILLS[name]
    path = remains / f"{solver}-{list(KILLS).index(name)}-{int(is_validated)}"
    segments = []
    done = json.loads(bytes(np.load(path)["json"]).decode())["run"]
    segments = 4 * done["epoch"] + done["segment"] if is_stream else done["epoch"] + done["segment"]
    assert segments == int(when.split()[1]) - when.startswith("in")
    model, arguments = case(solver, is_stream, is_validated)
    resumed = clone(model).set_params(checkpoint=path).fit(**arguments)
    assert_same_run(resumed, whole_runs(solver, is_stream, is_validated))
    assert not path.exists()


def test_nothing_is_done_twice(tmp_path, monkeypatch):
    model, arguments = case("adagrad", True, True)
    path = tmp_path / "run"
    read = []
    save = Checkpoint.save

    def fails(self, tensors, numbers):
        save(self, tensors, numbers)
        if numbers["run"] | {"epoch": 1, "segment": 2} == numbers["run"]:
            raise KeyboardInterrupt

    def chunks():
        for number, chunk in enumerate(chunks_of(*(a[:480] for a in LABELS), 120)):
            read.append(number)
            yield chunk

    arguments["X"] = Chunks(chunks, n_features=35)
    model.set_params(checkpoint=path)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", fails)
        with pytest.raises(KeyboardInterrupt):
            clone(model).fit(**arguments)
    read.clear()
    seen = []
    monkeypatch.setattr(Checkpoint, "save", lambda self, tensors, numbers: seen.append(dict(numbers["run"])))
    model.fit(**arguments)
    # The first chunk is read for its columns; all before the place to go on from are not learned again.
    assert [(run["epoch"], run["segment"]) for run in seen] == [
        (1, 3),
        (1, 4),
        (2, 1),
        (2, 2),
        (2, 3),
        (2, 4),
    ]


# --------------------------------------------------------------------------- interrupted otherwise


def failing_source(model, path, after, X, y, **arguments):
    """Fit to a stream that fails once, after so many chunks; return the source that works from then on."""
    count = [0]

    def source():
        for chunk in chunks_of(X, y):
            count[0] += 1
            if count[0] == after + 1:
                raise OSError("the disk is gone")
            yield chunk

    stream = Chunks(source, n_features=X.shape[1])
    model.set_params(checkpoint=path)
    with pytest.raises(OSError, match="the disk is gone"):
        model.fit(stream, **arguments)
    assert path.exists()
    return stream


@pytest.mark.parametrize("after", [3, 9, 15])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_stream_that_failed(after, early_stopping, tmp_path):
    X, y = NUMBERS
    path = tmp_path / "run"
    model = FMRegressor(2, solver="adagrad", max_iter=3, early_stopping=early_stopping, random_state=0)
    failed = clone(model)
    stream = failing_source(failed, path, after, X, y)
    assert np.isfinite(failed.predict(X)).all()
    resumed = clone(model).set_params(checkpoint=path).fit(stream)
    assert_same_run(resumed, clone(model).fit(stream))
    assert not path.exists()


def test_a_stream_that_fails_twice(tmp_path):
    X, y = NUMBERS
    path = tmp_path / "run"
    model = FMRegressor(2, solver="adagrad", max_iter=3, random_state=0)
    failing_source(clone(model), path, 9, X, y)
    # In the same epoch: what was known at the checkpoint is the best so far.
    again = clone(model)
    failing_source(again, path, 2, X, y)
    assert again.n_iter_ == 1
    assert again.score(X, y) > 0
    stream = Chunks(lambda: iter(chunks_of(X, y)), n_features=35)
    assert_same_run(clone(model).set_params(checkpoint=path).fit(stream), clone(model).fit(stream))


def test_without_a_random_state(tmp_path):
    # The order of the rows, and which of them are for validation, are those of the run before.
    X, y = NUMBERS
    path = tmp_path / "run"
    model = FMRegressor(2, solver="adagrad", max_iter=3, early_stopping=True, n_iter_no_change=9)
    failed = clone(model)
    stream = failing_source(failed, path, 9, X, y)
    resumed = clone(model).set_params(checkpoint=path).fit(stream)
    assert resumed._seed == failed._seed
    assert resumed.history_["validation_loss"][0] == failed.history_["validation_loss"][0]


def test_an_iterator_goes_on_where_it_was(tmp_path):
    X, y = NUMBERS
    path = tmp_path / "run"
    model = FMRegressor(2, solver="adagrad", max_iter=1, random_state=0)
    failing_source(clone(model), path, 3, X, y)
    resumed = clone(model).set_params(checkpoint=path).fit(Chunks(iter(chunks_of(X, y)), n_features=35))
    assert_same_run(resumed, clone(model).fit(Chunks(iter(chunks_of(X, y)))))


def test_an_interrupt_leaves_the_checkpoint(tmp_path, monkeypatch):
    X, y = NUMBERS
    path = tmp_path / "run"
    model = FMRegressor(2, solver="adagrad", max_iter=4, random_state=0)
    save = Checkpoint.save
    count = []

    def interrupted(self, tensors, numbers):
        save(self, tensors, numbers)
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            clone(model).set_params(checkpoint=path).fit(X, y)
    assert path.exists()
    assert_same_run(clone(model).set_params(checkpoint=path).fit(X, y), clone(model).fit(X, y))


# ----------------------------------------------------------------------------------- another run


@pytest.fixture
def interrupted(tmp_path):
    X, y = NUMBERS
    path = tmp_path / "run"
    model = FMRegressor(2, solver="adagrad", max_iter=3, random_state=0)
    stream = failing_source(clone(model), path, 9, X, y)
    return model.set_params(checkpoint=path), stream, path


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "sgd"}, "there solver was 'adagrad', here it is 'sgd'"),
        ({"loss": "huber"}, "there loss was"),
        ({"l2_factors": 0.5}, "there l2_factors was 'auto', here it is 0.5"),
        ({"max_iter": 7}, "there max_iter was 3, here it is 7"),
        ({"learning_rate": 0.1}, "there learning_rate was"),
        ({"batch_size": 10}, "there batch_size was"),
        ({"shuffle": False}, "there shuffle was True, here it is False"),
        ({"n_factors": 1}, "there n_factors was 2, here it is 1"),
    ],
)
def test_other_parameters(parameters, message, interrupted):
    model, stream, path = interrupted
    before, content = dict(vars(model)), path.read_bytes()
    with pytest.raises(ValueError, match=f"another run: {message}.*Delete the file to start anew, or pass"):
        clone(model).set_params(**parameters).fit(stream)
    assert path.read_bytes() == content
    assert vars(model) == before
    # Where to compute and what to show may differ, and so may the draw of what has been drawn already.
    model.set_params(device="cpu", random_state=5, verbose=0).fit(stream)
    assert not path.exists()


def test_other_data(interrupted):
    model, stream, path = interrupted
    content = path.read_bytes()
    X, y = NUMBERS
    for change, message in (
        ({"X": Chunks(chunks_of(X[1:], y[1:]))}, "sum of y was"),
        ({"X": Chunks(chunks_of(X * 2, y))}, "sum of X was 200.0, here it is 400.0"),
        ({"X": Chunks(chunks_of(X[:90], y[:90]))}, r"shape of X was \[100, 35\], here it is \[90, 35\]"),
        ({"X": Chunks(chunks_of(X.astype(np.float32), y))}, "dtype of X was float64, here it is float32"),
        ({"X_val": X[:50], "y_val": y[:50]}, "X_val was None, here it is"),
        ({"X_val": Chunks(chunks_of(X, y))}, "X_val in chunks was False, here it is True"),
    ):
        with pytest.raises(ValueError, match=f"is the checkpoint of another run: there .*{message}"):
            clone(model).fit(**{"X": stream} | change)
    with pytest.raises(ValueError, match="there estimator was FMRegressor, here it is FMClassifier"):
        FMClassifier(2, solver="adagrad", max_iter=3, random_state=0, checkpoint=path).fit(*LABELS)
    assert path.read_bytes() == content


#: What another stream can differ in although the sums of its first chunk are the same.
X_ALL, Y_ALL = NUMBERS[0].toarray(), NUMBERS[1]


def changed_in(number, change):
    chunks = chunks_of(X_ALL, Y_ALL)
    chunks[number] = change(*chunks[number])
    return chunks


OTHER_STREAMS = {
    "mirrored columns": [(X[:, ::-1], y) for X, y in chunks_of(X_ALL, Y_ALL)],
    "reversed rows": [(X[::-1], y[::-1]) for X, y in chunks_of(X_ALL, Y_ALL)],
    "another order of chunks": changed_in(2, lambda X, y: chunks_of(X_ALL, Y_ALL)[3]),
    **{
        f"reversed targets in chunk {number}": changed_in(number, lambda X, y: (X, y[::-1]))
        for number in range(6)
    },
    "mirrored columns in the last chunk": changed_in(5, lambda X, y: (X[:, ::-1], y)),
    "weights in chunk 1": changed_in(1, lambda X, y: (X, y, np.full(len(y), 2.0))),
    "twice the chunks": 2 * chunks_of(X_ALL, Y_ALL),
    "half the chunks": chunks_of(X_ALL, Y_ALL)[:3],
}


@pytest.mark.parametrize("kind", ["list", "function", "one that skips"])
@pytest.mark.parametrize("name", OTHER_STREAMS)
def test_a_stream_that_differs_anywhere_is_refused(name, kind, tmp_path):
    class Skipping(Chunks):
        def __init__(self, chunks):
            super().__init__(chunks)

        def _read(self, start):
            yield from self.source[start:]

    def stream_of(chunks):
        return {"list": Chunks, "function": lambda c: Chunks(lambda: iter(c)), "one that skips": Skipping}[
            kind
        ](chunks)

    path = tmp_path / "run"
    model = FMRegressor(2, solver="adagrad", max_iter=3, random_state=0)
    chunks = chunks_of(X_ALL, Y_ALL)
    failing = stream_of(chunks)
    read, passes = failing._read, []

    def fails(start):
        passes.append(start)
        for number, chunk in enumerate(read(start), start):
            if len(passes) == 2 and number == 3:
                raise OSError("the disk is gone")
            yield chunk

    failing._read = fails  # as a subclass whose first reads fail
    with pytest.raises(OSError, match="the disk is gone"):
        clone(model).set_params(checkpoint=path).fit(failing)
    model.set_params(checkpoint=path)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=r"is the checkpoint of another run: there .*Delete the file"):
        model.fit(stream_of(OTHER_STREAMS[name]))
    assert vars(model) == before
    if name in ("mirrored columns", "reversed targets in chunk 4"):
        # The checkpoint remains one of the first stream, from which that can be resumed.
        whole = clone(model).set_params(checkpoint=None).fit(stream_of(chunks))
        assert_same_run(model.fit(stream_of(chunks)), whole)


@pytest.mark.parametrize("change", ["X", "y", "sample_weight", "X_val", "fields"])
def test_arrays_in_another_order_are_refused(change, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    X, y, weight = rng.normal(size=(200, 1500)), rng.normal(size=200), rng.uniform(1, 2, 200)
    data = {"X": X, "y": y, "sample_weight": weight, "X_val": X[:20], "y_val": y[:20]}
    fields = np.arange(1500) % 7
    model = FMRegressor(1, solver="adagrad", max_iter=2, fields=fields, checkpoint=tmp_path / "run")

    def interrupted(self, tensors, numbers):
        save(self, tensors, numbers)
        raise OSError("killed")

    save = Checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", interrupted)
        with pytest.raises(OSError, match="killed"):
            clone(model).fit(**data)
    if change == "fields":
        model.set_params(fields=np.r_[fields[:600], fields[600:900][::-1], fields[900:]])
    else:
        data[change] = data[change][::-1]
    with pytest.raises(ValueError, match=r"is the checkpoint of another run: there "):
        model.fit(**data)


@pytest.mark.parametrize("change", ["columns", "categories", "labels"])
def test_other_names_are_refused(change, tmp_path):
    frame = pd.DataFrame({"user": ["a", "b", "a", "c"] * 20, "film": ["x", "y", "z", "z"] * 20})
    y = np.array(["no", "yes", "no", "yes"] * 20)
    path = tmp_path / "run"
    model = FMClassifier(1, solver="adagrad", max_iter=3, random_state=0)

    def stream_of(frame, y, after=None):
        def source():
            for number in range(4):
                if number == after:
                    raise OSError("the disk is gone")
                yield frame[20 * number : 20 * number + 20], y[20 * number : 20 * number + 20]

        return Chunks(source, classes=np.unique(y))

    with pytest.raises(OSError, match="the disk is gone"):
        clone(model).set_params(checkpoint=path).fit(stream_of(frame, y, after=3))
    other_frame, other_y = frame, y
    if change == "columns":
        other_frame = frame.rename(columns={"user": "reader"})
    elif change == "categories":
        other_frame = frame.replace({"user": {"c": "d"}})
    else:
        other_y = np.where(y == "no", "never", "yes")
    with pytest.raises(ValueError, match="another run: there the names of the columns or the labels were"):
        model.set_params(checkpoint=path).fit(stream_of(other_frame, other_y))
    model.fit(stream_of(frame, y))


def test_a_checkpoint_without_digests_can_be_resumed(interrupted):
    # As earlier versions wrote it.
    model, stream, path = interrupted
    with np.load(path) as found:
        arrays = dict(found)
    content = json.loads(bytes(arrays.pop("json")).decode())
    del content["chunks"]
    content["identity"] = {
        name: value
        for name, value in content["identity"].items()
        if not name.startswith(_checkpoint.OPTIONAL)
    }
    with path.open("wb") as file:
        np.savez(file, **arrays, json=numbers(content))
    assert_same_run(clone(model).fit(stream), clone(model).set_params(checkpoint=None).fit(stream))


def test_a_failed_fit_leaves_a_fitted_estimator_as_it_was(interrupted):
    model, stream, path = interrupted
    fitted = clone(model).set_params(checkpoint=None).fit(*NUMBERS).set_params(checkpoint=path, max_iter=5)
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match="max_iter was"):
        fitted.fit(stream)
    assert vars(fitted) == before


# ------------------------------------------------------------------------------------------ the file


def archive(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def numbers(content):
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


def an_array():
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


DAMAGED = {
    "empty": b"",
    "text": b"hello",
    "pickle": b"\x80\x04K\x05.",
    "an array": an_array(),
    "another archive": archive(a=np.zeros(2)),
    "other numbers": archive(json=numbers([1])),
    "other identity": archive(json=numbers({"format": 1, "identity": 5, "seed": 0})),
    "no seed": archive(json=numbers({"format": 1, "identity": {}})),
    "no numbers": archive(json=np.frombuffer(b"{", np.uint8)),
    "objects": archive(json=np.array([{}, None], dtype=object)),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_files_of_another_kind(name, tmp_path):
    path = tmp_path / "run"
    path.write_bytes(DAMAGED[name])
    model = FMRegressor(2, solver="adagrad", checkpoint=path)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=r"run is no checkpoint of skfm, or damaged: .*Delete the file"):
        model.fit(*NUMBERS)
    assert vars(model) == before
    assert path.read_bytes() == DAMAGED[name]


def test_a_file_cut_anywhere(interrupted):
    model, stream, path = interrupted
    content = path.read_bytes()
    for length in np.linspace(0, len(content) - 1, 25).astype(int):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="no checkpoint of skfm, or damaged"):
            clone(model).fit(stream)
    path.write_bytes(content)
    expected = clone(model).fit(stream).factors_
    messages = []
    for place in np.linspace(100, len(content) - 3000, 20).astype(int):
        changed = bytearray(content)
        changed[place] ^= 255
        path.write_bytes(changed)
        try:
            found = clone(model).fit(stream).factors_
        except ValueError as error:
            messages.append(str(error))
        else:
            # A byte that says again what another says, and that nobody reads.
            assert_array_equal(found, expected)
    assert len(messages) > 10
    assert all("no checkpoint of skfm, or damaged" in message for message in messages)


def test_a_file_of_another_version(tmp_path):
    path = tmp_path / "run"
    path.write_bytes(archive(json=numbers({"format": 99, "identity": {}, "seed": 0})))
    with pytest.raises(ValueError, match=r"written by another version of skfm. Delete the file"):
        FMRegressor(2, solver="adagrad", checkpoint=path).fit(*NUMBERS)


def test_a_file_has_no_pickles(interrupted):
    _, _, path = interrupted
    with np.load(path, allow_pickle=False) as found:
        assert all(found[name].dtype.kind in "fui" for name in found.files)


def test_a_full_disk(tmp_path, monkeypatch):
    X, y = NUMBERS
    path = tmp_path / "run"
    model = FMRegressor(2, solver="adagrad", max_iter=4, random_state=0)
    savez = np.savez
    calls, valid = [], []

    def full(file, **arrays):
        calls.append(1)
        if len(calls) in (2, 3):
            valid.append(path.read_bytes())
            file.write(b"PK" * 100)
            raise OSError(28, "No space left on device")
        savez(file, **arrays)

    monkeypatch.setattr(_checkpoint.np, "savez", full)
    with pytest.warns(
        UserWarning, match=r"could not be written to .*run: .*No space.* before it is still valid"
    ):
        saved = clone(model).set_params(checkpoint=path).fit(X, y)
    assert len(calls) == 4
    assert valid[0] == valid[1]
    assert_same_run(saved, clone(model).fit(X, y))
    assert not list(tmp_path.iterdir())
    path.write_bytes(valid[1])
    monkeypatch.setattr(_checkpoint.np, "savez", savez)
    assert_same_run(clone(model).set_params(checkpoint=path).fit(X, y), saved)


@pytest.mark.parametrize("place", ["missing/run", ".", "file/run"])
def test_places_where_no_file_can_be(place, tmp_path):
    (tmp_path / "file").write_text("")
    read = []

    def source():
        read.append(1)
        yield NUMBERS

    model = FMRegressor(2, solver="adagrad", checkpoint=str(tmp_path / place))
    before = dict(vars(model))
    with pytest.raises(
        ValueError, match=r"is a folder. Name a file in it|is in a folder that does not exist. Make "
    ):
        model.fit(Chunks(source))
    # At once, not after hours.
    assert not read
    assert vars(model) == before


def test_only_minibatch_solvers_have_checkpoints(tmp_path):
    for solver in ("vb", "als"):
        with pytest.raises(
            ValueError, match=f"is not used by solver='{solver}'.*'adagrad', 'adam', 'ftrl', 'sgd'"
        ):
            FMRegressor(solver=solver, checkpoint=str(tmp_path / "run")).fit(*NUMBERS)


# ----------------------------------------------------------------------------------------- when


@pytest.mark.usefixtures("on_time")
def test_how_often_one_is_written(tmp_path, monkeypatch):
    now, writes = [0.0], []
    monkeypatch.setattr(_checkpoint.time, "monotonic", lambda: now[0])

    def save(self, tensors, numbers):
        writes.append(now[0])
        now[0] += 4.0  # what it takes

    monkeypatch.setattr(Checkpoint, "save", save)
    point = Checkpoint(tmp_path / "run")
    while now[0] < 300:
        point.save_if_due(lambda: ({}, {}))
        now[0] += 1.0
    # The first one after half a minute; then, as it is slow, with 20 times as much between them.
    assert writes == [30.0, 114.0, 198.0, 282.0]


@pytest.mark.usefixtures("on_time")
def test_a_short_fit_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoint.np, "savez", None)
    path = tmp_path / "run"
    saved = FMRegressor(2, solver="adagrad", max_iter=2, random_state=0, checkpoint=path).fit(*NUMBERS)
    plain = FMRegressor(2, solver="adagrad", max_iter=2, random_state=0).fit(*NUMBERS)
    assert_same_run(saved, plain)
    assert not list(tmp_path.iterdir())


def test_a_fitted_estimator_knows_nothing_of_it(tmp_path):
    path = tmp_path / "run"
    model = FMRegressor(2, solver="adagrad", max_iter=2, random_state=0).fit(*NUMBERS)
    saved = clone(model).set_params(checkpoint=path).fit(*NUMBERS)
    assert vars(saved).keys() == vars(model).keys()
    assert not list(tmp_path.iterdir())


def test_an_interrupt_while_a_checkpoint_is_loaded(interrupted, monkeypatch):
    model, stream, path = interrupted
    before, content = dict(vars(model)), path.read_bytes()
    load = _checkpoint.History.load_state_dict

    def fails(self, *args, **kwargs):
        load(self, *args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint.History, "load_state_dict", fails)
        with pytest.raises(KeyboardInterrupt):
            model.fit(stream)
    assert vars(model) == before
    assert path.read_bytes() == content
    assert_same_run(clone(model).fit(stream), clone(model).set_params(checkpoint=None).fit(stream))


@pytest.mark.parametrize("step", ["create", "write", "flush to disk", "replace"])
def test_a_disk_that_fails_at_any_step_keeps_the_checkpoint(step, tmp_path, monkeypatch):
    X, y = NUMBERS
    path = tmp_path / "run"
    model = FMRegressor(2, solver="adagrad", max_iter=3, random_state=0)
    n_saved, valid = [], []
    save = Checkpoint.save

    def fails(*args, **kwargs):
        raise OSError(28, "No space left on device")

    def full_from_the_second_on(self, tensors, numbers):
        with monkeypatch.context() as patch:
            if n_saved:
                valid.append(path.read_bytes())
                place = {
                    "create": (_files.os, "open"),
                    "write": (_checkpoint.np, "savez"),
                    "flush to disk": (_files.os, "fsync"),
                    "replace": (_files.Path, "replace"),
                }[step]
                patch.setattr(*place, fails)
            save(self, tensors, numbers)
        n_saved.append(1)
        assert [file.name for file in tmp_path.iterdir()] == ["run"]
        assert not valid or path.read_bytes() == valid[0]

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", full_from_the_second_on)
        with pytest.warns(UserWarning, match=r"No space.* before it is still valid"):
            saved = clone(model).set_params(checkpoint=path).fit(X, y)
    assert len(n_saved) == 3
    path.write_bytes(valid[0])
    assert_same_run(clone(model).set_params(checkpoint=path).fit(X, y), saved)


@pytest.mark.parametrize("row", [0, 599])
def test_a_file_rewritten_with_the_same_size_and_time_is_another_run(row, tmp_path, monkeypatch):
    """The digests of a checkpoint depend on the content of a file."""
    source, path = tmp_path / "data.svm", tmp_path / "run"
    lines = [f"{k % 7} {1 + k % 9}:1 {11 + k % 5}:1\n" for k in range(600)]
    source.write_text("".join(lines))
    options = {"n_features": 15, "zero_based": False, "chunk_bytes": 1500}
    model = FMRegressor(2, solver="adagrad", max_iter=3, random_state=0, checkpoint=path)
    save, n_saved = Checkpoint.save, []

    def fails(self, tensors, numbers):
        save(self, tensors, numbers)
        n_saved.append(1)
        if len(n_saved) == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", fails)
        with pytest.raises(KeyboardInterrupt):
            clone(model).fit(SvmlightChunks(source, **options))
    status = source.stat()
    lines[row] = "9" + lines[row][1:]
    source.write_text("".join(lines))
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert source.stat().st_size == status.st_size
    with pytest.raises(ValueError, match="is the checkpoint of another run: there "):
        model.fit(SvmlightChunks(source, **options))
