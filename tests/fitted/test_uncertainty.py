"""What is known of predictions: standard deviations, quantiles, probabilities and draws."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtr, ndtri
from sklearn.exceptions import NotFittedError

from skfm import FMClassifier, FMRegressor
from skfm.datasets import make_factorization
from skfm.fitted.mixtures import mixture_quantile
from skfm.streaming import Chunk, Chunks

SHORT = pytest.mark.filterwarnings("ignore:The (chains|halves of the chain) disagree")
BOTH = pytest.mark.parametrize("solver", ["vb", "mcmc"])
LEVELS = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3)) * [100, 0.1, 1] + [1000, 5, 0]
Z = (X - [1000, 5, 0]) / [100, 0.1, 1]
Y = Z @ [1.0, 2.0, 0.5] + Z[:, 0] * Z[:, 1] + 0.5 * RNG.standard_normal(60)
STARS = np.digitize(Y, [-2.0, 0.0, 2.0]) + 1


def sampler(kind=FMRegressor, **options):
    return kind(2, **{"solver": "mcmc", "max_iter": 40, "random_state": 0, **options})


def regressor(solver):
    return FMRegressor(2, solver=solver, max_iter=60, random_state=0)


# ------------------------------------------------------------------------------- standard deviations


@BOTH
def test_standard_deviation_has_noise_and_doubt(solver):
    X, y = make_factorization(3000, (20, 15), n_factors=2, noise=0.5, random_state=0)
    few, many = (regressor(solver).fit(X[:n], y[:n]) for n in (150, 3000))
    for model in (few, many):
        mean, std = model.predict(X, return_std=True)
        assert_allclose(mean, model.predict(X), rtol=1e-9, atol=1e-9)
        assert std.shape == (3000,)
    # With much data there is little but noise; with few there is more.
    assert 0.48 < many.predict(X, return_std=True)[1].mean() < 0.54
    assert few.predict(X, return_std=True)[1].mean() > 0.6


@SHORT
def test_standard_deviation_of_draws():
    model = sampler(n_chains=2, max_iter=12).fit(X, Y)
    P = model.posterior_
    interactions = [
        sum(a[i] @ a[j] * X[:, i] * X[:, j] for i in range(3) for j in range(i))
        for a in P.factors.reshape(-1, 3, 2)
    ]
    raw = P.intercept.reshape(-1, 1) + P.coef.reshape(-1, 3) @ X.T + interactions
    variance = raw.var(0) + np.mean(P.noise_std**2)
    assert_allclose(model.predict(X, return_std=True)[1], np.sqrt(variance), rtol=1e-8)


@BOTH
def test_standard_deviation_has_the_unit_of_the_target(solver):
    std = regressor(solver).fit(X, Y).predict(X, return_std=True)[1]
    assert_allclose(
        regressor(solver).fit(X, 1000 * Y + 7).predict(X, return_std=True)[1], 1000 * std, rtol=1e-6
    )


# ------------------------------------------------------------------------------------------ quantiles


@BOTH
def test_quantiles_rise_around_the_mean(solver):
    model = regressor(solver).fit(X, Y)
    mean, std = model.predict(X, return_std=True)
    quantiles = model.predict(X, quantiles=LEVELS)
    assert quantiles.shape == (60, 7)
    assert (np.diff(quantiles) > 0).all()
    assert_allclose(quantiles[:, 3], mean, atol=0.2 * std.min())
    # In the order that they are asked for.
    assert_allclose(model.predict(X, quantiles=LEVELS[::-1]), quantiles[:, ::-1])
    assert_allclose(model.predict(X, quantiles=(0.95,)), quantiles[:, 5:6])
    if solver == "vb":
        assert_allclose(quantiles, mean[:, None] + std[:, None] * ndtri(LEVELS), rtol=1e-9)


def test_quantiles_of_draws_are_those_of_a_sample():
    model = sampler(max_iter=60).fit(X[:12], Y[:12])
    rows = X[20:24]
    quantiles = model.predict(rows, quantiles=LEVELS)
    P = model.posterior_
    parts = [FMRegressorOf(*draw) for draw in zip(P.intercept[0], P.coef[0], P.factors[0], strict=True)]
    raw = np.array([part(rows) for part in parts])
    # The distribution function of the mixture at its quantiles.
    cdf = ndtr((quantiles[None] - raw[:, :, None]) / P.noise_std[0][:, None, None]).mean(0)
    assert_allclose(cdf, np.tile(LEVELS, (4, 1)), atol=1e-12)
    rng = np.random.default_rng(0)
    which = rng.integers(0, len(raw), 400_000)
    sample = raw[which] + P.noise_std[0, which, None] * rng.standard_normal((400_000, 4))
    spread = sample.std(0)[:, None]
    assert_allclose(
        np.quantile(sample, LEVELS[1:-1], axis=0).T / spread, quantiles[:, 1:-1] / spread, atol=0.02
    )


def FMRegressorOf(intercept, coef, factors):  # noqa: N802
    def predict(X):
        return intercept + X @ coef + ((X @ factors) ** 2 - X**2 @ factors**2).sum(1) / 2

    return predict


@pytest.mark.parametrize("spread", [1e-6, 1.0, 1e3])
def test_quantiles_of_mixtures_with_gaps(spread):
    # Parts far from one another, some narrow: the density is next to zero between them.
    mean = torch.tensor([-5.0, -1.0, 0.0, 700.0], dtype=torch.float64)[:, None].expand(4, 3)
    std = spread * torch.tensor([1.0, 0.01, 2.0, 1.0], dtype=torch.float64)[:, None]
    for level in (1e-6, 0.1, 0.25, 0.3, 0.6, 0.75, 0.9, 1 - 1e-6):
        x = mixture_quantile(mean, std, torch.tensor(level, dtype=torch.float64))
        below = ndtr((x - mean - 1e-6 * std) / std).mean(0)
        above = ndtr((x - mean + 1e-6 * std) / std).mean(0)
        assert (below <= level + 1e-12).all()
        assert (above >= level - 1e-12).all()


@pytest.mark.parametrize(
    "options", [{"solver": "vb"}, {"solver": "mcmc"}, {"solver": "mcmc", "loss": "ordered_probit"}]
)
def test_a_row_is_as_uncertain_alone_as_in_company(options):
    model = FMRegressor(2, max_iter=40, random_state=0, **options)
    model.fit(X, STARS if "loss" in options else Y)
    std, quantiles = model.predict(X, return_std=True)[1], model.predict(X, quantiles=LEVELS)
    for i in (0, 17, 59):
        row = X[i : i + 1]
        assert_allclose(model.predict(row, return_std=True)[1], std[i : i + 1], rtol=1e-9)
        assert_allclose(model.predict(row, quantiles=LEVELS), quantiles[i : i + 1], rtol=1e-9)
    single = model.predict(X.astype(np.float32), quantiles=LEVELS)
    assert single.dtype == np.float32
    if "loss" not in options:
        assert_allclose(single, quantiles, atol=1e-3)


def test_many_rows_are_predicted_in_pieces(monkeypatch):
    model = sampler(max_iter=12).fit(X, Y)
    expected = model.predict(X, quantiles=LEVELS), *model.predict(X, return_std=True)
    monkeypatch.setattr("skfm.fitted.draw_predictors.PREDICTIONS", 70)
    pieces = model.predict(X, quantiles=LEVELS), *model.predict(X, return_std=True)
    for a, b in zip(pieces, expected, strict=True):
        assert_allclose(a, b, rtol=1e-9)
    classifier = sampler(FMClassifier, max_iter=12, loss="ordered_probit").fit(X, STARS)
    pieces = classifier.predict_proba(X)
    monkeypatch.undo()
    assert_allclose(pieces, classifier.predict_proba(X), rtol=1e-9)


# ----------------------------------------------------------------------------------------- calibration


@BOTH
def test_intervals_hold_as_many_targets_as_they_should(solver):
    X, y = make_factorization(4000, (60, 40), n_factors=2, noise=0.7, random_state=0)
    model = regressor(solver).set_params(max_iter=120).fit(X[:1500], y[:1500])
    low, high = model.predict(X[1500:], quantiles=[0.05, 0.95]).T
    assert 0.87 < np.mean((low < y[1500:]) & (y[1500:] < high)) < 0.93
    # Neither end has it all.
    assert abs(np.mean(y[1500:] < low) - np.mean(y[1500:] > high)) < 0.03


@pytest.mark.parametrize("loss", ["log_loss", "ordered_probit"])
def test_probabilities_are_calibrated(loss):
    n_train = 3000
    X, y, truth = make_factorization(
        n_train + 5000, (30, 20), n_factors=2, task="classification", return_parameters=True, random_state=0
    )
    if loss == "ordered_probit":
        latent = truth.raw_prediction + np.random.default_rng(0).standard_normal(len(y))
        y = np.digitize(latent, [-1.0, 0.5])
    model = sampler(FMClassifier, loss=loss, max_iter=100).fit(X[:n_train], y[:n_train])
    p, y = model.predict_proba(X[n_train:]), y[n_train:]
    for k in range(p.shape[1]):
        bins = np.minimum((p[:, k] * 10).astype(int), 9)
        errors = [
            (bins == b).mean() * abs(p[bins == b, k].mean() - (y == k)[bins == b].mean())
            for b in np.unique(bins)
        ]
        assert sum(errors) < 0.03
    # Calibrated and sharp: probabilities that say something.
    assert p.std(0).min() > 0.1


# -------------------------------------------------------------------------------------- ordered targets


def test_quantiles_and_deviations_of_an_ordered_target():
    values = np.array([-3.0, 0.0, 0.5, 10.0])
    y = values[STARS - 1]
    model = sampler(loss="ordered_probit").fit(X, y)
    twin = sampler(FMClassifier, loss="ordered_probit").fit(X, STARS)
    p = twin.predict_proba(X)
    mean, std = model.predict(X, return_std=True)
    assert_allclose(mean, p @ values, rtol=1e-9)
    assert_allclose(std, np.sqrt(p @ values**2 - mean**2), rtol=1e-6)
    quantiles = model.predict(X, quantiles=[0.1, 0.5, 0.9])
    assert set(np.unique(quantiles)) <= set(values)
    for k, level in enumerate([0.1, 0.5, 0.9]):
        # The first level up to which there is as much probability.
        assert_array_equal(quantiles[:, k], values[(p.cumsum(1) < level).sum(1)])
    assert_array_equal(model.predict(X, quantiles=[1 - 1e-16])[:, 0], 10)
    single = model.predict(X.astype(np.float32), quantiles=[1e-9, 1 - 1e-16])
    assert_array_equal(single, np.tile(np.float32([-3, 10]), (60, 1)))


# ---------------------------------------------------------------------------------------- PosteriorDraws


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "probit", "ordered_probit"])
@pytest.mark.parametrize("n_classes", [2, 3])
@SHORT
def test_shapes_of_draws(loss, n_classes):
    y = Y if loss == "squared_error" else np.digitize(Y, [-1.0, 1.0][: n_classes - 1])
    kind = FMRegressor if loss == "squared_error" else FMClassifier
    P = sampler(kind, loss=loss, n_chains=2, max_iter=5, burn_in=2).fit(X, y).posterior_
    outputs = (3,) if n_classes == 3 and loss in ("log_loss", "probit") else ()
    expected = {
        "intercept": (2, 3, *outputs),
        "coef": (2, 3, *outputs, 3),
        "factors": (2, 3, *outputs, 3, 2),
        "log_likelihood": (2, 3),
    }
    if loss == "squared_error":
        expected["noise_std"] = (2, 3)
    if loss == "ordered_probit":
        expected["cut_points"] = (2, 3, n_classes - 1)
    assert {name: values.shape for name, values in P.to_dict().items()} == expected
    assert (P.noise_std is None) == (loss != "squared_error")
    assert (P.cut_points is None) == (loss != "ordered_probit")


def test_draws_are_in_the_units_of_the_data():
    small, large = (sampler().fit(X, scale * Y + shift).posterior_ for scale, shift in ((1, 0), (1000, 5)))
    assert_allclose(large.noise_std, 1000 * small.noise_std, rtol=1e-6)
    assert_allclose(large.coef, 1000 * small.coef, rtol=1e-5)
    assert abs(small.noise_std.mean() - 0.5) < 0.15
    # In other units of X, the same model.
    other = sampler().fit(X * [1, 10, 0.1], Y).posterior_
    assert_allclose(other.coef * [1, 10, 0.1], small.coef, rtol=1e-5)


def test_draws_are_copies():
    model = sampler().fit(X, Y)
    expected = model.predict(X, quantiles=LEVELS)
    for values in model.posterior_.to_dict().values():
        values[:] = np.nan
    model.posterior_.to_dict().clear()
    assert_array_equal(model.predict(X, quantiles=LEVELS), expected)
    with pytest.raises(AttributeError):
        model.posterior_.coef = None


def test_only_a_sampler_has_draws():
    for model in (FMRegressor(solver="mcmc"), FMRegressor(2, max_iter=3).fit(X, Y), FMClassifier()):
        assert not hasattr(model, "posterior_")
        with pytest.raises(
            AttributeError, match=f"This {type(model).__name__} has no posterior_. Fit it with"
        ):
            _ = model.posterior_
    model = sampler().fit(X, Y)
    assert hasattr(model, "posterior_")
    model.set_params(solver="als").fit(X, Y)
    assert not hasattr(model, "posterior_")


def fake_arviz(version):
    def from_dict(*args, **kwargs):
        return args, kwargs

    return SimpleNamespace(__version__=version, from_dict=from_dict)


@pytest.mark.parametrize("version", ["0.17.1", "0.23.0", "1.0.0", "1.2.0rc1"])
def test_to_arviz(version, monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", fake_arviz(version))
    P = sampler(max_iter=10).fit(X, Y).posterior_
    args, kwargs = P.to_arviz()
    (groups,) = args or (kwargs,)
    assert bool(args) == (version[0] == "1")
    assert groups.keys() == {"posterior", "sample_stats"}
    assert groups["posterior"].keys() == {"intercept", "coef", "factors", "noise_std"}
    assert_array_equal(groups["posterior"]["coef"], P.coef)
    assert_array_equal(groups["sample_stats"]["lp"], P.log_likelihood)


@SHORT
def test_arviz_takes_the_draws():
    P = sampler(n_chains=2, max_iter=10).fit(X, Y).posterior_
    data = P.to_arviz()
    assert data["posterior"]["coef"].sizes["chain"] == 2
    assert data["posterior"]["coef"].sizes["draw"] == 8
    assert_array_equal(data["posterior"]["noise_std"].values, P.noise_std)
    assert_array_equal(data["sample_stats"]["lp"].values, P.log_likelihood)


def test_without_arviz(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match=r"to_arviz needs ArviZ\. Install it with: pip install arviz"):
        sampler(max_iter=5).fit(X, Y).posterior_.to_arviz()


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("quantiles", "message"),
    [
        (bad, r"quantiles must be a list of numbers between 0 and 1, both excluded, got ")
        for bad in ([0.5, 1.0], [0.0], [-0.1], [np.nan], [[0.1, 0.9]], 0.5, [], [50])
    ],
)
@BOTH
def test_quantiles_that_are_none(quantiles, message, solver):
    with pytest.raises(ValueError, match=message):
        FMRegressor(2, solver=solver, max_iter=3).fit(X, Y).predict(X, quantiles=quantiles)


def test_quantiles_need_a_posterior():
    model = FMRegressor(2, solver="als", max_iter=3).fit(X, Y)
    for option, purpose in (({"quantiles": [0.5]}, "quantiles"), ({"return_std": True}, "return_std=True")):
        message = rf"{purpose} needs a posterior, .* without one. Fit it with solver='vb' or solver='mcmc'\."
        with pytest.raises(ValueError, match=message):
            model.predict(X, **option)
    with pytest.raises(ValueError, match="return_std and quantiles are mutually exclusive"):
        sampler(max_iter=3).fit(X, Y).predict(X, return_std=True, quantiles=[0.5])
    with pytest.raises(NotFittedError):
        FMRegressor().predict(X, quantiles=[0.5])


MANY = np.arange(1001.0)

#: name: (kind, parameters, arguments of fit in place of the good ones, message)
FITS = {
    "burn-in to the end": (
        FMRegressor,
        {"burn_in": 5, "max_iter": 5},
        {},
        "burn_in=5 leaves no sweeps .* max_iter=5. Raise",
    ),
    "burn-in beyond": (
        FMRegressor,
        {"burn_in": 300, "max_iter": None},
        {},
        "burn_in=300 .*: max_iter=200. Raise max_iter",
    ),
    "no draws": (FMRegressor, {"n_draws": 0}, {}, "'n_draws' parameter .* Got 0"),
    "no chains": (FMRegressor, {"n_chains": 0}, {}, "'n_chains' parameter .* Got 0"),
    "negative burn-in": (FMRegressor, {"burn_in": -1}, {}, "'burn_in' parameter .* Got -1"),
    "burn-in of another solver": (
        FMRegressor,
        {"solver": "vb", "burn_in": 5},
        {},
        "burn_in=5 is not used by solver='vb'.* Leave burn_in='auto', or use a solver that supports it: 'mcmc'",
    ),
    "draws of another solver": (
        FMClassifier,
        {"solver": "als", "n_draws": 5},
        {},
        "n_draws=5 is not used by solver='als'.* Leave n_draws='auto', or use .*: 'mcmc'",
    ),
    "chains of another solver": (
        FMRegressor,
        {"solver": "adam", "n_chains": 2},
        {},
        "n_chains=2 is not used by solver='adam'.* Leave n_chains=1, or use .*: 'mcmc'",
    ),
    "penalty": (
        FMRegressor,
        {"l2_linear": 1.0},
        {},
        "l2_linear=1.0 is not used by solver='mcmc'.* Leave l2_linear='auto'",
    ),
    "unknown loss": (
        FMRegressor,
        {"loss": "poisson"},
        {},
        "loss='poisson' is not supported by solver='mcmc', which supports 'ordered_probit', 'squared_error'.*'adagrad'",
    ),
    "hinge": (
        FMClassifier,
        {"loss": "hinge"},
        {},
        "supports 'log_loss', 'ordered_probit', 'probit'. Solvers",
    ),
    "ordered probit of another solver": (
        FMClassifier,
        {"solver": "vb", "loss": "ordered_probit"},
        {},
        "loss='ordered_probit' is not supported by solver='vb'.* Solvers that support it: 'mcmc'",
    ),
    "too many levels": (
        FMRegressor,
        {"loss": "ordered_probit"},
        {"X": MANY[:, None], "y": MANY},
        "takes targets of 2 to 1000 distinct values, but y holds 1001. Round y, or use loss='squared_error'",
    ),
    "one level": (
        FMRegressor,
        {"loss": "ordered_probit"},
        {"y": np.ones(60)},
        "takes targets of 2 to 1000 distinct values, but y holds 1. Round y, or",
    ),
    "one level with weight": (
        FMRegressor,
        {"loss": "ordered_probit"},
        {"sample_weight": (STARS == 2).astype(float)},
        "takes targets of 2 to 1000 distinct values, but y holds 1",
    ),
    "one sample": (
        FMRegressor,
        {"loss": "ordered_probit"},
        {"X": X[:1], "y": [1.0]},
        "needs samples of at least two levels, got 1 sample",
    ),
    "a level that training data lack": (
        FMRegressor,
        {"loss": "ordered_probit"},
        {"X_val": X[:3], "y_val": [1, 2, 2.5]},
        r"y_val holds levels that the training data do not: \[2.5\]. Remove these samples, or add",
    ),
    "a class that training data lack": (
        FMClassifier,
        {"loss": "ordered_probit"},
        {"X_val": X[:3], "y_val": [1, 2, 7]},
        r"y_val holds classes that y does not: \[7\]",
    ),
    "stream": (
        FMRegressor,
        {},
        {"X": Chunks(lambda: [Chunk(X, Y)]), "y": None},
        "solver='mcmc' needs all data at once and cannot learn from chunks. Use one of 'adagrad'",
    ),
    "checkpoint": (FMRegressor, {"checkpoint": "run"}, {}, "checkpoint='run' is not used by solver='mcmc'"),
}


@pytest.mark.parametrize("case", FITS)
def test_bad_fits_leave_the_estimator_as_it_was(case):
    kind, parameters, arguments, message = FITS[case]
    good = {"X": X, "y": STARS}
    for fitted in (False, True):
        model = sampler(kind, max_iter=4)
        if fitted:
            model.fit(**good)
        model.set_params(**parameters)
        before = dict(vars(model))
        with pytest.raises(ValueError, match=f"(?s:{message})"):
            model.fit(**good | arguments)
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[name] is before[name] for name in before)
    assert model.posterior_.coef.shape[:2] == (1, 4)


def test_warm_start_with_other_levels():
    model = sampler(loss="ordered_probit", warm_start=True, max_iter=4).fit(X, STARS)
    message = r"continues a fit to the levels \[1.0, 2.0, 3.0, 4.0\], but y holds \[1.0, 2.0, 3.0\]. Fit anew"
    with pytest.raises(ValueError, match=message):
        model.fit(X, np.minimum(STARS, 3))
    assert_array_equal(model.levels_, [1, 2, 3, 4])


def test_a_sampler_has_no_partial_fit():
    for kind in (FMRegressor, FMClassifier):
        model = sampler(kind)
        assert not hasattr(model, "partial_fit")
        with pytest.raises(AttributeError, match="partial_fit"):
            model.partial_fit(X, STARS)
    model = sampler(max_iter=4).fit(X, Y).set_params(solver="adagrad")
    with pytest.raises(ValueError, match=r"fitted with solver='mcmc', .* Restore it, or fit a new model"):
        model.partial_fit(X, Y)
