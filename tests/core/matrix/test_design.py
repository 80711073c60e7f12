"""The door from numpy and scipy to torch: any layout in, one meaning out."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skfm.core.matrix.design import BINARY, DENSE_NUMERIC, SPARSE_NUMERIC, DesignMatrix

DTYPES = ["float32", "float64", "int32", "int64", "bool", ">f8", ">f4", ">i4", "uint8"]


def to_dense(design, dtype=torch.float64):
    """The whole matrix, through matmul with the identity."""
    return design.matmul(torch.eye(design.shape[1], dtype=dtype)).numpy()


def take(X, dtype=torch.float64, **options):
    return DesignMatrix.from_array(X, dtype=dtype, **options)


def assert_same_design(a, b):
    assert a.shape == b.shape
    assert_array_equal(a.indptr, b.indptr)
    assert_array_equal(a.indices, b.indices)
    assert (a.values is None) == (b.values is None)
    if a.values is not None:
        assert_array_equal(a.values, b.values)
    assert_array_equal(a.dense, b.dense)
    assert_array_equal(a.dense_columns, b.dense_columns)


@st.composite
def matrices(draw, dtype=None, min_columns=0):
    """Small matrices with binary, sparse numeric and dense columns, some rows and columns empty."""
    n_rows, n_columns = draw(st.integers(1, 9)), draw(st.integers(min_columns, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.0, 0.2, 0.5, 1.0]))
    X = (rng.random((n_rows, n_columns)) < density).astype(float)
    values = rng.integers(0, 4, X.shape)
    numeric = rng.random(n_columns) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    X[:, numeric] *= values[:, numeric]
    return X.astype(draw(st.sampled_from(DTYPES)) if dtype is None else dtype)


def layouts(X):
    """The same matrix in other memory: name and array."""
    read_only = X.copy()
    read_only.flags.writeable = False
    wide = np.zeros((2 * len(X), 3 * X.shape[1]), X.dtype)
    wide[::2, ::3] = X
    return {
        "C": X,
        "Fortran": np.asfortranarray(X),
        "read-only": read_only,
        "reversed": np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
        "strided": wide[::2, ::3],
        "big-endian": X.astype(X.dtype.newbyteorder(">")),
    }


@given(X=matrices(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_any_dense_layout_is_the_same_design(X, dtype):
    """Memory order, strides, byte order and write flags do not matter; the input stays as it was."""
    expected = take(X, dtype)
    assert expected.dtype == dtype
    assert expected.shape == X.shape
    assert_array_equal(to_dense(expected, dtype), X.astype(float))
    for array in layouts(X).values():
        before = array.copy()
        assert_same_design(take(array, dtype), expected)
        assert_array_equal(array, before)


@given(
    X=matrices(),
    form=st.sampled_from(["csr", "csc", "coo", "lil", "dok", "bsr", "dia"]),
    make=st.sampled_from([sp.csr_matrix, sp.csr_array]),
    index_dtype=st.sampled_from([np.int32, np.int64]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_sparse_is_dense(X, form, make, index_dtype, dtype):
    """A sparse matrix of any format and index width is the design of the dense array, dense columns included."""
    if X.dtype.byteorder == ">":
        X = X.astype(X.dtype.newbyteorder("="))
    matrix = make(X)
    if form != "csr":
        matrix = matrix.asformat(form)
    if form in ("csr", "csc"):
        matrix.indices, matrix.indptr = matrix.indices.astype(index_dtype), matrix.indptr.astype(index_dtype)
    assert_same_design(take(matrix, dtype), take(X, dtype))


def fields_of(matrix):
    return [getattr(matrix, name).copy() for name in ("data", "indices", "indptr")]


@given(
    X=matrices(dtype="float64", min_columns=1),
    index_dtype=st.sampled_from([np.int32, np.int64]),
    read_only=st.booleans(),
    byte_order=st.sampled_from(["<", ">"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_messy_csr(X, index_dtype, read_only, byte_order, seed):
    """Unsorted indices, duplicates and explicit zeros mean what they sum to, and the input is never changed."""
    rng = np.random.default_rng(seed)
    rows, columns, data = [], [], []
    for i, j in np.ndindex(X.shape):
        parts = rng.integers(-2, 3, rng.integers(1, 4)).astype(
            float
        )  # an explicit zero or a sum for each cell
        if X[i, j] == 0 and rng.random() < 0.7:
            continue
        parts[0] += X[i, j] - parts.sum()
        rows += [i] * len(parts)
        columns += [j] * len(parts)
        data += parts.tolist()
    order = rng.permutation(len(rows)).astype(int)
    order = order[np.argsort(np.array(rows, dtype=int)[order], kind="stable")]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(np.array(rows, dtype=int), minlength=len(X)))])
    matrix = sp.csr_matrix(
        (
            np.array(data)[order].astype(byte_order + "f8"),
            np.array(columns, dtype=index_dtype)[order],
            indptr.astype(index_dtype),
        ),
        X.shape,
    )
    matrix.indices, matrix.indptr = matrix.indices.astype(index_dtype), matrix.indptr.astype(index_dtype)
    before = fields_of(matrix)
    for array in (matrix.data, matrix.indices, matrix.indptr):
        array.flags.writeable = not read_only
    design = take(matrix)
    for a, b in zip(fields_of(matrix), before, strict=True):
        assert_array_equal(a, b)
    assert_array_equal(to_dense(design), X)
    for row in range(len(X)):
        held = design.indices[design.indptr[row] : design.indptr[row + 1]]
        assert bool((held.diff() > 0).all())
    assert design.values is None or bool((design.values != 0).all())


@pytest.mark.parametrize("read_only", [False, True])
def test_explicit_zeros_of_a_canonical_csr(read_only):
    """Stored zeros in a matrix that is in order otherwise are left out, and left where they were."""
    X = sp.csr_matrix((np.array([1.0, 0.0, 2.5]), np.array([0, 2, 1]), np.array([0, 2, 3])), (2, 3))
    assert X.has_canonical_format
    X.data.flags.writeable = not read_only
    design = take(X, dense_columns=[])
    assert design.indices.tolist() == [0, 1]
    assert design.values.tolist() == [1.0, 2.5]
    assert X.data.tolist() == [1.0, 0.0, 2.5]
    assert X.indices.tolist() == [0, 2, 1]


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
@pytest.mark.parametrize(("numpy_dtype", "dtype"), [("float32", torch.float32), ("float64", torch.float64)])
def test_canonical_csr_is_not_copied(numpy_dtype, dtype, index_dtype):
    """Values, indices and pointers of a canonical CSR matrix are shared, whatever the index width."""
    X = sp.random(200, 40, 0.05, "csr", numpy_dtype, random_state=0)
    X.indices, X.indptr = X.indices.astype(index_dtype), X.indptr.astype(index_dtype)
    design = take(X, dtype)
    assert design.values.data_ptr() == X.data.ctypes.data
    assert design.indices.data_ptr() == X.indices.ctypes.data
    assert design.indptr.data_ptr() == X.indptr.ctypes.data
    X.data[:] = 1
    ones = take(X, dtype)
    assert ones.values is None
    assert ones.indices.data_ptr() == X.indices.ctypes.data


def test_columns_of_a_fortran_array_are_not_copied():
    """A dense array that is columns in memory already is shared."""
    X = np.asfortranarray(np.random.default_rng(0).normal(size=(30, 4)))
    design = take(X)
    assert design.dense.data_ptr() == X.ctypes.data
    assert len(design.indices) == 0


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_maps(tmp_path, order):
    """A read-only memory map is taken without a warning, dense or as the parts of a CSR matrix."""
    X = np.asarray(np.random.default_rng(0).normal(size=(20, 3)), order=order)
    np.save(tmp_path / "dense.npy", X)
    assert_array_equal(to_dense(take(np.load(tmp_path / "dense.npy", mmap_mode="r"))), X)
    S = sp.random(30, 20, 0.1, "csr", random_state=0)
    parts = []
    for name in ("data", "indices", "indptr"):
        np.save(tmp_path / name, getattr(S, name))
        parts.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    mapped = sp.csr_matrix(tuple(parts), S.shape)
    assert_array_equal(to_dense(take(mapped)), S.toarray())


@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (0, 0), (1, 1)])
def test_no_rows_or_columns(shape):
    """Matrices without rows, columns or entries are matrices all the same."""
    for X in (np.zeros(shape), sp.csr_matrix(shape), sp.csc_array(shape)):
        design = take(X)
        assert design.shape == shape
        out = design.matmul(torch.ones(shape[1], 2, dtype=torch.float64))
        assert out.shape == (shape[0], 2)
        assert not out.any()
        assert design.kinds().tolist() == [BINARY] * shape[1]
        assert len(design.columns().rows) == 0


@given(
    X=matrices(dtype="float64"),
    power=st.integers(1, 4),
    width=st.integers(0, 5),
    table_dtype=st.sampled_from([torch.float32, torch.float64]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**32 - 1),
)
def test_matmul(X, power, width, table_dtype, dtype, seed):
    """A product with any power is numpy's, in the dtype of the table."""
    table = np.random.default_rng(seed).normal(size=(X.shape[1], width))
    out = take(X - 0.5 * (X > 1), dtype).matmul(torch.tensor(table, dtype=table_dtype), power)
    assert out.dtype == table_dtype
    expected = (X - 0.5 * (X > 1)) ** power @ table
    scale = (X**power) @ abs(table) + 1
    assert (abs(out.numpy() - expected) <= (1e-12 if table_dtype == torch.float64 else 2e-6) * scale).all()


@given(X=matrices(dtype="float64"), data=st.data())
def test_rows_and_parts(X, data):
    """Slices of rows are views with the columns they had; the two parts share the columns between them."""
    design = take(X)
    start = data.draw(st.integers(0, len(X)))
    stop = data.draw(st.integers(start, len(X)))
    part = design.rows(start, stop)
    assert part.shape == (stop - start, X.shape[1])
    assert_array_equal(to_dense(part), X[start:stop])
    assert_array_equal(part.dense_columns, design.dense_columns)
    sparse_part, dense_part = design.parts()
    numeric = np.zeros(X.shape[1], bool)
    numeric[design.dense_columns] = True
    assert_array_equal(to_dense(sparse_part), np.where(numeric, 0, X))
    assert_array_equal(to_dense(dense_part), np.where(numeric, X, 0))
    for half in (sparse_part, dense_part):
        assert_array_equal(to_dense(half.rows(start, stop)), to_dense(half)[start:stop])


@given(X=matrices(dtype="float64"), index_dtype=st.sampled_from([np.int32, np.int64]), data=st.data())
def test_chosen_rows(X, index_dtype, data):
    """Any rows in any order, repeated or none at all, are the design of these rows of the matrix."""
    S = sp.csr_matrix(X)
    S.indices, S.indptr = S.indices.astype(index_dtype), S.indptr.astype(index_dtype)
    design = take(S)
    chosen = data.draw(st.lists(st.integers(0, len(X) - 1), max_size=12))
    part = design.take(torch.tensor(chosen, dtype=torch.long))
    assert part.shape == (len(chosen), X.shape[1])
    assert part.indptr.dtype == design.indptr.dtype
    assert part.indices.dtype == design.indices.dtype
    assert (part.values is None) == (design.values is None)
    assert len(part.indptr) == len(chosen) + 1
    assert part.indptr[-1] == len(part.indices)
    assert_array_equal(part.dense_columns, design.dense_columns)
    assert_array_equal(to_dense(part), X[chosen])
    assert_array_equal(to_dense(part.take(torch.arange(len(chosen)))), X[chosen])


@pytest.mark.parametrize("numeric", [False, True])
@pytest.mark.parametrize("dense_columns", [[], [1, 4]])
def test_chosen_rows_of_equal_length(numeric, dense_columns):
    """Rows with as many entries each, of a slice too, and what they come to: a copy."""
    rng = np.random.default_rng(3)
    X = np.zeros((12, 10))
    X[:, dense_columns] = rng.normal(size=(12, len(dense_columns)))
    others = np.setdiff1d(np.arange(10), dense_columns)
    for row in X:
        row[rng.choice(others, 3, replace=False)] = rng.choice([2.0, 0.5, -1.0], 3) if numeric else 1
    design = take(sp.csr_matrix(X), dense_columns=np.array(dense_columns, dtype=int))
    assert design.row_length == 3
    chosen = torch.tensor([7, 7, 0, 11, 3])
    part = design.take(chosen)
    assert part.row_length == 3
    assert_array_equal(to_dense(part), X[chosen])
    # The slice begins where its first row does.
    assert_array_equal(to_dense(design.rows(4, 10).take(torch.tensor([5, 0, 2]))), X[[9, 4, 6]])
    for tensor in (part.indices, part.values, part.dense):
        if tensor is not None and tensor.is_floating_point():
            tensor.fill_(9)
    assert_array_equal(to_dense(design), X)


def test_row_length():
    """Known where all rows have it, and not of a matrix without entries."""
    ragged, empty = np.eye(3), np.zeros((3, 2))
    ragged[0] = 1
    assert take(ragged).row_length is None
    assert take(empty).row_length is None
    assert take(np.eye(4)).row_length == 1


@given(X=matrices(dtype="float64"), index_dtype=st.sampled_from([np.int32, np.int64]))
def test_columns_are_the_transpose(X, index_dtype):
    """The CSC form holds the sparse part, rows ascending in each column."""
    S = sp.csr_matrix(X)
    S.indices, S.indptr = S.indices.astype(index_dtype), S.indptr.astype(index_dtype)
    design = take(S)
    colptr, rows, values = design.columns()
    data = np.ones(len(rows)) if values is None else values.numpy()
    back = sp.csc_matrix((data, rows.numpy(), colptr.numpy()), X.shape)
    assert back.has_sorted_indices
    assert_array_equal(back.toarray(), to_dense(design.parts()[0]))
    if design.values is not None:
        assert values.dtype == design.dtype


@given(X=matrices(dtype="float64", min_columns=1))
def test_kinds(X):
    """Kinds go by the values; numeric columns filled by a quarter, each or all, are kept dense, and a few flags."""
    numeric = ((X != 0) & (X != 1)).any(0)
    filled = 4 * (X != 0).sum(0)
    dense = numeric & ((filled > len(X)) | (filled[numeric].sum() >= len(X) * numeric.sum()))
    rest = (filled > 0) & ~dense
    kept = dense | rest if 4 * rest.sum() <= dense.sum() else dense
    design = take(X)
    assert design.dense_columns.tolist() == np.flatnonzero(kept).tolist()
    expected = np.where(numeric, np.where(kept, DENSE_NUMERIC, SPARSE_NUMERIC), BINARY)
    assert design.kinds().tolist() == expected.tolist()


@given(X=matrices(dtype="float64", min_columns=1), data=st.data())
def test_chosen_dense_columns(X, data):
    """Prediction keeps dense what training kept dense, whatever the values; the matrix is the same."""
    chosen = np.array(data.draw(st.lists(st.integers(0, X.shape[1] - 1), unique=True)), dtype=int)
    chosen.sort()
    before = X.copy()
    for form in (X, sp.csr_matrix(X)):
        design = take(form, dense_columns=chosen)
        assert design.dense_columns.tolist() == chosen.tolist()
        assert_array_equal(design.dense, X.T[chosen])
        assert_array_equal(to_dense(design), X)
    assert_array_equal(X, before)


def test_replace_keeps_the_pattern():
    """Other values on the same pattern."""
    X = sp.random(20, 6, 0.2, "csr", random_state=1).toarray()
    X[:, 5] = np.arange(20)
    design = take(X, dense_columns=[5])
    other = design.replace(design.values * 3, design.dense * 2)
    expected = X * 3
    expected[:, 5] = X[:, 5] * 2
    assert_allclose(to_dense(other), expected, rtol=1e-15)
    assert_array_equal(to_dense(design), X)


def test_product_of_a_row_does_not_depend_on_its_neighbors():
    """Sparse rows come out bit for bit the same alone."""
    X = sp.random(40, 60, 0.15, "csr", random_state=2)
    table = torch.tensor(np.random.default_rng(0).normal(size=(60, 5)))
    design = take(X, dense_columns=[])
    together = design.matmul(table)
    for i in range(40):
        assert torch.equal(design.rows(i, i + 1).matmul(table)[0], together[i])
