"""Where a run starts: its seed, its parameters and its settings."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.bayes.category_noise import category_fields
from ..core.matrix.parameters import FMParameters
from ..core.solvers import Settings, Solver
from ..data.scaling import LocatedParameters
from ..fitted.located import last_state, located
from .problem import ModelOptions, TrainingProblem

#: Standard deviation of the initial factors unless there is a reason for a larger one.
SMALL_START = 0.1


class Start(NamedTuple):
    """The state that a fit starts from.

    Attributes
    ----------
    kind : {"random", "fit", "chain"}
        Random, the result of a fit, or the last state of a sampler's chains.
    parameters : LocatedParameters or None
        None if random.
    n_sweeps : int
        Number of sweeps that the chains have made.
    """

    kind: str = "random"
    parameters: LocatedParameters | None = None
    n_sweeps: int = 0


def continues(estimator: Any) -> bool:
    """Return whether a fit of the estimator is a warm start."""
    return estimator.warm_start and hasattr(estimator, "factors_")


def find_start(estimator: Any, solver: Solver) -> Start:
    """Return where a fit of an estimator starts from."""
    if not continues(estimator):
        return Start()
    if estimator._draws is None:
        return Start("fit", located(estimator))
    if not solver.samples:
        return Start("fit", last_state(estimator, 1))
    # Chains of another model first need a burn-in.
    kind = "chain" if estimator._model["loss"] == estimator.loss else "fit"
    return Start(kind, last_state(estimator, estimator.n_chains), estimator._draws["n_sweeps"])


def draw_seed(rng: np.random.RandomState) -> int:
    """Draw the seed of the validation split and of the order of the samples."""
    return int(rng.randint(np.iinfo(np.int32).max))


def find_seed(estimator: Any, rng: np.random.RandomState) -> int:
    """Return the seed of a fit: a warm start sets the same samples apart as the fit before.

    A seed is drawn whether it is needed or not: the initial factors, drawn next, must not depend on that.
    """
    seed = draw_seed(rng)
    return estimator._seed if continues(estimator) else seed


def starting_point(
    options: ModelOptions,
    problem: TrainingProblem,
    rng: np.random.RandomState,
    fitted: LocatedParameters | None,
) -> FMParameters:
    """Return the parameters to start from, in the solver's units.

    Parameters
    ----------
    options : ModelOptions
    problem : TrainingProblem
    rng : RandomState
        Nothing that depends on the number of samples may have been drawn from it.
    fitted : LocatedParameters or None
        Parameters to continue from; those of several chains one after the other.
    """
    core, coding = problem.problem, problem.coding
    shape = (len(coding.start), core.design.shape[1], options.n_factors)
    if fitted is not None:
        found = fitted.parameters.factors.shape
        if found[1] != shape[1] or found[2] not in (0, shape[2]):
            raise ValueError(
                f"The fitted model has n_factors={found[2]}, from which warm_start=True and "
                f"partial_fit continue, but now n_factors={shape[2]}. Restore it, or fit with warm_start=False."
            )
        start = fitted.within(problem.units)
        if found[2] < shape[2]:
            # A linear model has no factors to continue from.
            factors = _initial_factors(options, problem, (len(start.intercept), *shape[1:]), rng)
            start = start._replace(factors=factors)
    else:
        start = FMParameters(
            torch.as_tensor(coding.start, dtype=torch.float64, device="cpu"),
            torch.zeros(shape[:2], dtype=torch.float64, device="cpu"),
            _initial_factors(options, problem, shape, rng),
        )
    intercept, linear, factors = (t.to(core.design.dtype).to(core.device) for t in start)
    return FMParameters(intercept * core.fit_intercept, linear * core.fit_linear, factors)


def _initial_factors(
    options: ModelOptions, problem: TrainingProblem, shape: tuple[int, int, int], rng: np.random.RandomState
) -> Tensor:
    """Draw factors of shape (n_outputs, n_features, n_factors)."""
    factors = _random_factors(problem.solver, shape, rng).mul_(_init_scale(options, problem))
    if options.encoder is not None:
        # There are no data that could correct these parameters.
        factors[:, torch.from_numpy(options.encoder.unseen)] = 0
    return factors


def _random_factors(solver: Solver, shape: tuple[int, int, int], rng: np.random.RandomState) -> Tensor:
    """Draw from the standard normal distribution, on the CPU: all devices and dtypes start from the same numbers."""
    if not solver.learns_online:
        return torch.from_numpy(rng.standard_normal(shape))
    # One epoch over a million columns is so fast that numpy would take a tenth of its time to draw their start.
    generator = torch.Generator().manual_seed(int(rng.randint(np.iinfo(np.int32).max)))
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


def _init_scale(options: ModelOptions, problem: TrainingProblem) -> float:
    """Return the standard deviation of the initial factors."""
    if not isinstance(options.init_scale, str):
        return float(options.init_scale)
    if not problem.solver.starts_wide or problem.model.is_gaussian or not options.n_factors:
        return SMALL_START
    # The bounds of a classifier pull small factors to zero where a category has few rows. Measured on planted data of
    # two fields: with ten rows per category, a start of this size finds interactions that a smaller one misses.
    entries = problem.problem.entries_per_row()
    pairs = entries * (entries - 1) / 2
    return max(SMALL_START, (options.n_factors * pairs) ** -0.25) if pairs > 0 else SMALL_START


def solver_settings(
    estimator: Any, problem: TrainingProblem, *, max_iter: int, seed: int, start: Start | None = None
) -> Settings:
    """Return the hyperparameters that a solver reads, in its units."""
    known = {f.name for f in dataclasses.fields(Settings)}
    names = sorted(problem.solver.options & known & estimator.get_params(deep=False).keys())
    options = {name: getattr(estimator, name) for name in names}
    if "noise" in options:
        options["noise"] = _noise_field(options["noise"], problem)
    problem.coding.penalties(options)
    start = start or Start()
    return Settings(
        **options,
        max_iter=max_iter,
        seed=seed,
        unit=problem.coding.unit,
        quantile=problem.quantile,
        start=start.kind,
        n_before=start.n_sweeps,
    )


def _noise_field(noise: Any, problem: TrainingProblem) -> int | str:
    """Return the number of the field that ``noise`` names, or its other values as they are."""
    if noise in ("auto", "common"):
        return noise
    core, labels = problem.problem, problem.field_labels
    places = np.flatnonzero(labels == noise)
    if not len(places):
        found = ", ".join(repr(label) for label in dict.fromkeys(labels.tolist()))
        raise ValueError(
            f"noise={noise!r} must be 'auto', 'common' or one of the fields of the columns: {found}."
        )
    field = int(core.fields[places[0]])
    if field not in category_fields(core.design, core.fields):
        raise ValueError(
            f"noise={noise!r} must name a field of at least two categories with at most one category per row. Use "
            "noise='auto' to select from these fields."
        )
    return field
