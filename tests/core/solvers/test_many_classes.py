"""The work and the memory of the minibatch solvers are linear in the number of classes."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import OneHotEncoder
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from skfm import FMClassifier
from skfm.core.solvers.minibatch.optimizers import OPTIMIZERS

N_ROWS, N_FACTORS = 300, 3
#: Room for work that does not depend on the number of classes.
SLACK = 1.1


class Sizes(TorchDispatchMode):
    """Records the number of elements of the results of all operations."""

    def __init__(self):
        super().__init__()
        self.total = self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.total += sum(sizes)
        self.largest = max([self.largest, *sizes])
        return result


def draw(n_classes, has_dense):
    rng = np.random.default_rng(0)
    X = OneHotEncoder(sparse_output=False).fit_transform(rng.integers(0, 10, (N_ROWS, 2)))
    if has_dense:
        X = np.c_[X, rng.normal(size=(N_ROWS, 2))]
    return X, np.r_[np.arange(n_classes), rng.integers(0, n_classes, N_ROWS - n_classes)]


def measure(solver, n_classes, has_dense):
    """Return the floating point operations of products, and the sizes, of a fit and its predictions."""
    X, y = draw(n_classes, has_dense)
    with FlopCounterMode(display=False) as products, Sizes() as sizes:
        model = FMClassifier(N_FACTORS, solver=solver, max_iter=3, random_state=0).fit(X, y)
        model.predict_proba(X)
    return products.get_total_flops(), sizes


@pytest.mark.parametrize("has_dense", [False, True])
@pytest.mark.parametrize("solver", sorted(OPTIMIZERS))
def test_work_and_memory_are_linear_in_the_number_of_classes(solver, has_dense):
    few, many = 14, 140
    flops, sizes = measure(solver, few, has_dense)
    more_flops, more_sizes = measure(solver, many, has_dense)
    assert flops > 0
    assert more_flops <= SLACK * many / few * flops
    assert more_sizes.total <= SLACK * many / few * sizes.total
    # The rows of a batch and the sums of their factors, once and their squares.
    assert more_sizes.largest <= N_ROWS * many * (2 + 2 * N_FACTORS)
