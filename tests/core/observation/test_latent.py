"""Latent variables of the observation models: likelihoods against scipy, latent variables against their moments."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import expit, log_expit, log_ndtr, ndtr

from skfm.core.observation.latent_normal import MOST_COPIES
from skfm.core.observation.ordered import OrderedProbitRows
from skfm.core.observation.registry import MODELS, losses_with

ONE = torch.ones(1, dtype=torch.float64)
NAMES = sorted(losses_with("latent"))
LATENT = ["probit", "ordered_probit"]


def rows(name, y, weight=None, *, seed=0, dtype=torch.float64):
    """Rows of a model, (n_outputs, n_samples); a plain list is a single output."""
    y = torch.atleast_2d(torch.as_tensor(y, dtype=dtype))
    weight = torch.ones(y.shape[1], dtype=dtype) if weight is None else torch.as_tensor(weight, dtype=dtype)
    return MODELS[name].latent(y, weight, torch.Generator().manual_seed(seed))


def many(model, raw, n_draws):
    """Precisions and targets of many draws, (n_draws, n_outputs, n_samples), cut-points staying where they are."""
    if isinstance(model, OrderedProbitRows):
        model._cuts.draw = lambda raw, generator: None
    pairs = [model.draw(raw) for _ in range(n_draws)]
    return tuple(torch.stack(part).numpy() for part in zip(*pairs, strict=True))


def truncated(model, raw):
    """Scipy's mean and variance of the latent variable of each row of the only output."""
    if isinstance(model, OrderedProbitRows):
        ends = np.array([-np.inf, *model.cut_points[0].tolist(), np.inf])
    else:
        ends = np.array([-np.inf, 0.0, np.inf])
    level, f = model.y[0].numpy().astype(int), raw[0].numpy()
    return stats.truncnorm.stats(ends[level] - f, ends[level + 1] - f, loc=f, moments="mv")


def assert_mean(draws, expected):
    """Means over the first axis are within five standard errors."""
    error = draws.std(0) / math.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - expected) < 5 * error).all()


@pytest.mark.parametrize("name", ["squared_error", "log_loss", *LATENT])
@pytest.mark.parametrize("weighted", [False, True])
def test_log_likelihood_is_scipys(name, weighted):
    """Of each output on its own; a weight is a power of a row's likelihood."""
    rng = np.random.default_rng(0)
    n_outputs = 1 if name == "ordered_probit" else 3
    raw = rng.normal(size=(n_outputs, 40)) * 2
    weight = rng.uniform(0, 3, 40) if weighted else np.ones(40)
    top = {"log_loss": 2, "probit": 2, "ordered_probit": 4}.get(name)
    y = rng.normal(size=raw.shape) if top is None else rng.integers(0, top, raw.shape)
    model, alpha = rows(name, y, weight), rng.uniform(0.5, 2, n_outputs)
    if name == "squared_error":
        each = stats.norm.logpdf(y, raw, 1 / np.sqrt(alpha)[:, None])
    elif name == "ordered_probit":
        ends = np.array([-np.inf, *model.cut_points[0].tolist(), np.inf])
        each = np.log(ndtr(ends[y + 1] - raw) - ndtr(ends[y] - raw))
    else:
        each = (log_expit if name == "log_loss" else log_ndtr)((2 * y - 1) * raw)
    got = model.log_likelihood(torch.from_numpy(raw), torch.from_numpy(alpha))
    assert_allclose(got, each @ weight, rtol=1e-10)


def target_of(name, rng, n_outputs, n):
    """A target of the kind that a model has, with every level in every output."""
    if MODELS[name].target == "numbers":
        return rng.normal(size=(n_outputs, n))
    n_levels = 3 if MODELS[name].target == "levels" else 2
    return rng.permuted(np.tile(np.arange(n) % n_levels, (n_outputs, 1)), axis=1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weighted", [False, True])
def test_slope_is_that_of_the_draws(name, weighted):
    """On average over the draws, the Gaussian rows have the slope of the log likelihood (Fisher's identity)."""
    rng = np.random.default_rng(1)
    raw, direction = (torch.from_numpy(rng.normal(size=(2, 30))) for _ in range(2))
    weight = rng.integers(1, 4, 30) if weighted else None
    model = rows(name, target_of(name, rng, 2, 30), weight)
    noise, step, differences = torch.ones(2, dtype=torch.float64), 1e-5, []
    for _ in range(800):
        omega, target = model.draw(raw)
        # Of the state after the draw: cut-points move with it.
        above, below = (model.log_likelihood(raw + sign * step * direction, noise) for sign in (1, -1))
        differences.append(
            ((omega * (target - raw) * direction).sum(1) - (above - below) / (2 * step)).numpy()
        )
    differences = np.array(differences)
    if MODELS[name].has_noise:
        assert_allclose(differences, 0, atol=1e-6)
    else:
        assert_mean(differences, 0)


@pytest.mark.parametrize("name", [name for name in NAMES if MODELS[name].has_probabilities])
def test_log_likelihood_is_that_of_the_outcome(name):
    """The loss of what a single draw predicts is minus its log likelihood."""
    rng = np.random.default_rng(2)
    raw, weight = torch.from_numpy(rng.normal(size=(1, 30))), rng.uniform(0.5, 2, 30)
    model = rows(name, target_of(name, rng, 1, 30), weight)
    outcome = model.outcome(raw, model.cut_points[0] if model.cut_points is not None else None)
    assert torch.equal(
        outcome, MODELS[name].outcome(raw, None if model.cut_points is None else model.cut_points[0])
    )
    loss = type(model).loss(model.y, outcome) @ model.weight
    assert_allclose(-loss, model.log_likelihood(raw, ONE), rtol=1e-9)


def test_outcomes():
    """Means or probabilities, with any leading axes; those of ordered levels sum to one."""
    raw = torch.linspace(-12, 12, 30, dtype=torch.float64).reshape(3, 2, 1, 5)
    assert torch.equal(MODELS["squared_error"].outcome(raw, None), raw)
    assert_allclose(MODELS["log_loss"].outcome(raw, None), expit(raw.numpy()), rtol=1e-12)
    assert_allclose(MODELS["probit"].outcome(raw, None), ndtr(raw.numpy()), rtol=1e-12)
    cuts = torch.tensor([-1.0, 0.2, 3.0], dtype=torch.float64) + torch.arange(6).reshape(3, 2, 1) / 7
    p = OrderedProbitRows.outcome(raw, cuts)
    assert p.shape == (3, 2, 4, 5)
    assert_allclose(p.sum(2), 1, rtol=1e-12)
    cdf = ndtr(cuts.numpy()[..., None] - raw.numpy())
    assert_allclose(p[:, :, 0], cdf[:, :, 0], rtol=1e-12)
    assert_allclose(p[:, :, 1:3], np.diff(cdf, axis=2), atol=1e-15)
    # The upper tail has its digits too.
    assert_allclose(p[:, :, 3], ndtr(raw[:, :, 0].numpy() - cuts.numpy()[..., 2:]), rtol=1e-12)
    narrow = OrderedProbitRows.outcome(raw.float(), cuts.float())
    assert_allclose(narrow, p, rtol=1e-3, atol=1e-37)
    assert_allclose(MODELS["probit"].outcome(raw.float(), None), ndtr(raw.numpy()), rtol=1e-4)


def test_losses_are_negative_log_probabilities():
    p = torch.tensor([[0.2, 0.7, 1.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([[0.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    for name in ("log_loss", "probit"):
        loss = MODELS[name].latent.loss(y, p)
        assert_allclose(loss, [[-math.log(0.8), -math.log(0.7), 0, 0]], atol=1e-15)
        assert bool(torch.isfinite(MODELS[name].latent.loss(1 - y, p)).all())
    shares = torch.tensor([[0.2, 0.5], [0.3, 0.5], [0.5, 0.0]], dtype=torch.float64)
    got = OrderedProbitRows.loss(torch.tensor([[1.0, 0.0]]), shares)
    assert_allclose(got, [[-math.log(0.3), math.log(2)]])
    got = MODELS["squared_error"].latent.loss(y, p)
    assert_allclose(got, (y - p).square() / 2)


@pytest.mark.parametrize("name", ["log_loss", "probit"])
def test_score_inverts_log_probability(name):
    model, raw = MODELS[name], torch.linspace(-50, 50, 101, dtype=torch.float64)
    got = model.score(model.log_probability(raw), model.log_probability(-raw))
    assert_allclose(got, raw, rtol=1e-9, atol=1e-9)


def test_regression_needs_no_latent_variables():
    model = rows("squared_error", [[1.0, 2.0], [3.0, 4.0]], [0.5, 2.0])
    omega, target = model.draw(torch.zeros(2, 2, dtype=torch.float64))
    assert omega.tolist() == [[0.5, 2.0], [0.5, 2.0]]
    assert target.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("weight", [None, [0.4, 1.0, 3.0, 2.5]])
def test_logistic_rows(weight):
    """omega has the mean s tanh(f / 2) / (2 f), and omega target is s (y - 1/2), always."""
    raw = torch.tensor([[-3.0, 0.5, 1.0, 6.0]], dtype=torch.float64)
    s = np.ones(4) if weight is None else np.array(weight)
    omega, target = many(rows("log_loss", [0, 1, 0, 1], weight), raw, 2000)
    assert_allclose(omega * target, np.broadcast_to(s * [-0.5, 0.5, -0.5, 0.5], omega.shape), rtol=1e-12)
    f = raw.numpy()
    assert_mean(omega, s * np.tanh(f / 2) / (2 * f))


def test_cut_points_are_drawn_before_the_latent_variables():
    """Both move, and every latent variable is between the new cut-points of its level."""
    raw = torch.linspace(-1, 1, 30, dtype=torch.float64)[None]
    model, moves = rows("ordered_probit", [0, 1, 2] * 10), 0
    for _ in range(20):
        before = model.cut_points.clone()
        _, latent = model.draw(raw)
        moves += not torch.equal(model.cut_points, before)
        ends = [-math.inf, *model.cut_points[0].tolist(), math.inf]
        for level in range(3):
            own = latent[0, level::3]
            # Up to the rounding of what is added to the bounds and taken off them.
            assert ends[level] - 1e-12 <= float(own.min())
            assert float(own.max()) <= ends[level + 1] + 1e-12
    assert moves > 5


def test_tiny_weights():
    """A precision that would be zero in single precision is not: the target would be infinite."""
    for name in ("log_loss", *LATENT):
        model = rows(name, [0.0, 1.0] * 500, [1e-3] * 1000, dtype=torch.float32)
        omega, target = model.draw(torch.zeros(1, 1000))
        assert bool((omega > 0).all())
        assert bool(torch.isfinite(target).all())


@pytest.mark.parametrize("weight", [1.0, 0.4, 2.5])
def test_logistic_rows_are_a_mixture_of_gaussians(weight):
    """E over PG(s, 0) of the Gaussian kernel at f is the likelihood to the power of s, up to a constant."""
    n, f = 20_000, np.array([-4.0, -1.0, 0.5, 2.0])
    model = rows("log_loss", np.ones(n), [weight] * n)
    omega, target = (x[0].numpy() for x in model.draw(torch.zeros(1, n, dtype=torch.float64)))
    kernel = np.exp(-omega[:, None] * f * (f - 2 * target[:, None]) / 2)
    assert_mean(kernel, (2 * expit(f)) ** weight)


@pytest.mark.parametrize("name", LATENT)
def test_latent_normal_rows(name):
    """Targets have mean and variance of the truncated normals, and precision one."""
    raw = torch.tensor([[-2.0, 0.5, 1.0, 3.0, 0.0]], dtype=torch.float64)
    model = rows(name, [1, 0, 1, 0, 1] if name == "probit" else [2, 0, 1, 0, 3])
    omega, target = many(model, raw, 2500)
    mean, variance = truncated(model, raw)
    assert (omega == 1).all()
    assert_mean(target[:, 0], mean)
    assert_mean((target[:, 0] - mean) ** 2, variance)


@pytest.mark.parametrize("name", LATENT)
@pytest.mark.parametrize("weight", [3.0, 2.5, 0.3])
def test_weighted_latent_rows(name, weight):
    """The mean of s latent variables: as one in mean, and s times less in variance."""
    raw = torch.tensor([[-1.0, 0.5, 1.0, 0.2]], dtype=torch.float64)
    # The first row is plain, which leaves the others as they are.
    model = rows(name, [0, 1, 0, 1] if name == "probit" else [0, 1, 2, 1], [1.0, weight, weight, weight])
    s = model.weight.numpy()
    omega, target = many(model, raw, 1500)
    mean, variance = truncated(model, raw)
    assert_allclose(omega, np.broadcast_to(s, omega.shape))
    assert_mean(target[:, 0], mean)
    assert_mean((target[:, 0] - mean) ** 2, variance / s)


@pytest.mark.parametrize("name", LATENT)
def test_large_weights(name):
    """More copies than are drawn one by one: the others count with their mean and variance."""
    raw = torch.tensor([[-1.0, 0.5, 1.0, 0.2]], dtype=torch.float64).repeat_interleave(300, 1)
    y = torch.tensor([0, 1, 0, 1] if name == "probit" else [0, 1, 2, 1]).repeat_interleave(300)
    weight = MOST_COPIES + 40.5
    model = rows(name, y, [weight] * 1200)
    _, target = many(model, raw, 4)
    mean, variance = truncated(model, raw)
    z = (target[:, 0] - mean).reshape(4, 4, 300).transpose(0, 2, 1).reshape(-1, 4)
    assert_mean(z, 0)
    assert_mean(z**2, variance[::300] / weight)


@pytest.mark.parametrize("name", ["log_loss", *LATENT])
@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_extreme_predictions(name, weight):
    """Far from what the rows say, in single precision: finite targets, positive precisions."""
    raw = torch.tensor([[-1e4, 1e4, -1e4, 1e4, 0.0]])
    model = rows(name, [0, 0, 1, 1, 1], [weight] * 5, dtype=torch.float32)
    for _ in range(20):
        omega, target = model.draw(raw)
        assert omega.dtype == target.dtype == torch.float32
        assert bool((omega > 0).all())
        assert bool(torch.isfinite(omega).all())
        assert bool(torch.isfinite(target).all())
        assert bool(torch.isfinite(model.log_likelihood(raw.to(model.accum_dtype), ONE)).all())


def test_same_seed_same_latent_variables():
    raw = torch.tensor([[0.3, -0.2, 1.0]], dtype=torch.float64)
    draws = [rows("probit", [0, 1, 1], seed=seed).draw(raw)[1] for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert [MODELS[name].latent.has_intercept for name in LATENT] == [True, False]
