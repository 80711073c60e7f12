"""Penalties of minibatch solvers: each pass sees what is given once, what is learned is the formula."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from skfm.core.matrix.batches import make_batches
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.matrix.samples import SideColumns, TensorSamples
from skfm.core.observation.registry import make_loss
from skfm.core.solvers.minibatch import penalties as module
from skfm.core.solvers.minibatch.optimizers import SGD
from skfm.core.solvers.minibatch.penalties import Penalties
from skfm.core.solvers.minibatch.trainer import Trainer

FIELDS = torch.tensor([0, 0, 0, 1, 0, 1, 1, 2, 1, 0, 1])
AUTO = pytest.mark.parametrize(("l2_linear", "l2_factors"), [("auto", "auto"), (3.0, "auto"), ("auto", 0.0)])


def like(dtype=torch.float64):
    return torch.empty(0, dtype=dtype)


def make_penalties(l2_linear="auto", l2_factors="auto", n_outputs=2, n_factors=3, dtype=torch.float64):
    return Penalties(l2_linear, l2_factors, FIELDS, n_outputs, n_factors, like(dtype))


def draw_state(rng, n_outputs=2, n_factors=3, dtype=torch.float64):
    """Parameters, curvatures, total and sums; two columns and a whole field are without data."""
    n_features, size = len(FIELDS), 1 + n_factors
    theta = torch.tensor(rng.normal(size=(n_features, n_outputs * size)), dtype=dtype)
    curvature = torch.tensor(rng.gamma(1.0, 5.0, (n_features, n_outputs)), dtype=dtype)
    curvature[[2, 10, 7]] = 0
    total = torch.tensor(rng.gamma(5.0, 5.0, n_outputs), dtype=dtype)
    sums = torch.tensor(rng.gamma(2.0, 2.0, (n_outputs, size + 1)), dtype=dtype)
    return theta, curvature, total, sums


def reference(penalties, theta, curvature, total, n_outputs, size):
    """The formulas of the module, a loop over fields, outputs and parameters; also the new neighbor variance."""
    n_fields = len(penalties.precision)
    precision, neighbors = penalties.precision.numpy().copy(), np.zeros((n_fields, n_outputs, size))
    old_variance = penalties.neighbor_variance.numpy().reshape(n_fields, n_outputs, size)
    theta = theta.numpy().reshape(-1, n_outputs, size)
    H, sums = curvature.numpy(), penalties.sums.numpy()
    used = H.sum(1) > 0
    alpha = np.array([np.clip(s[0] / s[-1], 1e-4, 1e6) for s in sums])
    for b in range(n_outputs):
        for k in range(size):
            variance, per_row = np.zeros(n_fields), np.zeros(n_fields)
            for g in range(n_fields):
                members = [j for j in range(len(FIELDS)) if FIELDS[j] == g and used[j]]
                if not members:
                    continue
                weight = sum(H[j, b] for j in members)
                own = sum(H[j, b] * theta[j, b, k] ** 2 for j in members) / weight
                q = 1.0 if k == 0 else max(0.0, sums[b, k] / sums[b, 0] - own)
                q += old_variance[g, b, k] / module.NEIGHBOR_SHARE
                u = {j: 1 / (alpha[b] * H[j, b] * q + penalties.precision[g, b, k].item()) for j in members}
                scatter = sum(theta[j, b, k] ** 2 + u[j] for j in members)
                precision[g, b, k] = (len(members) + 1) / (1 / penalties._start[k].item() + scatter)
                variance[g] = sum(u[j] * H[j, b] for j in members) / weight
                per_row[g] = weight / total[b].item()
            if k:
                neighbors[:, b, k] = module.NEIGHBOR_SHARE * np.maximum(
                    (per_row * variance).sum() - variance, 0
                )
    return precision, neighbors, alpha


def looked_up(penalties, columns):
    """Penalties and neighbor variances of columns, which a batch sees parts of."""
    n_outputs = penalties.neighbor_variance.shape[1] // penalties.precision.shape[2]
    one, all_outputs = torch.ones(len(columns), 1).double(), torch.ones(len(columns), n_outputs).double()
    return (
        penalties.share(columns, one, 0 * all_outputs).clone(),
        penalties.share(columns, 0 * one, all_outputs).clone(),
    )


# --------------------------------------------------------------------------------------------- given


class Spy(SGD):
    """A rule that takes down the penalty of every step."""

    reads_l2 = True

    def __init__(self):
        self.seen = []

    def update(self, theta, slots, step):
        if step.penalty.shape[1] > step.curvature.shape[1]:  # not the intercept
            self.seen.append((step.penalty.clone(), step.l2.clone()))
        super().update(theta, slots, step)


def make_learner(X, optimizer, l2_linear, l2_factors, dense_columns=(), n_outputs=1):
    rng = np.random.default_rng(0)
    n_features = X.shape[1]
    start = FMParameters(
        torch.zeros(n_outputs, dtype=torch.float64),
        torch.zeros(n_outputs, n_features, dtype=torch.float64),
        torch.tensor(rng.normal(size=(n_outputs, n_features, 2)) * 0.1),
    )
    fields = torch.zeros(n_features, dtype=torch.long)
    return Trainer(
        start,
        make_loss("log_loss" if n_outputs > 1 else "squared_error", n_outputs),
        optimizer,
        Penalties(l2_linear, l2_factors, fields, n_outputs, 2, start.factors),
        torch.tensor(dense_columns, dtype=torch.long),
        fit_intercept=True,
        fit_linear=True,
    )


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("dense_columns", [(), (0, 5)])
def test_a_pass_sees_a_given_penalty_once(dense_columns, n_outputs):
    """Over any pass but the first, the parts of a column add up to l2: of rare columns and of frequent ones."""
    rng = np.random.default_rng(1)
    X = (rng.random((40, 7)) < [0.9, 0.5, 0.3, 0.1, 0.05, 1.0, 0.0]).astype(float)
    X[17, 3:5] = 1
    design = DesignMatrix.from_array(X, dtype=torch.float64, dense_columns=np.array(dense_columns, dtype=int))
    target = torch.tensor(rng.integers(0, n_outputs, 40)).double()
    batches = list(
        make_batches(TensorSamples(design, target, SideColumns(torch.ones(40, dtype=torch.float64))), 6)
    )
    trainer = make_learner(X, spy := Spy(), 3.0, 7.0, dense_columns, n_outputs)
    trainer.learn((batch, 0.01) for batch in batches)
    assert trainer.pass_batches is None
    trainer.end_pass()
    assert trainer.pass_batches == len(batches) == 7
    held = torch.zeros(7, dtype=torch.float64)
    for batch in batches:
        held[torch.cat([batch.columns, design.dense_columns])] += 1
    assert torch.equal(trainer.batches_per_pass, held)
    expected = torch.tensor([3.0, 7.0, 7.0] * n_outputs, dtype=torch.float64).repeat(7, 1)
    expected[held == 0] = 0
    for order in (range(7), rng.permutation(7)):
        spy.seen.clear()
        trainer.learn((batches[i], 0.01) for i in order)
        trainer.end_pass()
        assert torch.equal(trainer.batches_per_pass, held)
        total = torch.zeros_like(expected)
        for i, (penalty, l2) in zip(order, spy.seen, strict=True):
            total[torch.cat([batches[i].columns, design.dense_columns])] += penalty
            assert_allclose(l2, expected[:1, ::3].expand_as(l2))
        assert_allclose(total, expected, rtol=1e-13)


def test_columns_of_later_passes():
    """A column that the first pass did not hold is penalized by a whole pass at once, and stays finite."""
    X = np.zeros((8, 3))
    X[:, 0], X[4:, 1] = 1, 1
    design = DesignMatrix.from_array(X, dtype=torch.float64)
    rows = TensorSamples(
        design, torch.ones(8, dtype=torch.float64), SideColumns(torch.ones(8, dtype=torch.float64))
    )
    first, second = make_batches(rows, 4)
    trainer = make_learner(X, spy := Spy(), 3.0, 7.0)
    trainer.learn([(first, 0.1)])
    trainer.end_pass()
    trainer.learn([(second, 0.1), (second, 0.1)])
    assert trainer.batches_per_pass.tolist() == [1, 0, 0]
    for penalty, *_ in spy.seen[1:]:
        assert penalty.tolist() == [[3.0, 7.0, 7.0]] * 2
    assert trainer.is_finite()


def test_given_penalties_stay():
    """Numbers are not learned: nothing to look up, whatever `begin` says."""
    penalties = make_penalties(2.0, 5.0)
    assert not penalties.learns
    penalties.begin(7.0)
    l2, neighbors = looked_up(penalties, torch.tensor([0, 7, 3]))
    assert not neighbors.any()
    assert l2.tolist() == [[2.0, 5.0, 5.0, 5.0] * 2] * 3
    assert penalties.linear(torch.tensor([0, 7, 3])).tolist() == [[2.0, 2.0]]


@AUTO
def test_what_is_given_stays_while_the_rest_is_learned(l2_linear, l2_factors):
    """Also in the variance of other columns."""
    penalties = make_penalties(l2_linear, l2_factors)
    assert penalties.learns
    penalties.begin(3.0)
    theta, curvature, total, sums = draw_state(np.random.default_rng(2))
    for _ in range(2):
        penalties.sums.copy_(sums)
        penalties.update(theta, curvature, total, 10)
    l2, neighbors = (t.view(len(FIELDS), 2, 4) for t in looked_up(penalties, torch.arange(len(FIELDS))))
    for part, value in ((slice(0, 1), l2_linear), (slice(1, 4), l2_factors)):
        if value == "auto":
            assert len(l2[:, :, part].unique()) > 4
        else:
            assert bool((l2[:, :, part] == value).all())
            assert not neighbors[:, :, part].any()
    assert bool((neighbors[:, :, 1:] > 0).any()) == (l2_factors == "auto")
    assert not neighbors[:, :, 0].any()


# ------------------------------------------------------------------------------------------- learned


def test_begin():
    """Factors start where all interactions of a row have a variance of one, linear weights at a precision of one."""
    for entries, n_factors in ((0.5, 3), (1.0, 3), (1.2, 3), (5.0, 3), (30.0, 8), (2.0, 0)):
        penalties = make_penalties(n_factors=n_factors)
        penalties.begin(entries)
        pairs = max(0.0, entries * (entries - 1) / 2)
        expected = max(1.0, math.sqrt(n_factors * pairs))
        precision = penalties.precision
        assert precision.shape == (3, 2, 1 + n_factors)
        assert_allclose(precision[:, :, 0], 1.0)
        assert_allclose(precision[:, :, 1:], expected, rtol=1e-12)
        if pairs * n_factors > 1:
            # n_factors products of two factors of a variance of 1 / precision, for every pair of a row.
            assert_allclose(pairs * n_factors / precision[:, :, 1:] ** 2, 1, rtol=1e-12)
        l2, neighbors = looked_up(penalties, torch.arange(len(FIELDS)))
        assert_allclose(l2, precision.flatten(1)[FIELDS])
        assert not neighbors.any()


@pytest.mark.parametrize(("n_outputs", "n_factors"), [(1, 0), (1, 3), (2, 3)])
def test_update_is_the_formula(n_outputs, n_factors):
    """Precisions, penalties and neighbor variances of each field and parameter, three times over."""
    rng = np.random.default_rng([n_outputs, n_factors])
    penalties = make_penalties(n_outputs=n_outputs, n_factors=n_factors)
    penalties.begin(3.0)
    size = 1 + n_factors
    for i in range(3):
        theta, curvature, total, sums = draw_state(rng, n_outputs, n_factors)
        penalties.sums.copy_(sums)
        precision, neighbors, alpha = reference(penalties, theta, curvature, total, n_outputs, size)
        given_tensors = [t.clone() for t in (theta, curvature, total)]
        penalties.update(theta, curvature, total, 10 + i)
        assert_allclose(penalties.precision, precision, rtol=1e-9)
        assert_allclose(penalties.l2, (precision / alpha[:, None]).reshape(3, -1), rtol=1e-9)
        assert_allclose(penalties.neighbor_variance, neighbors.reshape(3, -1), rtol=1e-9, atol=1e-12)
        assert not penalties.sums.any()
        for a, b in zip(given_tensors, (theta, curvature, total), strict=True):
            assert torch.equal(a, b)
        fields_of = torch.tensor([0, 3, 7])
        l2, of_neighbors = looked_up(penalties, fields_of)
        assert torch.equal(l2, penalties.l2[FIELDS[fields_of]])
        assert torch.equal(of_neighbors, penalties.neighbor_variance[FIELDS[fields_of]])
        assert torch.equal(penalties.linear(fields_of), l2[:, ::size])
        parts = torch.tensor(rng.random((3, 1))), torch.tensor(rng.random((3, n_outputs)))
        by_output = parts[1].repeat_interleave(size, 1)
        assert_allclose(
            penalties.share(fields_of, *parts), parts[0] * l2 + by_output * of_neighbors, rtol=1e-14
        )


def test_fields_without_data_keep_their_start():
    """Field 2 has no data, nor has one that no column of the first pass was of."""
    penalties = make_penalties()
    penalties.begin(4.0)
    start = penalties.precision.clone()
    theta, curvature, total, sums = draw_state(np.random.default_rng(3))
    for _ in range(3):
        penalties.sums.copy_(sums)
        penalties.update(theta, curvature, total, 10)
    assert torch.equal(penalties.precision[2], start[2])
    assert bool((penalties.precision[:2] != start[:2]).all())


def test_columns_without_data_do_not_count():
    """Their parameters may be anything."""
    found = []
    for value in (0.0, 100.0):
        penalties = make_penalties()
        penalties.begin(4.0)
        theta, curvature, total, sums = draw_state(np.random.default_rng(4))
        theta[[2, 10, 7]] = value
        penalties.sums.copy_(sums)
        penalties.update(theta, curvature, total, 10)
        found.append(penalties.l2.clone())
    assert torch.equal(*found)


@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    theta_scale=st.sampled_from([0.0, 1e-12, 1.0, 1e6]),
    curvature_scale=st.sampled_from([0.0, 1e-20, 1.0, 1e8]),
    sums_scale=st.sampled_from([0.0, 1e-20, 1.0, 1e10]),
    residual_scale=st.sampled_from([0.0, 1e-20, 1.0, 1e10]),
)
def test_learned_penalties_are_finite(seed, dtype, theta_scale, curvature_scale, sums_scale, residual_scale):
    """Hopeless fits, perfect fits, no data and huge weights all leave finite penalties above zero."""
    rng = np.random.default_rng(seed)
    penalties = make_penalties(dtype=dtype)
    penalties.begin(float(rng.gamma(1.0, 5.0)))
    for i in range(3):
        theta, curvature, total, sums = draw_state(rng, dtype=dtype)
        penalties.sums.copy_(sums * sums_scale)
        penalties.sums[:, -1] = sums[:, -1] * residual_scale
        total = total * curvature_scale if curvature_scale else torch.ones_like(total)
        penalties.update(theta * theta_scale, curvature * curvature_scale, total, 10 * i)
        for t in (penalties.precision, penalties.l2):
            assert bool((torch.isfinite(t) & (t > 0)).all())
        assert bool((torch.isfinite(penalties.neighbor_variance) & (penalties.neighbor_variance >= 0)).all())


def test_large_effects_have_small_penalties():
    """A field whose parameters are ten times as large has a smaller penalty, and noise makes all larger."""
    theta, curvature, total, sums = draw_state(np.random.default_rng(5))
    found = []
    for scale, noise in ((1.0, 1.0), (10.0, 1.0), (1.0, 10.0)):
        penalties = make_penalties()
        penalties.begin(4.0)
        penalties.sums.copy_(sums)
        penalties.sums[:, -1] *= noise
        changed = theta.clone()
        changed[FIELDS == 0] *= scale
        penalties.update(changed, curvature, total, 10)
        found.append(penalties.l2.clone())
    plain, large, noisy = found
    assert bool((large[0] < plain[0] / 4).all())
    assert bool((noisy[:2] > plain[:2]).all())


def test_schedule():
    """First after a few batches, then ever more rarely: the number of updates grows like a logarithm."""
    penalties = make_penalties()
    theta, curvature, total, _ = draw_state(np.random.default_rng(6))
    at = []
    for n in range(1, 5000):
        if n >= penalties.next_update:
            penalties.sums[:] = 1
            penalties.update(theta, curvature, total, n)
            assert penalties.next_update > n
            at.append(n)
    assert at[0] == module.FIRST_UPDATE
    assert at[1] == 2 * module.FIRST_UPDATE
    assert len(at) < 20


# -------------------------------------------------------------------------------------------- sample


def test_sample_of_columns(monkeypatch):
    """All columns of small fields, about as many of large ones as are asked for, always the same."""
    fields = torch.cat([torch.zeros(30), torch.ones(5000), torch.full((2000,), 2)]).long()
    fields = fields[torch.tensor(np.random.default_rng(7).permutation(len(fields)))]
    assert torch.equal(module._sample(fields[:4096], 3), torch.arange(4096))
    monkeypatch.setattr(module, "SAMPLE", 400)
    found = module._sample(fields, 3)
    torch.manual_seed(1)
    assert torch.equal(found, module._sample(fields, 3))
    assert bool((found.diff() > 0).all())
    counts = torch.bincount(fields[found], minlength=3).tolist()
    assert counts[0] == 30
    assert all(320 < c < 480 for c in counts[1:])


def test_a_sample_tells_nearly_the_same(monkeypatch):
    """Penalties from a sample are close to those from all columns."""
    rng = np.random.default_rng(8)
    n = 6000
    fields = torch.tensor(rng.integers(0, 2, n))
    theta = torch.tensor(rng.normal(size=(n, 3)) * np.where(fields, 0.5, 2.0)[:, None])
    curvature = torch.tensor(rng.gamma(2.0, 2.0, (n, 1)))
    found = []
    for sample in (10000, 1000):
        monkeypatch.setattr(module, "SAMPLE", sample)
        penalties = Penalties("auto", "auto", fields, 1, 2, like())
        assert (len(penalties._columns) == n) == (sample == 10000)
        penalties.begin(2.0)
        penalties.sums[:] = torch.tensor([1.0, 3.0, 3.0, 1.0])
        penalties.update(theta, curvature, curvature.sum(0) / 2, 10)
        found.append(penalties.l2.clone())
    assert_allclose(found[0], found[1], rtol=0.15)
