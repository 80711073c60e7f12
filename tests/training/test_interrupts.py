"""Ctrl-C: the best model so far is kept, and the interrupt reaches the caller, through meta-estimators too."""

import pytest

from skfm.core.solvers import SOLVERS

from ..helpers import interrupts

ALL = sorted(SOLVERS)


def assert_promises_kept(found):
    """The promises of the user guide for fits that were interrupted."""
    for line in found:
        assert line["took"] is not None, "the interrupt did not reach the caller"
        if "is_fitted" in line:
            assert not line["is_fitted"]
        elif line["n_iter"]:
            assert line["has_whole_sweeps"]
            assert line["is_finite"]
            assert line["is_the_same_fit"]
        else:
            assert line["is_as_before"]


def test_signals():
    found = interrupts.run(
        ("alone", (ALL, 4, 0.2), {}),
        ("alone", (["vb"], 2, 0.2), {"in_pipeline": True}),
        ("search", ("als", 2, 0.3, 1), {}),
        seconds=120,
    )
    assert len(found) == 4 * len(ALL) + 4
    assert_promises_kept(found)
    # Not all interrupts came before the end of the first sweep.
    assert any(line.get("n_iter") for line in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solvers", "in_pipeline"), [(ALL[:4], False), (ALL[4:], False), (["als", "sgd"], True)]
)
def test_signals_at_many_moments(solvers, in_pipeline):
    found = interrupts.run(("alone", (solvers, 10, 0.3), {"in_pipeline": in_pipeline}), seconds=300)
    assert_promises_kept(found)


@pytest.mark.slow
@pytest.mark.parametrize(("n_jobs", "n_interrupts", "longest"), [(1, 8, 1), (2, 4, 6)])
def test_signals_during_a_search(n_jobs, n_interrupts, longest):
    found = interrupts.run(("search", ("vb", n_interrupts, longest, n_jobs), {}), seconds=1800)
    assert_promises_kept(found)
