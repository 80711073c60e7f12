"""Rows of tables against plain indexing."""

import pytest
import torch

from skfm.core.matrix.row_ops import put_rows, take_rows


@pytest.mark.parametrize("width", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32])
def test_rows_are_those_of_plain_indexing(width, dtype):
    """Whatever the bytes of a row: fetched and overwritten, every bit of them."""
    generator = torch.Generator().manual_seed(width)
    table = torch.randint(-9, 9, (20, width), generator=generator).to(dtype)
    if dtype.is_floating_point:
        table[3], table[4], table[5] = -0.0, torch.nan, torch.inf
    expected, places = table.clone(), torch.tensor([4, 3, 17, 5, 0])
    found = take_rows(table, places)
    assert found.shape == (5, width)
    assert found.dtype == dtype
    assert torch.equal(found.view(torch.uint8), expected[places].view(torch.uint8))
    assert take_rows(table, torch.tensor([2, 2, 1])).tolist() == expected[[2, 2, 1]].tolist()
    rows = torch.randint(-9, 9, (5, width), generator=generator).to(dtype)
    put_rows(table, places, rows)
    expected[places] = rows
    assert torch.equal(table, expected)


def test_no_rows():
    """Of a table that has some, and of one that has none."""
    for n_rows in (0, 3):
        table, places = torch.ones(n_rows, 2), torch.arange(0)
        assert take_rows(table, places).shape == (0, 2)
        put_rows(table, places, torch.ones(0, 2))
        assert torch.equal(table, torch.ones(n_rows, 2))
