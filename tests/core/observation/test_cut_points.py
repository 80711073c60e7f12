"""Cut-points of the ordered probit model: their density, its mode, and both ways to draw them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import ndtr

from skfm.core.observation.cut_points import MOST_JOINT, CutPoints, bounds, with_ends


def problem(seed, n_outputs=2, n_samples=60, n_levels=4, weighted=True):
    """Raw predictions and levels of a few outputs, each level present."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, n_levels, (n_outputs, n_samples))
    levels[:, :n_levels] = np.arange(n_levels)
    raw = torch.from_numpy(rng.normal(size=(n_outputs, n_samples)) + 0.3 * (levels - n_levels / 2))
    weight = torch.from_numpy(rng.uniform(0.2, 3, n_samples) if weighted else np.ones(n_samples))
    return CutPoints(torch.from_numpy(levels), weight, n_levels), raw, rng


def some_values(rng, n_outputs, size):
    return torch.from_numpy(np.sort(rng.normal(size=(n_outputs, size)), axis=1))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_bounds_are_those_of_the_level():
    value = torch.tensor([[-1.0, 2.0], [0.0, 0.5]])
    levels, raw = torch.tensor([[0, 1, 2], [2, 1, 0]]), torch.tensor([[0.5, 1.0, 3.0], [1.0, 2.0, 3.0]])
    assert with_ends(value).tolist() == [[-math.inf, -1, 2, math.inf], [-math.inf, 0, 0.5, math.inf]]
    lower, upper = bounds(value, levels, raw)
    assert lower.tolist() == [[-math.inf, -2, -1], [-0.5, -2, -math.inf]]
    assert upper.tolist() == [[-1.5, 1, math.inf], [math.inf, -1.5, -3]]


def test_log_density_is_the_sum_over_rows():
    """A standard normal prior and a weighted row at a time; out of order there is none."""
    cuts, raw, rng = problem(0)
    for _ in range(5):
        value = some_values(rng, 2, 3)
        expected = np.zeros(2)
        for b in range(2):
            ends = [-np.inf, *value[b].tolist(), np.inf]
            expected[b] = -sum(c**2 for c in ends[1:-1]) / 2
            for i in range(raw.shape[1]):
                level, f = int(cuts.levels[b, i]), float(raw[b, i])
                p = ndtr(ends[level + 1] - f) - ndtr(ends[level] - f)
                expected[b] += float(cuts.weight[i]) * math.log(p)
        assert_allclose(cuts.log_density(value, raw), expected, rtol=1e-9)
    swapped = value.clone()
    swapped[1, :2] = value[1, :2].flip(0)
    density = cuts.log_density(swapped, raw)
    assert_allclose(density[0], expected[0], rtol=1e-9)
    assert float(density[1]) == -math.inf


def test_whole_weights_are_repeats():
    cuts, raw, rng = problem(1, n_samples=20)
    times = torch.from_numpy(rng.integers(1, 4, 20))
    value = some_values(rng, 2, 3)
    weighted = CutPoints(cuts.levels, times.double(), 4)
    repeated = CutPoints(
        cuts.levels.repeat_interleave(times, 1), torch.ones(int(times.sum()), dtype=torch.float64), 4
    )
    expected = repeated.log_density(value, raw.repeat_interleave(times, 1))
    assert_allclose(weighted.log_density(value, raw), expected, rtol=1e-12)
    assert_allclose(weighted.value, repeated.value, rtol=1e-12)


@pytest.mark.parametrize("n_levels", [2, 3, 6])
def test_derivatives_are_those_of_the_density(n_levels):
    cuts, raw, rng = problem(2, n_levels=n_levels)
    value = some_values(rng, 2, n_levels - 1)
    slope, precision = cuts._derivatives(value, raw)

    def density(v, b):
        # In plain probabilities, which have no branches.
        ends = [v.new_tensor(-math.inf), *v, v.new_tensor(math.inf)]
        total = -v.square().sum() / 2
        for level in range(n_levels):
            rows = cuts.levels[b] == level
            p = torch.special.ndtr(ends[level + 1] - raw[b, rows])
            if level:
                p = p - torch.special.ndtr(ends[level] - raw[b, rows])
            total = total + p.log() @ cuts.weight[rows]
        return total

    for b in range(2):
        v = value[b].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(density(v, b), v)
        hessian = torch.autograd.functional.hessian(lambda v, b=b: density(v, b), value[b])
        assert_allclose(slope[b], gradient, rtol=1e-7, atol=1e-7)
        assert_allclose(precision[b], -hessian, rtol=1e-7, atol=1e-7)


def test_mode_is_the_maximum_wherever_the_search_starts():
    """A proposal that depended on the current cut-points would leave another distribution invariant."""
    cuts, raw, rng = problem(3)
    mode, precision = cuts.mode(raw)
    assert_allclose(cuts._derivatives(mode, raw)[0], 0, atol=1e-4)
    assert_allclose(precision, cuts._derivatives(mode, raw)[1], rtol=1e-4, atol=1e-4)
    for scale in (0.01, 1.0, 4.0):
        cuts.value = scale * some_values(rng, 2, 3)
        again, same = cuts.mode(raw)
        assert_allclose(again, mode, atol=2e-5)
        assert_allclose(same, precision, rtol=1e-4, atol=1e-3)
        assert bool((cuts.log_density(cuts.value, raw) < cuts.log_density(mode, raw)).all())


@pytest.mark.parametrize("n_levels", [4, 30])
def test_draws_stay_in_order_and_move(n_levels):
    assert (n_levels - 1 > MOST_JOINT) == (n_levels == 30)
    cuts, raw, _ = problem(4, n_samples=120, n_levels=n_levels)
    generator, start = seeded(0), cuts.value.clone()
    assert bool((start.diff(dim=1) > 0).all())
    moves = torch.zeros_like(start)
    for _ in range(60):
        before = cuts.value.clone()
        cuts.draw(raw, generator)
        assert bool(torch.isfinite(cuts.value).all())
        assert bool((cuts.value.diff(dim=1) > 0).all())
        moves += cuts.value != before
    # A sweep proposes all of them, or each of them twice.
    assert float(moves.min()) > 20


@given(
    n_levels=st.sampled_from([2, 3, 9, MOST_JOINT + 1, MOST_JOINT + 2, 25]),
    n_samples=st.integers(25, 60),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e3]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=20)
def test_draws_stay_in_order(n_levels, n_samples, scale, seed):
    """Few levels or many, of any rows and any raw predictions."""
    cuts, raw, _ = problem(seed, 1, n_samples, n_levels)
    generator = seeded(seed)
    for _ in range(10):
        cuts.draw(scale * raw, generator)
        assert bool((cuts.value.diff(dim=1) > 0).all())
        assert bool(torch.isfinite(cuts.log_density(cuts.value, scale * raw)).all())


@pytest.mark.parametrize("scale", [1e4, 1e6])
def test_draws_from_predictions_far_off(scale):
    """Where log Phi has lost most of its digits the curvature is still one of a log-concave density."""
    for seed in range(2):
        cuts, raw, rng = problem(seed, 2, 50)
        raw = torch.from_numpy(rng.normal(size=raw.shape)) * scale
        for _ in range(3):
            cuts.draw(raw, seeded(seed))
        assert bool(torch.isfinite(cuts.value).all())
        assert bool((cuts.value.diff(dim=1) > 0).all())


@pytest.mark.parametrize("n_levels", [4, 30])
def test_outputs_do_not_depend_on_each_other(n_levels):
    """Start, density and mode of two outputs are those of each alone, however far they are apart."""
    cuts, raw, rng = problem(5, n_samples=90, n_levels=n_levels)
    # The second one needs more steps, with shorter ones among them.
    raw[1] = 20 * raw[1].flip(0)
    value = some_values(rng, 2, n_levels - 1)
    mode, precision = cuts.mode(raw)
    for b in range(2):
        alone = CutPoints(cuts.levels[b : b + 1], cuts.weight, n_levels)
        assert torch.equal(alone.value[0], cuts.value[b])
        density = cuts.log_density(value, raw)[b]
        assert_allclose(alone.log_density(value[b : b + 1], raw[b : b + 1])[0], density, rtol=1e-12)
        own_mode, own_precision = alone.mode(raw[b : b + 1])
        assert_allclose(own_mode[0], mode[b], atol=1e-4)
        assert_allclose(own_precision[0], precision[b], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("first", [0, 1])
def test_neighbors_do_not_move_together(first):
    """Given every other cut-point those between are independent, which is why they are accepted one by one."""
    cuts, raw, _ = problem(6, n_samples=40, n_levels=9, weighted=False)
    start, moves = cuts.value.clone(), torch.zeros_like(cuts.value)
    generator = seeded(0)
    for _ in range(30):
        cuts._draw_every_other(raw, first, generator)
        moves += cuts.value != start
    assert bool((moves[:, first::2] > 0).all())
    assert bool((moves[:, 1 - first :: 2] == 0).all())


def test_same_seed_same_cut_points():
    values = []
    for seed in (1, 1, 2):
        cuts, raw, _ = problem(4)
        cuts.draw(raw, seeded(seed))
        values.append(cuts.value)
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


@pytest.mark.parametrize("together", [True, False])
def test_draws_follow_the_posterior(together):
    """Means, deviations and correlation of two cut-points of few rows, against a grid."""
    # Chains are outputs that have the same rows.
    n_chains, n_sweeps = 400, 150 if together else 400
    levels = torch.tensor([[0, 0, 1, 2, 2, 1, 2]]).expand(n_chains, -1)
    raw = torch.tensor([[-0.5, 0.4, 0.1, 0.9, -0.3, -0.2, 1.5]], dtype=torch.float64).expand(n_chains, -1)
    weight = torch.tensor([1.0, 0.5, 2.0, 1.0, 1.0, 0.3, 1.5], dtype=torch.float64)
    cuts, generator, kept = CutPoints(levels, weight, 3), seeded(0), []
    for sweep in range(n_sweeps):
        if together:
            cuts._draw_together(raw, generator)
        else:
            for first in (0, 1):
                cuts._draw_every_other(raw, first, generator)
        if sweep >= n_sweeps // 3:
            kept.append(cuts.value)
    draws = torch.stack(kept).numpy()

    side = np.linspace(-4, 4, 401)
    low, high = (a.ravel() for a in np.meshgrid(side, side))
    density = -(low**2 + high**2) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        for level, f, s in zip(levels[0].tolist(), raw[0].tolist(), weight.tolist(), strict=True):
            a, b = ndtr(low - f), ndtr(high - f)
            density += s * np.log([a, b - a, 1 - b][level])
    mass = np.where(high > low, np.exp(np.where(high > low, density, -np.inf)), 0)
    mass /= mass.sum()
    grid = np.stack([low, high], 1)
    mean = mass @ grid
    expected = [*mean, *np.sqrt(mass @ (grid - mean) ** 2), mass @ np.prod(grid - mean, 1)]
    # The chains are independent of each other; so are the averages over each.
    centered = draws - mean
    averages = np.concatenate([centered, centered**2, centered.prod(2, keepdims=True)], 2).mean(0)
    got, error = averages.mean(0), averages.std(0) / math.sqrt(n_chains)
    expected = np.array([0, 0, *np.square(expected[2:4]), expected[4]])
    assert (error < 0.02).all()
    assert (np.abs(got - expected) < 4.5 * error + 2e-4).all()
