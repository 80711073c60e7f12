"""Priors of fields: what an update finds is the maximum."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from skfm.core.bayes.priors import FieldPriors


def make_priors(rng, n_outputs=2, size=3, n_features=11, kind="full", dtype=torch.float64):
    """Three fields, one of them scattered and one of a single column; two columns have no data."""
    fields = torch.tensor([0, 0, 0, 1, 0, 1, 1, 2, 1, 0, 1])
    used = torch.ones(n_features, dtype=torch.bool)
    used[[2, 10]] = False
    hyper = torch.tensor([2.0, *[0.1] * (size - 1)], dtype=dtype)
    priors = FieldPriors(torch.full((size,), 1.5, dtype=dtype), hyper, n_outputs, fields, used)
    theta = torch.tensor(rng.normal(size=(n_outputs, n_features, size)) + 0.5, dtype=dtype)
    root = rng.normal(size=(n_outputs, n_features, size, size)) * 0.5
    S = root @ root.swapaxes(2, 3)
    if kind == "diag":
        S = np.diagonal(S, axis1=2, axis2=3).copy()
    return priors, theta, torch.tensor(S, dtype=dtype), fields, used, hyper


def test_start():
    """Before any update every column has the given precisions and mean zero, output by output."""
    priors, *_ = make_priors(np.random.default_rng(0))
    precision, shift = priors.of(torch.tensor([3, 7]))
    assert torch.equal(precision, (1.5 * torch.eye(3, dtype=torch.float64)).expand(4, 3, 3))
    assert torch.equal(shift, torch.zeros(4, 3, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_update_is_the_formula(kind):
    """Mean and precision of every field and output, column by column; columns without data do not count."""
    priors, theta, S, fields, used, hyper = make_priors(np.random.default_rng(1), kind=kind)
    priors.update(theta, S)
    full = S if kind == "full" else torch.diag_embed(S)
    for b in range(2):
        for g in range(3):
            members = [j for j in range(11) if fields[j] == g and used[j]]
            mu = sum(theta[b, j] for j in members) / (len(members) + 1)
            scatter = torch.diag(hyper) + torch.outer(mu, mu)
            for j in members:
                scatter = scatter + torch.outer(theta[b, j] - mu, theta[b, j] - mu) + full[b, j]
            expected = torch.linalg.inv(scatter / (len(members) + 3))
            assert_allclose(priors.mean[b, g], mu, rtol=1e-12)
            assert_allclose(priors.precision[b, g], expected, rtol=1e-9)
            column = torch.tensor(members[:1])
            precision, shift = (t.unflatten(0, (2, 1))[b, 0] for t in priors.of(column))
            assert_allclose(precision, expected, rtol=1e-9)
            assert_allclose(shift, expected @ mu, rtol=1e-9)


@given(kind=st.sampled_from(["full", "diag"]), size=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_update_is_the_maximum(kind, size, seed):
    """No other mean or precision has a higher density, and the update returns the density it reached."""
    rng = np.random.default_rng(seed)
    priors, theta, S, *_ = make_priors(rng, size=size, kind=kind)
    before = priors.log_density(theta, S)
    returned = priors.update(theta, S)
    best = priors.log_density(theta, S)
    assert_allclose(returned, best, rtol=1e-10, atol=1e-10)
    assert bool((best >= before - 1e-10).all())
    mean, precision = priors.mean.clone(), priors.precision.clone()
    for scale in (1e-3, 0.1):
        priors.mean = mean + scale * torch.tensor(rng.normal(size=mean.shape))
        priors.precision = precision
        assert bool((priors.log_density(theta, S) < best).all())
        root = torch.eye(size, dtype=torch.float64) + scale * torch.tensor(rng.normal(size=precision.shape))
        priors.mean, priors.precision = mean, root @ precision @ root.mT
        assert bool((priors.log_density(theta, S) < best).all())


def test_log_density_is_the_expectation():
    """Differences of the density are those of torch's normal distribution, expected over the posterior."""
    rng = np.random.default_rng(2)
    priors, theta, S, fields, used, hyper = make_priors(rng)
    values = []
    for _ in range(2):
        total = torch.zeros(2, dtype=torch.float64)
        for b in range(2):
            for g in range(3):
                mu, Lam = priors.mean[b, g], priors.precision[b, g]
                normal = torch.distributions.MultivariateNormal(mu, precision_matrix=Lam)
                for j in range(11):
                    if fields[j] == g and used[j]:
                        total[b] += normal.log_prob(theta[b, j]) - torch.trace(Lam @ S[b, j]) / 2
                total[b] += 1.5 * torch.logdet(Lam) - (Lam.diagonal() @ hyper + mu @ Lam @ mu) / 2
        values.append(priors.log_density(theta, S) - total)
        priors.update(theta, S)
    assert_allclose(values[0], values[1], rtol=1e-10)


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_held_priors_stay(kind):
    """The others are updated as ever, and the density is that of both."""
    priors, theta, S, *_ = make_priors(np.random.default_rng(2), kind=kind)
    others, *_ = make_priors(np.random.default_rng(2), kind=kind)
    others.update(theta, S)
    before = priors.mean.clone(), priors.precision.clone()
    value = priors.update(theta, S, held={1})
    for found, old, new in zip(
        (priors.mean, priors.precision), before, (others.mean, others.precision), strict=True
    ):
        assert torch.equal(found[:, 1], old[:, 1])
        assert torch.equal(found[:, [0, 2]], new[:, [0, 2]])
        assert not torch.equal(old[:, 1], new[:, 1])
    assert_allclose(value, priors.log_density(theta, S), rtol=1e-10)


def test_float32_statistics_are_wide():
    """Priors of a single-precision problem are found in double precision and handed out in single."""
    priors, theta, S, *_ = make_priors(np.random.default_rng(3), dtype=torch.float32)
    wide, theta64, S64, *_ = make_priors(np.random.default_rng(3))
    wide._hyper_scatter.copy_(priors._hyper_scatter)
    priors.update(theta, S)
    wide.update(theta64, S64)
    assert priors.precision.dtype == torch.float64
    assert priors.of(torch.tensor([0]))[0].dtype == torch.float32
    assert_allclose(priors.precision, wide.precision, rtol=1e-4)


def test_field_without_data():
    """A field none of whose columns has data gets the hyperprior, and no NaN."""
    hyper = torch.tensor([2.0, 0.5], dtype=torch.float64)
    fields, used = torch.tensor([0, 1]), torch.tensor([True, False])
    priors = FieldPriors(torch.ones(2, dtype=torch.float64), hyper, 1, fields, used)
    priors.update(torch.ones(1, 2, 2, dtype=torch.float64), torch.ones(1, 2, 2, dtype=torch.float64))
    assert_allclose(priors.mean[0, 1], 0)
    assert_allclose(priors.precision[0, 1], np.diag([1.0, 4.0]))
    assert bool(torch.isfinite(priors.precision).all())
