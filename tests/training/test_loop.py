"""The loop over sweeps, driven by solvers that follow a script."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning

from skfm import FMClassifier, FMRegressor
from skfm.core.matrix.parameters import FMParameters, Posterior
from skfm.core.solvers import SOLVERS
from skfm.core.solvers.base import Iterate
from skfm.training.callbacks import NoCallbacks
from skfm.training.loop import train

ALL_SOLVERS = pytest.mark.parametrize("solver", sorted(SOLVERS))


class Scripted:
    """A solver that changes one tensor in place, as solvers do, and yields the objectives of a list.

    An exception in the list is raised; a tuple is (objective, intercept).
    """

    objective_name = "objective"
    learns_online = False

    def __init__(self, script):
        self.script = script

    def sweeps(self, problem, start, settings):
        parameters = start.clone()
        for i, step in enumerate(self.script, 1):
            if isinstance(step, BaseException):
                parameters.intercept.fill_(-1)
                raise step
            objective, intercept = step if isinstance(step, tuple) else (step, i)
            parameters.intercept.fill_(intercept)
            yield Iterate(parameters, float(objective))


class ScriptedValidation:
    """The intercept is the loss."""

    def loss(self, iterate):
        return float(iterate.parameters.intercept)


START = FMParameters(torch.zeros(1), torch.zeros(1, 2), torch.zeros(1, 2, 1))
PROBLEM = SimpleNamespace(sample_weight=torch.tensor([1.0, 3.0]), source=None)


def run(script, *, max_iter=100, tol=0.0, **options):
    return train(PROBLEM, Scripted(script), START, None, max_iter=max_iter, tol=tol, **options)


def kept(record):
    return int(record.kept.parameters.intercept)


def test_stops_at_max_iter_without_a_warning():
    record = run(range(100, 0, -1), max_iter=7)
    assert record.n_iter == 7
    assert record.history == {"objective": [100, 99, 98, 97, 96, 95, 94]}
    assert kept(record) == 7


@pytest.mark.parametrize("rising", [False, True])
def test_tol_is_the_relative_change_in_two_sweeps(rising):
    objectives = np.array([50, 80, 95, 99, 100, 100.5]) * (1 if rising else -1)
    assert run(objectives, tol=0.05).n_iter == 5
    assert run(objectives, tol=0.2).n_iter == 4


def test_one_sweep_at_rest_is_not_the_end():
    assert run([100, 50, 50, 40, 40, 40, 30], tol=0.01).n_iter == 6


def test_tol_zero_never_stops():
    assert run([5, 5, 5, 5], max_iter=4).n_iter == 4


def test_the_best_state_on_validation_data_is_kept():
    script = list(enumerate([9, 7, 8, 6, 7, 6, 9, 8, 5]))
    record = run(script, max_iter=9, validation=ScriptedValidation(), n_iter_no_change=4)
    assert record.n_iter == 8
    assert kept(record) == 6
    assert record.kept.objective == 3
    assert record.history["validation_loss"] == [9, 7, 8, 6, 7, 6, 9, 8]
    patient = run(script, max_iter=9, validation=ScriptedValidation(), n_iter_no_change=5)
    assert kept(patient) == 5


TROUBLES = [(np.nan, 4), (np.inf, 4), (1.0, np.nan), (1.0, np.inf), torch.linalg.LinAlgError()]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_last_finite_state_is_kept(trouble):
    with pytest.warns(ConvergenceWarning, match="stopped after 3 sweeps"):
        record = run([3, 2, 1, trouble, 0])
    assert record.n_iter == 3
    assert kept(record) == 3


def test_no_finite_state_is_an_error():
    with pytest.raises(ValueError, match=r"failed in its first sweep: the objective became nan.*scale them"):
        run([np.nan, 1.0])


def test_an_infinite_posterior_is_trouble_too():
    class Solver(Scripted):
        def sweeps(self, problem, start, settings):
            for variance in (1.0, np.inf):
                posterior = Posterior(torch.full((1, 2, 2), variance), torch.ones(1), torch.ones(1))
                yield Iterate(start, 1.0, posterior)

    with pytest.warns(ConvergenceWarning):
        record = train(PROBLEM, Solver([]), START, None, max_iter=5, tol=0)
    assert record.n_iter == 1


def test_other_errors_of_a_solver_are_not_hidden():
    with pytest.raises(RuntimeError, match="a bug"):
        run([3, RuntimeError("a bug")])


def test_interrupt_keeps_the_last_complete_sweep():
    with pytest.warns(UserWarning, match="interrupted after 2 sweeps"):
        record = run([3, 2, KeyboardInterrupt()])
    assert kept(record) == 2


def test_interrupt_keeps_the_best_state():
    script = [(3, 5), (2, 4), (1, 6), KeyboardInterrupt()]
    with pytest.warns(UserWarning, match="interrupted after 3 sweeps"):
        record = run(script, validation=ScriptedValidation())
    assert kept(record) == 4


def test_interrupt_before_the_first_sweep_is_over():
    with pytest.raises(KeyboardInterrupt):
        run([KeyboardInterrupt()])


def test_callbacks_are_told_and_can_stop():
    class Callbacks(NoCallbacks):
        def __init__(self):
            self.seen = []

        def begin_sweep(self):
            self.seen.append("begin")

        def end_sweep(self, iterate, record):
            self.seen.append(iterate.objective)
            return iterate.objective == 2

    callbacks = Callbacks()
    record = run([3, 2, 1], callbacks=callbacks)
    assert callbacks.seen == ["begin", 3, "begin", 2]
    assert record.n_iter == 2


def test_no_gradients_are_recorded():
    class Solver(Scripted):
        def sweeps(self, problem, start, settings):
            assert not torch.is_grad_enabled()
            yield Iterate(start, 1.0)

    assert torch.is_grad_enabled()
    train(PROBLEM, Solver([]), START, None, max_iter=1, tol=0)


def test_progress_bar_shows_the_numbers_and_only_on_stderr(capsys):
    run([3.25, 2.5, 1.125], max_iter=3, verbose=1, validation=ScriptedValidation())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "3/3" in captured.err
    assert " sweeps/s" in captured.err
    assert "objective=1.125" in captured.err.replace("1.12,", "1.125,")
    assert "validation_loss=3" in captured.err
    run([3.25, 2.5], max_iter=2)
    assert capsys.readouterr() == ("", "")


# ---------------------------------------------------------------- the same through the estimators


def data():
    X, y = load_diabetes(return_X_y=True, scaled=False)
    return sparse.csr_matrix(X), y


@pytest.mark.parametrize("solver", [name for name in sorted(SOLVERS) if not SOLVERS[name].samples])
def test_passed_validation_data(solver):
    X, y = data()
    weight = np.random.default_rng(0).integers(0, 3, 142)
    # A learning rate that falls towards the end of the run would make a shorter run another one.
    schedule = {} if SOLVERS[solver].converges else {"learning_rate_schedule": "constant"}
    options = {"solver": solver, "random_state": 0, "tol": 0, **schedule}
    model = FMRegressor(8, max_iter=15, n_iter_no_change=3, **options)
    model.fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:], sample_weight_val=weight)
    losses = np.array(model.history_["validation_loss"])
    assert len(losses) == model.n_iter_
    # In the units of y, of the state that was kept, and zero weights are no samples.
    assert_allclose(
        losses.min(), np.average((y[300:] - model.predict(X[300:])) ** 2, weights=weight) / 2, rtol=1e-8
    )
    assert model.n_iter_ in (15, losses.argmin() + 4)
    again = FMRegressor(8, max_iter=int(losses.argmin()) + 1, **options)
    assert_allclose(again.fit(X[:300], y[:300]).predict(X), model.predict(X), rtol=1e-8)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_early_stopping_sets_the_same_share_of_each_class_aside(n_classes):
    X, y = data()
    labels = np.digitize(y, np.quantile(y, [0.9, 0.95][: n_classes - 1]))
    seen = []

    class Model(FMClassifier):
        def _validate(self, *args):
            seen.append(super()._validate(*args))
            return seen[-1]

    weight = np.ones(len(y))
    weight[:100] = 0
    model = Model(2, early_stopping=True, validation_fraction=0.2, max_iter=3, random_state=0)
    model.fit(X, labels, sample_weight=weight)
    ((training, validation),) = seen
    assert len(training.y) + len(validation.y) == 342
    assert abs(len(validation.y) - 0.2 * 342) < 1
    assert_allclose(np.bincount(validation.y) / 0.2, np.bincount(labels[100:]), atol=3)
    assert len(model.history_["validation_loss"]) == model.n_iter_


def test_class_weights_count_in_validation():
    X, y = data()
    y = (y > 150).astype(int)
    model = FMClassifier(2, random_state=0, max_iter=3, tol=0, class_weight={0: 1, 1: 5}, solver="als")
    model.fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:])
    proba = model.predict_proba(X[300:])
    losses = -np.log(proba[np.arange(142), y[300:]])
    assert_allclose(
        np.average(losses, weights=np.where(y[300:] == 1, 5, 1)), np.min(model.history_["validation_loss"])
    )


def test_interrupted_fit_leaves_a_usable_model():
    X, y = data()

    sweeps = type(SOLVERS["als"]).sweeps

    def interrupted(self, *args):
        for i, iterate in enumerate(sweeps(self, *args)):
            if i == 3:
                raise KeyboardInterrupt
            yield iterate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(SOLVERS["als"]), "sweeps", interrupted)
        model = FMRegressor(2, solver="als", random_state=0, tol=0)
        with pytest.warns(UserWarning, match="interrupted after 3 sweeps"):
            model.fit(X, y)
    assert model.n_iter_ == 3
    assert_array_equal(
        model.predict(X), FMRegressor(2, solver="als", random_state=0, tol=0, max_iter=3).fit(X, y).predict(X)
    )


def test_verbose_does_not_warn_or_print(capsys):
    X, y = data()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FMRegressor(2, max_iter=2, verbose=True, early_stopping=True).fit(X, y)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "validation_loss" in captured.err
