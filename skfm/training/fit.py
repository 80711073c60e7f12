"""The steps of a fit, which `skfm._base.BaseFM.fit` makes one after the other.

`plan_fit`, then `skfm.training.inputs.read_data`, `describe_fit`, `observe`, `start_run`, `skfm.training.loop.train`,
and at last `attributes_of`, which returns all that is written on the estimator.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state

from ..core.matrix.device import resolve_device
from ..core.matrix.parameters import FMParameters
from ..core.observation.registry import MODELS
from ..core.solvers import SOLVERS, OnlineRun, Problem, Run, Settings, Solver, supports_factors
from ..data.targets import Target
from .callbacks import FitCallbacks, NoCallbacks
from .checkpoint import Checkpoint, CheckpointEvents, identity_of
from .chunked_batches import ChunkedBatches, current
from .events import EventList, Events, progress_bar
from .inputs import TrainingData
from .interactions import warn_if_no_interactions
from .loop import Outcome
from .partial_fit import OnlineState, frozen_params
from .problem import ModelOptions, TrainingProblem, describe, supported_solver
from .result import fitted_attributes, warn_if_chains_disagree, warn_if_not_converged
from .start import Start, continues, find_seed, find_start, solver_settings, starting_point


class FitPlan(NamedTuple):
    """The parts of a fit that are determined before its data are read.

    Attributes
    ----------
    target : Target
    solver : Solver
    device : torch.device
    rng : RandomState
        Random state for the initial factors.
    seed : int
        Seed of the validation split and of the order of the samples.
    start : Start
    checkpoint : Checkpoint or None
    """

    target: Target
    solver: Solver
    device: torch.device
    rng: np.random.RandomState
    seed: int
    start: Start
    checkpoint: Checkpoint | None


def plan_fit(estimator: Any) -> FitPlan:
    """Return the plan of a fit, or raise an error if the parameters of the estimator do not fit together."""
    solver, device = supported_solver(estimator), resolve_device(estimator.device)
    rng = check_random_state(estimator.random_state)
    start, seed = find_start(estimator, solver), find_seed(estimator, rng)
    checkpoint = None if estimator.checkpoint is None else Checkpoint(estimator.checkpoint)
    if checkpoint is not None:
        # The order and the split of the samples have to be those of the interrupted run.
        seed = checkpoint.seed(seed)
    return FitPlan(estimator._target, solver, device, rng, seed, start, checkpoint)


def describe_fit(estimator: Any, plan: FitPlan, data: TrainingData) -> tuple[TrainingProblem, Settings]:
    """Turn the data into a problem, and the parameters of the estimator into the settings of the solver."""
    is_stream = data.stream is not None
    transform = plan.target.measure(data.samples, plan.solver, more_follow=is_stream)
    problem = describe(ModelOptions.of(estimator), data.samples, transform, plan.solver, plan.device)
    if plan.solver.learns_online and not is_stream:
        problem = problem.with_scales(plan.target, data.samples)
    weight = transform.weight(data.samples.y, data.samples.sample_weight)
    max_iter = data.max_iter(estimator.max_iter, plan.solver, weight)
    return problem, solver_settings(estimator, problem, max_iter=max_iter, seed=plan.seed, start=plan.start)


class Observers(NamedTuple):
    """The observers of a fit.

    Attributes
    ----------
    events : Events
        For the run.
    callbacks : NoCallbacks
        Callbacks of scikit-learn, which also observe the fit as a whole.
    """

    events: Events
    callbacks: NoCallbacks


def observe(
    estimator: Any,
    plan: FitPlan,
    data: TrainingData,
    problem: TrainingProblem,
    max_iter: int,
    *,
    is_weighted: bool,
) -> Observers:
    """Return the checkpoints, the progress bar and the callbacks of a fit, which begins for them now."""
    samples = data.samples
    observers: list[Events] = []
    if plan.checkpoint is not None:
        stream = data.stream
        n_chunks = None if stream is None else stream.chunks.n_chunks
        identity = identity_of(estimator, samples, data.held_out, n_chunks)
        plan.checkpoint.identity = {**identity, "X_val in chunks": data.validation_chunks is not None}
        digests = None if stream is None else stream.record_digests(plan.checkpoint.of_another_run)
        source = problem.problem.source
        units = source if isinstance(source, ChunkedBatches) else None
        observers.append(CheckpointEvents(plan.checkpoint, max_iter, digests, units))
    if estimator.verbose:
        observers.append(progress_bar(max_iter, plan.solver, is_stream=data.stream is not None))
    callbacks = FitCallbacks.of(
        estimator,
        max_iter=max_iter,
        X=samples.as_given,
        y=plan.target.decode(samples.y),
        sample_weight=samples.sample_weight if is_weighted else None,
        fitted_attributes=lambda *state: fitted_attributes(current(problem), *state),
    )
    return Observers(EventList([*observers, callbacks]), callbacks)


def attach_stream(
    estimator: Any, plan: FitPlan, data: TrainingData, problem: TrainingProblem, settings: Settings
) -> tuple[TrainingData, TrainingProblem]:
    """Let a problem take its batches from the stream of the data, if they have one.

    The first chunk has been processed at this point, so neither keeps it in memory any longer.
    """
    stream = data.stream
    if stream is None:
        return data, problem
    data, problem = data._replace(samples=data.samples.without_rows()), problem.without_rows()

    def settings_in(task: TrainingProblem) -> Settings:
        return solver_settings(
            estimator, task, max_iter=settings.max_iter, seed=settings.seed, start=plan.start
        )

    source = ChunkedBatches(stream, problem, plan.target, settings_in, settings)
    return data, problem._replace(problem=dataclasses.replace(problem.problem, source=source))


def start_run(estimator: Any, plan: FitPlan, problem: TrainingProblem, settings: Settings) -> Run:
    """Return a run at its start."""
    options = ModelOptions.of(estimator)
    parameters = starting_point(options, problem, plan.rng, plan.start.parameters)
    if settings.select_factors and not _has_factors(plan, problem.problem, parameters):
        parameters = parameters._replace(factors=parameters.factors[:, :, :0])
    run = plan.solver.start(problem.problem, parameters, settings)
    source = problem.problem.source
    if isinstance(run, OnlineRun) and isinstance(source, ChunkedBatches):
        source.follow(run, parameters, is_random=plan.start.kind == "random")
    if isinstance(run, OnlineRun) and continues(estimator) and estimator._model["solver"] == estimator.solver:
        # A warm start continues with the step sizes of the fit before.
        online = OnlineState.of(estimator)
        if online is not None:
            run.load_step_sizes(online.run.tensors)
    return run


def _has_factors(plan: FitPlan, problem: Problem, parameters: FMParameters) -> bool:
    """Return whether a fit has factors: those that it continues from, or new ones if the data support them.

    The test misses weak interactions. Between two fields and in classification, "vb" shrinks factors that the data do
    not support at little cost, so it is left out there.
    """
    start = plan.start
    if start.parameters is not None:
        has_factors = start.parameters.parameters.factors.shape[2] > 0
        if has_factors or start.kind == "chain":
            return has_factors
    # Without a bound there is no test, and without factors nothing to test.
    has_bound = problem.loss in SOLVERS["vb"].losses
    if not has_bound or not parameters.factors.shape[2]:
        return True
    if not plan.solver.samples and (problem.entries_per_row() <= 2 or not MODELS[problem.loss].has_noise):
        return True
    return supports_factors(problem, parameters)


def attributes_of(
    estimator: Any, plan: FitPlan, problem: TrainingProblem, run: Run, outcome: Outcome
) -> dict[str, Any]:
    """Return the fitted attributes of an estimator, except those set by the validation of the data."""
    history, problem = outcome.history, current(problem)
    attributes = fitted_attributes(problem, history.kept, history)
    attributes |= {"_lasting": frozen_params(estimator), "_seed": plan.seed}
    if isinstance(run, OnlineRun):
        # The state that is kept need not be the one in which the run ended.
        run.move_to(history.kept.parameters)
        attributes["_online"] = OnlineState(run.state_dict(), 0, problem.scales).attribute()
    if isinstance(outcome.failure, KeyboardInterrupt):
        # The interrupt is what the user has to see.
        return attributes
    if plan.solver.samples:
        draws = history.kept.draws
        n_after = 0 if draws is None else draws.n_seen - draws.burn_in
        warn_if_chains_disagree(history.history, estimator.n_chains, n_after)
    elif _should_have_converged(estimator, plan, outcome):
        warn_if_not_converged(history, plan.solver.name, estimator.tol)
    warn_if_no_interactions(problem, history.kept)
    return attributes


def _should_have_converged(estimator: Any, plan: FitPlan, outcome: Outcome) -> bool:
    """Return whether a run that made all its sweeps is one that is expected to converge.

    A warm start is one of several calls, validation data decide on the model that is kept, and with ``tol=0`` the
    number of sweeps is what was asked for.
    """
    is_single = plan.start.kind == "random" and not estimator.warm_start
    is_judged = plan.solver.converges and estimator.tol > 0 and not outcome.history.validation
    return outcome.exhausted and is_single and is_judged
