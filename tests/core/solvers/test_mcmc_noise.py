"""Noise by category in mcmc: recovery, predictions, files, exports, and runs that continue."""

import pickle

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skfm import FMRegressor
from skfm.core.bayes.sampled_noise import log_marginal, slice_sample
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.solvers import SOLVERS, Problem, Settings
from skfm.io import load_model, save_model
from skfm.onnx import to_onnx
from tests.core.solvers.test_row_noise import N_USERS, ratings


def sampler(**options):
    options = {"n_factors": 2, "solver": "mcmc", "noise": 0, "max_iter": 60, "random_state": 0, **options}
    return FMRegressor(**options)


@pytest.fixture(scope="module")
def fitted():
    X, y, _, _ = ratings()
    return sampler(n_draws=20, n_chains=2).fit(X, y)


def test_the_noise_of_users_is_found(fitted):
    X, _, std, user = ratings()
    assert fitted.noise_field_ == fitted.fields_[0]
    P = fitted.posterior_
    assert P.noise_ratio.shape == P.coef.shape
    assert_array_equal(P.noise_ratio[..., N_USERS:], 1)
    found = (P.noise_std[..., None] * P.noise_ratio[..., :N_USERS] ** -0.5).mean((0, 1))
    assert np.corrcoef(np.log(found), np.log(std))[0, 1] > 0.9
    assert 0.8 < np.median(found / std) < 1.2
    # Standard deviations of the predictions include that of the user.
    own = fitted.predict(X, return_std=True)[1] ** 2
    variance = np.array([raw.var() for raw in _raw_draws(fitted, X[:5])])
    noise = (P.noise_std[..., None] ** 2 / P.noise_ratio).reshape(-1, X.shape[1]).mean(0)[user[:5]]
    assert_allclose(own[:5], variance + noise, rtol=1e-8)


def _raw_draws(model, X):
    P = model.posterior_
    w0, w, V = (part.reshape(-1, *part.shape[2:]) for part in (P.intercept, P.coef, P.factors))
    for row in X.toarray():
        s = row @ V
        yield w0 + w @ row + (s**2 - (row**2) @ V**2).sum(1) / 2


def test_quantiles_are_those_of_the_mixture(fitted):
    X, _, _, user = ratings()
    P = fitted.posterior_
    spread = (P.noise_std[..., None] * P.noise_ratio**-0.5).reshape(-1, X.shape[1])
    for i, raw in enumerate(_raw_draws(fitted, X[:5])):
        q = fitted.predict(X[i], quantiles=[0.1, 0.9])[0]
        assert_allclose(stats.norm.cdf(q[:, None], raw, spread[:, user[i]]).mean(1), [0.1, 0.9], atol=1e-6)


def test_categories_without_ratings_have_the_common_noise(fitted):
    X, _, _, _ = ratings()
    empty = fitted.predict(X[:1] * 0, return_std=True)[1] ** 2
    P = fitted.posterior_
    assert_allclose(empty, P.intercept.var() + np.mean(P.noise_std**2))


@pytest.mark.parametrize("solver_noise", ["auto", "common"])
def test_few_categories_and_common_noise(solver_noise):
    """Fields of fewer than 100 categories are selected by name only."""
    X, y, _, _ = ratings(n=300)
    model = sampler(noise=solver_noise, max_iter=20).fit(X, y)
    assert model.noise_field_ is None
    assert model.posterior_.noise_ratio is None
    assert "noise_ratio" not in model.posterior_.to_dict()


def test_saved_models_keep_it(fitted, tmp_path):
    X, _, _, _ = ratings()
    save_model(fitted, tmp_path / "model.safetensors")
    for other in (load_model(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(fitted))):
        assert other.noise_field_ == fitted.noise_field_
        assert_array_equal(other.predict(X, return_std=True)[1], fitted.predict(X, return_std=True)[1])


def test_models_of_earlier_versions_have_a_common_noise(tmp_path):
    X, y, _, _ = ratings(n=300)
    model = sampler(noise="common", max_iter=20).fit(X, y)
    expected = model.predict(X, return_std=True)[1]
    del model._draws["noise_ratio"]
    save_model(model, tmp_path / "model.safetensors")
    for other in (model, load_model(tmp_path / "model.safetensors")):
        assert other.noise_field_ is None
        assert_array_equal(other.predict(X, return_std=True)[1], expected)


def test_exports_have_the_noise_of_each_user(fitted):
    X, _, _, _ = ratings()
    dense = X[:50].toarray()
    graph = to_onnx(fitted, dense, options={"return_std": True})
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: dense})
    for one, other in zip(found, fitted.predict(dense, return_std=True), strict=True):
        assert_allclose(one.ravel(), other, rtol=1e-4)


@pytest.mark.parametrize("stop", [3, 6, 15, 30])
def test_a_run_continues_from_its_state(stop):
    """Before the field is selected, after that, and after the second start."""
    X, y, _, _ = ratings(n=400)
    design = DesignMatrix.from_array(X, dtype=torch.float64)
    fields = torch.from_numpy(np.repeat([0, 1], [N_USERS, X.shape[1] - N_USERS]))
    target = torch.from_numpy((y - y.mean()) / y.std())[None]
    problem = Problem(design, target, torch.ones(400, dtype=torch.float64), "squared_error", fields)
    settings = Settings(max_iter=150, noise=0, n_chains=2)
    start = FMParameters(
        *(torch.full(shape, 0.1, dtype=torch.float64) for shape in ((1,), (1, 50), (1, 50, 2)))
    )
    first, second = (SOLVERS["mcmc"].start(problem, start, settings) for _ in range(2))
    for _ in range(stop):
        first.step()
    second.load_state_dict(first.state_dict())
    for _ in range(12):
        one, other = first.step(), second.step()
    assert one.objective == other.objective
    assert first.row_noise.field == second.row_noise.field == 0
    assert torch.equal(one.draws.latest.noise_ratio, other.draws.latest.noise_ratio)


def test_slice_samples_have_the_distribution_of_their_density():
    """The distribution of alpha given the rows of a single category, whose density can be summed."""
    rng = np.random.default_rng(0)
    shape, count, squares = np.full(4000, 4.0), np.array([3.0]), np.full((4000, 1), 5.0)

    def density(x):
        return log_marginal(shape[: len(x)], x, count, squares[: len(x)]) + 0.5 * x - np.exp(x) / 2

    x = np.zeros(4000)
    for _ in range(15):
        x = slice_sample(density, x, rng)
    grid = np.linspace(-12, 6, 4000)
    cdf = np.exp(density(grid)).cumsum()
    assert stats.kstest(x, lambda v: np.interp(v, grid, cdf / cdf[-1])).pvalue > 0.01
