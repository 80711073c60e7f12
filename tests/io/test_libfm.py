"""Model files of libFM: one written by hand, round trips, and errors with line numbers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, ndtr
from sklearn.exceptions import NotFittedError

from skfm import FMClassifier, FMRegressor
from skfm.core.solvers import SOLVERS
from skfm.io import LibFMParameters, read_libfm_model, write_libfm_model
from tests.helpers.problems import brute_force
from tests.helpers.saved import assert_same, data, small

FIXTURE = Path(__file__).parent / "model.libfm"

#: Rows of the columns 0..3 and what the model of the fixture predicts, worked out on paper.
BY_HAND = [
    ([0, 0, 0, 0], 3.5),  # the global bias
    ([1, 0, 0, 0], 3.5 - 0.25),
    ([0, 0, 0, 2], 3.5 + 2 * 0.1),  # no interaction of a column with itself
    ([1, 0, 1, 0], 3.5 - 0.25 + 0 + (1 * 0.5 + -2 * 1)),
    ([0, 1, 0, 2], 3.5 + 1.5 + 0.2 + 2 * (0.5 * 4 + 0 * -1)),
    ([1, 1, 1, 1], 3.5 + 1.35 + (0.5 + 0) + (0.5 - 2) + (4 + 2) + (0.25 + 0) + (2 + 0) + (2 - 1)),
]


@pytest.mark.parametrize("container", [np.array, sparse.csr_matrix])
def test_a_file_written_by_hand(container):
    rows, expected = (np.array(part, float) for part in zip(*BY_HAND, strict=True))
    model = read_libfm_model(FIXTURE, "regression")
    assert_allclose(model.predict(container(rows)), expected, rtol=1e-15)
    for loss, link in (("log_loss", expit), (None, expit), ("probit", ndtr)):
        model = read_libfm_model(FIXTURE, "classification", loss=loss)
        assert_allclose(model.predict_proba(container(rows))[:, 1], link(expected), rtol=1e-12)
        assert_array_equal(model.predict(container(rows)), np.where(expected > 0, 1, -1))


def test_parameters_of_a_file_written_by_hand():
    found = read_libfm_model(FIXTURE)
    assert isinstance(found, LibFMParameters)
    assert found.intercept == 3.5
    assert found.coef.tolist() == [-0.25, 1.5, 0, 0.1]
    assert found.factors.tolist() == [[1, -2], [0.5, 0], [0.5, 1], [4, -1]]


@pytest.mark.parametrize(
    ("solver", "loss"), [(s, loss) for s in SOLVERS for loss in sorted(SOLVERS[s].losses)]
)
def test_round_trip(solver, loss, tmp_path):
    X, y = data()
    X = sparse.csr_matrix(X[:, [0, 1, 2, 4]])
    for kind, task in ((FMRegressor, "regression"), (FMClassifier, "classification")):
        if loss not in kind._parameter_constraints["loss"][0].options or loss == "ordered_probit":
            continue
        model = kind(2, solver=solver, loss=loss, max_iter=3, random_state=0).fit(
            X, y if task == "regression" else y > 1
        )
        if loss in ("poisson", "gamma"):
            with pytest.raises(ValueError, match="cannot compute from the raw predictions"):
                write_libfm_model(model, tmp_path / "model")
            continue
        write_libfm_model(model, tmp_path / "model")
        again = read_libfm_model(
            tmp_path / "model", task, loss=loss if loss == "probit" else None, classes=[False, True]
        )
        for name in ("intercept_", "coef_", "factors_"):
            assert_array_equal(getattr(again, name), getattr(model, name))
        if kind is FMRegressor or solver != "mcmc":
            assert_array_equal(again.predict(X), model.predict(X))
        if kind is FMClassifier and solver in ("als", "sgd") and "hinge" not in loss:
            assert_array_equal(again.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("fit_linear", [True, False])
@pytest.mark.parametrize("n_factors", [0, 3])
def test_parts_that_a_model_may_lack(fit_intercept, fit_linear, n_factors, tmp_path):
    X, y = data()
    options = {"fit_intercept": fit_intercept, "fit_linear": fit_linear, "solver": "als", "max_iter": 3}
    model = FMRegressor(n_factors, **options).fit(X, y)
    path = tmp_path / "model"
    write_libfm_model(model, path)
    text = path.read_text()
    assert ("#global bias W0" in text) == fit_intercept
    assert ("#unary interactions Wj" in text) == fit_linear
    if not fit_linear and n_factors == 0:
        with pytest.raises(ValueError, match="no parameters for any column"):
            read_libfm_model(path)
        return
    again = read_libfm_model(path, "regression")
    assert again.get_params()["fit_linear"] == fit_linear
    assert again.get_params()["fit_intercept"] == fit_intercept
    # Columns that were centered are summed in another order.
    assert_allclose(again.predict(X), model.predict(X), rtol=1e-12)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.data(), st.integers(1, 5), st.integers(0, 3))
def test_every_number_comes_back(tmp_path_factory, draw, p, k):
    expected = LibFMParameters(
        draw.draw(NUMBERS),
        np.array(draw.draw(st.lists(NUMBERS, min_size=p, max_size=p))),
        np.array(draw.draw(st.lists(NUMBERS, min_size=p * k, max_size=p * k))).reshape(p, k),
    )
    model = small()
    model.intercept_, model.coef_, model.factors_ = expected
    path = tmp_path_factory.getbasetemp() / "model.libfm"
    write_libfm_model(model, path)
    found = read_libfm_model(path)
    for a, b in zip(found, expected, strict=True):
        assert_same(np.asarray(a), np.asarray(b))


def test_float32_comes_back(tmp_path):
    X, y = data()
    X = sparse.csr_matrix(X[:, :3], dtype=np.float32)
    model = FMRegressor(2, max_iter=3, random_state=0).fit(X, y)
    write_libfm_model(model, tmp_path / "model")
    again = read_libfm_model(tmp_path / "model", "regression", dtype=np.float32)
    assert again.factors_.dtype == np.float32
    assert_array_equal(again.predict(X), model.predict(X))


def test_labels():
    X = np.eye(4)
    model = read_libfm_model(FIXTURE, "classification", classes=["bad", "good"])
    assert model.predict(X).tolist() == ["good"] * 4
    for classes in (["b", "a"], [1], [1, 1], [1, 2, 3]):
        with pytest.raises(ValueError, match="classes must hold two labels in ascending order"):
            read_libfm_model(FIXTURE, "classification", classes=classes)


def test_a_model_from_libfm_can_be_fitted_further():
    rng = np.random.default_rng(0)
    X = np.eye(4)[rng.integers(0, 4, 60)] + np.eye(4)[rng.integers(0, 4, 60)]
    given = read_libfm_model(FIXTURE)
    y = brute_force(X, *given)
    warm = read_libfm_model(FIXTURE, "regression").set_params(warm_start=True, max_iter=1)
    cold = FMRegressor(2, solver="als", max_iter=1, random_state=0)
    assert warm.fit(X, y).score(X, y) > cold.fit(X, y).score(X, y)


def test_a_model_from_libfm_can_be_saved(tmp_path):
    from skfm.io import load_model, save_model

    for task in ("regression", "classification"):
        model = read_libfm_model(FIXTURE, task)
        save_model(model, tmp_path / "model")
        assert_same(vars(load_model(tmp_path / "model")), vars(model))


def test_what_cannot_be_written(tmp_path):
    X, y = data()
    path = tmp_path / "model"
    with pytest.raises(ValueError, match="has 3 classes, but a model file of libFM can hold only two"):
        write_libfm_model(FMClassifier(1, max_iter=1).fit(X, y), path)
    ordered = FMClassifier(1, solver="mcmc", loss="ordered_probit", max_iter=4).fit(X, y)
    with pytest.raises(ValueError, match="loss='ordered_probit'"):
        write_libfm_model(ordered, path)
    with pytest.raises(NotFittedError):
        write_libfm_model(FMRegressor(), path)
    with pytest.raises(TypeError, match="takes an FMRegressor or an FMClassifier"):
        write_libfm_model("model", path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "ranking"}, "task must be"),
        ({"task": "regression", "loss": "log_loss"}, "loss must be 'squared_error' for a regression"),
        ({"task": "classification", "loss": "hinge"}, "loss must be 'log_loss' or 'probit'"),
        ({"dtype": np.int64}, "dtype must be float32 or float64"),
    ],
)
def test_wrong_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        read_libfm_model(FIXTURE, **options)


HEAD = b"#global bias W0\n1\n#unary interactions Wj\n1\n2\n#pairwise interactions Vj,f\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "ends before"),
        (b"\n\n", "ends before"),
        (HEAD[:-1], "has no line end, so the file was truncated"),
        (HEAD + b"1 2\n3 4", "has no line end, so the file was truncated"),
        (HEAD + b"1 2\n", "linear weights for 2 columns, but factors for 1"),
        (HEAD + b"1 2\n3 4\n5 6\n", "linear weights for 2 columns, but factors for 3"),
        (HEAD + b"1 2\n3 4 5\n", "line 8: the row has 3 factors, but the previous rows have 2"),
        (HEAD + b"1 2\n\n3 4\n", "line 9: a row of factors follows 1 blank lines"),
        (HEAD + b"1 2\n3 x\n", "line 8: 'x' is not a finite number"),
        (HEAD + b"1 2\n3 nan\n", "line 8: 'nan' is not a finite number"),
        (HEAD + b"1 2\n3 1e999\n", "line 8: '1e999' is not a finite number"),
        (HEAD + b"1 2\n3 1_0\n", "line 8: '1_0' is not a finite number"),
        (HEAD + b"1 2\n3 \xff\n", r"line 8: '\\xff' is not a finite number"),
        (HEAD + b"1 2\n3 " + b"4" * 5000 + b"\n", "line 8: '444"),
        (HEAD.replace(b"W0\n1\n", b"W0\n"), "no number for the global bias"),
        (HEAD.replace(b"W0\n1\n", b"W0\n1\n2\n"), "line 3: there are two numbers for the global bias"),
        (HEAD.replace(b"W0\n1\n", b"W0\n1 2\n"), "line 2: expected one number, got '1 2'"),
        (HEAD.replace(b"Wj\n1\n", b"Wj\n1 2\n"), "line 4: expected one number, got '1 2'"),
        (HEAD.replace(b"#unary", b"#Unary"), "line 3: found the heading '#Unary interactions Wj' where"),
        (HEAD + HEAD, "line 7: found the heading '#global bias W0' where nothing more is expected"),
        (b"1\n" + HEAD, "line 1: found '1' before the first heading"),
        (b"#pairwise interactions Vj,f\n", "no parameters for any column"),
        (b"#pairwise interactions Vj,f\n\n\n", "no parameters for any column"),
    ],
)
def test_malformed_files(text, message, tmp_path):
    path = tmp_path / "model.libfm"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_libfm_model(path)
    assert str(path) in str(caught.value)
    assert "Write it again" in str(caught.value)


@pytest.mark.parametrize(
    "text", [HEAD + b"1 2 \r\n3\t4\n\n\n", HEAD.replace(b"\n", b"\r\n") + b" 1 2\r\n 3 4\r\n"]
)
def test_blanks_do_not_matter(text, tmp_path):
    path = tmp_path / "model.libfm"
    path.write_bytes(text)
    assert read_libfm_model(path).factors.tolist() == [[1, 2], [3, 4]]


def test_numbers_too_large_for_float32(tmp_path):
    path = tmp_path / "model.libfm"
    path.write_bytes(HEAD + b"1 2\n3 1e200\n")
    with pytest.raises(ValueError, match="has numbers that overflow float32"):
        read_libfm_model(path, dtype="float32")


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_libfm_model(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        read_libfm_model(tmp_path)
