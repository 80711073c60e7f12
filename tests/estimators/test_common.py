"""scikit-learn's own checks, for every solver and loss."""

import inspect

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skfm import FMClassifier, FMRegressor
from tests.helpers.slow import parametrize

MINIBATCH = ("adagrad", "adam", "sgd", "ftrl")
REGRESSION = ("squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma")
CLASSIFICATION = ("log_loss", "hinge", "squared_hinge")

ESTIMATORS = [
    FMRegressor(),
    FMRegressor(solver="als"),
    FMClassifier(),
    FMClassifier(solver="als"),
    FMClassifier(loss="probit"),
    FMClassifier(solver="als", loss="probit"),
    # Every loss on one minibatch solver, every other one on the default loss: all of them share the code of both.
    *(FMRegressor(solver="adagrad", loss=loss) for loss in REGRESSION),
    *(FMClassifier(solver="adagrad", loss=loss) for loss in CLASSIFICATION),
    *(FMRegressor(solver=solver) for solver in MINIBATCH[1:]),
    *(FMClassifier(solver=solver) for solver in MINIBATCH[1:]),
    # Few sweeps, since a sampler makes all of them.
    *(FMRegressor(solver="mcmc", max_iter=30, loss=loss) for loss in ("squared_error", "ordered_probit")),
    *(
        FMClassifier(solver="mcmc", max_iter=30, loss=loss)
        for loss in ("log_loss", "probit", "ordered_probit")
    ),
]

#: Which checks a solver cannot pass, with the reason. Only solvers that are random by nature may stand here.
LATENT = (
    "latent variables are drawn for every row, so that a weighted row and a repeated one take other random numbers; "
    "weights are tested statistically in test_mcmc.py and test_mcmc_calibration.py"
)
EQUIVALENCE = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")]
#: By solver and loss.
EXPECTED_FAILURES: dict[tuple[str, str], dict[str, str]] = {
    ("mcmc", loss): dict.fromkeys(EQUIVALENCE, LATENT) for loss in ("log_loss", "probit", "ordered_probit")
}

#: The estimators that every run checks: the default ones, and one loss of each solver.
FAST = {
    repr(estimator)
    for estimator in (
        FMRegressor(),
        FMRegressor(solver="als"),
        FMClassifier(),
        FMClassifier(solver="als"),
        FMClassifier(solver="adagrad"),
        FMRegressor(solver="adam"),
        FMRegressor(solver="sgd"),
        FMRegressor(solver="ftrl"),
        FMRegressor(solver="mcmc", max_iter=30),
    )
}
#: Checks that make a thousand sweeps, or one fit for each of many containers.
LONG = ("check_class_weight_classifiers", "check_estimator_sparse_array", "check_estimator_sparse_matrix")


def is_fast(estimator, check=""):
    allowed = {"als"} if check == LONG[0] else {"als", "vb"} if check in LONG else {estimator.solver}
    return repr(estimator) in FAST and estimator.solver in allowed


def marked(parameters):
    """The estimator and the check that scikit-learn gives, with the mark of slow tests where it belongs."""
    estimator, check = getattr(parameters, "values", parameters)
    marks = [*getattr(parameters, "marks", ())]
    if not is_fast(estimator, check.func.__name__):
        marks.append(pytest.mark.slow)
    return pytest.param(estimator, check, marks=marks)


#: A check that starts to pass has to leave the list above; older versions cannot tell.
CAN_BE_STRICT = "xfail_strict" in inspect.signature(parametrize_with_checks).parameters
STRICT = {"xfail_strict": True} if CAN_BE_STRICT else {}

CHECKS = parametrize_with_checks(
    ESTIMATORS,
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES.get((estimator.solver, estimator.loss), {}),
    **STRICT,
)


#: A check multiplies the weight of one class by a thousand, so that latent variables and parameters move slowly.
SLOW_CHAINS = pytest.mark.filterwarnings("ignore:The halves of the chain disagree")


@SLOW_CHAINS
@pytest.mark.parametrize(CHECKS.args[0], [marked(given) for given in CHECKS.args[1]], **CHECKS.kwargs)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


#: Checks that `check_estimator` leaves out; not every version has each.
MORE_CHECKS = [
    "check_param_validation",
    "check_dataframe_column_names_consistency",
    "check_inplace_ensure_writeable",
]


@parametrize("estimator", ESTIMATORS, fast=is_fast, ids=repr)
@pytest.mark.parametrize("name", MORE_CHECKS)
def test_checks_that_are_left_out(estimator, name):
    check = getattr(estimator_checks, name, None)
    if check is None:
        pytest.skip(f"this scikit-learn has no {name}")
    check(type(estimator).__name__, clone(estimator))


# The classes of this test are in no order.
CLASSIFIERS = [e for e in ESTIMATORS if isinstance(e, FMClassifier) and e.loss != "ordered_probit"]


# The check makes a thousand sweeps, which take a few seconds unless they end where nothing changes.
@parametrize("estimator", CLASSIFIERS, fast=lambda estimator: estimator.solver in ("vb", "als"), ids=repr)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_balanced_class_weights(estimator, n_classes):
    # The check wants data on which balanced weights pay: one class prevails in training, none in the test.
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((n_classes, 5))
    y_train = np.repeat(np.arange(n_classes), [270] + [30] * (n_classes - 1))
    y_test = np.repeat(np.arange(n_classes), 100)
    X_train, X_test = (centers[y] + 1.5 * rng.standard_normal((len(y), 5)) for y in (y_train, y_test))
    estimator_checks.check_class_weight_balanced_classifiers(
        type(estimator).__name__, clone(estimator), X_train, y_train, X_test, y_test, "balanced"
    )


# --------------------------------------------------------------------------------------- other parameters

#: The validation set is drawn from the rows, so that a weighted row is in it or not, but repeated ones are split.
SPLIT = "early_stopping sets rows aside at random: copies of a row can be divided, a weighted row cannot"
#: Checks that call partial_fit, which takes no early_stopping.
PARTIAL = (
    "check_fit_score_takes_y",
    "check_n_features_in_after_fitting",
    "check_estimators_partial_fit_n_features",
)
REFUSED = "partial_fit refuses early_stopping=True, as that of SGDClassifier does"
#: The check fits one estimator twice and wants equal predictions, but the second fit continues.
TWICE = "the second of two fits continues with warm_start=True"
VARIANTS = [
    # A longer chain amplifies rounding beyond the tolerance of the checks.
    estimator(solver=solver, **options, **({"max_iter": 10} if solver == "mcmc" else {}))
    for options, solvers in (
        ({"early_stopping": True}, ("vb", "als", "mcmc", "adagrad")),
        ({"warm_start": True}, ("vb", "als", "mcmc", "adagrad")),
        # It acts before any solver.
        ({"categorical_features": None}, ("als", "vb")),
        ({"covariance_type": "diag"}, ("vb", "mcmc")),
    )
    for estimator in (FMRegressor, FMClassifier)
    for solver in solvers
    # A classifier fitted by "als" uses these parameters in the code of "vb".
    if estimator is FMRegressor or solver != "als"
]


def expected_of(estimator):
    failures = dict(EXPECTED_FAILURES.get((estimator.solver, estimator.loss), {}))
    # The labels of most classifiers are the same after both fits.
    if estimator.warm_start and (isinstance(estimator, FMRegressor) or estimator.solver == "mcmc"):
        failures["check_supervised_y_2d"] = TWICE
    if not estimator.early_stopping:
        return failures
    online = PARTIAL if hasattr(estimator, "partial_fit") else ()
    return failures | dict.fromkeys(EQUIVALENCE, SPLIT) | dict.fromkeys(online, REFUSED)


def marked_variant(parameters):
    """The estimator and the check, fast for the two solvers that need the least time."""
    estimator, check = getattr(parameters, "values", parameters)
    marks = [*getattr(parameters, "marks", ())]
    is_regressor = isinstance(estimator, FMRegressor)
    if (
        estimator.solver != ("als" if is_regressor else "vb")
        or check.func.__name__ in LONG
        or not (is_regressor or estimator.early_stopping or estimator.covariance_type == "diag")
    ):
        marks.append(pytest.mark.slow)
    return pytest.param(estimator, check, marks=marks)


VARIANT_CHECKS = parametrize_with_checks(VARIANTS, expected_failed_checks=expected_of, **STRICT)


def is_repetition(parameters):
    """Return whether the check takes long and does the same with other parameters of a sampler."""
    estimator, check = getattr(parameters, "values", parameters)
    return estimator.solver == "mcmc" and check.func.__name__ in LONG


@pytest.mark.parametrize(
    VARIANT_CHECKS.args[0],
    [marked_variant(given) for given in VARIANT_CHECKS.args[1] if not is_repetition(given)],
    **VARIANT_CHECKS.kwargs,
)
def test_scikit_learn_checks_with_other_parameters(estimator, check):
    check(estimator)
