"""Simulation-based calibration: parameters drawn from the prior are as likely as any draw of their posterior.

S. Talts et al., "Validating Bayesian Inference Algorithms with Simulation-Based Calibration", arXiv 1804.06788.
"""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import sparse, stats

from skfm.core.bayes.category_noise import SHAPES
from skfm.core.bayes.sampled_priors import Hyperpriors, wishart
from skfm.core.interactions.pairwise import raw_prediction
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.solvers.base import Problem, Settings
from skfm.core.solvers.mcmc import MCMCRun
from tests.helpers.slow import parametrize

CPU = torch.device("cpu")
N_FACTORS = 2
HYPER = Hyperpriors(
    linear_variance=0.5,
    factors_scatter=1.0,
    factors_variance=0.05,
    degrees=3.0,
    degrees_apart=8.0,
    intercept_precision=1.0,
    noise_shape=8.0,
    noise_rate=4.0,
)


class Size(NamedTuple):
    """Draws that a rank is among, sweeps between them, replications that ranks are counted over, and bins."""

    n_draws: int
    thin: int
    n_replications: int
    n_bins: int


LARGE, SMALL = Size(15, 16, 320, 8), Size(7, 8, 160, 4)


def name(value):
    return {LARGE: "large", SMALL: "small"}.get(value)


N_LEVELS = 4
N_ROWS = 36


def one_hot(rng, n, *sizes):
    parts = [np.eye(size)[rng.integers(0, size - 1, n)] for size in sizes]
    return np.hstack(parts), np.repeat(np.arange(len(sizes)), sizes)


def make_design(kind, n=N_ROWS):
    """Return X and fields; one-hot fields have a category without data each."""
    rng = np.random.default_rng(5)
    if kind == "pairs":
        X, fields = one_hot(rng, n, 4, 5)
    elif kind == "partial":
        X, fields = one_hot(rng, n, 4, 5)
        X[rng.random(n) < 0.3, :4] = 0
    elif kind == "one-hot":
        X, fields = one_hot(rng, n, 3, 4, 3)
    elif kind == "bag":
        X = rng.standard_normal((n, 6)) * (rng.random((n, 6)) < 0.4)
        fields = np.repeat([0, 1], 3)
    else:
        X, fields = rng.standard_normal((n, 4)), np.zeros(4, int)
    return X, torch.from_numpy(fields)


def draw_prior(rng, fields, known, n_replications, *, full):
    """Return the columns of each replication, and the precisions of its first field.

    Columns without data, not ``known``, have no part in the scatter of a prior, but come from the same.
    """
    size = 1 + N_FACTORS
    theta = torch.zeros(n_replications, len(fields), size, dtype=torch.float64)
    degrees = HYPER.degrees * size if full else HYPER.degrees_apart
    precisions = []
    for g in range(int(fields.max()) + 1):
        members = (fields == g).nonzero()[:, 0]
        scatter = np.full(size, HYPER.factors_scatter + HYPER.factors_variance * int(known[members].sum()))
        scatter[0] = HYPER.linear_variance * degrees
        if full:
            H = torch.diag(torch.from_numpy(scatter)).expand(n_replications, size, size)
            root, spread = wishart(H, degrees, rng)
            precisions.append(root @ root.mT)
        else:
            gammas = torch.from_numpy(rng.gamma(degrees / 2, 2 / scatter, (n_replications, size)))
            precisions.append(torch.diag_embed(gammas))
            spread = torch.diag_embed(gammas.rsqrt())
        # One draw for the mean of the field, then the columns about it.
        z = torch.from_numpy(rng.standard_normal((n_replications, 1 + len(members), size))) @ spread.mT
        theta[:, members] = z[:, :1] + z[:, 1:]
    return theta, precisions[0]


def draw_categories(rng, alpha, n_categories):
    """Return precisions of the noise of categories, (n_replications, n_categories), and of rows without one."""
    shape = torch.from_numpy(rng.choice(SHAPES, (len(alpha), 1)))
    gammas = torch.from_numpy(rng.standard_gamma(shape.numpy(), (len(alpha), n_categories + 1)))
    tau = gammas * alpha[:, None] / shape
    return tau[:, :-1], tau[:, -1]


def simulate(rng, loss, raw, weight, noise_precision, cut_points):
    """Return targets; the noise precision has the shape of the raw predictions."""
    z = torch.from_numpy(rng.standard_normal(tuple(raw.shape)))
    if loss == "squared_error":
        return raw + z / (noise_precision * weight).sqrt()
    if loss == "log_loss":
        return (torch.from_numpy(rng.random(tuple(raw.shape))) < torch.sigmoid(raw)).double()
    if loss == "probit":
        return (raw + z > 0).double()
    return (cut_points[:, :, None] < (raw + z)[:, None]).sum(1).double()


def calibrate(loss, kind, size, *, covariance_type="full", weight=None, seed=1, noise_field=None):
    """Return the ranks of some quantities, each (n_replications,), among draws of their posterior.

    With a ``noise_field``, each of its categories has a noise precision of its own, and so have rows without one.
    """
    rng = np.random.default_rng(seed)
    X, fields = make_design(kind)
    known = torch.from_numpy((X != 0).any(0))
    design = DesignMatrix.from_array(
        X if kind == "dense" else sparse.csr_array(X), dtype=torch.float64, device=CPU
    )
    weight = torch.ones(len(X), dtype=torch.float64) if weight is None else weight
    has_intercept = loss != "ordered_probit"
    B = size.n_replications * (1 if has_intercept else 4)
    theta, precision = draw_prior(rng, fields, known, B, full=covariance_type == "full")
    intercept = (
        torch.from_numpy(rng.standard_normal(B)) / math.sqrt(HYPER.intercept_precision) * has_intercept
    )
    noise = torch.from_numpy(rng.gamma(HYPER.noise_shape / 2, 2 / HYPER.noise_rate, B))
    cuts = torch.from_numpy(np.sort(rng.standard_normal((B, N_LEVELS - 1))))
    truth = FMParameters(intercept, theta[:, :, 0].clone(), theta[:, :, 1:].clone())
    of_rows = noise[:, None]
    if noise_field is not None:
        member = torch.from_numpy(X[:, (fields == noise_field).numpy()]).double()
        categories, without = draw_categories(rng, noise, member.shape[1])
        of_rows = categories @ member.T + without[:, None] * (1 - member.sum(1))
    y = simulate(rng, loss, raw_prediction(design, truth), weight, of_rows, cuts)
    if not has_intercept:
        # There are the levels that the data show: what they are is no matter of chance.
        complete = (torch.nn.functional.one_hot(y.long(), N_LEVELS).sum(1) > 0).all(1)
        kept = complete.nonzero()[: size.n_replications, 0]
        assert len(kept) == size.n_replications
        truth = FMParameters(*(part[kept] for part in truth))
        y, cuts, noise, precision = y[kept], cuts[kept], noise[kept], precision[kept]
    problem = Problem(design, y, weight, loss, fields)
    n_sweeps = size.thin * size.n_draws
    settings = Settings(
        covariance_type=covariance_type,
        max_iter=n_sweeps + 1,
        n_draws=1,
        seed=seed,
        start="chain",
        noise="common" if noise_field is None else noise_field,
    )
    run = MCMCRun(problem, truth.clone(), settings, HYPER)
    if loss == "ordered_probit":
        run.rows.cut_points = cuts.clone()
    if noise_field is not None:
        assert run.row_noise.field == noise_field

    def quantities(parameters, noise, cuts, precision, of_rows):
        w0, w, V = parameters
        values = {
            "w": w[:, 0],
            "another w": w[:, -1],
            "interaction": (V[:, 0] * V[:, -1]).sum(1),
            "prediction": raw_prediction(design.rows(0, 1), parameters)[:, 0],
            "precision": precision[:, 0, 0],
            "factor precision": precision[:, 1, 1],
        }
        if loss == "squared_error":
            values["noise"] = noise
        if noise_field is not None:
            values |= {"noise of the first row": of_rows[:, 0], "noise of the last row": of_rows[:, -1]}
        if has_intercept:
            values["intercept"] = w0
        else:
            values |= {"first cut": cuts[:, 0], "last cut": cuts[:, -1]}
        return values

    target = quantities(truth, noise, cuts, precision, of_rows)
    ranks = dict.fromkeys(target, 0)
    for sweep in range(n_sweeps):
        iterate = run.step()
        if sweep % size.thin == size.thin - 1:
            drawn = quantities(
                iterate.parameters,
                run.state.noise_precision,
                iterate.draws.latest.cut_points,
                run.priors.precision[:, 0],
                run.state.noise_precision[:, None] * run.row_noise.of_rows()
                if noise_field is not None
                else None,
            )
            ranks = {name: ranks[name] + (drawn[name] < target[name]).long() for name in target}
    return ranks


def p_values(ranks, size):
    """Return the p-value of a chi-square test of uniformity for every quantity."""
    bins = {
        name: np.bincount((r.numpy() * size.n_bins) // (size.n_draws + 1), minlength=size.n_bins)
        for name, r in ranks.items()
    }
    return {name: stats.chisquare(count).pvalue for name, count in bins.items()}


CASES = [
    ("squared_error", "pairs", "full"),
    ("squared_error", "one-hot", "diag"),
    ("squared_error", "bag", "full"),
    ("squared_error", "dense", "full"),
    ("probit", "pairs", "full"),
    ("probit", "dense", "diag"),
    ("log_loss", "one-hot", "full"),
    ("log_loss", "bag", "full"),
    ("log_loss", "dense", "full"),
    ("ordered_probit", "bag", "full"),
    ("ordered_probit", "dense", "full"),
]


#: Every loss, both types of covariances and every kind of matrix.
FAST = [
    ("squared_error", "pairs", "full"),
    ("squared_error", "one-hot", "diag"),
    ("probit", "dense", "diag"),
    ("log_loss", "bag", "full"),
    ("ordered_probit", "dense", "full"),
]


@parametrize(
    ("size", "loss", "kind", "covariance_type"),
    [(SMALL, *case) for case in FAST] + [(LARGE, *case) for case in CASES],
    fast=lambda size, *_: size is SMALL,
    ids=name,
)
def test_ranks_are_uniform(size, loss, kind, covariance_type):
    found = p_values(calibrate(loss, kind, size, covariance_type=covariance_type), size)
    # One test a quantity, with one percent for all of them.
    assert min(found.values()) > 0.01 / len(found), found


@parametrize(
    ("size", "kind"),
    [(SMALL, "pairs"), (LARGE, "pairs"), (LARGE, "dense")],
    fast=lambda size, kind: size is SMALL,
    ids=name,
)
def test_ranks_are_uniform_with_weights(size, kind):
    """Weights whose mean is one are precisions of the rows, in the likelihood of the noise precision too."""
    weight = torch.from_numpy(np.random.default_rng(3).uniform(0.2, 3, N_ROWS))
    found = p_values(calibrate("squared_error", kind, size, weight=weight / weight.mean()), size)
    assert min(found.values()) > 0.01 / len(found), found


@parametrize(
    ("size", "kind"),
    [(SMALL, "pairs"), (LARGE, "pairs"), (LARGE, "partial")],
    fast=lambda size, kind: size is SMALL,
    ids=name,
)
def test_ranks_are_uniform_with_noise_by_category(size, kind):
    """Also with weights, and with rows that have no category ("partial")."""
    weight = torch.from_numpy(np.random.default_rng(3).uniform(0.2, 3, N_ROWS))
    found = p_values(
        calibrate("squared_error", kind, size, weight=weight / weight.mean(), noise_field=0), size
    )
    assert min(found.values()) > 0.01 / len(found), found


@parametrize("size", [(SMALL,), (LARGE,)], fast=lambda size: size is SMALL, ids=name)
def test_wrong_posteriors_are_noticed(size):
    """Weights that the simulation knows nothing of."""
    weight = torch.full((N_ROWS,), 3.0, dtype=torch.float64)
    found = p_values(calibrate("probit", "dense", size, weight=weight), size)
    assert min(found.values()) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["log_loss", "probit", "ordered_probit"])
def test_ranks_are_uniform_with_counts(loss):
    """Rows that are observed one to three times, equal outcomes as one row with a weight.

    The weights come from the data here, so every replication is a run of its own.
    """
    n_replications, n_draws, n_bins, thin = 48, 7, 4, 8
    rng = np.random.default_rng(1)
    X, fields = make_design("bag", n=24)
    copies = np.repeat(np.arange(24), rng.integers(1, 4, 24))
    ranks = {"prediction": [], "interaction": []}
    while len(ranks["prediction"]) < n_replications:
        theta, _ = draw_prior(rng, fields, torch.ones(len(fields), dtype=torch.bool), 1, full=True)
        has_intercept = loss != "ordered_probit"
        intercept = torch.from_numpy(rng.standard_normal(1)) * has_intercept
        cuts = torch.from_numpy(np.sort(rng.standard_normal((1, N_LEVELS - 1))))
        truth = FMParameters(intercept, theta[:, :, 0].clone(), theta[:, :, 1:].clone())
        design = DesignMatrix.from_array(sparse.csr_array(X), dtype=torch.float64, device=CPU)
        raw = raw_prediction(design, truth)[:, copies]
        y = simulate(rng, loss, raw, None, None, cuts)[0].numpy()
        if not has_intercept and len(np.unique(y)) < N_LEVELS:
            continue
        found, weight = np.unique(np.stack([copies, y]), axis=1, return_counts=True)
        rows = DesignMatrix.from_array(
            sparse.csr_array(X[found[0].astype(int)]), dtype=torch.float64, dense_columns=np.empty(0, np.intp)
        )
        target = torch.from_numpy(found[1])[None]
        problem = Problem(rows, target, torch.from_numpy(weight.astype(float)), loss, fields)
        settings = Settings(max_iter=thin * n_draws, n_draws=1, seed=len(ranks["prediction"]), start="chain")
        run = MCMCRun(problem, truth.clone(), settings, HYPER)
        if not has_intercept:
            run.rows.cut_points = cuts.clone()

        def quantities(parameters, design=design):
            V = parameters.factors[0]
            return {
                "prediction": float(raw_prediction(design.rows(0, 1), parameters)),
                "interaction": float(V[0] @ V[-1]),
            }

        target, rank = quantities(truth), dict.fromkeys(ranks, 0)
        for sweep in range(thin * n_draws):
            drawn = quantities(run.step().parameters)
            if sweep % thin == thin - 1:
                rank = {name: rank[name] + (drawn[name] < target[name]) for name in rank}
        for name, value in rank.items():
            ranks[name].append(value)
    for values in ranks.values():
        count = np.bincount(np.array(values) * n_bins // (n_draws + 1), minlength=n_bins)
        assert stats.chisquare(count).pvalue > 0.01 / len(ranks), count
