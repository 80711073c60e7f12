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

#: The shapes that are compared, largest first: twice the number of rows that the prior is worth.
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


def one_hot_codes(design: DesignMatrix, fields: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
    """Return the fields of categories that have at least two, and the category of each row in them.

    Parameters
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    fields : Tensor of shape (n_features,)

    Returns
    -------
    dict of int to (Tensor of shape (n_categories,), Tensor of shape (n_samples,))
        The columns of each field, and the place of the column of each row in them, which is n_categories for rows
        without one.
    """
    found: dict[int, tuple[Tensor, Tensor]] = {}
    n_samples, indices = design.shape[0], design.indices.long()
    rows = torch.arange(n_samples, device=indices.device).repeat_interleave(design.indptr.diff().long())
    of_entry = fields[indices]
    excluded = set(fields[design.dense_columns].tolist())
    if design.values is not None:
        excluded |= set(of_entry[design.values != 1].tolist())
    for field in sorted(set(of_entry.tolist()) - excluded):
        mine = of_entry == field
        entries, columns = rows[mine], torch.unique(indices[mine])
        if len(columns) < 2 or int(torch.bincount(entries).max()) > 1:
            continue
        codes = torch.full((n_samples,), len(columns), device=indices.device)
        codes[entries] = torch.searchsorted(columns, indices[mine])
        found[field] = columns, codes
    return found


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
    at = torch.arange(n_outputs), best
    precision = alpha[at]
    ratio = shape[best] / (b[at][:, None] + half[:, 0]) / precision[:, None]
    return CategoryNoise(bounds[at], precision, ratio, (ratio * squares).sum(1))
