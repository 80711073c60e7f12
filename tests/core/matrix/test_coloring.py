"""Color classes: independent sets that cover all columns, few, and the same whatever the row order."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skfm.core.matrix import coloring
from skfm.core.matrix.coloring import color_columns, color_fields, color_priority, one_hot_fields


def pattern_of(X, index_dtype=np.int32):
    """CSR and CSC patterns as tensors."""
    X = sp.csr_matrix(X)
    X.sort_indices()
    transposed = X.tocsc()
    arrays = X.indptr, X.indices, transposed.indptr, transposed.indices
    return tuple(torch.from_numpy(a.astype(index_dtype)) for a in arrays)


def check(X, classes):
    """Independent sets that cover all columns, numbered without holes, none below the lower bound."""
    X = np.asarray(sp.csr_matrix(X).todense()) != 0
    classes = classes.numpy()
    assert classes.dtype == np.int64
    assert classes.shape == (X.shape[1],)
    if X.shape[1] == 0:
        return
    n_classes = classes.max() + 1
    assert set(classes) == set(range(n_classes))
    for k in range(n_classes):
        assert X[:, classes == k].sum(1).max(initial=0) <= 1
    assert n_classes >= X.sum(1).max(initial=0)


def first_fit(X, priority):
    """Color one column after the other: the reference."""
    X = np.asarray(X) != 0
    classes = np.zeros(X.shape[1], dtype=int)
    used = [set() for _ in X]
    for j in np.argsort(priority.numpy()):
        rows = np.flatnonzero(X[:, j])
        if rows.size:
            taken = set().union(*(used[i] for i in rows))
            classes[j] = next(k for k in itertools.count() if k not in taken)
            for i in rows:
                used[i].add(classes[j])
    return classes


patterns = st.tuples(st.integers(0, 12), st.integers(0, 12), st.floats(0, 1), st.integers(0, 2**32 - 1)).map(
    lambda t: (np.random.default_rng(t[3]).random(t[:2]) < t[2]).astype(float)
)


@given(X=patterns, seed=st.integers(0, 2**32 - 1), index_dtype=st.sampled_from([np.int32, np.int64]))
@settings(max_examples=100, deadline=None)
def test_any_pattern_and_priority(X, seed, index_dtype):
    rng = np.random.default_rng(seed)
    priority = torch.from_numpy(rng.permutation(X.shape[1]))
    classes = color_columns(*pattern_of(X, index_dtype), priority)
    check(X, classes)
    assert torch.equal(classes, color_columns(*pattern_of(X, index_dtype), priority))
    assert torch.equal(classes, color_columns(*pattern_of(X[rng.permutation(len(X))]), priority))
    reference = first_fit(X, priority)
    if X.size:
        longest = int((X != 0).sum(1).max())
        if int(classes.max()) + 1 > longest:  # first fit was needed: it is the sequential one
            assert classes.tolist() == reference.tolist()


@given(X=patterns, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_any_pattern_and_fields(X, seed):
    rng = np.random.default_rng(seed)
    p = X.shape[1]
    fields = torch.from_numpy(np.unique(rng.integers(0, 5, p), return_inverse=True)[1])
    pattern = pattern_of(X)
    classes = color_fields(*pattern, fields)
    check(X, classes)
    assert torch.equal(classes, color_fields(*pattern_of(X[rng.permutation(len(X))]), fields))
    one_hot = one_hot_fields(pattern[0], pattern[1], fields)
    occupied = (X != 0).any(1).sum()
    number = 0
    for f, flag in enumerate(one_hot.tolist()):
        per_row = (X[:, fields.numpy() == f] != 0).sum(1)
        assert flag == (per_row.any() and per_row.max() <= 1 and 2 * per_row.sum() >= occupied)
        if flag:
            assert set(classes[fields == f].tolist()) == {number}
            number += 1


@given(
    cardinalities=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    n_rows=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=100, deadline=None)
def test_one_hot_classes_are_the_fields(cardinalities, n_rows, seed):
    rng = np.random.default_rng(seed)
    X = np.hstack([np.eye(c)[rng.integers(0, c, n_rows)] for c in cardinalities])
    fields = torch.repeat_interleave(torch.tensor(cardinalities))
    pattern = pattern_of(X)
    assert torch.equal(color_fields(*pattern, fields), fields)
    # the priority alone does the same for columns with entries
    counts = pattern[2].diff().long()
    classes = color_columns(*pattern, color_priority(fields, one_hot_fields(*pattern[:2], fields), counts))
    assert torch.equal(classes[counts > 0], fields[counts > 0])


def test_one_hot_classes_are_the_fields_despite_gaps():
    rng = np.random.default_rng(0)
    X = np.hstack([np.eye(30)[rng.integers(0, 30, 500)] * (rng.random((500, 1)) < 0.7) for _ in range(4)])
    fields = torch.arange(4).repeat_interleave(30)
    assert torch.equal(color_fields(*pattern_of(X), fields), fields)


def test_small_fields_are_packed():
    # Every column a field of its own, as a user may ask for: classes are not to be as many.
    fields = torch.arange(1000)
    X = sp.csr_matrix((np.ones(1000), (np.arange(1000), np.arange(1000))))
    assert color_fields(*pattern_of(X), fields).max() == 0


def test_other_columns_fill_gaps_of_one_hot_classes():
    block = np.eye(3)[[0, 1, 2, 0, 1]]
    block[4] = 0
    flag = np.array([[0], [0], [0], [0], [1.0]])
    classes = color_fields(*pattern_of(np.hstack([block, flag])), torch.tensor([0, 0, 0, 1]))
    assert classes.tolist() == [0, 0, 0, 0]


def test_interleaved_fields():
    rng = np.random.default_rng(0)
    X = np.hstack([np.eye(6)[rng.integers(0, 6, 100)] for _ in range(3)])
    fields = torch.arange(3).repeat_interleave(6)
    order = rng.permutation(18)
    assert torch.equal(color_fields(*pattern_of(X[:, order]), fields[order]), fields[order])


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (4, 0), (4, 3), (1, 1)])
def test_empty_matrices(shape):
    X = sp.csr_matrix(shape)
    zeros = torch.zeros(shape[1], dtype=torch.int64)
    assert torch.equal(color_columns(*pattern_of(X), torch.arange(shape[1])), zeros)
    assert torch.equal(color_fields(*pattern_of(X), zeros), zeros)


def test_dense_pattern_has_a_class_a_column():
    priority = torch.tensor([2, 0, 3, 1])
    assert torch.equal(color_columns(*pattern_of(np.ones((5, 4))), priority), priority)


def test_more_colors_than_a_word_holds():
    # 150 columns that share rows pairwise and no row is long: rounds exceed the bound, sets need three words.
    pairs = np.array(list(itertools.combinations(range(150), 2)))
    n = len(pairs)
    X = sp.csr_matrix((np.ones(2 * n), (np.repeat(np.arange(n), 2), pairs.ravel())), shape=(n, 150))
    priority = torch.from_numpy(np.random.default_rng(0).permutation(150))
    assert torch.equal(color_columns(*pattern_of(X), priority), priority)
    # settled classes count too
    initial = torch.where(torch.arange(150) < 100, torch.arange(150), -1)
    classes = color_columns(*pattern_of(X), priority, initial)
    assert torch.equal(classes[:100], initial[:100])
    assert sorted(classes.tolist()) == list(range(150))


def test_bag_of_words_matches_sequential_first_fit(monkeypatch):
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, 1001)
    words = rng.choice(1000, (300, 30), p=weights / weights.sum())
    X = np.zeros((300, 1000))
    X[np.arange(300)[:, None], words] = 1
    fields = torch.zeros(1000, dtype=torch.int64)
    pattern = pattern_of(X)
    priority = color_priority(fields, torch.tensor([False]), pattern[2].diff().long())
    classes = color_columns(*pattern, priority)
    check(X, classes)
    assert classes.tolist() == first_fit(X, priority).tolist()
    # however the work is cut
    monkeypatch.setattr("skfm.core.matrix.coloring._STRETCH", 50)
    assert torch.equal(classes, color_columns(*pattern, priority))


def test_priority_is_one_hot_fields_then_descending_count():
    fields = torch.tensor([0, 0, 1, 1, 2, 0])
    counts = torch.tensor([5, 9, 1, 2, 3, 7])
    priority = color_priority(fields, torch.tensor([False, True, True]), counts)
    assert sorted(priority.tolist()) == list(range(6))
    assert set(priority[2:4].tolist()) == {0, 1}
    assert priority[[4, 1, 5, 0]].tolist() == [2, 3, 4, 5]


def test_ties_make_no_long_chains(monkeypatch):
    # Ties broken by position would color a banded pattern one column a round.
    seen = []
    elect = coloring._elect

    def counting(*args):
        rounds = elect(*args)
        seen.append(len(rounds))
        return rounds

    monkeypatch.setattr(coloring, "_elect", counting)
    X = sp.diags([np.ones(5000), np.ones(5000)], [0, 1], shape=(5000, 5000))
    classes = color_fields(*pattern_of(X), torch.zeros(5000, dtype=torch.int64))
    assert int(classes.max()) <= 2
    assert max(seen) < 50
