"""The loop over sweeps, driven by runs that follow a script."""

import contextlib
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning

from skfm import FMClassifier, FMRegressor
from skfm.core.matrix.parameters import FMParameters, Posterior
from skfm.core.solvers import SOLVERS, Iterate, Run
from skfm.core.solvers.als import ALSRun
from skfm.training.events import Ending, EventList, Events, progress_bar
from skfm.training.inputs import read_data
from skfm.training.loop import train
from tests.helpers.interrupts import at_line

ALL_SOLVERS = pytest.mark.parametrize("solver", sorted(SOLVERS))


class Scripted(Run):
    """A run that changes one tensor in place, as runs do, and whose objectives are those of a list.

    An exception in the list is raised; a tuple is (objective, intercept).
    """

    def __init__(self, script=(), *, reads_stream=False, has_learned=False):
        self.script, self.n_steps = list(script), 0
        self.parameters = START.clone()
        self.reads_stream, self._has_learned = reads_stream, has_learned

    def step(self, after_segment=None):
        step = self.script[self.n_steps]
        self.n_steps += 1
        if isinstance(step, BaseException):
            self.parameters.intercept.fill_(-1)
            raise step
        objective, intercept = step if isinstance(step, tuple) else (step, self.n_steps)
        self.parameters.intercept.fill_(intercept)
        self.objective = float(objective)
        after_segment(10)
        return self.iterate()

    def iterate(self):
        return Iterate(self.parameters, getattr(self, "objective", np.nan))

    @property
    def has_learned(self):
        return self._has_learned

    def state_dict(self):
        raise NotImplementedError

    def load_state_dict(self, state):
        raise NotImplementedError


class ScriptedValidation:
    """The intercept is the loss."""

    def loss(self, iterate):
        return float(iterate.parameters.intercept)


START = FMParameters(torch.zeros(1), torch.zeros(1, 2), torch.zeros(1, 2, 1))


def train_run(run, *, max_iter=100, tol=0.0, **options):
    return train(run, objective_name="objective", max_iter=max_iter, tol=tol, **options)


def run(script, **options):
    return train_run(Scripted(script), **options).history


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
    class Infinite(Scripted):
        def iterate(self):
            variance = self.script[self.n_steps - 1]
            posterior = Posterior(torch.full((1, 2, 2), variance), torch.ones(1), torch.ones(1))
            return Iterate(self.parameters, 1.0, posterior)

    with pytest.warns(ConvergenceWarning):
        outcome = train_run(Infinite([1.0, np.inf]))
    assert outcome.history.n_iter == 1


def test_other_errors_of_a_solver_are_not_hidden():
    with pytest.raises(RuntimeError, match="a bug"):
        run([3, RuntimeError("a bug")])


def test_interrupt_keeps_the_last_complete_sweep():
    interrupt = KeyboardInterrupt()
    outcome = train_run(Scripted([3, 2, interrupt]))
    assert outcome.failure is interrupt
    assert not outcome.exhausted
    assert kept(outcome.history) == 2


def test_interrupt_keeps_the_best_state():
    script = [(3, 5), (2, 4), (1, 6), KeyboardInterrupt()]
    record = run(script, validation=ScriptedValidation())
    assert record.n_iter == 3
    assert kept(record) == 4


@pytest.mark.parametrize("has_learned", [False, True])
def test_interrupt_before_the_first_sweep_is_over(has_learned):
    with pytest.raises(KeyboardInterrupt):
        train_run(Scripted([KeyboardInterrupt()], has_learned=has_learned))


def test_an_interrupted_stream_leaves_what_was_learned():
    interrupt = KeyboardInterrupt()
    scripted = Scripted([interrupt], reads_stream=True, has_learned=True)
    outcome = train_run(scripted, validation=ScriptedValidation())
    assert outcome.failure is interrupt
    assert kept(outcome.history) == -1
    assert outcome.history.history["objective"] == pytest.approx([np.nan], nan_ok=True)
    assert outcome.history.history["validation_loss"] == pytest.approx([np.nan], nan_ok=True)


@pytest.mark.parametrize("validation", [None, ScriptedValidation()])
@pytest.mark.parametrize("n_sweeps", [1, 3])
def test_an_interrupt_at_any_line_leaves_whole_sweeps(n_sweeps, validation):
    """Interrupt at each line that a run executes in the modules of the loop and of the history."""

    class Reporting(Scripted):
        def iterate(self):
            return super().iterate()._replace(report={"number": float(self.n_steps)})

    def trained(stop_at):
        scripted = Reporting([(9 - k, [5, 3, 4][k]) for k in range(n_sweeps)])
        with at_line(stop_at, ("training/loop.py", "training/history.py")) as n_lines:
            outcome = train_run(scripted, max_iter=n_sweeps, validation=validation)
        return outcome, n_lines[0]

    whole, n_lines = trained(None)
    assert n_lines > 20 * n_sweeps
    n_recorded = []
    for stop_at in range(1, n_lines):
        try:
            (history, failure, _), _ = trained(stop_at)
        except KeyboardInterrupt:
            n_recorded.append(0)
            continue
        assert isinstance(failure, KeyboardInterrupt)
        n_recorded.append(history.n_iter)
        assert {name: len(values) for name, values in history.history.items()} == dict.fromkeys(
            whole.history.history, history.n_iter
        )
        intercepts = [5, 3, 4][: history.n_iter]
        assert kept(history) == (intercepts[-1] if validation is None else min(intercepts))
    assert n_recorded == sorted(n_recorded)
    assert set(n_recorded) == set(range(n_sweeps + 1))


class Recorder(Events):
    """Writes down all events, and stops at an objective."""

    def __init__(self, stop_at=None):
        self.seen, self.stop_at = [], stop_at

    def begin(self, run, history):
        self.seen.append(("begin", type(run).__name__, history.n_iter))

    def before_sweep(self):
        self.seen.append("before")

    def after_segment(self, n_rows):
        self.seen.append(n_rows)

    def after_sweep(self, iterate, history):
        assert history.objective[-1] == iterate.objective
        self.seen.append(("after", iterate.objective))
        return iterate.objective == self.stop_at

    def end(self, ending):
        self.seen.append(ending)


def test_observers_see_every_event_and_can_stop():
    recorder = Recorder(stop_at=2)
    record = run([3, 2, 1], events=recorder)
    sweeps = ["before", 10, ("after", 3), "before", 10, ("after", 2)]
    assert recorder.seen == [("begin", "Scripted", 0), *sweeps, Ending.COMPLETE]
    assert record.n_iter == 2


def test_one_observer_of_several_can_stop():
    first, second = Recorder(stop_at=3), Recorder()
    assert run([3, 2, 1], events=EventList([first, second])).n_iter == 1
    assert first.seen == second.seen


@pytest.mark.parametrize(
    ("script", "options", "ending"),
    [
        ([3, 2], {}, Ending.COMPLETE),
        ([3, np.nan], {}, Ending.COMPLETE),
        ([3, KeyboardInterrupt()], {}, Ending.INTERRUPTED),
        ([KeyboardInterrupt()], {}, Ending.INTERRUPTED),
        ([np.nan], {}, Ending.INTERRUPTED),
        ([3, RuntimeError("a bug")], {}, Ending.INTERRUPTED),
        ([RuntimeError("the stream")], {"reads_stream": True}, Ending.INTERRUPTED),
        ([3, RuntimeError("the stream")], {"reads_stream": True}, Ending.BETWEEN_SEGMENTS),
        ([RuntimeError("the stream")], {"reads_stream": True, "has_learned": True}, Ending.BETWEEN_SEGMENTS),
    ],
)
@pytest.mark.filterwarnings("ignore:Training")
def test_observers_see_how_a_run_ends(script, options, ending):
    recorder = Recorder()
    with contextlib.suppress(KeyboardInterrupt, RuntimeError, ValueError):
        train_run(Scripted(script, **options), max_iter=2, events=recorder)
    assert recorder.seen[-1] is ending


@pytest.mark.parametrize("n_sweeps", [0, 2])
def test_a_stream_that_fails_leaves_what_was_learned(n_sweeps):
    error = RuntimeError("the stream")
    scripted = Scripted([*range(9, 9 - n_sweeps, -1), error], reads_stream=True, has_learned=True)
    history, failure, _ = train_run(scripted)
    assert failure is error
    # An epoch that did not end counts if there is no other.
    assert history.n_iter == max(1, n_sweeps)
    assert kept(history) == (n_sweeps or -1)


def test_no_gradients_are_recorded():
    class Checked(Scripted):
        def iterate(self):
            assert not torch.is_grad_enabled()
            return super().iterate()

    assert torch.is_grad_enabled()
    assert train_run(Checked([1.0]), max_iter=1).history.n_iter == 1


def test_progress_bar_shows_the_numbers_and_only_on_stderr(capsys):
    events = progress_bar(3, SOLVERS["vb"], is_stream=False)
    run([3.25, 2.5, 1.125], max_iter=3, events=events, validation=ScriptedValidation())
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
def test_early_stopping_sets_the_same_share_of_each_class_aside(n_classes, monkeypatch):
    X, y = data()
    labels = np.digitize(y, np.quantile(y, [0.9, 0.95][: n_classes - 1]))
    seen = []

    def read(*args):
        seen.append(read_data(*args))
        return seen[-1]

    monkeypatch.setattr("skfm._base.read_data", read)
    weight = np.ones(len(y))
    weight[:100] = 0
    model = FMClassifier(2, early_stopping=True, validation_fraction=0.2, max_iter=3, random_state=0)
    model.fit(X, labels, sample_weight=weight)
    ((training, validation, *_),) = seen
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

    step, count = ALSRun.step, []

    def interrupted(self, after_segment):
        if len(count) == 3:
            raise KeyboardInterrupt
        count.append(1)
        return step(self, after_segment)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ALSRun, "step", interrupted)
        model = FMRegressor(2, solver="als", random_state=0, tol=0)
        with pytest.raises(KeyboardInterrupt) as caught:
            model.fit(X, y)
    assert caught.value.__notes__ == ["This FMRegressor is fitted: it holds the best model of 3 sweeps."]
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
