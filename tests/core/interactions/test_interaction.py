"""Solvers compute raw predictions and gradients through the interaction of the problem, and only through it."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from skfm.core.interactions.pairwise import Pairwise
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.solvers import SOLVERS, Problem, Settings
from tests.helpers.problems import one_hot, three_fields


class Recorded(Pairwise):
    """Counts the calls."""

    def __init__(self):
        self.calls = []

    def raw(self, *arguments):
        self.calls.append("raw")
        return super().raw(*arguments)

    def forward(self, *arguments):
        self.calls.append("forward")
        return super().forward(*arguments)

    def backward(self, *arguments):
        self.calls.append("backward")
        return super().backward(*arguments)


def make_problem(X):
    rng = np.random.default_rng(0)
    n_samples, n_features = X.shape
    return Problem(
        design=DesignMatrix.from_array(X, dtype=torch.float64),
        target=torch.from_numpy(rng.standard_normal((1, n_samples))),
        sample_weight=torch.ones(n_samples, dtype=torch.float64),
        loss="squared_error",
        fields=torch.zeros(n_features, dtype=torch.long),
    )


def make_start(problem):
    factors = np.random.default_rng(1).standard_normal((1, problem.design.shape[1], 2)) / 10
    zeros = torch.zeros(1, problem.design.shape[1], dtype=torch.float64)
    return FMParameters(zeros[:, 0].clone(), zeros, torch.from_numpy(factors))


@pytest.mark.parametrize(
    ("solver", "expected"),
    [("als", {"raw"}), ("vb", {"raw"}), ("mcmc", {"raw"}), ("adagrad", {"forward", "backward"})],
)
@pytest.mark.parametrize("make_X", [one_hot, lambda: three_fields() * 0.5])
def test_solvers_ask_the_interaction_of_the_problem(make_X, solver, expected):
    problem, interaction = make_problem(make_X()), Recorded()
    found = []
    for kind in (problem, dataclasses.replace(problem, interaction=interaction)):
        run = SOLVERS[solver].start(kind, make_start(problem), Settings(max_iter=3))
        with torch.no_grad():
            iterates = [run.step() for _ in range(3)]
        found.append(iterates[-1].parameters)
    assert set(interaction.calls) == expected
    for a, b in zip(*found, strict=True):
        assert_array_equal(a, b)
