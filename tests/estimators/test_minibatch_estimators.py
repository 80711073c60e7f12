"""What the estimators promise with every loss of the minibatch solvers."""

import pickle
import warnings

import numpy as np
import pytest
import skops.io as skops
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor, Ridge
from sklearn.svm import LinearSVC

from skfm import FMRegressor
from skfm.core.solvers import SOLVERS
from skfm.core.solvers.minibatch.run import MinibatchRun
from tests.helpers.encoded import mixed, one_hot, plant
from tests.helpers.minibatch import (
    CASES,
    CLASSIFICATION,
    EVERY_LOSS,
    LOG_LINK,
    MINIBATCH,
    NAMES,
    REGRESSION,
    SOME_LOSSES,
    assert_same_parameters,
    is_fast,
    make,
    target,
)
from tests.helpers.problems import brute_force
from tests.helpers.slow import parametrize

#: The degree of a loss: with y = s z it is s^degree times that of z, up to a constant.
DEGREE = {"squared_error": 2, "huber": 2, "absolute_error": 1, "quantile": 1, "poisson": 1, "gamma": 0}


def outputs(model):
    """Intercepts, linear weights and factors of each output."""
    n = np.size(model.intercept_)
    return zip(
        np.reshape(model.intercept_, n),
        np.reshape(model.coef_, (n, -1)),
        np.reshape(model.factors_, (n, *model.factors_.shape[-2:])),
        strict=True,
    )


# ------------------------------------------------------------------------------- fitted attributes


@EVERY_LOSS
def test_attributes_define_predictions(solver, loss, n_classes):
    X = mixed()
    model = make(loss, n_classes, solver=solver).fit(X, target(X, loss, n_classes))
    raw = np.array([brute_force(X, *output) for output in outputs(model)])
    assert raw.std() > 0.01
    if n_classes is None:
        expected = np.exp(raw[0]) if loss in LOG_LINK else raw[0]
        assert_allclose(model.predict(X), expected, rtol=1e-8, atol=1e-8)
    elif n_classes == 2:
        assert_allclose(model.decision_function(X), raw[0], rtol=1e-8, atol=1e-8)
        assert_array_equal(model.predict(X), raw[0] > 0)
    else:
        assert_allclose(model.decision_function(X), raw.T, rtol=1e-8, atol=1e-8)
        assert_array_equal(model.predict(X), raw.argmax(0))
    if loss == "log_loss":
        one = expit(raw[0])
        expected = np.column_stack([1 - one, one]) if n_classes == 2 else softmax(raw.T, axis=1)
        assert_allclose(model.predict_proba(X), expected, atol=1e-8)
    assert_array_equal(list(model.history_), ["training_loss"])
    assert len(model.history_["training_loss"]) == model.n_iter_ == 10


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_margins_are_no_probabilities(loss):
    X = mixed()
    model = make(loss, 2)
    for _ in range(2):
        for name in ("predict_proba", "predict_log_proba"):
            assert not hasattr(model, name)
            with pytest.raises(AttributeError, match=name) as error:
                getattr(model, name)
            assert "CalibratedClassifierCV" in str(error.value.__cause__)
        model.fit(X, plant(X, 2))
    # What counts is the loss that the model was fitted with.
    assert not hasattr(model.set_params(loss="log_loss"), "predict_proba")
    fitted = make("log_loss", 2).fit(X, plant(X, 2))
    assert_array_equal(fitted.set_params(loss=loss).predict_proba(X).argmax(1), fitted.predict(X))


@MINIBATCH
@pytest.mark.parametrize("loss", LOG_LINK)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_predictions_under_a_logarithm_are_positive(solver, loss, fit_intercept):
    X = mixed()
    model = make(loss, solver=solver, fit_intercept=fit_intercept).fit(X, target(X, loss))
    assert (model.predict(X) > 0).all()
    assert np.isfinite(model.predict(X)).all()


@SOME_LOSSES
def test_every_loss_is_learned(solver, loss, n_classes):
    X = mixed(240)
    y = target(X, loss, n_classes)
    # Adam's steps are short: by default it gets there with more batches than these few rows make.
    model = make(loss, n_classes, solver=solver, batch_size=24, max_iter=50).fit(X, y)
    history = model.history_["training_loss"]
    if n_classes is not None:
        assert model.score(X, y) > (0.9 if n_classes == 2 else 0.8)
        assert history[-1] < 0.6 * history[0]
    else:
        assert np.corrcoef(model.predict(X), y)[0, 1] > 0.9


# ------------------------------------------------------------------------------------ what it finds


#: What minimizes the same objective, with the penalty l2 beside the sum of the losses of n samples.
ORACLES = {
    "squared_error": lambda l2, n: Ridge(l2),
    "poisson": lambda l2, n: PoissonRegressor(alpha=l2 / n, tol=1e-9, max_iter=1000),
    "gamma": lambda l2, n: GammaRegressor(alpha=l2 / n, tol=1e-9, max_iter=1000),
    "log_loss": lambda l2, n: LogisticRegression(C=1 / l2, tol=1e-9, max_iter=1000),
    "squared_hinge": lambda l2, n: LinearSVC(C=1 / l2, intercept_scaling=1e4, tol=1e-8, max_iter=100_000),
}


@pytest.mark.parametrize(
    ("solver", "loss"),
    [("adagrad", loss) for loss in ORACLES]
    + [(name, loss) for name in NAMES[1:] for loss in ("squared_error", "log_loss")],
)
def test_linear_models_are_those_of_scikit_learn(solver, loss):
    X = one_hot(200, sizes=(4, 3))
    is_regression = loss in REGRESSION
    y = target(X, loss, None if is_regression else 2, noise=1.0)
    l2 = 3.0 if is_regression else 1.0
    model = make(
        loss,
        None if is_regression else 2,
        n_factors=0,
        solver=solver,
        l2_linear=l2,
        batch_size=1000,
        max_iter=400 if solver in ("adagrad", "sgd") else 900,
    )
    # It takes many steps to get where the optimum is; larger ones get there in time.
    model.set_params(learning_rate={"adagrad": 1.0, "adam": 0.1, "sgd": 0.1, "ftrl": 2.0}[solver]).fit(X, y)
    oracle = ORACLES[loss](l2, 200).fit(X, y)
    size = np.ptp(oracle.coef_)
    assert size > 0.1
    assert_allclose(model.coef_, np.ravel(oracle.coef_), atol=0.01 * size)
    assert_allclose(model.intercept_, np.ravel(oracle.intercept_)[0], atol=0.02 * size)


@pytest.mark.parametrize(
    ("solver", "level"), [("adagrad", 0.2), ("adagrad", 0.5), *((s, 0.9) for s in NAMES)]
)
def test_quantiles(solver, level):
    X = mixed(1000)
    y = target(X, "quantile", noise=2.0)
    model = FMRegressor(2, solver=solver, loss="quantile", quantile=level, random_state=0).fit(X, y)
    # The standard deviation of the share is at most 0.016.
    assert abs(np.mean(y < model.predict(X)) - level) < 0.05


@pytest.mark.parametrize(
    ("solver", "loss"), [("adagrad", "absolute_error"), *((name, "huber") for name in NAMES)]
)
def test_outliers(solver, loss):
    X = mixed(400)
    clean = plant(X)
    y = clean.copy()
    y[::20] += 1000
    error = {}
    for name in (loss, "squared_error"):
        model = make(name, solver=solver, batch_size=32, max_iter=25).fit(X, y)
        error[name] = np.mean(np.abs(model.predict(X) - clean))
    assert error[loss] < 0.5 * error["squared_error"]


# --------------------------------------------------------------------------------------------- units


@parametrize(
    ("solver", "loss", "scale"),
    [(solver, loss, scale) for solver in NAMES for loss in REGRESSION for scale in (1e-3, 1e6)],
    fast=lambda solver, loss, scale: is_fast(solver, loss) and (solver == "adagrad" or scale > 1),
)
@pytest.mark.parametrize("l2", ["auto", 20.0])
def test_units_of_the_target_do_not_matter(solver, scale, loss, l2):
    X = mixed(60)
    y = target(X, loss)
    penalties = {"l2_linear": l2, "l2_factors": l2}
    scaled = dict(penalties)
    if l2 != "auto":
        # The objective has the unit of the loss, w that of y, and factors that of its root.
        of_loss, of_w = scale ** DEGREE[loss], 1.0 if loss in LOG_LINK else scale
        scaled = {"l2_linear": l2 * of_loss / of_w**2, "l2_factors": l2 * of_loss / of_w}
    model = make(loss, solver=solver)
    one = clone(model).set_params(**penalties).fit(X, y)
    other = clone(model).set_params(**scaled).fit(X, y * scale)
    assert_allclose(other.predict(X), scale * one.predict(X), rtol=1e-6)
    if l2 != "auto":
        # The penalties are no trifle beside the tolerance, or nothing would have been tested.
        for name in penalties:
            free = clone(one).set_params(**{name: 0.0}).fit(X, y).predict(X)
            assert np.abs(free - one.predict(X)).max() > 1e-4 * np.ptp(free)


@pytest.mark.parametrize("loss", REGRESSION)
def test_units_of_the_history(loss):
    X = mixed(60)
    y = target(X, loss)
    histories = [make(loss).fit(X, y * scale, X_val=X, y_val=y * scale).history_ for scale in (1.0, 1e3)]
    for name in ("training_loss", "validation_loss"):
        one, other = (np.array(history[name]) for history in histories)
        # Up to a constant: of the gamma and Poisson losses, differences are what scales.
        assert_allclose(np.diff(other), np.diff(one) * 1e3 ** DEGREE[loss], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "quantile", "huber"])
def test_the_validation_loss_is_that_of_the_predictions(loss):
    X = mixed()
    y = target(X, loss)
    model = make(loss, max_iter=3).fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:])
    error = y[80:] - model.predict(X[80:])
    d = 1.35 * model._coding["scale"]
    expected = {
        "squared_error": error**2 / 2,
        "absolute_error": np.abs(error),
        "quantile": np.maximum(0.3 * error, -0.7 * error),
        "huber": np.where(np.abs(error) < d, error**2 / 2, d * (np.abs(error) - d / 2)),
    }[loss]
    assert_allclose(min(model.history_["validation_loss"]), expected.mean(), rtol=1e-8)


@MINIBATCH
def test_units_of_numeric_columns_do_not_matter(solver):
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((100, 3))
    y = Z @ [1.0, -2.0, 0.5] + Z[:, 0] * Z[:, 1]
    model = make("squared_error", solver=solver)
    expected = clone(model).fit(Z, y).predict(Z)
    for X in (Z * 1e6, Z * [0.1, 1, 1e3] + 100):
        assert_allclose(clone(model).fit(X, y).predict(X), expected, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------ dtype, weights


@EVERY_LOSS
def test_weights_mean_repeats(solver, loss, n_classes):
    X = mixed(60)
    y = target(X, loss, n_classes)
    weight = np.random.default_rng(0).integers(0, 4, 60)
    weight[np.unique(y, return_index=True)[1][: n_classes or 0]] = 2
    which = np.repeat(np.arange(60), weight)
    # One batch: weights are no repeats where those are spread over several.
    model = make(loss, n_classes, solver=solver, batch_size=256)
    weighted = clone(model).fit(X, y, sample_weight=weight)
    repeated = clone(model).fit(X[which], y[which])
    size = np.abs(repeated.coef_).max()
    assert_same_parameters(weighted, repeated, rtol=1e-9, atol=1e-9 * size)
    assert_allclose(weighted.history_["training_loss"], repeated.history_["training_loss"], rtol=1e-9)
    plain = clone(model).fit(X, y)
    assert np.abs(plain.coef_ - weighted.coef_).max() > 1e-3 * size


@EVERY_LOSS
def test_sparse_dense_and_single_precision(solver, loss, n_classes):
    X = mixed()
    y = target(X, loss, n_classes)
    model = make(loss, n_classes, solver=solver, max_iter=4, batch_size=32)
    method = "predict" if n_classes is None else "decision_function"
    expected = getattr(clone(model).fit(X, y), method)(X)
    dense = getattr(clone(model).fit(X.toarray(), y), method)(X.toarray())
    assert_allclose(dense, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    small = X.astype(np.float32)
    single = getattr(clone(model).fit(small, y), method)(small)
    assert single.dtype == np.float32
    # Signs of residuals that are all but zero can turn over in another precision.
    assert_allclose(single, expected, atol=0.05 * np.std(expected))


@MINIBATCH
def test_float32_is_kept_where_nothing_is_centered(solver):
    X = one_hot(dtype=np.float32)
    model = make("log_loss", 3, solver=solver, warm_start=True).fit(X, plant(X, 3))
    assert model.coef_.dtype == model.factors_.dtype == model.predict_proba(X).dtype == np.float32
    assert {array.dtype for name, array in model._online["tensors"].items()} == {np.dtype(np.float32)}


# ----------------------------------------------------------------------------------- early stopping


@MINIBATCH
def test_the_best_state_is_kept(solver):
    X = mixed(200)
    y = plant(X, noise=3.0)
    options = {"l2_linear": 0.0, "l2_factors": 0.0, "batch_size": 8, "learning_rate_schedule": "constant"}
    model = FMRegressor(8, solver=solver, max_iter=60, n_iter_no_change=4, random_state=0, **options)
    model.fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    losses = model.history_["validation_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == len(model.history_["training_loss"]) == model.n_iter_ == best + 5 < 60
    assert_allclose(np.mean((y[100:] - model.predict(X[100:])) ** 2) / 2, losses[best], rtol=1e-8)
    again = clone(model).set_params(max_iter=best + 1).fit(X[:100], y[:100])
    assert_same_parameters(model, again)


@MINIBATCH
@pytest.mark.parametrize("loss", ["gamma", "log_loss", "hinge"])
def test_early_stopping(solver, loss):
    X = mixed(200)
    n_classes = 3 if loss in CLASSIFICATION else None
    y = target(X, loss, n_classes, noise=2.0)
    model = make(loss, n_classes, solver=solver, early_stopping=True, n_iter_no_change=2, max_iter=300)
    model.set_params(batch_size=8).fit(X, y)
    assert {len(values) for values in model.history_.values()} == {model.n_iter_}
    assert list(model.history_) == ["training_loss", "validation_loss"]
    assert model.n_iter_ < 300
    assert np.argmin(model.history_["validation_loss"]) == model.n_iter_ - 3


# --------------------------------------------------------------------------------------- warm start


@MINIBATCH
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "log_loss"])
def test_warm_start_goes_on(solver, loss):
    X = one_hot(200)
    n_classes = 3 if loss == "log_loss" else None
    y = target(X, loss, n_classes)
    model = make(loss, n_classes, solver=solver, max_iter=30, batch_size=16, warm_start=True).fit(X, y)
    first, last = (model.history_["training_loss"][i] for i in (0, -1))
    model.set_params(max_iter=1).fit(X, y)
    assert model.n_iter_ == 1
    # It goes on near the end of the first fit, not near its start.
    assert model.history_["training_loss"][0] < last + 0.3 * (first - last)


@MINIBATCH
def test_warm_start_with_step_sizes_of_another_solver_or_scale(solver):
    X = mixed()
    y = plant(X)
    for other in NAMES:
        model = FMRegressor(1, solver=other, random_state=0, max_iter=30, warm_start=True).fit(X, y)
        before = np.mean((model.predict(X) - y) ** 2) / 2
        model.set_params(solver=solver, max_iter=2).fit(X, y)
        assert model.history_["training_loss"][-1] < 1.2 * before
    # In other units the fitted function is the same at first.
    model = FMRegressor(1, solver=solver, random_state=0, max_iter=30, warm_start=True).fit(X, y)
    before = np.mean((model.predict(X) - y) ** 2) / 2
    moved = 2 * y - 50
    model.set_params(max_iter=1).fit(X, y)
    model.fit(X, moved)
    assert np.isfinite(model.history_["training_loss"]).all()


def test_warm_start_keeps_zeros_of_the_linear_term():
    X = one_hot(300, sizes=(40, 30))
    y = plant(X)
    model = FMRegressor(0, solver="ftrl", l1_linear=300.0, random_state=0, warm_start=True).fit(X, y)
    zeros = np.mean(model.coef_ == 0)
    assert 0.3 < zeros < 1
    model.set_params(max_iter=1).fit(X, y)
    # The sums of gradients belong to the run before: taken over, they would undo the penalty.
    assert np.mean(model.coef_ == 0) > 0.7 * zeros


# ------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize("n_classes", [None, 2, 3])
def test_l1_makes_exact_zeros(n_classes):
    rng = np.random.default_rng(0)
    X = sparse.csr_matrix((rng.random((300, 40)) < 0.2).astype(float))
    raw = X[:, :3] @ [3.0, -3.0, 2.0] + 0.3 * rng.standard_normal(300)
    y = (
        raw
        if n_classes is None
        else np.digitize(raw, np.quantile(raw, np.linspace(0, 1, n_classes + 1)[1:-1]))
    )
    loss = "squared_error" if n_classes is None else "log_loss"
    zeros = []
    for l1 in (0.0, 6.0, 1e6):
        model = make(loss, n_classes, solver="ftrl", l1_linear=l1, n_factors=0, max_iter=50).fit(X, y)
        zeros.append(model.coef_ == 0)
    assert not zeros[0].any()
    assert zeros[2].all()
    # Most of the columns that do nothing, and none of the others.
    of_all = np.atleast_2d(zeros[1]).all(0)
    assert of_all[3:].mean() > 0.5
    assert not of_all[:3].any()


L1_ERROR = r"l1_linear=2.0 is not used by solver='{}'\. Leave l1_linear=0.0, or use .*: 'ftrl'\."


@pytest.mark.parametrize(
    ("solver", "options", "message"),
    [
        *((name, {"l1_linear": 2.0}, L1_ERROR.format(name)) for name in SOLVERS if name != "ftrl"),
        (
            "adagrad",
            {"covariance_type": "full"},
            "is not used by solver='adagrad'.*covariance_type='auto', .*'vb'",
        ),
        (
            "vb",
            {"batch_size": 3},
            "batch_size=3 is not used by solver='vb'.*'adagrad', 'adam', 'ftrl', 'sgd'",
        ),
        ("als", {"learning_rate": 0.1}, "learning_rate=0.1 is not used by solver='als'"),
        ("vb", {"learning_rate_schedule": "constant"}, "learning_rate_schedule='constant' is not used by"),
        ("vb", {"shuffle": False}, "shuffle=False is not used by solver='vb'"),
        ("als", {"checkpoint": "file"}, "checkpoint='file' is not used by solver='als'"),
        ("adagrad", {"learning_rate": 0.0}, r"'learning_rate' .* range \(0.0, inf\).* Got 0.0"),
        ("adagrad", {"batch_size": 0}, "'batch_size' .* Got 0"),
        ("adagrad", {"learning_rate_schedule": "cosine"}, "'learning_rate_schedule' .* Got 'cosine'"),
        ("ftrl", {"l1_linear": -1.0}, "'l1_linear' .* Got -1.0"),
        ("adagrad", {"quantile": 0.7}, "quantile=0.7 is not used by loss='squared_error'"),
        ("adagrad", {"quantile": 1.0, "loss": "quantile"}, "'quantile' .* Got 1.0"),
        ("vb", {"loss": "quantile"}, "loss='quantile' is not supported by solver='vb'.*'adagrad'"),
        ("adagrad", {"loss": "probit"}, "The 'loss' parameter .* Got 'probit'"),
    ],
)
def test_options_that_do_not_go_together(solver, options, message):
    X = one_hot()
    model = FMRegressor(solver=solver, **options)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=f"(?s:{message})"):
        model.fit(X, plant(X))
    assert vars(model) == before


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("poisson", [1.0, -2.0, 1.0], "loss='poisson' takes targets that are not negative, but y holds -2.0"),
        ("gamma", [1.0, 0.0, 1.0], "loss='gamma' takes targets that are positive, but y holds 0.0"),
        ("poisson", [0.0, 0.0, 0.0], "loss='poisson' needs targets that are not all zero"),
    ],
)
def test_targets_that_a_loss_cannot_take(loss, y, message):
    X = np.eye(3)
    model = make(loss)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert vars(model) == before
    good = np.array([1.0, 2.0, 3.0])
    if min(y) != max(y):
        # Samples of weight zero are none.
        assert (model.fit(X, y, sample_weight=[1, 0, 1]).predict(X) > 0).all()
        with pytest.raises(ValueError, match=f"loss={loss!r} takes .*, but y_val holds"):
            model.fit(X, good, X_val=X, y_val=y)


def test_parameters_set_after_the_fit_do_not_change_predictions():
    X = mixed()
    for loss, n_classes in CASES:
        model = make(loss, n_classes).fit(X, target(X, loss, n_classes))
        method = model.predict if loss != "log_loss" else model.predict_proba
        expected = method(X)
        model.set_params(solver="vb", loss="squared_error" if n_classes is None else "log_loss", n_factors=7)
        assert_array_equal(method(X), expected)


@MINIBATCH
def test_batches_and_their_order(solver):
    X = mixed()
    y = plant(X)
    model = make("squared_error", solver=solver, max_iter=2, batch_size=16)
    first = clone(model).fit(X, y)
    assert_same_parameters(first, clone(model).fit(X, y))
    for options in ({"batch_size": 17}, {"shuffle": False}, {"learning_rate": 0.011}, {"random_state": 1}):
        assert np.abs(clone(model).set_params(**options).fit(X, y).coef_ - first.coef_).max() > 1e-6
    # Without shuffling and with one factor drawn, order is that of the rows.
    fixed = clone(model).set_params(shuffle=False, max_iter=1)
    assert np.abs(clone(fixed).fit(X[::-1], y[::-1]).coef_ - fixed.fit(X, y).coef_).max() > 1e-6


# ---------------------------------------------------------------------------------------- accidents


@MINIBATCH
@pytest.mark.parametrize("after", [0, 3])
def test_an_interrupt_keeps_the_best_so_far(solver, after, monkeypatch):
    X = mixed()
    y = plant(X)
    learn = MinibatchRun._learn
    calls = []

    def interrupted(run, batches):
        if len(calls) == after:
            if not after:
                learn(run, batches)
            raise KeyboardInterrupt
        calls.append(run)
        learn(run, batches)

    model = make("squared_error", solver=solver, learning_rate_schedule="constant")
    expected = clone(model).set_params(max_iter=max(after, 1)).fit(X, y)
    monkeypatch.setattr(MinibatchRun, "_learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    if not after:
        # Data in memory keep nothing of an epoch that did not end.
        assert not hasattr(model, "factors_")
        return
    assert_same_parameters(model, expected)
    assert model.n_iter_ == after


def test_an_interrupt_before_the_first_step_leaves_the_estimator_as_it_was(monkeypatch):
    X = mixed()

    def interrupted(run, batches):
        raise KeyboardInterrupt

    monkeypatch.setattr(MinibatchRun, "_learn", interrupted)
    model = make("squared_error")
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, plant(X))
    assert not hasattr(model, "factors_")


AWKWARD = {
    "far from zero": lambda: np.random.default_rng(0).normal(100, 1, (60, 4)),
    "large": lambda: np.random.default_rng(0).normal(0, 1e6, (60, 4)),
    "small": lambda: np.random.default_rng(0).normal(0, 1e-6, (60, 4)),
    "heavy tails": lambda: np.random.default_rng(0).standard_cauchy((60, 4)) * 1e3,
    "one sample": lambda: np.array([[1.0, 0.0, 3.0]]),
    "more columns than samples": lambda: np.random.default_rng(0).normal(0, 1, (20, 300)),
    "empty rows": lambda: np.vstack([np.zeros((30, 6)), np.eye(6)]),
    "empty column": lambda: sparse.csr_matrix((60, 3)),
    "constant columns": lambda: np.full((60, 3), 7.0),
}


@parametrize(
    ("solver", "name"),
    [(solver, name) for solver in NAMES for name in AWKWARD],
    fast=lambda solver, name: solver == "adagrad" or name in ("heavy tails", "one sample"),
)
def test_awkward_data_stay_finite(solver, name):
    rng = np.random.default_rng(1)
    for i, (loss, n_classes) in enumerate(CASES):
        X = AWKWARD[name]().astype(np.float32 if i % 2 else np.float64)
        n = X.shape[0]
        if n_classes is None:
            y = np.exp(rng.standard_normal(n))
        elif n >= n_classes:
            y = np.r_[np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)]
        else:
            continue
        model = make(loss, n_classes, solver=solver, max_iter=3).fit(X, y)
        for part in (model.intercept_, model.coef_, model.factors_, model.history_["training_loss"]):
            assert np.isfinite(part).all()
        raw = model.predict(X) if n_classes is None else model.decision_function(X)
        assert np.isfinite(raw).all()


@parametrize(("solver", "loss"), [(solver, loss) for solver in NAMES for loss in REGRESSION], fast=is_fast)
def test_awkward_targets(solver, loss):
    X = mixed(60)
    y = target(X, loss)
    model = make(loss, solver=solver)
    expected = clone(model).fit(X, y).predict(X)
    for scale in (1e-150, 1e150):
        assert_allclose(clone(model).fit(X, y * scale).predict(X) / scale, expected, rtol=1e-6)
    for constant in (1e-6, 1e6):
        prediction = clone(model).set_params(max_iter=None).fit(X, np.full(60, constant)).predict(X)
        assert_allclose(prediction, constant, rtol=0.1, atol=0.1 if loss not in LOG_LINK else 0)


def test_a_fit_by_another_solver_leaves_nothing_of_the_one_before():
    X, y = mixed(), plant(mixed())
    names = {
        solver: vars(FMRegressor(2, solver=solver, max_iter=3, random_state=0).fit(X, y)).keys()
        for solver in SOLVERS
    }
    model = FMRegressor(2, max_iter=3, random_state=0)
    for solver in ("adagrad", "vb", "sgd", "als", "ftrl", "mcmc", "adam"):
        assert vars(model.set_params(solver=solver).fit(X, y)).keys() == names[solver]


# -------------------------------------------------------------------------------------- persistence


@EVERY_LOSS
def test_state_travels(solver, loss, n_classes):
    X = mixed()
    y = target(X, loss, n_classes)
    model = make(loss, n_classes, solver=solver, max_iter=2, warm_start=True).fit(X, y)
    assert hasattr(model, "_online")
    name = f"skfm.{'_regressor.FMRegressor' if n_classes is None else '_classifier.FMClassifier'}"
    data = skops.dumps(model)
    assert skops.get_untrusted_types(data=data) == [name]
    copies = [pickle.loads(pickle.dumps(model)), skops.loads(data, trusted=[name])]
    expected = model.predict(X)
    for copy in copies:
        assert_array_equal(copy.predict(X), expected)
    model.fit(X, y)
    for copy in copies:
        assert_same_parameters(copy.fit(X, y), model)


def test_callbacks():
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9 has no callbacks")
    X = mixed()
    y = plant(X, 3)
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model = make("log_loss", 3, max_iter=4).set_callbacks(monitor).fit(X, y)
    sweeps = [row for row in monitor.get_logs().data if row["task_name"] == "sweep"]
    assert [row["task_id"] for row in sweeps] == [0, 1, 2, 3]
    assert sweeps[-1]["accuracy"] == model.score(X, y)


@MINIBATCH
def test_a_fit_is_silent(solver, capsys):
    X = mixed()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make("squared_error", solver=solver, early_stopping=True).fit(X, plant(X))
    assert capsys.readouterr() == ("", "")
