"""What a fit does with its chunks: how often and when it reads them, and what it makes of odd ones."""

import gc
import re
import weakref

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import dump_svmlight_file
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfm import FMClassifier, FMRegressor
from skfm.core.solvers.minibatch.trainer import Trainer
from skfm.streaming import Chunks, ParquetChunks, SvmlightChunks
from tests.helpers.encoded import mixed
from tests.helpers.minibatch import MINIBATCH, SOME_LOSSES, assert_same_parameters, make, target
from tests.helpers.streams import chunks_of, data

X, Y = data()
LABELS = data("log_loss", 3)[1]


def unchanged(model, before):
    return vars(model).keys() == before.keys() and all(vars(model)[name] is before[name] for name in before)


# ----------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("max_iter", [1, 3])
def test_chunks_are_read_in_order_once_an_epoch(max_iter):
    read = []

    def source():
        for number, chunk in enumerate(chunks_of(X, Y)):
            read.append(number)
            yield chunk

    model = make("squared_error", max_iter=max_iter).fit(Chunks(source))
    assert read == list(range(6)) * max_iter
    assert model.n_iter_ == max_iter


def test_the_order_within_chunks():
    plain, other = (make("squared_error", batch_size=10, random_state=seed) for seed in (0, 0))
    other.set_params(shuffle=False)
    shuffled = [clone(plain).fit(Chunks(chunks_of(X, Y))) for _ in range(2)]
    assert_same_parameters(*shuffled)
    in_order = clone(other).fit(Chunks(chunks_of(X, Y)))
    assert np.abs(in_order.coef_ - shuffled[0].coef_).max() > 1e-6
    # Without shuffling, the borders of the chunks are of no account where batches end there too.
    options = {"learning_rate_schedule": "constant", "max_iter": 2}
    first = X[:100], Y[:100]
    halves = [first, *chunks_of(X[100:], Y[100:], 50)]
    rest = [first, (X[100:], Y[100:])]
    a, b = (clone(other).set_params(**options).fit(Chunks(source)) for source in (halves, rest))
    assert_same_parameters(a, b)


def test_the_default_number_of_epochs():
    def of(chunks):
        return FMRegressor(2, solver="adagrad", random_state=0).fit(chunks).n_iter_

    assert of(Chunks(chunks_of(X, Y))) == FMRegressor(2, solver="adagrad").fit(X, Y).n_iter_
    assert of(Chunks(lambda: iter(chunks_of(X, Y)))) == 3
    assert of(Chunks(chunk for chunk in chunks_of(X, Y))) == 1


def test_what_can_be_read_once():
    read = []

    def generate():
        for chunk in chunks_of(X, Y):
            read.append(1)
            yield chunk

    model = make("squared_error", max_iter=2)
    before = dict(vars(model))
    stream = Chunks(generate())
    with pytest.raises(
        ValueError, match="max_iter=2 epochs cannot be made of chunks from a generator object"
    ):
        model.fit(stream)
    assert unchanged(model, before)
    assert not read
    model.set_params(max_iter=1).fit(stream)
    assert len(read) == 6
    before = dict(vars(model))
    with pytest.raises(
        ValueError, match="generator object can be read only once, and an earlier pass has exhausted"
    ):
        model.fit(stream)
    assert unchanged(model, before)


def test_few_chunks_are_in_memory_at_a_time():
    alive = []
    most = []

    def source():
        for start in range(0, 600, 50):
            chunk = np.ascontiguousarray(X[start : start + 50].toarray())
            alive.append(weakref.ref(chunk))
            gc.collect()
            most.append([ref() is not None for ref in alive])
            yield chunk, Y[start : start + 50]
            del chunk

    make("squared_error", max_iter=2).fit(Chunks(source))
    assert len(alive) == 24
    # The one in use, one that waits and the one that is just being made.
    assert max(map(sum, most)) <= 3
    # Not even the first, from which all was measured, lives on.
    assert not most[-1][0]
    gc.collect()
    assert not any(ref() is not None for ref in alive)


def filling(reused, container=np.asarray):
    """A generator function that fills the same arrays for each chunk: X alone, y alone, the weights alone, or all."""

    def source():
        buffers = [np.empty((50, X.shape[1])), np.empty(50), np.empty(50)]
        weight = 1 + np.arange(600) % 3
        for start in range(0, 600, 50):
            rows = slice(start, start + 50)
            arrays = [X[rows].toarray(), Y[rows], weight[rows]]
            for number, name in enumerate(["X", "y", "sample_weight"]):
                if reused in (name, "all"):
                    buffers[number][:] = arrays[number]
                    arrays[number] = buffers[number]
            yield container(arrays[0]), *arrays[1:]

    return source


@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame], ids=["array", "frame"])
@pytest.mark.parametrize("reused", ["X", "y", "sample_weight", "all"])
def test_a_source_may_fill_the_same_arrays(reused, container):
    model = make("squared_error", max_iter=2)

    def fit(reused, *, is_iterator=False):
        if is_iterator:
            return clone(model).set_params(max_iter=1).fit(Chunks(filling(reused, container)()))
        training, validation = (Chunks(filling(reused, container)) for _ in range(2))
        return clone(model).fit(training, X_val=validation)

    for is_iterator in (False, True):
        fresh, again = (fit(which, is_iterator=is_iterator) for which in ("nothing", reused))
        assert_same_parameters(again, fresh)
        assert again.history_ == fresh.history_


# ------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("solver", ["adagrad", "ftrl"])
def test_svmlight_files_are_their_chunks(solver, tmp_path):
    path = tmp_path / "clicks.svm"
    dump_svmlight_file(X, LABELS, str(path))
    file = SvmlightChunks(path, chunk_bytes=2000, n_features=35, zero_based=True, classes=[0, 1, 2])
    in_memory = list(file)
    assert len(in_memory) > 3
    assert np.abs(sparse.vstack([chunk.X for chunk in in_memory]) - X).max() == 0
    model = make("log_loss", 3, solver=solver, max_iter=3)
    from_file = clone(model).fit(file)
    assert_same_parameters(from_file, clone(model).fit(Chunks(in_memory, classes=[0, 1, 2])))
    assert from_file.score(X, LABELS) > 0.5


def test_parquet_files_are_their_chunks(tmp_path):
    rng = np.random.default_rng(0)
    users, films = (rng.integers(0, n, 3000) for n in (30, 20))
    taste = rng.standard_normal((30, 2)) @ rng.standard_normal((2, 20))
    rating = 3 + taste[users, films] + 0.1 * rng.standard_normal(3000)
    names = {"user": [f"u{i}" for i in range(30)], "film": [f"f{i}" for i in range(20)]}
    columns = {"user": np.array(names["user"])[users], "film": np.array(names["film"])[films]}
    table = pa.table({**columns, "age": rng.normal(40, 10, 3000), "rating": rating, "w": np.ones(3000)})
    pq.write_table(table, tmp_path / "ratings.parquet", row_group_size=700)
    options = {"target": "rating", "weight": "w", "categories": names, "batch_rows": 500}
    file = ParquetChunks(tmp_path / "ratings.parquet", **options)
    assert file.n_chunks == 6
    model = FMRegressor(2, solver="adagrad", max_iter=15, random_state=0, batch_size=32)
    in_memory = list(file)
    from_file = clone(model).fit(file)
    assert_same_parameters(from_file, clone(model).fit(Chunks(in_memory)))
    everything = sparse.vstack([chunk.X for chunk in in_memory])
    assert from_file.score(everything, rating) > 0.9


@SOME_LOSSES
def test_a_stream_is_as_good_as_arrays(solver, loss, n_classes):
    Z = mixed(400)
    y = target(Z, loss, n_classes)
    model = make(loss, n_classes, solver=solver, max_iter=5, batch_size=20)
    arrays = clone(model).fit(Z, y, X_val=Z, y_val=y).history_["validation_loss"]
    stream = clone(model).fit(Chunks(chunks_of(Z, y, 200)), X_val=Z, y_val=y).history_["validation_loss"]
    assert len(stream) == 5
    # Other rows are together in a batch, in another order: after a few epochs either is ahead, but not by far.
    start = clone(model).set_params(max_iter=1, learning_rate=1e-9).fit(Z, y, X_val=Z, y_val=y)
    start = start.history_["validation_loss"][0]
    assert min(arrays) < start
    assert start - min(stream) > 0.7 * (start - min(arrays))


# --------------------------------------------------------------------------------- chunks that fail


def bad(chunk, kind):
    X, y = chunk
    if kind == "columns":
        return X[:, :-1], y
    if kind == "dtype":
        return X.astype(np.float32), y
    if kind == "NaN":
        X = X.copy()
        X.data[3] = np.nan
        return X, y
    if kind == "weights":
        return X, y, np.full(len(y), -1.0)
    if kind == "infinite y":
        return X, np.r_[y[:-1], np.inf]
    if kind == "short y":
        return X, y[:-1]
    return X, np.r_[y[:-1], 9]


BAD = {
    "columns": "X of chunk 2 has 34 columns, but the previous chunks have 35",
    "dtype": "Chunk 2: X is float32, but float64 in the first chunk. Convert all chunks to one dtype",
    "NaN": "Chunk 2: Input X contains NaN",
    "weights": r"Chunk 2: sample_weight must not be negative, but sample_weight\[0\] = -1.0",
    "infinite y": "Chunk 2: (Input y contains infinity|Unknown label type: continuous|.*infinity)",
    "short y": r"y of chunk 2 must have shape \(100,\)",
    "class": r"Chunk 2: y holds classes that are not known: \[9\]. All classes have to be known from the start",
}


@pytest.mark.parametrize("kind", BAD)
def test_what_was_learned_before_a_bad_chunk_is_kept(kind):
    good = chunks_of(X, LABELS)
    stream = [*good[:2], bad(good[2], kind), *good[3:]]
    model = FMClassifier(2, solver="adagrad", random_state=0, max_iter=2, learning_rate_schedule="constant")
    with pytest.raises((ValueError, TypeError), match=BAD[kind]):
        model.fit(Chunks(stream))
    expected = clone(model).set_params(max_iter=1).fit(Chunks(good[:2]))
    assert_same_parameters(model, expected)
    assert_array_equal(model.predict(X), expected.predict(X))
    assert model.n_iter_ == len(model.history_["training_loss"]) == 1


@pytest.mark.parametrize("kind", sorted(BAD.keys() - {"class", "columns", "dtype"}))
def test_a_bad_first_chunk_does_no_harm(kind):
    stream = Chunks([bad(chunks_of(X, LABELS)[0], kind), *chunks_of(X, LABELS)[1:]])
    for model in (make("log_loss", 3), make("log_loss", 3).fit(X, LABELS)):
        before = dict(vars(model))
        with pytest.raises((ValueError, TypeError), match=BAD[kind].replace("hunk 2", "hunk 0")):
            model.fit(stream)
        assert unchanged(model, before)


def test_a_source_that_breaks_off():
    def source(after):
        yield from chunks_of(X, Y)[:after]
        raise OSError("connection lost")

    model = make("squared_error", max_iter=3)
    before = dict(vars(model))
    with pytest.raises(OSError, match="connection lost"):
        model.fit(Chunks(lambda: source(0)))
    assert unchanged(model, before)
    with pytest.raises(OSError, match="connection lost"):
        model.fit(Chunks(lambda: source(3)), X_val=X, y_val=Y)
    assert model.n_iter_ == len(model.history_["validation_loss"]) == 1
    assert np.isfinite(model.predict(X)).all()
    # In a later epoch, the model is that of the last full one.
    count = []

    def later():
        for chunk in chunks_of(X, Y):
            count.append(1)
            if len(count) == 10:
                raise OSError("connection lost")
            yield chunk

    model = make("squared_error", max_iter=3, learning_rate_schedule="constant")
    with pytest.raises(OSError, match="connection lost"):
        model.fit(Chunks(later))
    assert_same_parameters(model, clone(model).set_params(max_iter=1).fit(Chunks(chunks_of(X, Y))))


def test_validation_chunks_that_fail():
    held_out = Chunks([(X[:50], Y[:50]), (X[:50] * np.nan, Y[:50])])
    model = make("squared_error", max_iter=2)
    with pytest.raises(ValueError, match="Chunk 1: Input X contains NaN"):
        model.fit(Chunks(chunks_of(X, Y)), X_val=held_out)
    # An epoch of training is not thrown away for that.
    assert_same_parameters(model, make("squared_error", max_iter=2).fit(Chunks(chunks_of(X, Y)[:6])), atol=10)
    assert model.n_iter_ == 1
    assert model.score(X, Y) > 0


def test_a_blow_up_does_not_cost_the_chunks_before(monkeypatch):
    model = make("squared_error", max_iter=1, batch_size=10)
    expected = clone(model).fit(Chunks(chunks_of(X, Y)))
    is_finite, calls = Trainer.is_finite, []

    def broken_once(trainer):
        calls.append(trainer)
        return len(calls) != 6 and is_finite(trainer)

    monkeypatch.setattr(Trainer, "is_finite", broken_once)
    with pytest.warns(UserWarning, match="diverged in epoch 1"):
        model.fit(Chunks(chunks_of(X, Y)))
    assert model.score(X, Y) > expected.score(X, Y) - 0.1


# ------------------------------------------------------------------------------------- odd chunks


@MINIBATCH
@pytest.mark.parametrize("n_classes", [None, 3])
def test_chunks_that_hold_nothing(solver, n_classes):
    y = Y if n_classes is None else LABELS
    loss = "squared_error" if n_classes is None else "log_loss"
    good = chunks_of(X, y, 200)
    nothing = X[:0], y[:0]
    weightless = X[:7], y[:7], np.zeros(7)
    stream = [nothing, weightless, good[0], nothing, good[1], weightless, weightless, good[2], nothing]
    model = make(loss, n_classes, solver=solver, shuffle=False, batch_size=50)
    model.set_params(learning_rate_schedule="constant", max_iter=2)
    assert_same_parameters(clone(model).fit(Chunks(stream)), clone(model).fit(Chunks(good)))
    before = dict(vars(model))
    for empty in ([nothing], [weightless, nothing]):
        with pytest.raises(ValueError, match="No chunk holds any rows with a positive weight"):
            model.fit(Chunks(empty))
    for none in ([], iter([]), lambda: iter([])):
        with pytest.raises(ValueError, match="has no chunks"):
            model.set_params(max_iter=1).fit(Chunks(none))
        model.set_params(max_iter=2)
    assert unchanged(model, before)


def test_weights_of_zero_are_no_rows():
    weight = np.tile([1.0, 0.0, 2.0, 1.0], 150)
    kept = weight > 0
    stream = [(X[i : i + 100], Y[i : i + 100], weight[i : i + 100]) for i in range(0, 600, 100)]
    same = [tuple(part[rows] for part in (X, Y, weight)) for rows in np.split(np.flatnonzero(kept), 6)]
    model = make("squared_error", max_iter=2)
    assert_same_parameters(clone(model).fit(Chunks(stream)), clone(model).fit(Chunks(same)))


def test_classes_of_a_stream():
    order = np.argsort(LABELS, kind="stable")
    ordered = chunks_of(X[order], np.array(["a", "b", "c"])[LABELS[order]])
    model = make("log_loss", 3, max_iter=20)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=r"needs samples of at least two classes, .* all of one class: 'a'"):
        model.fit(Chunks(ordered))
    assert unchanged(model, before)
    model.fit(Chunks(ordered, classes=["c", "b", "a"]))
    assert_array_equal(model.classes_, ["a", "b", "c"])
    assert model.score(X, np.array(["a", "b", "c"])[LABELS]) > 0.4
    # Two classes in the first chunk, and a third one later.
    two = LABELS < 2
    later = Chunks([(X[two], LABELS[two]), (X[two], LABELS[two]), (X, LABELS)])
    with pytest.raises(
        ValueError, match=r"Chunk 2: y holds classes that are not known: \[2\].*of the chunks"
    ):
        make("log_loss", 3).fit(later)


def test_class_weights_of_a_stream():
    order = np.argsort(LABELS, kind="stable")
    stream = Chunks(chunks_of(X[order], LABELS[order]), classes=[0, 1, 2])
    with pytest.raises(
        ValueError, match=r"goes by the first chunk of a stream, which has no samples of \[1, 2\]"
    ):
        make("log_loss", 3, class_weight="balanced").fit(stream)
    mixed_up = Chunks(chunks_of(X, LABELS))
    totals = np.bincount(LABELS[:100])
    by_hand = dict(enumerate(100 / (3 * totals)))
    models = [make("log_loss", 3, class_weight=given).fit(mixed_up) for given in ("balanced", by_hand)]
    assert_same_parameters(*models, rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------------- validation, warm start


@pytest.mark.parametrize("n_classes", [None, 3])
def test_validation_rows_come_from_the_first_chunk(n_classes):
    y = Y if n_classes is None else LABELS
    loss = "squared_error" if n_classes is None else "log_loss"
    model = make(loss, n_classes, early_stopping=True, validation_fraction=0.3, max_iter=4)
    model.set_params(shuffle=False, n_iter_no_change=4).fit(Chunks(chunks_of(X, y)))
    history = model.history_["validation_loss"]
    assert len(history) == model.n_iter_ == 4
    stratify = None if n_classes is None else y[:100]
    _, held_out = train_test_split(np.arange(100), test_size=0.3, stratify=stratify, random_state=model._seed)
    if n_classes is None:
        expected = np.mean((y[held_out] - model.predict(X[held_out])) ** 2) / 2
    else:
        expected = -np.mean(np.log(model.predict_proba(X[held_out])[np.arange(30), y[held_out]]))
    assert min(history) == pytest.approx(expected, rel=1e-8)
    # They are not trained on, in any epoch.
    rest = np.setdiff1d(np.arange(100), held_out)
    same = [(X[rest], y[rest]), *chunks_of(X[100:], y[100:])]
    plain = clone(model).set_params(early_stopping=False, max_iter=int(np.argmin(history)) + 1)
    if plain.max_iter == 4:
        assert_same_parameters(model, plain.fit(Chunks(same)))


def test_early_stopping_of_a_stream():
    noise = 5 * np.random.default_rng(0).standard_normal(600)
    model = FMRegressor(
        8, solver="adagrad", l2_linear=0.0, l2_factors=0.0, random_state=0, early_stopping=True
    )
    model.set_params(batch_size=8, max_iter=60, n_iter_no_change=3).fit(Chunks(chunks_of(X, Y + noise, 300)))
    assert model.n_iter_ < 60
    assert np.argmin(model.history_["validation_loss"]) == model.n_iter_ - 4


@MINIBATCH
def test_warm_start_with_a_stream(solver):
    stream = Chunks(chunks_of(X, Y))
    model = make("squared_error", solver=solver, warm_start=True, max_iter=20, batch_size=20).fit(stream)
    first, last = (model.history_["training_loss"][i] for i in (0, -1))
    model.set_params(max_iter=1).fit(stream)
    assert model.history_["training_loss"][0] < last + 0.3 * (first - last)
    assert np.isfinite(model.partial_fit(X, Y).predict(X)).all()


def test_callbacks_with_a_stream():
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9 has no callbacks")
    monitor = callback.ScoringMonitor(scoring="r2")
    model = make("squared_error", max_iter=3).set_callbacks(monitor).fit(Chunks(chunks_of(X, Y)))
    sweeps = [row for row in monitor.get_logs().data if row["task_name"] == "sweep"]
    # Scored on the first chunk.
    assert len(sweeps) == 3
    assert sweeps[-1]["r2"] == pytest.approx(model.score(X[:100], Y[:100]))


def test_names_of_columns():
    """Data frames bring the names of their columns, which those of other chunks and of predict are checked against."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["n", "k"])
    y = frame["n"] * frame["k"]
    model = make("squared_error").fit(Chunks([(frame[:30], y[:30]), (frame[30:], y[30:])]))
    assert model.feature_names_in_.tolist() == ["n", "k"]
    values = make("squared_error").fit(
        Chunks([(frame[:30].to_numpy(), y[:30]), (frame[30:].to_numpy(), y[30:])])
    )
    assert_array_equal(model.predict(frame), values.predict(frame.to_numpy()))
    for other in (frame[["k", "n"]], frame.rename(columns={"k": "m"})):
        with pytest.raises(ValueError, match="Chunk 1: The feature names should match"):
            make("squared_error").fit(Chunks([(frame, y), (other, y)]))
        with pytest.raises(ValueError, match="The feature names should match"):
            model.predict(other)
    with pytest.raises(ValueError, match="Chunk 1: could not convert string to float"):
        make("squared_error").fit(Chunks([(frame, y), (frame.assign(k="red"), y)]))


# --------------------------------------------------------------------------------------- progress


def test_the_progress_bar_counts_rows(capsys):
    make("squared_error", max_iter=3, verbose=1).fit(Chunks(lambda: iter(chunks_of(X, Y))), X_val=X, y_val=Y)
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.replace("\n", "\r").strip("\r ").split("\r")[-1]
    assert re.search(r"1\.80k ?rows? .*rows?/s", last)
    assert "epoch 3" in last
    assert "training_loss=" in last
    assert "validation_loss=" in last


def test_the_progress_bar_counts_epochs_of_rows_in_memory(capsys):
    make("squared_error", max_iter=3, verbose=1).fit(X, Y)
    assert re.search(r"3/3 .* epochs/s", capsys.readouterr().err)


def test_no_progress_bar_unless_asked_for(capsys):
    make("squared_error").fit(Chunks(chunks_of(X, Y)))
    assert capsys.readouterr() == ("", "")


# -------------------------------------------------------------------- where a stream cannot be used


def test_a_stream_is_no_array():
    stream = Chunks(chunks_of(X, Y))
    model = make("squared_error").fit(stream)
    message = "Chunks is a stream of chunks, not an array. It can only be passed to the method fit"
    pipe = make_pipeline(StandardScaler(with_mean=False), clone(model))
    for use in (
        lambda: model.predict(stream),
        lambda: model.score(stream, Y),
        lambda: pipe.fit(stream),
        lambda: pipe.fit(stream, Y),
        lambda: np.asarray(stream),
        lambda: GridSearchCV(clone(model), {"n_factors": [1, 2]}).fit(stream, Y),
    ):
        with pytest.raises(TypeError, match=message):
            use()


@pytest.mark.parametrize("solver", ["vb", "als"])
def test_solvers_that_need_all_data_at_once(solver):
    for model in (FMRegressor(solver=solver), FMClassifier(solver=solver)):
        before = dict(vars(model))
        message = (
            f"solver='{solver}' needs all data at once and cannot learn from chunks. Use one of 'adagrad'"
        )
        with pytest.raises(ValueError, match=message):
            model.fit(Chunks(chunks_of(X, LABELS)))
        assert unchanged(model, before)


@pytest.mark.parametrize("beside", [{"y": Y}, {"sample_weight": np.ones(600)}])
def test_nothing_goes_beside_a_stream(beside):
    model = make("squared_error")
    with pytest.raises(
        ValueError, match=r"contain y and sample_weight\. Do not pass them in addition to a stream"
    ):
        model.fit(Chunks(chunks_of(X, Y)), **beside)
    assert not hasattr(model, "factors_")
