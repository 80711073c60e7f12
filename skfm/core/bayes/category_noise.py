"""Gaussian noise whose precision differs between the categories of a field.

The precision tau_c of category c has the prior Gamma(a, b), where alpha = a / b is the precision of a category without
rows. With the weighted number n_c and the expected squared errors E_c of its rows::

    q(tau_c) = Gamma(a_c, b_c)      a_c = a + n_c / 2      b_c = b + E_c / 2
    bound    = sum_c log Gamma(a_c) - log Gamma(a) + a log b - a_c log b_c - n_c / 2 log(2 pi)

The shape a says how similar the categories are: for large a, all have the precision alpha.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..matrix.design import DesignMatrix

#: The shapes that are compared, largest first: half the number of rows that the prior is worth.
SHAPES = (256.0, 64.0, 32.0, 16.0, 8.0, 4.0, 2.0)
#: Halvings of the interval of log b.
HALVINGS = 60


class CategoryNoise(NamedTuple):
    """The noise of the categories of a field, for each output.

    Attributes
    ----------
    bound : Tensor of shape (n_outputs,)
        The expected log likelihood less the divergence of q(tau) from the prior, with the prior of alpha.
    precision : Tensor of shape (n_outputs,)
        alpha.
    ratio : Tensor of shape (n_outputs, n_categories)
        E[tau_c] / alpha.
    squares : Tensor of shape (n_outputs,)
        The sum of ratio_c E_c.
    """

    bound: Tensor
    precision: Tensor
    ratio: Tensor
    squares: Tensor

    def at(self, squares: Tensor) -> Tensor:
        """Return the bound for other expected squared errors, without learning from them."""
        return self.bound - self.precision / 2 * (squares - self.squares)


def category_fields(design: DesignMatrix, fields: Tensor) -> dict[int, Tensor]:
    """Return the columns of each field that has at least two categories and at most one of them in each row.

    Parameters
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    fields : Tensor of shape (n_features,)
    """
    indices, n_fields = design.indices.long(), int(fields.max()) + 1 if len(fields) else 0
    rows = torch.arange(design.shape[0], device=indices.device).repeat_interleave(design.indptr.diff().long())
    of_entry = fields[indices]
    pairs = torch.unique(rows * n_fields + of_entry) % max(n_fields, 1)
    n_rows, n_entries = (torch.bincount(numbers, minlength=n_fields) for numbers in (pairs, of_entry))
    is_single = n_rows == n_entries
    is_single[fields[design.dense_columns]] = False
    if design.values is not None:
        is_single[of_entry[design.values != 1]] = False
    columns = torch.unique(indices)
    of_column = fields[columns]
    is_single &= torch.bincount(of_column, minlength=n_fields) > 1
    return {g: columns[of_column == g] for g in is_single.nonzero()[:, 0].tolist()}


def categories_of_rows(design: DesignMatrix, columns: Tensor) -> Tensor:
    """Return the place in ``columns`` of the column of each row, (n_samples,); for rows without one, their number."""
    indices = design.indices.long()
    rows = torch.arange(design.shape[0], device=indices.device).repeat_interleave(design.indptr.diff().long())
    place = indices.new_full((design.shape[1],), len(columns))
    place[columns] = torch.arange(len(columns), device=indices.device)
    codes = indices.new_full((design.shape[0],), len(columns))
    found = place[indices]
    is_own = found < len(columns)
    codes[rows[is_own]] = found[is_own]
    return codes


def learn_noise(count: Tensor, squares: Tensor) -> CategoryNoise:
    """Return the best noise under a Gamma(1/2, 1/2) prior of alpha.

    Parameters
    ----------
    count : Tensor of shape (n_categories,)
        Sums of the weights of the rows.
    squares : Tensor of shape (n_outputs, n_categories)
        Weighted sums of their expected squared errors.
    """
    half, n_outputs = squares[:, None] / 2, len(squares)
    a = squares.new_tensor(SHAPES)[:, None]
    shape = a + count / 2  # (n_shapes, n_categories)

    def slope(log_b: Tensor) -> Tensor:
        """Return the derivative of the bound by log b, which falls."""
        b = log_b.exp()[..., None]
        return a[:, 0] * len(count) - (shape * b / (b + half)).sum(2) - 0.5 + a[:, 0] / (2 * b[..., 0])

    # The mean square of all rows is between 1e-12 and 1e12 in standardized units.
    low = squares.new_full((n_outputs, len(SHAPES)), math.log(1e-12))
    high = squares.new_full((n_outputs, len(SHAPES)), math.log(1e15))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        rises = slope(middle) > 0
        low, high = torch.where(rises, middle, low), torch.where(rises, high, middle)
    b = low.exp()
    terms = torch.lgamma(shape) - torch.lgamma(a) + a * low[..., None]
    terms = terms - shape * (b[..., None] + half).log()
    alpha = a[:, 0] / b
    bounds = terms.sum(2) - count.sum() / 2 * math.log(2 * math.pi) + (alpha.log() - alpha) / 2
    best = bounds.argmax(1)
    at = torch.arange(n_outputs, device=squares.device), best
    precision = alpha[at]
    ratio = shape[best] / (b[at][:, None] + half[:, 0]) / precision[:, None]
    return CategoryNoise(bounds[at], precision, ratio, (ratio * squares).sum(1))
