"""The samples of a fit: every selection takes all columns along."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse

from skfm.core.matrix.batches import make_batches
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.samples import SideColumns as TensorColumns
from skfm.core.matrix.samples import TensorSamples
from skfm.data.samples import Samples, SideColumns

N = 10
NUMBERS = np.arange(1.0, N + 1)


def numbered(as_sparse=False):
    """Samples whose parts all hold the number of the sample."""
    X = np.column_stack([NUMBERS, -NUMBERS])
    X = sparse.csr_matrix(X) if as_sparse else X
    frame = pd.DataFrame({"x": NUMBERS - 1}, index=list("abcdefghij"))
    return Samples(X, NUMBERS * 10, SideColumns(NUMBERS * 100), frame, np.arange(N))


def assert_numbered(samples, numbers):
    X = samples.X.toarray() if sparse.issparse(samples.X) else samples.X
    assert_array_equal(X, np.column_stack([numbers, np.negative(numbers)]))
    assert_array_equal(samples.y, np.multiply(numbers, 10))
    assert len(samples.side) == 1
    assert_array_equal(samples.side.weight, np.multiply(numbers, 100))
    assert samples.sample_weight is samples.side.weight
    assert_array_equal(samples.as_given()["x"], np.subtract(numbers, 1))


@pytest.mark.parametrize("as_sparse", [False, True])
def test_selections(as_sparse):
    samples = numbered(as_sparse)
    assert_numbered(samples, NUMBERS)
    assert_numbered(samples.take(np.array([3, 0, 7])), [4, 1, 8])
    first, second = samples.split(np.array([8, 1, 5]), np.array([9, 0]))
    assert_numbered(first, [2, 6, 9])
    assert_numbered(second, [1, 10])
    assert_numbered(first.take(np.array([2])), [9])


def test_no_rows_keep_nothing():
    empty = numbered().without_rows()
    assert empty.X.shape == (0, 2)
    assert len(empty.y) == len(empty.sample_weight) == 0
    assert empty.source is None
    assert empty.X.base is None


def tensors():
    X = np.column_stack([NUMBERS, np.eye(N)[:, :3]])
    design = DesignMatrix.from_array(X, dtype=torch.float64)
    return TensorSamples(design, torch.tensor(NUMBERS * 10), TensorColumns(torch.tensor(NUMBERS * 100)))


def assert_tensors(samples, numbers):
    first = samples.design.matmul(torch.eye(4, dtype=torch.float64))[:, 0]
    assert_array_equal(first, numbers)
    assert_array_equal(samples.target, np.multiply(numbers, 10))
    assert_array_equal(samples.side.weight, np.multiply(numbers, 100))
    assert samples.weight is samples.side.weight


def test_selections_of_tensors():
    samples = tensors()
    assert_tensors(samples.take(torch.tensor([3, 0, 7])), [4, 1, 8])
    assert_tensors(samples.cut(2, 5), [3, 4, 5])
    assert_tensors(samples.take(torch.tensor([3, 0, 7])).cut(1, 3), [1, 8])


@pytest.mark.parametrize("order", [None, [4, 2, 9, 0, 1, 3, 8, 7, 6, 5]])
def test_batches_take_all_columns_along(order):
    batches = list(make_batches(tensors(), 4, None if order is None else torch.tensor(order)))
    numbers = NUMBERS if order is None else NUMBERS[order]
    assert [len(batch.target) for batch in batches] == [4, 4, 2]
    assert_array_equal(torch.cat([batch.target for batch in batches]), numbers * 10)
    assert_array_equal(torch.cat([batch.side.weight for batch in batches]), numbers * 100)
    for batch in batches:
        moved = batch._map(torch.clone)
        assert moved.side.weight is not batch.side.weight
        assert torch.equal(moved.weight, batch.weight)
        assert moved.nbytes == batch.nbytes >= batch.weight.nbytes
