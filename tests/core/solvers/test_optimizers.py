"""Update rules against plain loops over single parameters."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from skfm.core.solvers.minibatch.optimizers import (
    OPTIMIZERS,
    SGD,
    Optimizer,
    Step,
    descend,
    pool,
    root,
    spread,
)

RULES = pytest.mark.parametrize("name", sorted(OPTIMIZERS))
SHAPES = pytest.mark.parametrize(("n_outputs", "n_factors"), [(1, 0), (1, 3), (3, 0), (2, 2)])


def draw_table(rng, n_columns, n_outputs, n_factors):
    return torch.tensor(rng.normal(size=(n_columns, n_outputs * (1 + n_factors))))


def draw_step(rng, n_columns, n_outputs, n_factors, **options):
    """A step of a batch."""
    size = 1 + n_factors
    width = n_outputs * size
    fields = {
        "gradient": torch.tensor(rng.normal(size=(n_columns, width)) * 3),
        "curvature": torch.tensor(rng.gamma(1.0, 1.0, (n_columns, n_outputs))),
        "profile": torch.tensor(rng.gamma(2.0, 1.0, (n_outputs, size))),
        "rate": 0.3,
        "penalty": torch.tensor(rng.gamma(1.0, 1.0, (n_columns, width))),
        "l2": torch.tensor(rng.gamma(1.0, 3.0, (n_columns, n_outputs))),
        "passes": torch.tensor(rng.gamma(2.0, 1.0, (n_columns, 1))),
        "batches_seen": torch.tensor(rng.integers(1, 5, (n_columns, 1))).double(),
        "l1_linear": 0.0,
    }
    return Step(**(fields | options))


class Reference:
    """The rules as their docstrings have them: a loop over columns, outputs and parameters, plain numbers."""

    beta1, beta2, epsilon = 0.9, 0.999, 1e-8

    def __init__(self, name, theta, n_outputs):
        self.name, self.theta, self.n_outputs = name, theta.tolist(), n_outputs
        self.size = theta.shape[1] // n_outputs
        #: By column and parameter; AdaGrad's sums by column and "linear" or "factors" of an output.
        self.memory = {}

    def update(self, step):
        for j in range(len(self.theta)):
            for b in range(self.n_outputs):
                self._update_output(step, j, b)

    def _update_output(self, step, j, b):
        size = self.size
        places = range(b * size, (b + 1) * size)
        g = [float(step.gradient[j, p]) for p in places]
        least = [float(step.curvature[j, b] * step.profile[b, k]) for k in range(size)]
        penalty = [float(step.penalty[j, p]) for p in places]
        before = [self.theta[j][p] for p in places]
        r = {
            "sgd": self._sgd_r,
            "adagrad": self._adagrad_r,
            "adam": self._adam_r,
            "ftrl": self._adagrad_r,
        }[self.name](step, j, b, g, least)
        if self.name == "adam":
            r, g = r
        for k, p in enumerate(places):
            self.theta[j][p] = before[k] - (g[k] + penalty[k] * before[k]) / (r[k] + penalty[k])
        if self.name == "ftrl":
            # The linear weight has a rule of its own.
            z, r_before = self.memory.get(("z", j, b), (-before[0], 1.0))
            grown = max(r_before, r[0])
            z += g[0] - (grown - r_before) * before[0]
            passes = float(step.passes[j])
            if abs(z) <= step.l1_linear * passes:
                w = 0.0
            else:
                w = -math.copysign(abs(z) - step.l1_linear * passes, z)
                w /= grown + float(step.l2[j, b]) * passes
            self.theta[j][places[0]] = w
            self.memory["z", j, b] = z, grown

    def _sgd_r(self, step, j, b, g, least):
        return [1 / step.rate + m for m in least]

    def _adagrad_r(self, step, j, b, g, least):
        linear, factors = self.memory.get((j, b), (1.0, 1.0))
        linear += g[0] ** 2
        r = [math.sqrt(linear / step.rate**2 + least[0] ** 2)]
        if len(g) > 1:
            factors += sum(x**2 for x in g[1:]) / (len(g) - 1)
            bound = sum(m**2 for m in least[1:]) / (len(g) - 1)
            r += [math.sqrt(factors / step.rate**2 + bound)] * (len(g) - 1)
        self.memory[j, b] = linear, factors
        return r

    def _adam_r(self, step, j, b, g, least):
        visits = float(step.batches_seen[j])
        r, mean = [], []
        for k, x in enumerate(g):
            first, second = self.memory.get((j, b, k), (0.0, 0.0))
            first = self.beta1 * first + (1 - self.beta1) * x
            second = self.beta2 * second + (1 - self.beta2) * x**2
            self.memory[j, b, k] = first, second
            mean.append(first / (1 - self.beta1**visits))
            spread = second / (1 - self.beta2**visits)
            r.append(math.sqrt(spread / step.rate**2 + least[k] ** 2) + self.epsilon / step.rate)
        return r, mean


def test_names():
    """The four rules, what they read and whether they count batches."""
    assert sorted(OPTIMIZERS) == ["adagrad", "adam", "ftrl", "sgd"]
    for name, rule in OPTIMIZERS.items():
        assert isinstance(rule, Optimizer)
        assert rule.name == name
        assert rule.learning_rate > 0
        assert rule.options == ({"l1_linear"} if name == "ftrl" else set())
        assert rule.counts_batches == (name in ("adam", "ftrl"))


@SHAPES
@RULES
def test_rule_is_the_reference(name, n_outputs, n_factors):
    """Eight steps with changing rates, curvatures, penalties and visits, parameter by parameter."""
    rng = np.random.default_rng([sorted(OPTIMIZERS).index(name), n_outputs, n_factors])
    theta = draw_table(rng, 5, n_outputs, n_factors)
    rule = OPTIMIZERS[name]
    reference = Reference(name, theta, n_outputs)
    slots = rule.slots(theta, n_outputs)
    assert all(len(slot) == 5 for slot in slots)
    for i in range(8):
        step = draw_step(
            rng,
            5,
            n_outputs,
            n_factors,
            rate=0.5 / (1 + i),
            l1_linear=float(rng.choice([0.0, 0.4])),
            batches_seen=torch.tensor(rng.integers(1, 3 + i, (5, 1))).double(),
        )
        copies = [t.clone() for t in step if isinstance(t, torch.Tensor)]
        rule.update(theta, slots, step)
        reference.update(step)
        assert_allclose(theta, reference.theta, rtol=1e-10, atol=1e-12)
        # What the trainer tells is its own.
        for a, b in zip(copies, [t for t in step if isinstance(t, torch.Tensor)], strict=True):
            assert torch.equal(a, b)


@RULES
def test_dtype(name):
    """Single precision stays single, and shapes stay."""
    rng = np.random.default_rng(0)
    theta = draw_table(rng, 4, 2, 3).float()
    step = draw_step(rng, 4, 2, 3)
    step = Step(*(t.float() if isinstance(t, torch.Tensor) else t for t in step))
    slots = OPTIMIZERS[name].slots(theta, 2)
    shapes = [s.shape for s in slots]
    OPTIMIZERS[name].update(theta, slots, step)
    assert theta.dtype == torch.float32
    assert [s.shape for s in slots] == shapes
    assert all(s.dtype == torch.float32 and bool(torch.isfinite(s).all()) for s in slots)


@RULES
def test_only_rows_that_are_given(name):
    """A column's update does not depend on the others of the batch."""
    rng = np.random.default_rng(1)
    together = draw_table(rng, 6, 2, 2)
    alone = together.clone()
    rule = OPTIMIZERS[name]
    slots, own = rule.slots(together, 2), rule.slots(alone, 2)
    for _ in range(3):
        step = draw_step(rng, 6, 2, 2)
        rule.update(together, slots, step)
        for j in range(6):
            rows = [j]
            names = ("gradient", "curvature", "penalty", "l2", "passes", "batches_seen")
            single = step._replace(**{name: getattr(step, name)[rows] for name in names})
            theta, parts = alone[rows], [s[rows] for s in own]
            rule.update(theta, parts, single)
            alone[rows] = theta
            for s, part in zip(own, parts, strict=True):
                s[rows] = part
    assert_allclose(alone, together, rtol=1e-12)


# -------------------------------------------------------------------------------------- proximal steps


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([0.0, 1e-3, 1.0, 1e6]),
    penalty=st.sampled_from([0.0, 1.0, 1e8]),
)
def test_descend_is_the_argmin(seed, size, penalty):
    """The step minimizes <g, theta> + r/2 |theta - before|^2 + penalty/2 |theta|^2."""
    rng = np.random.default_rng(seed)
    before = torch.tensor(rng.normal(size=(3, 4)))
    g, r = torch.tensor(rng.normal(size=(3, 4)) * size), torch.tensor(rng.gamma(1.0, 1.0, (3, 4)) + 0.1)
    l2 = torch.tensor(rng.gamma(1.0, 1.0, (3, 4)) * penalty)
    theta, r_given = before.clone(), r.clone()
    descend(theta, g, r_given, l2)

    def objective(at):
        return g * at + r / 2 * (at - before) ** 2 + l2 / 2 * at**2

    leaf = theta.clone().requires_grad_()
    (slope,) = torch.autograd.grad(objective(leaf).sum(), leaf)
    assert bool((slope.abs() <= 1e-9 * (g.abs() + (r + l2) * (1 + before.abs()))).all())
    least = objective(theta)
    for change in (-0.1, 0.1, -1e-3, 1e-3):
        assert bool((objective(theta + change) >= least - 1e-9 * (1 + least.abs())).all())


@RULES
def test_no_gradient(name):
    """Without gradient and penalty nothing moves; a huge penalty brings to zero and never beyond."""
    rng = np.random.default_rng(2)
    before = draw_table(rng, 4, 2, 2)
    nothing = torch.zeros_like(before)
    rule = OPTIMIZERS[name]
    step = draw_step(rng, 4, 2, 2, gradient=nothing, penalty=nothing, l2=torch.zeros(4, 2))
    theta = before.clone()
    rule.update(theta, rule.slots(theta, 2), step)
    assert_allclose(theta, before, rtol=1e-14)
    strong = torch.full_like(before, 1e12)
    theta = before.clone()
    rule.update(theta, rule.slots(theta, 2), step._replace(penalty=strong, l2=strong[:, :2]))
    assert bool((theta.abs() <= 1e-9).all())
    assert bool((theta * before >= -1e-20).all())


@RULES
def test_steps_are_no_longer_than_the_curvature_allows(name):
    """Whatever the learning rate, a step is not longer than the gradient over the least r."""
    rng = np.random.default_rng(3)
    before = draw_table(rng, 6, 2, 0)
    step = draw_step(
        rng, 6, 2, 0, rate=1e30, penalty=torch.zeros(6, 2), batches_seen=torch.ones(6, 1).double()
    )
    rule = OPTIMIZERS[name]
    slots = rule.slots(before, 2)
    if name == "ftrl":
        step = step._replace(l2=torch.zeros(6, 2))
    theta = before.clone()
    rule.update(theta, slots, step)
    least = step.curvature * step.profile[:, 0]
    if name == "ftrl":
        least = least.clamp(min=1)
    assert_allclose(theta, before - step.gradient / least, rtol=1e-9)


# ------------------------------------------------------------------------------------------- AdaGrad


def test_adagrad_state_rises():
    """Sums of squares start at one and never fall, so steps of the same gradient get shorter."""
    rng = np.random.default_rng(4)
    theta = draw_table(rng, 5, 2, 3)
    rule = OPTIMIZERS["adagrad"]
    slots = rule.slots(theta, 2)
    assert torch.equal(slots[0], torch.ones(5, 4, dtype=torch.float64))
    before = slots[0].clone()
    for _ in range(6):
        step = draw_step(rng, 5, 2, 3)
        rule.update(theta, slots, step)
        assert bool((slots[0] >= before).all())
        before = slots[0].clone()
    zero = torch.zeros_like(theta)
    lengths = []
    fixed = draw_step(rng, 5, 2, 3, penalty=zero)
    for _ in range(4):
        old = theta.clone()
        rule.update(theta, slots, fixed)
        lengths.append((theta - old).abs())
    assert all(bool((b < a).all()) for a, b in itertools.pairwise(lengths))


def test_adagrad_is_the_textbook_on_one_parameter():
    """theta -= rate g / sqrt(1 + sum g^2) without curvature and penalty."""
    rng = np.random.default_rng(5)
    theta = torch.tensor([[0.5]], dtype=torch.float64)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    rule, expected, squares = OPTIMIZERS["adagrad"], 0.5, 1.0
    slots = rule.slots(theta, 1)
    for g in rng.normal(size=10):
        step = draw_step(rng, 1, 1, 0, gradient=zero + g, curvature=zero, penalty=zero, rate=0.1)
        rule.update(theta, slots, step)
        squares += g**2
        expected -= 0.1 * g / math.sqrt(squares)
        assert_allclose(theta, [[expected]], rtol=1e-12)


def test_adam_is_torch_adam():
    """Without curvature and penalty, and with a clock for each row, it is torch's Adam on each row."""
    rng = np.random.default_rng(6)
    theta = draw_table(rng, 3, 1, 2)
    rule = OPTIMIZERS["adam"]
    slots = rule.slots(theta, 1)
    leaves = [row.clone().requires_grad_() for row in theta]
    torchs = [
        torch.optim.Adam([leaf], lr=0.02, betas=(rule.beta1, rule.beta2), eps=rule.epsilon) for leaf in leaves
    ]
    visits = np.zeros(3, dtype=int)
    for _ in range(12):
        rows = np.flatnonzero(rng.random(3) < 0.6)
        if not len(rows):
            continue
        visits[rows] += 1
        n = len(rows)
        zero = torch.zeros(n, 3, dtype=torch.float64)
        step = draw_step(
            rng,
            n,
            1,
            2,
            rate=0.02,
            curvature=zero[:, :1],
            penalty=zero,
            batches_seen=torch.tensor(visits[rows])[:, None].double(),
        )
        part, parts = theta[rows], [s[rows] for s in slots]
        rule.update(part, parts, step)
        theta[rows] = part
        for s, p in zip(slots, parts, strict=True):
            s[rows] = p
        for i, row in enumerate(rows):
            leaves[row].grad = step.gradient[i].clone()
            torchs[row].step()
        assert_allclose(theta, torch.stack(leaves).detach(), rtol=1e-10, atol=1e-12)


def test_first_step_of_adam_has_the_length_of_the_rate():
    """The correction of the bias: a first gradient of any size moves by the learning rate."""
    zero = torch.zeros(1, 2, dtype=torch.float64)
    rng = np.random.default_rng(7)
    for size in (1e-3, 1.0, 1e3):
        theta = zero.clone()
        step = draw_step(
            rng, 1, 1, 1, gradient=torch.tensor([[size, -size]], dtype=torch.float64), curvature=zero[:, :1],
            penalty=zero, batches_seen=torch.ones(1, 1).double(), rate=0.05,
        )  # fmt: skip
        OPTIMIZERS["adam"].update(theta, OPTIMIZERS["adam"].slots(theta, 1), step)
        assert_allclose(theta, [[-0.05, 0.05]], rtol=1e-4)


def test_sgd_has_no_state():
    """And moves by the rate times the gradient where there is no curvature."""
    rng = np.random.default_rng(8)
    theta = draw_table(rng, 4, 1, 2)
    assert SGD().slots(theta, 1) == []
    zero = torch.zeros(4, 3, dtype=torch.float64)
    step = draw_step(rng, 4, 1, 2, curvature=zero[:, :1], penalty=zero, rate=0.01)
    expected = theta - 0.01 * step.gradient
    SGD().update(theta, [], step)
    assert_allclose(theta, expected, rtol=1e-13)


# ---------------------------------------------------------------------------------------------- FTRL


def ftrl_proximal(X, y, rate, l1, l2, n_passes):
    """McMahan's FTRL-proximal for squared errors, a row a step, sums of squares starting at one."""
    n_features = X.shape[1]
    w, z, n = np.zeros(n_features), np.zeros(n_features), np.ones(n_features)
    for t in range(1, n_passes + 1):
        for x, target in zip(X, y, strict=True):
            gradients = (x @ w - target) * x
            for j in np.flatnonzero(x):
                g = gradients[j]
                # The first proximal term has weight zero at the start.
                sigma = (math.sqrt(n[j] + g**2) - math.sqrt(n[j])) / rate
                z[j] += g - sigma * w[j]
                n[j] += g**2
                strength = math.sqrt(n[j]) / rate
                shrunk = max(abs(z[j]) - l1 * t, 0.0)
                w[j] = -math.copysign(shrunk, z[j]) / (strength + l2 * t)
    return w


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (1.5, 0.0), (0.0, 2.0), (1.0, 0.5)])
def test_ftrl_is_the_textbook(l1, l2):
    """A linear model from zero, row by row; penalties of t passes are there t times."""
    rng = np.random.default_rng(9)
    X = (rng.random((30, 6)) < 0.5) * rng.normal(size=(30, 6))
    y = X @ np.array([1.0, -2.0, 0.0, 0.05, 0.0, 0.7]) + 0.1 * rng.normal(size=30)
    theta = torch.zeros(6, 1, dtype=torch.float64)
    rule = OPTIMIZERS["ftrl"]
    slots = rule.slots(theta, 1)
    for t in range(1, 4):
        for x, target in zip(X, y, strict=True):
            rows = np.flatnonzero(x)
            if not len(rows):
                continue
            n = len(rows)
            zero = torch.zeros(n, 1, dtype=torch.float64)
            slope = (torch.tensor(x) @ theta[:, 0] - target) * torch.tensor(x)[rows, None]
            step = draw_step(
                rng,
                n,
                1,
                0,
                gradient=slope,
                curvature=zero,
                rate=0.2,
                l2=zero + l2,
                passes=zero + t,
                l1_linear=l1,
            )
            part, parts = theta[rows], [s[rows] for s in slots]
            rule.update(part, parts, step)
            theta[rows] = part
            for s, p in zip(slots, parts, strict=True):
                s[rows] = p
    expected = ftrl_proximal(X, y, 0.2, l1, l2, 3)
    assert_allclose(theta[:, 0], expected, rtol=1e-10, atol=1e-12)
    zeros = theta[:, 0] == 0
    assert bool(zeros.any()) == (l1 > 0)
    assert not bool(zeros.all())


def test_ftrl_makes_exact_zeros_of_linear_weights_only():
    """Factors have AdaGrad's step, and an absolute penalty beyond all gradients leaves no linear weight."""
    rng = np.random.default_rng(10)
    start = draw_table(rng, 5, 2, 2)
    found = {}
    for name in ("ftrl", "adagrad"):
        theta, rule = start.clone(), OPTIMIZERS[name]
        slots = rule.slots(theta, 2)
        own = np.random.default_rng(11)
        for _ in range(4):
            rule.update(theta, slots, draw_step(own, 5, 2, 2, l1_linear=1e6))
        found[name] = theta.view(5, 2, 3)
    assert not found["ftrl"][:, :, 0].any()
    assert torch.equal(found["ftrl"][:, :, 1:], found["adagrad"][:, :, 1:])
    assert bool((found["adagrad"][:, :, 0] != 0).all())


def test_ftrl_starts_where_it_is_told():
    """The first proximal term pulls to the start, whatever the rate: no gradient leaves the weights there."""
    rng = np.random.default_rng(12)
    start = draw_table(rng, 5, 2, 1)
    zero = torch.zeros_like(start)
    for rate in (1e-3, 0.5, 1.0, 50.0):
        theta, rule = start.clone(), OPTIMIZERS["ftrl"]
        slots = rule.slots(theta, 2)
        for _ in range(3):
            rule.update(
                theta, slots, draw_step(rng, 5, 2, 1, gradient=zero, l2=zero[:, :2], penalty=zero, rate=rate)
            )
        assert_allclose(theta, start, rtol=1e-12)


# ---------------------------------------------------------------------------------------------- pools


@SHAPES
def test_pooling(n_outputs, n_factors):
    """The linear weight and the mean over the factors of each output, and back."""
    rng = np.random.default_rng(13)
    rows = draw_table(rng, 4, n_outputs, n_factors)
    pooled = pool(rows, n_outputs)
    shaped = rows.view(4, n_outputs, 1 + n_factors)
    expected = shaped[:, :, :1]
    if n_factors:
        expected = torch.cat([expected, shaped[:, :, 1:].mean(2, keepdim=True)], 2)
    assert_allclose(pooled, expected.flatten(1), rtol=1e-12)
    back = spread(pooled, n_outputs, rows.shape[1])
    parts = [expected[:, :, :1], expected[:, :, 1:].expand(-1, -1, n_factors)]
    assert_allclose(back, torch.cat(parts, 2).flatten(1), rtol=1e-12)
    assert back.data_ptr() != pooled.data_ptr()  # it is used up, and r is not
    step = draw_step(rng, 4, n_outputs, n_factors)
    assert root(torch.ones_like(pooled), step).shape == pooled.shape
