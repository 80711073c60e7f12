"""Sparse matrices whose arrays contradict each other are refused; before, they led to invalid memory access."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skfm import FMClassifier, FMRegressor

X = sparse.csr_array(sparse.random(30, 6, 0.4, random_state=0))
Y = np.arange(30.0)


def put(place, value):
    def change(array):
        array = array.copy()
        array[place] = value
        return array

    return change


#: name: (attribute, change, message)
COMPRESSED = {
    "too large": ("indices", put(3, 999), "indices must be between 0 and .* between 0 and 999"),
    "negative": ("indices", put(3, -2), "indices must be between 0 and .* between -2 and"),
    "falling": ("indptr", put(3, 0), r"must not decrease, but indptr\[2\] = .* and indptr\[3\] = 0"),
    "start": ("indptr", put(0, -1), "must start with 0, but it starts with -1"),
    "end": ("indptr", put(-1, 9999), "indptr ends with 9999, but there are"),
    "short": ("indptr", lambda array: array[:-1], "indptr must have .* numbers for the shape"),
    "few values": ("data", lambda array: array[:-2], "indptr ends with"),
    "few indices": ("indices", lambda array: array[:-2], "indptr ends with"),
    "fractions": (
        "indices",
        lambda array: array + 0.5,
        "indices must be a one-dimensional array of integers",
    ),
}
COO = {
    "row": (0, put(1, 30), "row indices must be between 0 and 29, but they are between 0 and 30"),
    "column": (1, put(1, -3), "column indices must be between 0 and 5, but they are between -3 and 5"),
}


def corrupt_matrices():
    for layout in ("csr", "csc", "bsr"):
        for name, (attribute, change, message) in COMPRESSED.items():
            Z = X.asformat(layout).copy()
            setattr(Z, attribute, change(getattr(Z, attribute)))
            yield pytest.param(Z, message, id=f"{layout}-{name}")
    for name, (axis, change, message) in COO.items():
        Z = X.tocoo()
        coords = list(Z.coords)
        coords[axis] = change(coords[axis])
        Z.coords = tuple(coords)
        yield pytest.param(Z, message, id=f"coo-{name}")
    Z = X.tolil()
    Z.rows[2] = [0, 77]
    Z.data[2] = [1.0, 2.0]
    yield pytest.param(Z, "column indices must be between 0 and 5, but they are between 0 and 77", id="lil")


@pytest.mark.parametrize(("corrupt", "message"), list(corrupt_matrices()))
def test_corrupt_matrices_are_refused_everywhere(corrupt, message):
    model = FMRegressor(2, solver="adagrad", max_iter=2, random_state=0).fit(X, Y)
    expected = model.predict(X)
    for call in (
        lambda: model.fit(corrupt, Y),
        lambda: model.partial_fit(corrupt, Y),
        lambda: model.fit(X, Y, X_val=corrupt, y_val=Y),
        lambda: model.predict(corrupt),
        lambda: model.encode(corrupt),
        lambda: FMClassifier().fit(corrupt, Y > 9),
    ):
        with pytest.raises(ValueError, match=f"X is a corrupt sparse matrix: .*{message}"):
            call()
    assert_array_equal(model.predict(X), expected)


@pytest.mark.parametrize("layout", ["csr", "csc", "bsr", "coo", "lil", "dok", "dia"])
def test_valid_matrices_of_all_formats_are_taken(layout):
    model = FMRegressor(2, max_iter=2, tol=0, random_state=0)
    expected = model.fit(X, Y).predict(X)
    for Z in (X.asformat(layout), sparse.csr_matrix(X).asformat(layout)):
        assert_array_equal(model.fit(Z, Y).predict(Z), expected)


def test_spare_memory_at_the_end_is_not_read():
    Z = X.copy()
    Z.indices = np.append(Z.indices, 10**6).astype(Z.indices.dtype)
    Z.data = np.append(Z.data, 1.0)
    model = FMRegressor(2, max_iter=2, tol=0, random_state=0).fit(X, Y)
    assert_array_equal(model.predict(Z), model.predict(X))
