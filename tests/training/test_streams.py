"""Learning online and from chunks: the same as from arrays where it can be, and nothing learned gets lost."""

import os

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import dump_svmlight_file

from skfm import FMClassifier, FMRegressor
from skfm.core.solvers.minibatch.trainer import Trainer
from skfm.streaming import Chunks, SvmlightChunks
from skfm.training import checkpoint as checkpoint_module
from tests.helpers.slow import parametrize
from tests.helpers.streams import chunks_of, data, run_script

SOLVERS = ["adagrad", "adam", "ftrl", "sgd"]
MINIBATCH = pytest.mark.parametrize("solver", SOLVERS)
REGRESSION = ["squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma"]
CLASSIFICATION = ["log_loss", "hinge", "squared_hinge"]


def assert_same_model(a, b):
    for name in ("intercept_", "coef_", "factors_"):
        assert_array_equal(getattr(a, name), getattr(b, name))
        assert np.isfinite(getattr(a, name)).all()


@parametrize(
    ("solver", "loss"),
    [(solver, loss) for solver in SOLVERS for loss in REGRESSION + CLASSIFICATION],
    fast=lambda solver, loss: solver == "adagrad" or loss in ("squared_error", "log_loss"),
)
def test_partial_fit_over_batches_is_fit_over_chunks(solver, loss):
    kind = FMClassifier if loss in CLASSIFICATION else FMRegressor
    X, y = data(loss, n_classes=3)
    options = {"solver": solver, "loss": loss, "learning_rate_schedule": "constant", "random_state": 0}
    whole = kind(2, max_iter=1, **options).fit(Chunks(chunks_of(X, y)))
    online = kind(2, **options)
    for number, (X_part, y_part) in enumerate(chunks_of(X, y)):
        classes = {"classes": [0, 1, 2]} if kind is FMClassifier and number == 0 else {}
        online.partial_fit(X_part, y_part, **classes)
    assert_same_model(online, whole)
    assert online.n_iter_ == 6


@MINIBATCH
def test_a_stream_teaches_as_much_as_arrays(solver):
    X, y = data("log_loss")
    stream = FMClassifier(2, solver=solver, random_state=0, max_iter=50).fit(Chunks(chunks_of(X, y, 200)))
    arrays = FMClassifier(2, solver=solver, random_state=0, max_iter=50).fit(X, y)
    assert stream.score(X, y) > arrays.score(X, y) - 0.05
    assert len(stream.history_["training_loss"]) == stream.n_iter_ == 50


def test_svmlight_files(tmp_path):
    X, y = data("log_loss")
    dump_svmlight_file(X, y, str(tmp_path / "clicks.svm"))
    file = SvmlightChunks(tmp_path / "clicks.svm", chunk_bytes=2000)
    assert file.n_chunks > 3
    model = FMClassifier(2, solver="adagrad", random_state=0).fit(file)
    assert model.score(X, y) > 0.75


def test_classes_of_partial_fit():
    X, y = data("log_loss")
    model = FMClassifier(2, solver="adagrad")
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, y)
    model.partial_fit(X, y, classes=[0, 1])
    before = dict(vars(model))
    with pytest.raises(ValueError, match=r"not known: \[7\]"):
        model.partial_fit(X[:3], [0, 1, 7])
    with pytest.raises(ValueError, match="not the same as on the first call"):
        model.partial_fit(X, y, classes=[0, 1, 2])
    assert vars(model) == before
    for solver in ("vb", "als"):
        assert not hasattr(FMClassifier(solver=solver), "partial_fit")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (lambda X, y: (X[:, :-1], y), "columns"),
        (lambda X, y: (X.astype(np.float32), y), "Chunk 1: X is float32, but float64 in the first chunk"),
        (lambda X, y: (X, -y), r"Chunk 1: loss='poisson' takes targets that are not negative"),
        (lambda X, y: (X * np.nan, y), "Chunk 1: .*NaN"),
    ],
)
def test_a_bad_chunk_is_named_and_what_was_learned_before_is_kept(second, message):
    X, y = data("poisson")
    first = (X[:300], y[:300])
    model = FMRegressor(2, solver="adagrad", loss="poisson", random_state=0)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(Chunks([first, second(X[300:], y[300:])]))
    assert np.isfinite(model.predict(X)).all()
    untouched = FMRegressor(2, solver="adagrad", loss="poisson")
    with pytest.raises((ValueError, TypeError)):
        untouched.fit(Chunks([second(X[:300], np.full(300, np.nan))]))
    assert not hasattr(untouched, "factors_")


def test_streams_that_cannot_be():
    X, y = data()
    with pytest.raises(ValueError, match="needs all data at once"):
        FMRegressor().fit(Chunks([(X, y)]))
    with pytest.raises(ValueError, match="contain y and sample_weight"):
        FMRegressor(solver="adagrad").fit(Chunks([(X, y)]), y)
    with pytest.raises(ValueError, match="has no chunks"):
        FMRegressor(solver="adagrad").fit(Chunks([]))
    once = FMRegressor(solver="adagrad").fit(Chunks(iter(chunks_of(X, y))))
    assert once.n_iter_ == 1


#: One process imports everything; each run is a child of it that kills itself after a number of chunks.
CHILDREN = """
    import os, sys
    import torch
    sys.path.insert(0, {root!r})
    torch.set_num_threads(1)
    from skfm import FMClassifier
    from skfm.streaming import Chunks
    from skfm.training import checkpoint
    from tests.helpers.streams import chunks_of, data, in_a_child_that_dies, kill
    checkpoint.INTERVAL = checkpoint.PATIENCE = 0

    def run(solver, after):
        path = os.path.join({folder!r}, f"{{solver}}-{{after}}.npz")
        seen = []
        def source():
            for chunk in chunks_of(*data("log_loss")):
                seen.append(1)
                if len(seen) > after:
                    kill()
                yield chunk
        FMClassifier(2, solver=solver, max_iter=3, random_state=0, checkpoint=path).fit(
            Chunks(source, n_features=35)
        )

    for solver in {solvers!r}:
        for after in (4, 10):
            in_a_child_that_dies(run, solver, after)
"""


@pytest.fixture(scope="module")
def remains(tmp_path_factory):
    """The folder with the checkpoints of all runs that were killed."""
    folder = tmp_path_factory.mktemp("killed")
    run_script(CHILDREN, solvers=SOLVERS, folder=str(folder))
    return folder


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork, no SIGKILL")
@MINIBATCH
@pytest.mark.parametrize("after", [4, 10])
def test_a_killed_run_goes_on_from_its_checkpoint(solver, after, remains):
    path = str(remains / f"{solver}-{after}.npz")
    assert os.path.exists(path)
    X, y = data("log_loss")
    model = FMClassifier(2, solver=solver, max_iter=3, random_state=0)
    source = Chunks(lambda: iter(chunks_of(X, y)), n_features=35)
    with pytest.raises(ValueError, match="another run: there n_factors was 2, here it is 3"):
        clone(model).set_params(n_factors=3, checkpoint=path).fit(source)
    resumed = clone(model).set_params(checkpoint=path).fit(source)
    whole = clone(model).fit(source)
    assert_same_model(resumed, whole)
    assert resumed.history_ == whole.history_
    assert not os.path.exists(path)


def test_a_checkpoint_that_cannot_be_written_does_not_stop_the_run(tmp_path, monkeypatch):
    X, y = data()
    monkeypatch.setattr(checkpoint_module, "INTERVAL", 0)
    monkeypatch.setattr(checkpoint_module, "PATIENCE", 0)

    def full(file, **arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module.np, "savez", full)
    model = FMRegressor(2, solver="adagrad", max_iter=1, random_state=0, checkpoint=tmp_path / "run")
    with pytest.warns(UserWarning, match=r"could not be written to .*No space left"):
        model.fit(X, y)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="in a folder that does not exist"):
        model.set_params(checkpoint=tmp_path / "nowhere" / "run").fit(X, y)
    (tmp_path / "run").write_bytes(b"PK\x03\x04 but not really")
    with pytest.raises(ValueError, match=r"no checkpoint of skfm, or damaged.*Delete the file"):
        model.set_params(checkpoint=tmp_path / "run").fit(X, y)


@MINIBATCH
def test_no_learning_rate_is_too_large_for_a_finite_model(solver):
    X, y = data()
    model = FMRegressor(2, solver=solver, learning_rate=1e8, l2_factors=0.0, random_state=0).fit(X, y)
    assert np.isfinite(model.predict(X)).all()


def test_a_run_that_blows_up_goes_back_and_says_so(monkeypatch):
    X, y = data()
    model = FMRegressor(2, solver="adagrad", max_iter=4, random_state=0)
    is_finite, calls = Trainer.is_finite, []

    def once_broken(trainer):
        calls.append(trainer)
        return len(calls) != 2 and is_finite(trainer)

    monkeypatch.setattr(Trainer, "is_finite", once_broken)
    with pytest.warns(UserWarning, match="The loss diverged in epoch 2.*smaller learning_rate"):
        model.fit(X, y)
    assert model.n_iter_ == 4
    assert np.isfinite(model.predict(X)).all()
    monkeypatch.setattr(Trainer, "is_finite", lambda trainer: False)
    before = dict(vars(model))
    with (
        pytest.warns(UserWarning, match="diverged"),
        pytest.raises(ValueError, match="smaller learning_rate"),
    ):
        model.fit(X, y)
    assert vars(model) == before


@pytest.mark.parametrize("solver", ["vb", "adagrad"])
def test_validation_data_in_chunks_are_validation_data(solver):
    X, y = data("log_loss")
    model = FMClassifier(2, solver=solver, random_state=0, max_iter=8, n_iter_no_change=2)
    arrays = clone(model).fit(X[:400], y[:400], X_val=X[400:], y_val=y[400:])
    held_out = chunks_of(X[400:], y[400:], 70)
    chunks = clone(model).fit(X[:400], y[:400], X_val=Chunks(held_out))
    assert chunks.n_iter_ == arrays.n_iter_
    assert_allclose(chunks.history_["validation_loss"], arrays.history_["validation_loss"], rtol=1e-9)
    assert_same_model(chunks, arrays)
    with pytest.raises(
        ValueError, match=r"X_val comes from a list_iterator object, which can be read once only"
    ):
        model.fit(X, y, X_val=Chunks(iter(held_out)))
    with pytest.raises(ValueError, match="contain y and sample_weight"):
        model.fit(X, y, X_val=Chunks(held_out), y_val=y)
    with pytest.raises(ValueError, match=r"Chunk 1: y_val holds classes that y does not: \[9\]"):
        model.fit(X, y, X_val=Chunks([held_out[0], (X[:2], [0, 9])]))
    assert not hasattr(model, "factors_")


def test_softmax_and_margins():
    X, y = data("log_loss", n_classes=3)
    model = FMClassifier(2, solver="adagrad", random_state=0).fit(X, y)
    scores = model.decision_function(X)
    exp = np.exp(scores - scores.max(1, keepdims=True))
    assert_allclose(model.predict_proba(X), exp / exp.sum(1, keepdims=True), rtol=1e-9)
    assert not hasattr(FMClassifier(solver="adagrad", loss="hinge"), "predict_proba")


def test_quantiles_cover_what_they_say():
    X, y = data()
    for level in (0.2, 0.8):
        model = FMRegressor(2, solver="adagrad", loss="quantile", quantile=level, random_state=0).fit(X, y)
        assert abs((y < model.predict(X)).mean() - level) < 0.1
    with pytest.raises(ValueError, match=r"quantile=0\.8 is not used by loss='squared_error'"):
        FMRegressor(solver="adagrad", quantile=0.8).fit(X, y)
