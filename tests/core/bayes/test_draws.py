"""The draws that are kept: which sweeps, in which layout, and that they are copies."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from skfm.core.bayes.draws import Draws, Sample
from skfm.core.matrix.parameters import FMParameters

CHAINS, OUTPUTS, FEATURES, FACTORS, LEVELS = 2, 3, 4, 5, 3


def sample(sweep, n_chains=CHAINS, n_outputs=OUTPUTS, cuts=False):
    """A state whose numbers tell sweep, chain and output: sweep * 100 + chain * 10 + output."""
    chain, output = torch.arange(n_chains)[:, None], torch.arange(n_outputs)
    code = (100.0 * sweep + 10 * chain + output).flatten()
    parameters = FMParameters(
        code.clone(),
        code[:, None].repeat(1, FEATURES),
        code[:, None, None].repeat(1, FEATURES, FACTORS) + torch.arange(FACTORS) / 10,
    )
    cut_points = (100.0 * sweep + 10 * chain + torch.arange(LEVELS - 1)) if cuts else None
    noise_ratio = (code + 0.75)[:, None].repeat(1, FEATURES)
    return Sample(parameters, code + 0.25, code + 0.5, cut_points, noise_ratio)


def kept_sweeps(draws):
    """Numbers of the sweeps that were kept, in their order."""
    return (draws.stacked().parameters.intercept[0, :, 0] / 100).tolist()


def run(burn_in, n_sweeps, n_draws, stop=None):
    draws = Draws(CHAINS, burn_in, n_sweeps, n_draws)
    for sweep in range(burn_in + n_sweeps if stop is None else stop):
        draws.add(sample(sweep))
    return draws


@given(burn_in=st.integers(0, 20), n_sweeps=st.integers(1, 60), n_draws=st.integers(1, 70))
@example(burn_in=0, n_sweeps=1, n_draws=1)
@example(burn_in=3, n_sweeps=7, n_draws=7)
@example(burn_in=3, n_sweeps=7, n_draws=5)
def test_kept_sweeps(burn_in, n_sweeps, n_draws):
    """As many as asked for or as there are, none of the burn-in, evenly spread, the last one kept."""
    draws = run(burn_in, n_sweeps, n_draws)
    kept = kept_sweeps(draws)
    expected = min(n_draws, n_sweeps)
    assert len(draws) == len(kept) == expected
    assert kept[0] >= burn_in
    assert kept[-1] == burn_in + n_sweeps - 1
    gaps = {round(b - a) for a, b in zip([burn_in - 1, *kept], kept, strict=False)}
    assert gaps <= {n_sweeps // expected, -(-n_sweeps // expected)}


@pytest.mark.parametrize("stop", range(1, 14))
def test_interrupted(stop):
    """At any time there is something, and never more than the sweeps after the burn-in."""
    draws = run(4, 10, 5, stop)
    assert draws.is_warm == (stop > 4)
    assert len(draws) == max(0, stop - 4) // 2
    # Without any draw, the last state stands for one: of the burn-in or of the sweeps after it.
    expected = list(range(5, stop, 2)) or [stop - 1]
    assert kept_sweeps(draws) == expected


def test_nothing_yet():
    draws = Draws(CHAINS, 3, 5, 5)
    assert len(draws) == 0
    assert not draws.is_warm
    with pytest.raises(LookupError, match="No sweep"):
        draws.stacked()


def test_sweeps_before():
    assert Draws(CHAINS, 3, 5, 5).n_before == 0
    assert Draws(CHAINS, 3, 5, 5, n_before=8).n_before == 8


@pytest.mark.parametrize("n_outputs", [1, OUTPUTS])
def test_stacked_layout(n_outputs):
    """(n_chains, n_draws, n_outputs, ...), every number in its place; cut-points have no axis of outputs."""
    draws, has_cuts = Draws(CHAINS, 1, 4, 4), n_outputs == 1
    for sweep in range(5):
        draws.add(sample(sweep, n_outputs=n_outputs, cuts=has_cuts))
    got = draws.stacked()
    lead = (CHAINS, 4, n_outputs)
    chain = torch.arange(CHAINS)[:, None, None]
    code = 100.0 * torch.arange(1, 5)[:, None] + 10 * chain + torch.arange(n_outputs)
    assert torch.equal(got.parameters.intercept, code)
    assert torch.equal(got.parameters.linear, code[..., None].expand(*lead, FEATURES))
    factors = code[..., None, None] + torch.arange(FACTORS) / 10
    assert torch.equal(got.parameters.factors, factors.expand(*lead, FEATURES, FACTORS))
    assert torch.equal(got.noise_precision, code + 0.25)
    assert torch.equal(got.log_likelihood, code + 0.5)
    if has_cuts:
        assert torch.equal(got.cut_points, code + torch.arange(LEVELS - 1))
    else:
        assert got.cut_points is None


@pytest.mark.parametrize("burn_in", [0, 5])
def test_draws_are_copies(burn_in):
    """A sweep changes the tensors of the state in place, which changes no draw, nor the last state."""
    state = sample(1, n_outputs=1, cuts=True)
    draws = Draws(CHAINS, burn_in, 3, 3)
    draws.add(state)
    before = draws.stacked()
    for tensor in (*state.parameters, *state[1:]):
        tensor.fill_(-1)
    after = draws.stacked()
    for old, new in zip((*before.parameters, *before[1:]), (*after.parameters, *after[1:]), strict=True):
        assert torch.equal(old, new)
        assert bool((new > 0).all())
