"""Losses: derivatives against autograd, constants against a search, units that can be changed."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize, minimize_scalar

from skfm.core.observation import robust
from skfm.core.observation.classes import smoothed_shares
from skfm.core.observation.registry import MODELS, losses_with, make_loss
from skfm.core.observation.robust import RobustLoss, weighted_quantile

#: The losses by what they declare, so that a new one is tested here too.
NAMES = sorted(losses_with("loss"))
REGRESSION = [name for name in NAMES if MODELS[name].target == "numbers"]
CLASSIFICATION = [name for name in NAMES if MODELS[name].target == "labels"]
IDENTITY_LINK = [name for name in REGRESSION if MODELS[name].inverse_link.kind == "identity"]
LOG_LINK = [name for name in REGRESSION if MODELS[name].inverse_link.kind == "exp"]
ROBUST = [name for name in REGRESSION if issubclass(MODELS[name].loss, RobustLoss)]
#: Name, outputs and quantile of every kind.
CASES = [
    (name, n_outputs, q)
    for name in NAMES
    for n_outputs in ((1, 2, 3, 5) if name in CLASSIFICATION else (1,))
    for q in ((0.1, 0.5, 0.85) if "quantile" in MODELS[name].parameters else (0.5,))
]
#: Those whose formulas are here once more.
WRITTEN_OUT = [
    case
    for case in CASES
    if case[0]
    in (
        "squared_error",
        "absolute_error",
        "huber",
        "quantile",
        "poisson",
        "gamma",
        "log_loss",
        "hinge",
        "squared_hinge",
    )
]

seeds = st.integers(0, 2**32 - 1)


def make(name, n_outputs, q):
    return make_loss(name, n_outputs, quantile=q)


def draw(name, n_outputs, rng, n=12, scale=2.0):
    """Targets in the range of a loss and raw predictions on both sides of them."""
    raw = rng.normal(size=(n_outputs, n)) * scale
    if name in CLASSIFICATION:
        y = rng.integers(0, max(2, n_outputs), n).astype(float)
    elif name == "poisson":
        y = rng.poisson(2.0, n).astype(float)
    elif MODELS[name].positive_only:
        y = rng.gamma(2.0, 1.0, n)
    else:
        y = rng.normal(size=n) * scale
    y = torch.tensor(y)
    assert bool(MODELS[name].range.contains(y).all())
    return y, torch.tensor(raw)


def is_smooth(loss, y, raw, step=1e-6):
    """Where neither the slope nor the curvature jumps."""
    below, above = (autograd(loss, y, raw + sign * step) for sign in (-1, 1))
    near = [(a - b).abs() <= 1e-3 * (1 + a.abs()) for a, b in zip(below, above, strict=True)]
    return near[0] & near[1]


def autograd(loss, y, raw):
    """Slope and the diagonal of the second derivative of the sum of the losses."""
    raw = raw.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss.loss(y[None], raw).sum(), raw, create_graph=True)
    second = torch.zeros_like(raw)
    for output in range(len(raw)):
        if slope.requires_grad:
            (by,) = torch.autograd.grad(
                slope[output].sum(), raw, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            second[output] = by[output]
    return slope.detach(), second


# ---------------------------------------------------------------------------------------- derivatives


def test_forms():
    """Several classes together are a softmax; parameters that a loss does not read are ignored."""
    assert make_loss("quantile", quantile=0.3).quantile == 0.3
    assert make_loss("quantile").quantile == 0.5
    assert [make_loss("log_loss", n).joint_outputs for n in (1, 3)] == [False, True]
    for name in NAMES:
        model = MODELS[name]
        assert type(make_loss(name, quantile=0.3)) is model.loss
        assert type(make_loss(name, 3)) is (model.joint_loss or model.loss)
        assert make_loss(name).inverse_link is model.inverse_link
        assert make_loss(name, 3).joint_outputs == (model.joint_loss is not None)


@pytest.mark.parametrize(("name", "n_outputs", "q"), WRITTEN_OUT)
def test_loss_is_the_formula(name, n_outputs, q):
    """The formulas at the top of the modules, number by number."""
    y, raw = draw(name, n_outputs, np.random.default_rng(0), n=30)
    found = make(name, n_outputs, q).loss(y[None], raw).numpy()
    softmax = name == "log_loss" and n_outputs > 1
    assert found.shape == (1 if softmax else n_outputs, 30)
    for (b, i), value in np.ndenumerate(found):
        t, f = float(y[i]), float(raw[b, i])
        z = 1.0 if t == (b if n_outputs > 1 else 1) else -1.0
        d = 1.35
        expected = {
            "squared_error": (t - f) ** 2 / 2,
            "absolute_error": abs(t - f),
            "quantile": q * (t - f) if t > f else (1 - q) * (f - t),
            "huber": (t - f) ** 2 / 2 if abs(t - f) <= d else d * (abs(t - f) - d / 2),
            "poisson": math.exp(f) - t * f,
            "gamma": t * math.exp(-f) + f,
            "log_loss": math.log(1 + math.exp(f)) - t * f,
            "hinge": max(0, 1 - z * f),
            "squared_hinge": max(0, 1 - z * f) ** 2,
        }[name]
        if softmax:
            expected = math.log(sum(math.exp(v) for v in raw[:, i])) - float(raw[int(t), i])
        assert_allclose(value, expected, rtol=1e-12, atol=1e-14)


@given(case=st.sampled_from(CASES), seed=seeds, scale=st.sampled_from([0.1, 1.0, 5.0]))
def test_slope_is_autograd(case, seed, scale):
    """The first derivative is that of the loss."""
    name, n_outputs, q = case
    loss = make(name, n_outputs, q)
    y, raw = draw(name, n_outputs, np.random.default_rng(seed), scale=scale)
    clear = is_smooth(loss, y, raw)
    slope, curvature = loss.derivatives(y[None], raw)
    assert slope.shape == curvature.shape == raw.shape
    assert slope.dtype == curvature.dtype == raw.dtype
    expected, _ = autograd(loss, y, raw)
    assert_allclose(slope[clear], expected[clear], rtol=1e-10, atol=1e-12)


@given(case=st.sampled_from(CASES), seed=seeds, scale=st.sampled_from([0.1, 1.0, 5.0]))
def test_curvature(case, seed, scale):
    """Never negative, and no less than the second derivative: with some losses it is that."""
    name, n_outputs, q = case
    loss = make(name, n_outputs, q)
    y, raw = draw(name, n_outputs, np.random.default_rng(seed), scale=scale)
    _, curvature = loss.derivatives(y[None], raw)
    _, second = autograd(loss, y, raw)
    assert bool((curvature >= 0).all())
    clear = is_smooth(loss, y, raw)
    assert bool((curvature >= second - 1e-9 * (1 + second))[clear].all())
    if name in ("squared_error", "poisson", "log_loss"):
        assert_allclose(curvature, second, rtol=1e-9, atol=1e-12)
    elif name == "gamma":
        assert_allclose(curvature, second.clamp(min=1), rtol=1e-12)
    elif name in ("huber", "squared_hinge"):
        curved = clear & (second != 0)
        assert_allclose(curvature[curved], second[curved], rtol=1e-12)
    # Half the absolute error is the quantile loss at a half, curvature included.
    assert (name != "quantile") or bool((curvature == q * (1 - q)).all())
    assert (name not in ("absolute_error", "hinge")) or bool((curvature == 0.5).all())


def test_expected_curvature_of_gamma():
    """Over the distribution that the loss is the likelihood of, the second derivative is one on average."""
    raw = torch.full((1, 40000), 0.7, dtype=torch.float64)
    y = torch.tensor(np.random.default_rng(0).gamma(4.0, 0.25, 40000)) * raw.exp()
    _, second = autograd(make_loss("gamma", 1), y[0], raw)
    assert_allclose(second.mean(), 1, atol=0.02)


def test_absolute_error_is_twice_a_quantile_loss():
    """Loss and slope at level one half."""
    y, raw = draw("squared_error", 1, np.random.default_rng(3))
    whole, half = make_loss("absolute_error", 1), make_loss("quantile", 1, quantile=0.5)
    assert_allclose(whole.loss(y[None], raw), 2 * half.loss(y[None], raw), rtol=1e-14)
    for a, b in zip(whole.derivatives(y[None], raw), half.derivatives(y[None], raw), strict=True):
        assert_allclose(a, 2 * b, rtol=1e-14)


@pytest.mark.parametrize("name", ["absolute_error", "quantile"])
def test_no_slope_at_a_perfect_fit(name):
    """A prediction that is exact does not move."""
    y = torch.tensor([1.0, -2.0], dtype=torch.float64)
    slope, _ = make_loss(name, 1, quantile=0.3).derivatives(y[None], y[None].clone())
    assert not slope.any()


def test_softmax_of_two_is_the_logistic_loss_of_the_difference():
    """And its slope is that of the difference."""
    y, raw = draw("log_loss", 2, np.random.default_rng(4))
    two, one = make_loss("log_loss", 2), make_loss("log_loss", 1)
    difference = raw[1:] - raw[:1]
    assert_allclose(two.loss(y[None], raw), one.loss(y[None], difference), rtol=1e-12)
    slopes, curvature = two.derivatives(y[None], raw)
    expected, curved = one.derivatives(y[None], difference)
    assert_allclose(slopes, torch.cat([-expected, expected]), rtol=1e-10, atol=1e-12)
    assert_allclose(curvature, curved.expand(2, -1), rtol=1e-10)


@pytest.mark.parametrize("name", ["hinge", "squared_hinge"])
def test_margin_losses_are_one_against_the_rest(name):
    """Each output is the two-class loss of its class, and a single output that of class 1."""
    y, raw = draw(name, 4, np.random.default_rng(5))
    together, alone = make_loss(name, 4), make_loss(name, 1)
    for c in range(4):
        own = (y == c).double()[None]
        assert torch.equal(together.loss(y[None], raw)[c], alone.loss(own, raw[c : c + 1])[0])
        for a, b in zip(
            together.derivatives(y[None], raw), alone.derivatives(own, raw[c : c + 1]), strict=True
        ):
            assert torch.equal(a[c], b[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "n_outputs", "q"), CASES)
def test_extreme_raw_values_are_finite(name, n_outputs, q, dtype):
    """Hopelessly wrong or certain predictions have finite losses and derivatives that point home."""
    loss = make(name, n_outputs, q)
    sizes = torch.tensor([0.0, 1e-30, 1.0, 30.0, 90.0, 1e3, 1e4], dtype=dtype)
    raw = torch.cat([-sizes, sizes]).repeat(n_outputs, 1)
    raw[1:] *= -1
    for value in range(max(2, n_outputs)):
        y = torch.full_like(raw[:1], value if name != "gamma" else value + 0.5)
        values = loss.loss(y, raw)
        slope, curvature = loss.derivatives(y, raw)
        assert values.dtype == slope.dtype == curvature.dtype == dtype
        for found in (values, slope, curvature, loss.expectation(raw.clamp(max=80))):
            assert bool(torch.isfinite(found).all())
        assert bool((curvature >= 0).all())
        if not loss.joint_outputs:
            target = y.log().clamp(min=-1e6) if name in LOG_LINK else y
            if name in CLASSIFICATION:
                target = loss.signs(y, raw) if name != "log_loss" else (2 * y - 1) * 1e6
            assert bool((slope * (raw - target) >= 0).all())


@given(case=st.sampled_from(CASES), seed=seeds)
def test_expectation(case, seed):
    """Predictions of each link; probabilities sum to one and match the losses."""
    name, n_outputs, q = case
    loss = make(name, n_outputs, q)
    y, raw = draw(name, n_outputs, np.random.default_rng(seed))
    expectation = loss.expectation(raw)
    if name in LOG_LINK:
        assert_allclose(expectation, raw.exp(), rtol=1e-14)
    elif loss.inverse_link.is_probability:
        p = torch.cat([1 - expectation, expectation]) if n_outputs == 1 else expectation
        assert_allclose(p.sum(0), 1, rtol=1e-12)
        assert_allclose(p.gather(0, y.long()[None]), (-loss.loss(y[None], raw)).exp(), rtol=1e-9)
    else:
        assert expectation is raw
    if loss.degree and name not in ("quantile", "absolute_error"):
        # No slope where the prediction is the target.
        exact = y.clamp(min=0.1).log()[None] if name in LOG_LINK else y[None]
        slope, _ = loss.derivatives(loss.expectation(exact), exact)
        assert_allclose(slope, 0, atol=1e-12)


def test_range():
    """What each loss can take."""
    y = torch.tensor([-1.0, -0.0, 0.0, 0.5, 1.0, 2.0, math.inf, -math.inf, math.nan])
    expected = {
        "poisson": [False, True, True, True, True, True, False, False, False],
        "gamma": [False, False, False, True, True, True, False, False, False],
    }
    finite = [True] * 6 + [False] * 3
    for name in NAMES:
        found = MODELS[name].range.contains(y).tolist()
        assert not any(found[6:])
        if name in CLASSIFICATION:
            assert found == [False, True, True, False, True, True, False, False, False]
        elif name in expected or name in IDENTITY_LINK:
            assert found == expected.get(name, finite)


# ------------------------------------------------------------------------------------------ constants


def mean_loss(loss, y, weight, raw):
    raw = torch.as_tensor(raw, dtype=torch.float64).reshape(-1, 1).expand(-1, len(y))
    return float(loss.loss(y[None], raw).sum(0) @ weight / weight.sum())


def with_pseudo_data(name, y, weight, n_outputs):
    """The data that the best constant is the best of: half a sample more of each class."""
    if name not in CLASSIFICATION:
        return y, weight
    n_classes = max(2, n_outputs)
    more = torch.arange(n_classes, dtype=y.dtype)
    return torch.cat([y, more]), torch.cat([weight, torch.full_like(more, 0.5)])


@given(case=st.sampled_from(CASES), seed=seeds, n=st.integers(1, 25), scale=st.sampled_from([0.3, 1.0, 8.0]))
def test_constant_is_the_best(case, seed, n, scale):
    """No other constant has a smaller weighted mean loss."""
    name, n_outputs, q = case
    rng = np.random.default_rng(seed)
    loss = make(name, n_outputs, q)
    y, _ = draw(name, n_outputs, rng, n=n, scale=scale)
    if name in LOG_LINK:
        y[0] = 3.0
    weight = torch.tensor(rng.gamma(1.0, 1.0, n) + 1e-3)
    constant = loss.constant(y, weight, n_outputs)
    assert constant.shape == (n_outputs,)
    assert constant.dtype == y.dtype
    assert bool(torch.isfinite(constant).all())
    y, weight = with_pseudo_data(name, y, weight, n_outputs)
    best = mean_loss(loss, y, weight, constant)
    if n_outputs == 1:
        c = float(constant)
        for a in np.concatenate(
            [np.linspace(-12, 12, 97), c + np.array([-1.0, 1.0, -0.01, 0.01, -1e-4, 1e-4])]
        ):
            assert best <= mean_loss(loss, y, weight, a) + 1e-9 * (1 + abs(best))
        search = minimize_scalar(lambda a: mean_loss(loss, y, weight, a), bounds=(-30, 30), method="bounded")
        assert best <= search.fun + 1e-9 * (1 + abs(best))
    else:
        for step in (1.0, 0.1, 1e-3):
            other = constant + step * torch.tensor(rng.normal(size=n_outputs))
            assert best <= mean_loss(loss, y, weight, other) + 1e-9 * (1 + abs(best))


def test_constant_of_the_softmax_is_found_by_search():
    """All outputs at once, centered."""
    rng = np.random.default_rng(6)
    y, _ = draw("log_loss", 4, rng, n=40)
    weight = torch.tensor(rng.gamma(1.0, 1.0, 40))
    loss = make_loss("log_loss", 4)
    constant = loss.constant(y, weight, 4)
    assert_allclose(constant.sum(), 0, atol=1e-12)
    search = minimize(lambda a: mean_loss(loss, *with_pseudo_data("log_loss", y, weight, 4), a), np.zeros(4))
    assert_allclose(constant, search.x - search.x.mean(), atol=1e-4)


@pytest.mark.parametrize(("name", "n_outputs"), [("log_loss", 1), ("log_loss", 3), ("hinge", 3)])
def test_constant_of_a_missing_class(name, n_outputs):
    """A class without rows has a small probability, not none."""
    y = torch.zeros(5, dtype=torch.float64)
    constant = make_loss(name, n_outputs).constant(y, torch.ones_like(y), n_outputs)
    assert bool(torch.isfinite(constant).all())
    shares = smoothed_shares(y, torch.ones_like(y), 3)
    assert_allclose(shares, np.array([5.5, 0.5, 0.5]) / 6.5, rtol=1e-14)


@given(
    case=st.sampled_from(CASES), seed=seeds, n=st.integers(1, 20), ties=st.booleans(), center=st.booleans()
)
def test_weights_are_repeats(case, seed, n, ties, center):
    """A weight of three is three rows, in constants, locations, scales and quantiles."""
    name, n_outputs, q = case
    rng = np.random.default_rng(seed)
    loss = make(name, n_outputs, q)
    y, _ = draw(name, n_outputs, rng, n=n)
    if ties and name in ROBUST:
        y = y.round()
    if name in LOG_LINK:
        y[0] = 1.0
    counts = torch.tensor(rng.integers(1, 5, n))
    order = torch.tensor(rng.permutation(int(counts.sum())))
    repeated = y.repeat_interleave(counts)[order]
    ones = torch.ones_like(repeated)
    weight = counts.double()
    assert_allclose(
        loss.constant(y, weight, n_outputs), loss.constant(repeated, ones, n_outputs), rtol=1e-9, atol=1e-12
    )
    assert_allclose(
        loss.location_and_scale(y, weight, center=center),
        loss.location_and_scale(repeated, ones, center=center),
        rtol=1e-9,
        atol=1e-12,
    )
    for level in (q, 0.5, 0.9):
        assert_allclose(
            weighted_quantile(y, weight, level), weighted_quantile(repeated, ones, level), rtol=1e-12
        )


@given(
    values=st.lists(st.integers(-5, 5), min_size=1, max_size=12),
    level=st.sampled_from([0.1, 0.25, 0.5, 0.7, 0.9]),
    seed=seeds,
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_weighted_quantile_is_the_middle_of_all_minima(values, level, seed, scale):
    """The minimizers of the pinball loss are an interval between two values; any unit of the weights will do."""
    y = torch.tensor(values, dtype=torch.float64)
    weight = torch.tensor(np.random.default_rng(seed).integers(1, 4, len(values))).double()
    loss = make_loss("quantile", 1, quantile=level)
    candidates = sorted(set(values))
    totals = [mean_loss(loss, y, weight, c) for c in candidates]
    best = [c for c, t in zip(candidates, totals, strict=True) if t <= min(totals) + 1e-9]
    found = float(weighted_quantile(y, weight * scale, level))
    assert found == (best[0] + best[-1]) / 2


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(
    ("weights", "level", "expected"),
    [
        ([1, 1], 0.5, 0.5),
        ([1, 1, 1, 1], 0.25, 0.5),
        ([1, 1, 1, 1], 0.3, 1.0),
        ([2, 1, 1], 0.5, 0.5),
        ([1, 2, 1], 0.5, 1.0),
        ([7, 3], 0.7, 0.5),
        ([1] * 10, 0.1, 0.5),
        ([1] * 10, 0.9, 8.5),
        ([3], 0.9, 0.0),
    ],
)
def test_weighted_quantile_between_two_values(weights, level, expected, scale):
    """Where the level falls between 0, 1, 2 and so on it is the middle."""
    values = torch.arange(len(weights), dtype=torch.float64)
    order = torch.tensor(np.random.default_rng(0).permutation(len(weights)))
    weight = scale * torch.tensor(weights, dtype=torch.float64)
    assert float(weighted_quantile(values[order], weight[order], level)) == expected


# ---------------------------------------------------------------------------------------------- units


@given(
    case=st.sampled_from([c for c in WRITTEN_OUT if c[0] in REGRESSION]), seed=seeds, s=st.floats(0.05, 20)
)
def test_loss_in_other_units(case, seed, s):
    """With y = s z the loss is s^degree times that of z and a matching raw prediction, up to a constant."""
    name, n_outputs, q = case
    loss = make(name, n_outputs, q)
    y, raw = draw(name, n_outputs, np.random.default_rng(seed))
    scaled_raw = raw * s if name in IDENTITY_LINK else raw + math.log(s)
    with pytest.MonkeyPatch.context() as patch:
        if name == "huber":
            # The threshold is part of the loss and has the unit of the target.
            patch.setattr(robust, "HUBER_THRESHOLD", robust.HUBER_THRESHOLD * s)
        outside = loss.loss(s * y[None], scaled_raw)
        slope, _ = loss.derivatives(s * y[None], scaled_raw)
    inside = s**loss.degree * loss.loss(y[None], raw)
    constant = 0.0
    if name == "poisson":
        constant = -s * y[None] * math.log(s)
    elif name == "gamma":
        constant = math.log(s)
    assert_allclose(outside, inside + constant, rtol=1e-10, atol=1e-10)
    clear = is_smooth(loss, y, raw)
    expected = s ** (loss.degree - (name in IDENTITY_LINK)) * loss.derivatives(y[None], raw)[0]
    assert_allclose(slope[clear], expected[clear], rtol=1e-9, atol=1e-9)
    assert_allclose(
        loss.expectation(scaled_raw), s * loss.expectation(raw), rtol=1e-12
    )  # predictions are in the unit of y


@given(case=st.sampled_from([c for c in CASES if c[0] in IDENTITY_LINK]), seed=seeds, s=st.floats(0.05, 20))
def test_small_errors_in_other_units(case, seed, s):
    """The degree holds for small errors whatever constants the loss has: these do not matter there."""
    name, n_outputs, q = case
    loss = make(name, n_outputs, q)
    y, raw = draw(name, n_outputs, np.random.default_rng(seed))
    raw = y[None] + 1e-3 * raw.clamp(-1, 1) / max(1, s)
    inside, outside = loss.loss(y[None], raw), loss.loss(s * y[None], s * raw)
    assert_allclose(outside, s**loss.degree * inside, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("name", REGRESSION)
def test_location_and_scale_follow_the_target(name):
    """Shifted and rescaled targets have their location and scale shifted and rescaled, however small or large."""
    y, _ = draw(name, 1, np.random.default_rng(7), n=31)
    weight = torch.tensor(np.random.default_rng(8).gamma(1.0, 1.0, 31))
    loss = make_loss(name, 1, quantile=0.3)
    location, scale = loss.location_and_scale(y, weight, center=True)
    for s in (1e-20, 1e-3, 7.0, 1e20):
        moved = loss.location_and_scale(s * y, weight, center=True)
        assert_allclose(moved, (s * location, s * scale), rtol=1e-9)
    if name in LOG_LINK:
        assert location == 0
        assert_allclose(scale, np.average(y, weights=weight), rtol=1e-12)
        assert loss.location_and_scale(y, weight, center=False) == (0.0, 1.0)
    else:
        assert_allclose(loss.location_and_scale(y + 5, weight, center=True), (location + 5, scale), rtol=1e-9)
        assert loss.location_and_scale(y, weight, center=False)[0] == 0.0


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_classes_are_not_scaled(name):
    """Nothing to shift and nothing to divide by."""
    y = torch.tensor([0.0, 1.0, 1.0])
    assert make_loss(name, 1).location_and_scale(y, torch.ones(3), center=True) == (0.0, 1.0)


def test_scale_of_squared_errors_is_the_deviation():
    """The weighted standard deviation, or the root mean square without an intercept."""
    y, _ = draw("squared_error", 1, np.random.default_rng(9), n=31)
    weight = torch.tensor(np.random.default_rng(10).gamma(1.0, 1.0, 31))
    loss, mean = make_loss("squared_error", 1), np.average(y, weights=weight)
    found = loss.location_and_scale(y, weight, center=True)
    assert_allclose(found, (mean, np.sqrt(np.average((y - mean) ** 2, weights=weight))), rtol=1e-12)
    found = loss.location_and_scale(y, weight, center=False)
    assert_allclose(found, (0, np.sqrt(np.average(y**2, weights=weight))), rtol=1e-12)


@pytest.mark.parametrize("name", ROBUST)
def test_robust_scales(name):
    """About the standard deviation of normal noise, and an outlier moves them little."""
    y = torch.tensor(np.random.default_rng(11).normal(3.0, 2.0, 4001))
    loss, weight = make_loss(name, 1, quantile=0.3), torch.ones(4001, dtype=torch.float64)
    location, scale = loss.location_and_scale(y, weight, center=True)
    assert_allclose((location, scale), (3, 2), rtol=0.05)
    y[:40] = 1e6
    assert_allclose(loss.location_and_scale(y, weight, center=True), (location, scale), rtol=0.05)
    # More than half of one value: the mean distance to it.
    y = torch.tensor([4.0] * 6 + [5.0, 1.0]).double()
    assert_allclose(loss.location_and_scale(y, torch.ones_like(y), center=True), (4, 0.5), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 1e-9, 3.3, -1e12])
@pytest.mark.parametrize("name", IDENTITY_LINK)
def test_constant_targets_have_a_scale(name, value, dtype):
    """One value has no spread, and rounding errors are none."""
    y = torch.full((7,), value, dtype=dtype)
    weight = torch.tensor([0.1, 0.7, 3.0, 1.1, 0.3, 0.9, 1.7], dtype=dtype)
    location, scale = make_loss(name, 1).location_and_scale(y, weight, center=True)
    assert scale == 1.0
    assert_allclose(location, value, rtol=1e-6)
