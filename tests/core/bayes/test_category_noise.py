"""Noise by category: the bound against its formula, which fields qualify, weights as repeats."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.special import gammaln

from skfm.core.bayes.category_noise import SHAPES, categories_of_rows, category_fields, learn_noise
from skfm.core.matrix.design import DesignMatrix


def bound(a, alpha, count, squares):
    """The formula of the module for one output, with the Gamma(1/2, 1/2) prior of alpha."""
    b = a / alpha
    shape = a + count / 2
    terms = gammaln(shape) - gammaln(a) + a * np.log(b) - shape * np.log(b + squares / 2)
    return terms.sum() - count.sum() / 2 * math.log(2 * math.pi) + (math.log(alpha) - alpha) / 2


def data(seed, n_categories=40):
    rng = np.random.default_rng(seed)
    count = rng.integers(0, 30, n_categories).astype(float)
    std = np.exp(rng.standard_normal(n_categories) * seed / 2)
    squares = np.array([(rng.standard_normal(int(n)) ** 2).sum() for n in count]) * std**2
    return count, squares


@pytest.mark.parametrize("seed", range(4))
def test_no_other_noise_has_a_higher_bound(seed):
    count, squares = data(seed)
    found = learn_noise(torch.tensor(count), torch.tensor(squares)[None])
    alpha = float(found.precision[0])
    assert_allclose(max(bound(a, alpha, count, squares) for a in SHAPES), found.bound[0], rtol=1e-9)
    for a in SHAPES:
        for factor in np.exp(np.linspace(-3, 3, 61)):
            assert bound(a, alpha * factor, count, squares) <= float(found.bound[0]) + 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_the_ratios_are_posterior_means(seed):
    count, squares = data(seed)
    found = learn_noise(torch.tensor(count), torch.tensor(squares)[None])
    alpha, ratio = float(found.precision[0]), found.ratio[0].numpy()
    candidates = [(a + count / 2) / (a / alpha + squares / 2) / alpha for a in SHAPES]
    assert min(np.abs(c - ratio).max() for c in candidates) < 1e-9
    # A category without rows has the noise of the others.
    assert_allclose(ratio[count == 0], 1)
    assert_allclose(found.squares[0], (ratio * squares).sum())


def test_outputs_are_independent():
    count, first = data(1)
    second = 3 * data(2)[1][np.argsort(-count)] + 1
    together = learn_noise(torch.tensor(count), torch.tensor(np.stack([first, second])))
    for output, squares in enumerate((first, second)):
        alone = learn_noise(torch.tensor(count), torch.tensor(squares)[None])
        for both, one in zip(together, alone, strict=True):
            assert_allclose(both[output], one[0], rtol=1e-12)


def test_other_squares_change_the_bound_linearly():
    """The expected log likelihood is linear in the squares as long as the precisions stay."""
    count, squares = data(2)
    found = learn_noise(torch.tensor(count), torch.tensor(squares)[None])
    assert_allclose(found.at(found.squares), found.bound)
    assert_allclose(found.at(found.squares + 2), found.bound - found.precision)


def test_fields_that_qualify():
    """Fields that have at least two categories and at most one of them in each row."""
    rows = [
        # two categories; two categories that some rows lack; a list; a single category; numbers
        [1, 0, 1, 0, 1, 1, 1, 0.5],
        [0, 1, 0, 0, 0, 1, 1, 0.0],
        [1, 0, 0, 1, 1, 0, 1, 2.0],
        [1, 0, 0, 0, 0, 0, 1, 0.0],
    ]
    fields = torch.tensor([0, 0, 1, 1, 2, 2, 3, 4])
    design = DesignMatrix.from_array(sparse.csr_matrix(np.array(rows)), dtype=torch.float64)
    found = category_fields(design, fields)
    assert {field: columns.tolist() for field, columns in found.items()} == {0: [0, 1], 1: [2, 3]}
    assert categories_of_rows(design, found[0]).tolist() == [0, 1, 0, 0]
    assert categories_of_rows(design, found[1]).tolist() == [0, 2, 1, 2]


def test_designs_without_categories():
    """Numbers, and no columns or rows at all."""
    for X in (np.random.default_rng(0).normal(size=(5, 3)), np.empty((4, 0)), np.empty((0, 3))):
        design = DesignMatrix.from_array(X, dtype=torch.float64)
        assert category_fields(design, torch.zeros(X.shape[1], dtype=torch.long)) == {}
