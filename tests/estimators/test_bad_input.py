"""Bad input gets an error that says what is wrong, and leaves the estimator as it was."""

import re

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skfm import FMClassifier, FMRegressor
from skfm.core.matrix.device import compute_dtype, prediction_device, resolve_device
from skfm.core.solvers import SOLVERS

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 4))
Y = X @ [1.0, -1.0, 2.0, 0.5]
LABELS = np.array(["no", "yes"])[(Y > 0).astype(int)]


def changed(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


ONES = np.ones(30)
VALIDATION = {"X_val": X[:5], "y_val": Y[:5]}

#: name: (parameters, arguments of fit in place of the good ones, error, message)
REGRESSOR = {
    "NaN in X": ({}, {"X": changed(X, (2, 1), np.nan)}, ValueError, "Input X contains NaN"),
    "NaN in sparse X": (
        {},
        {"X": sparse.csr_matrix(changed(X, (2, 1), np.nan))},
        ValueError,
        "Input X contains NaN",
    ),
    "infinite X": ({}, {"X": changed(X, (2, 1), np.inf)}, ValueError, "Input X contains infinity"),
    "NaN in y": ({}, {"y": changed(Y, 3, np.nan)}, ValueError, "Input y contains NaN"),
    "infinite y": ({}, {"y": changed(Y, 3, np.inf)}, ValueError, "Input y contains infinity"),
    "1-d X": ({}, {"X": X[:, 0]}, ValueError, r"Expected 2D array, got 1D array.*Reshape your data"),
    "3-d X": ({}, {"X": X[:, :, None]}, ValueError, "Found array with dim 3"),
    "2-d y": ({}, {"y": np.stack([Y, Y], 1)}, ValueError, r"y should be a 1d array, got .*\(30, 2\)"),
    "too short y": ({}, {"y": Y[:29]}, ValueError, r"inconsistent numbers of samples: \[30, 29\]"),
    "no y": ({}, {"y": None}, ValueError, "requires y to be passed, but the target y is None"),
    "no samples": ({}, {"X": X[:0], "y": Y[:0]}, ValueError, r"0 sample\(s\).*minimum of 1 is required"),
    "no columns": ({}, {"X": X[:, :0]}, ValueError, r"0 feature\(s\).*minimum of 1 is required"),
    "no columns, sparse": (
        {},
        {"X": sparse.csr_matrix((30, 0))},
        ValueError,
        r"0 feature\(s\).*minimum of 1 is required",
    ),
    "words in X": (
        {},
        {"X": changed(X.astype(object), (0, 0), "red")},
        ValueError,
        "could not convert string",
    ),
    "words in y": ({}, {"y": LABELS}, ValueError, "could not convert string to float"),
    "complex X": ({}, {"X": X + 1j}, ValueError, "Complex data not supported"),
    "negative weight": (
        {},
        {"sample_weight": changed(ONES, 7, -2.0)},
        ValueError,
        r"must not be negative, but sample_weight\[7\] = -2.0. Give .* a weight of 0",
    ),
    "NaN weight": ({}, {"sample_weight": changed(ONES, 7, np.nan)}, ValueError, "sample_weight contains NaN"),
    "infinite weight": (
        {},
        {"sample_weight": changed(ONES, 7, np.inf)},
        ValueError,
        "sample_weight contains infinity",
    ),
    "weights all zero": ({}, {"sample_weight": 0 * ONES}, ValueError, "Sample weights .*at least one"),
    "too few weights": ({}, {"sample_weight": ONES[:5]}, ValueError, r"sample_weight.shape == \(5,\)"),
    "2-d weights": ({}, {"sample_weight": np.ones((30, 1))}, ValueError, "weights must be 1D array"),
    "unknown solver": ({"solver": "lbfgs"}, {}, ValueError, "The 'solver' parameter .*'als'.* Got 'lbfgs'"),
    "unknown loss": (
        {"loss": "log_loss"},
        {},
        ValueError,
        "The 'loss' parameter .*'squared_error'.* Got 'log_loss'",
    ),
    "penalty that is learned": (
        {"l2_factors": 0.5},
        {},
        ValueError,
        r"l2_factors=0.5 is not used by solver='vb'.*l2_factors='auto', or use .*: 'adagrad'.*'als'",
    ),
    "covariances that are not there": (
        {"solver": "als", "covariance_type": "full"},
        {},
        ValueError,
        r"covariance_type='full' is not used by solver='als'.*covariance_type='auto', or use .*: 'mcmc', 'vb'",
    ),
    "negative n_factors": ({"n_factors": -1}, {}, ValueError, r"'n_factors' .* range \[0, inf\). Got -1"),
    "fraction of a factor": ({"n_factors": 1.5}, {}, ValueError, "'n_factors' .* must be an int"),
    "no sweeps": ({"max_iter": 0}, {}, ValueError, r"'max_iter' .* range \[1, inf\) or None. Got 0"),
    "negative penalty": ({"solver": "als", "l2_linear": -1.0}, {}, ValueError, "'l2_linear' .* Got -1.0"),
    "infinite penalty": ({"solver": "als", "l2_linear": np.inf}, {}, ValueError, "'l2_linear' .* Got inf"),
    "initial factors zero": ({"init_scale": 0.0}, {}, ValueError, "'init_scale' .* Got 0.0"),
    "unknown device": (
        {"device": "abacus"},
        {},
        ValueError,
        "device='abacus' is none of 'auto', 'cpu', 'cuda'",
    ),
    "device that computes nothing": ({"device": "meta"}, {}, ValueError, "device='meta' is none of"),
    "device of another kind": ({"device": 3}, {}, ValueError, "The 'device' parameter .* Got 3"),
    "too few fields": ({"fields": [0, 1]}, {}, ValueError, r"fields must .* 4 columns of X, got .* \(2,\)"),
    "2-d fields": (
        {"fields": [[0, 1, 2, 3]]},
        {},
        ValueError,
        r"fields must .* 4 columns of X, got .* \(1, 4\)",
    ),
    "fields of one name": ({"fields": "user"}, {}, ValueError, "'fields' parameter .*'auto'.* Got 'user'"),
    "X_val alone": ({}, {"X_val": X}, ValueError, "X_val is provided, but y_val was not provided"),
    "y_val alone": ({}, {"y_val": Y}, ValueError, "y_val is provided, but X_val was not provided"),
    "validation weights alone": (
        {},
        {"sample_weight_val": ONES},
        ValueError,
        "sample_weight_val is provided, but X_val was not",
    ),
    "X_val of other width": (
        {},
        VALIDATION | {"X_val": X[:5, :3]},
        ValueError,
        r"Invalid validation data \(X_val, y_val\): X has 3 features.*expecting 4",
    ),
    "NaN in X_val": (
        {},
        VALIDATION | {"X_val": changed(X[:5], 0, np.nan)},
        ValueError,
        "Invalid validation data .*NaN",
    ),
    "too short y_val": (
        {},
        VALIDATION | {"y_val": Y[:4]},
        ValueError,
        "Invalid validation data .*inconsistent",
    ),
    "validation weights all zero": (
        {},
        VALIDATION | {"sample_weight_val": np.zeros(5)},
        ValueError,
        "Invalid validation data .*Sample weights",
    ),
    "nothing left to train on": (
        {"early_stopping": True, "validation_fraction": 0.99},
        {"X": X[:2], "y": Y[:2]},
        ValueError,
        "validation_fraction=0.99 of 2 samples aside.*Choose another validation_fraction, or pass X_val",
    ),
    "fraction of one": ({"validation_fraction": 1.0}, {}, ValueError, "'validation_fraction' .* Got 1.0"),
}

CLASSIFIER = {
    "one class": ({}, {"y": ["yes"] * 30}, ValueError, "two classes, but .* all of one class: 'yes'"),
    "one class with weight": (
        {},
        {"sample_weight": (LABELS == "yes").astype(float)},
        ValueError,
        "at least two classes, but the samples with positive weight are all of one class",
    ),
    "continuous target": ({}, {"y": Y}, ValueError, "Unknown label type: continuous"),
    "unknown loss": (
        {"loss": "deviance"},
        {},
        ValueError,
        "The 'loss' parameter .*'probit'.* Got 'deviance'",
    ),
    "class that is not there": (
        {},
        {"X_val": X[:3], "y_val": ["yes", "no", "maybe"]},
        ValueError,
        r"y_val holds classes that y does not: \['maybe'\]",
    ),
    "classes of another type": (
        {},
        {"X_val": X[:3], "y_val": [0, 1, 0]},
        ValueError,
        "y_val holds classes that y does not",
    ),
    "unknown class weight": ({"class_weight": "even"}, {}, ValueError, "'class_weight' .* Got 'even'"),
    "negative class weight": (
        {"class_weight": {"yes": -1}},
        {},
        ValueError,
        "class_weight must hold positive numbers, got {'yes': -1}",
    ),
    "class weight of zero": ({"class_weight": {"yes": 0}}, {}, ValueError, "remove its samples"),
    "too few of a class to split": (
        {"early_stopping": True},
        {"y": ["rare"] + ["yes"] * 29},
        ValueError,
        r"validation_fraction=0.1 of 30 samples aside.*(?s:.)*pass X_val and y_val",
    ),
}


def check_error(model, arguments, error, message):
    """The error comes from an estimator without a fit, and from one with a fit that stays as it was."""
    good = {"X": X, "y": LABELS if isinstance(model, FMClassifier) else Y}
    for fitted in (False, True):
        bad = clone(model)
        if fitted:
            bad = type(model)(max_iter=3, random_state=0).fit(**good)
            expected = bad.predict(X)
            bad.set_params(**model.get_params())
        before = dict(vars(bad))
        with pytest.raises(error, match=message):
            bad.fit(**good | arguments)
        assert vars(bad).keys() == before.keys()
        assert all(vars(bad)[name] is before[name] for name in before)
        if fitted:
            np.testing.assert_array_equal(bad.predict(X), expected)


@pytest.mark.parametrize("case", REGRESSOR)
def test_regressor(case):
    parameters, arguments, error, message = REGRESSOR[case]
    check_error(FMRegressor(**parameters), arguments, error, f"(?s:{message})")


@pytest.mark.parametrize("case", CLASSIFIER)
def test_classifier(case):
    parameters, arguments, error, message = CLASSIFIER[case]
    check_error(FMClassifier(**parameters), arguments, error, f"(?s:{message})")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_no_cuda(device):
    message = "was asked for, but torch sees no CUDA device. Use device='auto'"
    check_error(FMRegressor(device=device), {}, ValueError, message)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an MPS device")
def test_no_mps():
    check_error(FMRegressor(device="mps"), {}, ValueError, "torch sees no MPS device")


def test_too_large_a_cuda_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1").index == 1
    with pytest.raises(ValueError, match=r"'cuda:2' was asked for, but torch sees 2 .*'cuda:0' to 'cuda:1'"):
        resolve_device("cuda:2")
    assert prediction_device("cuda:2", np.float32) == torch.device("cpu")


def test_mps_computes_in_single_precision_only(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    mps = resolve_device("mps")
    assert compute_dtype(np.float64, mps) == torch.float32
    assert prediction_device("mps", np.float32) == mps
    assert prediction_device("mps", np.float64) == torch.device("cpu")


def test_a_loss_that_a_solver_does_not_support(monkeypatch):
    monkeypatch.setattr(type(SOLVERS["als"]), "losses", frozenset({"squared_error", "probit"}))
    message = (
        r"loss='log_loss' is not supported by solver='als', which supports 'probit'. "
        r"Solvers that support it: .*'vb'"
    )
    check_error(FMClassifier(solver="als"), {}, ValueError, message)


REGRESSION = {"squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma"}
CLASSIFICATION = {"log_loss", "probit", "hinge", "squared_hinge"}


def test_what_goes_together_is_what_solvers_declare():
    for name, solver in SOLVERS.items():
        for kind, losses in ((FMRegressor, REGRESSION), (FMClassifier, CLASSIFICATION)):
            for loss in losses & solver.losses:
                y = abs(Y) + 1 if kind is FMRegressor else LABELS
                kind(2, solver=name, loss=loss, max_iter=1).fit(X, y)


# -------------------------------------------------------------------------------------- warm start


@pytest.mark.parametrize(
    ("parameters", "arguments", "message"),
    [
        ({}, {"X": X[:, :3]}, "X has 3 features, but FMClassifier is expecting 4"),
        ({"n_factors": 3}, {}, "has n_factors=2, .*but now n_factors=3.*warm_start=False"),
        (
            {},
            {"y": np.where(Y > 0, "yes", "maybe")},
            r"continues a fit to the classes \['no', 'yes'\], but y holds \['maybe', 'yes'\]",
        ),
        ({}, {"y": changed(LABELS.astype("U5"), 0, "maybe")}, "continues a fit to the classes"),
    ],
)
def test_warm_start_from_something_else(parameters, arguments, message):
    model = FMClassifier(2, warm_start=True, max_iter=2).fit(X, LABELS)
    model.set_params(**parameters)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        model.fit(**{"X": X, "y": LABELS} | arguments)
    assert vars(model) == before


# ----------------------------------------------------------------------------------------- predict


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_predict_before_fit(method):
    with pytest.raises(NotFittedError, match="This FMClassifier instance is not fitted yet"):
        getattr(FMClassifier(), method)(X)


def test_predict_bad_samples():
    model = FMRegressor(2, max_iter=2).fit(X, Y)
    with pytest.raises(ValueError, match="X has 3 features, but FMRegressor is expecting 4 features"):
        model.predict(X[:, :3])
    with pytest.raises(ValueError, match="contains NaN"):
        model.predict(changed(X, 0, np.nan))
    with pytest.raises(ValueError, match="Expected 2D array"):
        model.predict(X[0])
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        model.predict(X[:0])


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_a_solver_that_fails_leaves_the_estimator_as_it_was(error, monkeypatch):
    model = FMRegressor(2, solver="als", max_iter=2).fit(X, Y)
    before = dict(vars(model))

    def start(self, *args):
        raise error

    monkeypatch.setattr(type(SOLVERS["als"]), "start", start)
    with pytest.raises(type(error)):
        model.fit(X[:, :2], Y)
    assert vars(model) == before


# -------------------------------------------------------------------------------- targets of any size


LOSSES = sorted(FMRegressor._parameter_constraints["loss"][0].options)
#: One solver for each engine that treats targets in its own way.
PAIRS = [
    (s, loss)
    for s in ("vb", "als", "mcmc", "adagrad", "ftrl")
    for loss in LOSSES
    if loss in SOLVERS[s].losses
]


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e150, 1e200, 1e307])
@pytest.mark.parametrize(("solver", "loss"), PAIRS)
def test_targets_of_any_size_give_a_model_or_a_clear_error(solver, loss, size):
    model = FMRegressor(2, solver=solver, loss=loss, max_iter=2, tol=0, random_state=0)
    with np.errstate(under="ignore"):
        y = (1 + np.arange(30) % 5) / 5 * size
    message = None
    try:
        predictions = model.fit(X, y).predict(X)
    except ValueError as error:
        message = str(error)
    if message is None:
        assert np.isfinite(predictions).all()
    else:
        known = r"The target is too large|loss='.*' (takes|needs) targets|.*Look for extreme values"
        assert re.match(f"{known}|Predictions have the type of X, float64, .* Divide y by", message)


@pytest.mark.parametrize(
    ("penalty", "value", "loss", "size"),
    [
        ("l2_factors", 1e200, "squared_error", 1e-200),
        ("l1_linear", 1e200, "squared_error", 1e-200),
        ("l2_linear", 1.0, "absolute_error", 1e200),
    ],
)
def test_penalties_without_a_value_in_the_units_of_the_target(penalty, value, loss, size):
    model = FMRegressor(2, solver="ftrl", loss=loss, **{penalty: value})
    with pytest.raises(
        ValueError,
        match=f"{penalty}={value} cannot be converted to the units of the target".replace("+", r"\+"),
    ):
        model.fit(X, Y * size)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_small_data_set_one_sample_of_each_class_aside(n_classes):
    labels = np.arange(30) % n_classes
    model = FMClassifier(2, early_stopping=True, validation_fraction=0.01, max_iter=2, tol=0, random_state=0)
    assert len(model.fit(X, labels).history_["validation_loss"]) == model.n_iter_
    # With half of the samples in the validation data, too few would be left.
    with pytest.raises(ValueError, match=r"validation_fraction=0\.01 of 30 samples aside"):
        model.fit(X, np.arange(30) % 10)
