"""Products with the transposed design."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.transposed import transposed_product


@pytest.mark.parametrize("power", [1, 2])
def test_transposed_products(power):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 6))
    X[:, 3:] *= rng.random((40, 3)) < 0.1
    design = DesignMatrix.from_array(X, dtype=torch.float64, dense_columns=np.arange(3))
    rows = rng.standard_normal((40, 2))
    assert_allclose(transposed_product(design, torch.tensor(rows), power), (X**power).T @ rows)
