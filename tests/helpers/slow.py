"""Tests with many parameters: some of them for every run, all of them for the slow one."""

import pytest


def parametrize(names, cases, *, fast, **options):
    """Parametrize a test over all cases, of which those that ``fast`` rejects are marked as slow."""
    cases = [case if isinstance(case, tuple) else (case,) for case in cases]
    assert any(fast(*case) for case in cases)
    marked = [pytest.param(*case, marks=() if fast(*case) else pytest.mark.slow) for case in cases]
    return pytest.mark.parametrize(names, marked, **options)
