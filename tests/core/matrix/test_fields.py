"""Field discovery: blocks of a OneHotEncoder are recovered, what is in no block joins its kind."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.preprocessing import OneHotEncoder

from skfm.core.matrix.fields import as_field_labels, discover_fields


def discover(X, kinds=None, index_dtype=np.int32):
    """Fields of X as a list; kinds default to what the values say."""
    X = sp.csr_matrix(X)
    X.sort_indices()
    if kinds is None:
        numeric = np.zeros(X.shape[1], dtype=bool)
        numeric[X.indices[X.data != 1]] = True
        kinds = numeric.astype(int)
    indptr, indices = (torch.from_numpy(a.astype(index_dtype)) for a in (X.indptr, X.indices))
    fields = discover_fields(indptr, indices, X.shape[1], torch.as_tensor(kinds))
    assert fields.dtype == torch.int64
    assert fields.shape == (X.shape[1],)
    return fields.tolist()


def encode(table, **options):
    """One-hot encode; return the matrix and the feature of each of its columns."""
    encoder = OneHotEncoder(**options).fit(table)
    owner = [int(name[1:].split("_")[0]) for name in encoder.get_feature_names_out()]
    return encoder.transform(table), owner


def categories(n_rows, cardinalities, seed=0, skew=1.0):
    """Random table; every category of every feature occurs."""
    rng = np.random.default_rng(seed)
    columns = []
    for c in cardinalities:
        column = (rng.random(n_rows) ** skew * c).astype(int)
        column[rng.permutation(n_rows)[:c]] = np.arange(c)
        columns.append(column)
    return np.column_stack(columns)


def renumber(keys):
    """Python reference of numbering by first appearance."""
    numbers = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


@given(
    cardinalities=st.lists(st.integers(2, 12), min_size=1, max_size=8),
    n_rows=st.integers(30, 200),
    seed=st.integers(0, 2**32 - 1),
    skew=st.sampled_from([1.0, 4.0]),
    index_dtype=st.sampled_from([np.int32, np.int64]),
)
@settings(max_examples=60, deadline=None)
def test_full_one_hot_blocks_are_exact(cardinalities, n_rows, seed, skew, index_dtype):
    X, owner = encode(categories(n_rows, cardinalities, seed, skew))
    assert discover(X, index_dtype=index_dtype) == owner
    shuffled = X[np.random.default_rng(seed).permutation(n_rows)]
    assert discover(shuffled) == owner


@given(seed=st.integers(0, 2**32 - 1), density=st.sampled_from([0.002, 0.02, 0.3]))
@settings(max_examples=50, deadline=None)
def test_full_blocks_survive_any_neighbors(seed, density):
    # Rare columns beside a block are disjoint from its rare columns: a greedy scan would tear the block.
    rng = np.random.default_rng(seed)
    X, _ = encode(categories(300, [5, 40], seed, skew=3.0))
    noise = []
    for k in (7, 1, 5):
        mask = rng.random((300, k)) < density
        mask[rng.integers(0, 300, k), np.arange(k)] = True  # empty columns would join a block
        noise.append(sp.csr_matrix(mask.astype(float)))
    first, second = X[:, :5], X[:, 5:]
    fields = np.array(discover(sp.hstack([noise[0], first, noise[1], second, noise[2]])))
    for block in (slice(7, 12), slice(13, 53)):
        assert len(set(fields[block])) == 1
        assert np.count_nonzero(fields == fields[block.start]) == block.stop - block.start


def test_numeric_columns_between_blocks():
    X, _ = encode(categories(200, [4, 6, 3]))
    rng = np.random.default_rng(0)
    numeric = sp.random(200, 3, 0.4, random_state=0, data_rvs=lambda n: rng.normal(size=n))
    dense = sp.csr_matrix((200, 1))
    stacked = sp.hstack([dense, X[:, :4], numeric, X[:, 4:10], dense, X[:, 10:], dense])
    kinds = [2] + [0] * 4 + [1] * 3 + [0] * 6 + [2] + [0] * 3 + [2]
    expected = [0] + [1] * 4 + [2] * 3 + [3] * 6 + [0] + [4] * 3 + [0]
    assert discover(stacked, kinds) == expected


@pytest.mark.parametrize(
    "options", [{"drop": "first"}, {"min_frequency": 0.02, "handle_unknown": "infrequent_if_exist"}]
)
def test_encoder_options(options):
    X, owner = encode(categories(500, [4, 6, 9]), **options)
    assert discover(X) == renumber(owner)


def test_unknown_categories_leave_gaps():
    table = categories(2000, [10, 30, 20])
    encoder = OneHotEncoder(handle_unknown="ignore").fit(table)
    unknown = np.random.default_rng(1).random(table.shape) < 0.1
    X = encoder.transform(np.where(unknown, -1, table))
    assert discover(X) == [0] * 10 + [1] * 30 + [2] * 20


def test_gaps_lose_only_rare_columns_at_the_border():
    table = categories(5000, [10, 100, 100], skew=4.0)
    encoder = OneHotEncoder(handle_unknown="ignore").fit(table)
    unknown = np.random.default_rng(1).random(table.shape) < 0.2
    X = encoder.transform(np.where(unknown, -1, table))
    truth = np.repeat([0, 1, 2], [10, 100, 100])
    fields = np.array(discover(X))
    assert fields.max() == 2
    wrong = fields != truth
    assert X[:, wrong].sum() <= 0.001 * X.sum()


def test_lone_flags_join_each_other():
    table = categories(400, [2, 5, 2, 4, 2])
    X, _ = encode(table, drop="if_binary")
    assert X.shape[1] == 12
    assert discover(X) == [0] + [1] * 5 + [0] + [2] * 4 + [0]


def test_bag_of_words_is_one_field_of_each_kind():
    rng = np.random.default_rng(0)
    words = np.array([f"w{i:04d}" for i in rng.permutation(3000)])
    weights = 1 / np.arange(1, 3001)
    documents = [" ".join(rng.choice(words, 60, p=weights / weights.sum())) for _ in range(400)]
    for vectorizer, n_fields in [
        (CountVectorizer(binary=True), 1),
        (TfidfVectorizer(), 1),
        (CountVectorizer(), 2),  # rare words have no value but 0 and 1
    ]:
        fields = discover(vectorizer.fit_transform(documents))
        assert max(fields) + 1 == n_fields
    # beside one-hot blocks: two bags are two fields
    X, _ = encode(categories(400, [5, 7]))
    bag = CountVectorizer(binary=True).fit_transform(documents)
    fields = np.array(discover(sp.hstack([bag, X[:, :5], bag, X[:, 5:]])))
    p = bag.shape[1]
    assert fields.tolist() == [0] * p + [1] * 5 + [2] * p + [3] * 7


def test_frequent_word_with_rare_neighbors_is_no_block():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.random((300, 60)) < np.where(np.arange(60) % 6 == 0, 0.7, 0.004)
        X[0] = True  # no word without a document
        assert max(discover(X.astype(float))) == 0


def test_empty_columns_join_the_run_before_them():
    X, _ = encode(categories(100, [3, 4]))
    empty = sp.csr_matrix((100, 1))
    stacked = sp.hstack([empty, X[:, :2], empty, X[:, 2:3], empty, X[:, 3:], empty])
    # an empty column carries no information on its kind
    for kind in (0, 1):
        kinds = [kind, 0, 0, kind, 0, kind, 0, 0, 0, 0, kind]
        assert discover(stacked, kinds) == [0] * 6 + [1] * 5


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (4, 0), (4, 3), (1, 1)])
def test_empty_matrices(shape):
    assert discover(sp.csr_matrix(shape)) == [0] * shape[1]
    assert discover(sp.csr_matrix(shape), [2] * shape[1]) == [0] * shape[1]


def test_single_column_and_single_row():
    assert discover(np.ones((5, 1))) == [0]
    assert discover(np.ones((1, 4))) == [0] * 4
    assert discover(np.eye(4)[:, :1], [1]) == [0]


@given(
    pattern=st.integers(0, 12).flatmap(
        lambda p: st.lists(st.lists(st.booleans(), min_size=p, max_size=p), min_size=1, max_size=15)
    ),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_any_pattern(pattern, data):
    X = np.array(pattern, dtype=float).reshape(len(pattern), -1)
    p = X.shape[1]
    kinds = np.array(data.draw(st.lists(st.integers(0, 2), min_size=p, max_size=p)), dtype=int)
    X[:, kinds == 2] = 0
    fields = discover(X, kinds)
    assert fields == renumber(fields)  # consecutive, by first column
    occupied = (X != 0).any(0)
    for field in set(fields):
        members = np.array(fields) == field
        assert len(set(kinds[members & (occupied | (kinds == 2))])) <= 1
    order = data.draw(st.permutations(range(X.shape[0])))
    assert discover(X[list(order)], kinds) == fields


@given(st.lists(st.integers(-(2**62), 2**62), max_size=30))
def test_labels_are_numbered_by_first_appearance(labels):
    numbers = as_field_labels(labels)
    assert numbers.dtype == torch.int64
    assert numbers.tolist() == renumber(labels)
    assert as_field_labels(numbers).tolist() == numbers.tolist()


def test_labels_that_are_not_integers():
    with pytest.raises(ValueError, match="integers"):
        as_field_labels([0.5, 1.0])
    with pytest.raises(ValueError, match="one-dimensional"):
        as_field_labels(torch.zeros(2, 2, dtype=torch.int64))
