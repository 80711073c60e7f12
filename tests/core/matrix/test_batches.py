"""Minibatches: both layouts of each hold its rows, and its columns are those in use."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skfm.core.matrix import batches as batches_module
from skfm.core.matrix.batches import Batch, make_batches
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.samples import SideColumns, TensorSamples

seeds = st.integers(0, 2**32 - 1)
KINDS = ["ragged", "uniform", "empty rows", "empty", "values", "uniform values", "dense", "mixed"]


def make_matrix(kind, rng, n_rows=23):
    """A matrix and which of its columns to keep dense."""
    X = np.zeros((n_rows, 9))
    if kind in ("uniform", "uniform values"):
        for row in X:
            row[rng.choice(9, 3, replace=False)] = 1
    elif kind != "empty":
        X = (rng.random(X.shape) < 0.3).astype(float)
    if kind == "empty rows":
        X[rng.random(n_rows) < 0.6] = 0
    if "values" in kind or kind == "mixed":
        X *= rng.choice([-1.5, 0.5, 2.0], X.shape)
    dense = []
    if kind == "dense":
        X, dense = rng.normal(size=(n_rows, 4)), [0, 1, 2, 3]
    elif kind == "mixed":
        dense = [2, 7]
        X[:, dense] = rng.normal(size=(n_rows, 2)) * (rng.random((n_rows, 2)) < 0.8)
    return X, np.array(dense, dtype=int)


def take(X, dense_columns, index_dtype=np.int32, dtype=torch.float64):
    S = sp.csr_matrix(X)
    S.indices, S.indptr = S.indices.astype(index_dtype), S.indptr.astype(index_dtype)
    return DesignMatrix.from_array(S, dtype=dtype, dense_columns=dense_columns)


def make_rows(X, dense_columns, rng, **options):
    design = take(X, dense_columns, **options)
    dtype = design.dtype
    n_rows = len(X)
    return TensorSamples(
        design,
        torch.tensor(rng.normal(size=n_rows), dtype=dtype),
        SideColumns(torch.tensor(rng.gamma(2.0, 1.0, n_rows), dtype=dtype)),
    )


def from_rows(batch, dense_columns, n_features):
    """The rows of a batch, from its layout by rows."""
    out = np.zeros((len(batch.target), n_features))
    for i in range(len(out)):
        for k in range(int(batch.offsets[i]), int(batch.offsets[i + 1])):
            out[i, int(batch.columns[int(batch.local[k])])] += (
                1 if batch.values is None else float(batch.values[k])
            )
    out[:, dense_columns] += batch.dense.numpy()
    return out


def from_columns(batch, dense_columns, n_features):
    """The rows of a batch, from its layout by columns."""
    out = np.zeros((len(batch.target), n_features))
    for c, column in enumerate(batch.columns.tolist()):
        for k in range(int(batch.column_offsets[c]), int(batch.column_offsets[c + 1])):
            value = 1 if batch.column_values is None else float(batch.column_values[k])
            out[int(batch.rows[k]), column] += value
    out[:, dense_columns] += batch.dense.numpy()
    return out


def assert_is(batch, X, dense_columns, rows, target, weight):
    """A batch is the given rows of a matrix, in both layouts, and says so truly."""
    n_features = X.shape[1]
    assert_array_equal(from_rows(batch, dense_columns, n_features), X[rows])
    assert_array_equal(from_columns(batch, dense_columns, n_features), X[rows])
    assert_array_equal(batch.target, target[rows])
    assert_array_equal(batch.weight, weight[rows])
    sparse_part = X[rows].copy()
    sparse_part[:, dense_columns] = 0
    assert batch.columns.tolist() == np.flatnonzero(sparse_part.any(0)).tolist()  # distinct and increasing
    nnz = np.count_nonzero(sparse_part)
    for offsets, places, n in (
        (batch.offsets, batch.local, len(rows)),
        (batch.column_offsets, batch.rows, len(batch.columns)),
    ):
        assert len(offsets) == n + 1
        assert offsets[0] == 0
        assert offsets[-1] == len(places) == nnz
    assert bool((batch.column_offsets.diff() > 0).all())
    # Rows of a column rise, so sums over them always come in the same order.
    for c in range(len(batch.columns)):
        held = batch.rows[batch.column_offsets[c] : batch.column_offsets[c + 1]]
        assert bool((held.diff() > 0).all())
    assert batch.columns.dtype == torch.int64
    for t in (batch.offsets, batch.local, batch.column_offsets, batch.rows):
        assert t.dtype == torch.int32
    assert batch.dense.shape == (len(rows), len(dense_columns))
    assert batch.dense.is_contiguous()
    counts = np.count_nonzero(sparse_part, axis=1) + len(dense_columns)
    assert isinstance(batch.entries_per_row, float)
    assert_allclose(batch.entries_per_row, np.average(counts, weights=weight[rows]), rtol=1e-6)


@pytest.mark.parametrize("group_entries", [1, 40, 1 << 17])
@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("marked_keys", [0, 1 << 20])
def test_batches_are_the_rows(kind, batch_size, group_entries, marked_keys, monkeypatch):
    """Each batch is its rows in the given order, laid out by sorting or marking, one by one, a few or all at once."""
    monkeypatch.setattr(batches_module, "GROUP_ENTRIES", {"cpu": group_entries})
    monkeypatch.setattr(batches_module, "MARKED_KEYS", marked_keys)
    rng = np.random.default_rng([KINDS.index(kind), batch_size])
    X, dense_columns = make_matrix(kind, rng)
    for index_dtype in (np.int32, np.int64):
        rows = make_rows(X, dense_columns, rng, index_dtype=index_dtype)
        assert (rows.design.values is None) == (kind not in ("values", "uniform values", "mixed"))
        for order in (None, torch.tensor(rng.permutation(len(X)))):
            found = list(make_batches(rows, batch_size, order))
            where = np.arange(len(X)) if order is None else order.numpy()
            assert len(found) == -(-len(X) // batch_size)
            for i, batch in enumerate(found):
                chosen = where[i * batch_size : (i + 1) * batch_size]
                assert_is(batch, X, dense_columns, chosen, rows.target.numpy(), rows.weight.numpy())


@given(
    n_rows=st.integers(0, 12),
    n_columns=st.integers(1, 7),
    density=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    batch_size=st.integers(1, 14),
    group_entries=st.sampled_from([1, 8, 1 << 17]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    index_dtype=st.sampled_from([np.int32, np.int64]),
    seed=seeds,
)
def test_batches_of_random_matrices(
    n_rows, n_columns, density, batch_size, group_entries, dtype, index_dtype, seed
):
    """Any matrix, any columns kept dense, any order."""
    rng = np.random.default_rng(seed)
    X = (rng.random((n_rows, n_columns)) < density) * rng.choice([1.0, 1.0, -2.0, 0.5], (n_rows, n_columns))
    dense_columns = np.flatnonzero(rng.random(n_columns) < rng.choice([0.0, 0.4, 1.0]))
    rows = make_rows(X, dense_columns, rng, dtype=dtype, index_dtype=index_dtype)
    order = rng.permutation(n_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches_module, "GROUP_ENTRIES", {"cpu": group_entries})
        found = list(make_batches(rows, batch_size, torch.tensor(order, dtype=torch.long)))
    assert sum(len(batch.target) for batch in found) == n_rows
    for i, batch in enumerate(found):
        chosen = order[i * batch_size : (i + 1) * batch_size]
        assert_is(batch, X, dense_columns, chosen, rows.target.numpy(), rows.weight.numpy())
        assert batch.dense.dtype == batch.target.dtype == dtype


@pytest.mark.parametrize("n_features", [2**31 - 2, 2**30, 2**29, 2**34])
def test_very_wide_matrices(n_features):
    """Numbers of batch and column together may exceed 31 bits, and those of columns too."""
    rng = np.random.default_rng(0)
    n_rows, length, batch_size = 12, 3, 3
    wide = n_features >= 2**31
    places = [0, 1, 7, n_features - 2, n_features - 1]
    columns = np.array([np.sort(rng.choice(places, length, replace=False)) for _ in range(n_rows)])
    design = DesignMatrix(
        (n_rows, n_features),
        torch.arange(n_rows + 1, dtype=torch.int32) * length,
        torch.tensor(columns.ravel(), dtype=torch.int64 if wide else torch.int32),
        None,
        torch.zeros(0, n_rows, dtype=torch.float64),
        torch.zeros(0, dtype=torch.long),
    )
    rows = TensorSamples(
        design, torch.arange(n_rows).double(), SideColumns(torch.ones(n_rows, dtype=torch.float64))
    )
    found = list(make_batches(rows, batch_size, torch.arange(n_rows).flip(0)))
    assert len(found) == 4
    for i, batch in enumerate(found):
        expected = columns[::-1][i * batch_size : (i + 1) * batch_size]
        assert_array_equal(batch.columns[batch.local.long()].view(batch_size, length), expected)
        assert batch.columns.tolist() == sorted(set(expected.ravel().tolist()))
        per_column = batch.column_offsets.diff().long()
        back = np.zeros((batch_size, len(batch.columns)), bool)
        back[batch.rows.long(), torch.arange(len(batch.columns)).repeat_interleave(per_column)] = True
        assert_array_equal(back, np.array([[c in row for c in batch.columns.tolist()] for row in expected]))


def test_no_rows():
    """Nothing gives no batches."""
    rows = make_rows(np.zeros((0, 3)), np.array([], int), np.random.default_rng(0))
    assert list(make_batches(rows, 4)) == []


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
@pytest.mark.parametrize("kind", ["ragged", "uniform", "empty rows", "mixed"])
def test_how_does_not_matter(kind, index_dtype, monkeypatch):
    """Batches laid out alone or together, by sorting or by marking, are bit for bit the same."""
    rng = np.random.default_rng(1)
    X, dense_columns = make_matrix(kind, rng)
    rows = make_rows(X, dense_columns, rng, index_dtype=index_dtype)
    order = torch.tensor(rng.permutation(len(X)))
    found = []
    for group_entries in (1, 1 << 17):
        for marked_keys in (0, 1 << 20):
            monkeypatch.setattr(batches_module, "GROUP_ENTRIES", {"cpu": group_entries})
            monkeypatch.setattr(batches_module, "MARKED_KEYS", marked_keys)
            found.append(list(make_batches(rows, 4, order)))
    for others in found[1:]:
        for a, b in zip(found[0], others, strict=True):
            for f in dataclasses.fields(Batch):
                assert_array_equal(getattr(a, f.name), getattr(b, f.name))
                if isinstance(getattr(a, f.name), torch.Tensor):
                    assert getattr(a, f.name).dtype == getattr(b, f.name).dtype


@pytest.mark.parametrize("kind", ["uniform", "empty rows", "mixed"])
def test_threads_share_the_columns(kind, monkeypatch):
    """With several threads the columns are dealt out, and all else of a batch is the same."""
    monkeypatch.setattr(batches_module, "GROUP_ENTRIES", {"cpu": 1})
    rng = np.random.default_rng(2)
    X, dense_columns = make_matrix(kind, rng)
    rows = make_rows(X, dense_columns, rng)
    alone = list(make_batches(rows, 6))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for a, b in zip(alone, make_batches(rows, 6), strict=True):
        assert_array_equal(b.columns, np.concatenate([a.columns[i::3] for i in range(3)]))
        for take_back in (from_rows, from_columns):
            assert_array_equal(take_back(a, dense_columns, 9), take_back(b, dense_columns, 9))
        assert bool((b.column_offsets.diff() > 0).all())


def test_the_design_stays_as_it_is():
    """Laying out batches changes neither the rows nor what shares memory with them."""
    rng = np.random.default_rng(2)
    X, dense_columns = make_matrix("mixed", rng)
    rows = make_rows(X, dense_columns, rng)
    tensors = [
        rows.design.indptr,
        rows.design.indices,
        rows.design.values,
        rows.design.dense,
        rows.target,
        *rows.side,
    ]
    before = [t.clone() for t in tensors]
    for order in (None, torch.arange(len(X))):
        for batch_size in (4, 100):
            list(make_batches(rows, batch_size, order))
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


@pytest.mark.parametrize("kind", ["ragged", "mixed"])
def test_memory_and_devices(kind):
    """All tensors move and all count; a batch that is there already is not copied."""
    rng = np.random.default_rng(3)
    batch = next(iter(make_batches(make_rows(*make_matrix(kind, rng), rng), 7)))
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    total = 0
    for f in dataclasses.fields(Batch):
        here, there = getattr(batch, f.name), getattr(moved, f.name)
        if isinstance(here, float | int | None):
            assert there == here
            continue
        # The side columns are a tuple of tensors.
        pairs = zip(here, there, strict=True) if isinstance(here, tuple) else [(here, there)]
        for tensor, other in pairs:
            assert other.device.type == "meta"
            assert (other.shape, other.dtype) == (tensor.shape, tensor.dtype)
            total += tensor.numpy().nbytes
    assert batch.nbytes == moved.nbytes == total > 0


@pytest.mark.gpu
def test_pinned_batches_are_the_same():
    """Pinned memory, and a copy on the GPU that is the same."""
    rng = np.random.default_rng(4)
    X, dense_columns = make_matrix("mixed", rng)
    rows = make_rows(X, dense_columns, rng)
    batch = next(iter(make_batches(rows, 23)))
    pinned = batch.pin()
    assert pinned.local.is_pinned()
    back = pinned.to(torch.device("cuda:0")).to(torch.device("cpu"))
    torch.cuda.synchronize()
    assert_is(back, X, dense_columns, np.arange(23), rows.target.numpy(), rows.weight.numpy())
