"""Checks that the fitted attributes of an estimator are consistent with each other."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from ..core.observation.registry import MODELS
from ..core.solvers import SOLVERS
from ..training.partial_fit import frozen_params
from ._checks import check_count, check_keys
from ._online_form import check_online
from ._parts import PARTS, Sizes


def check_form(estimator: Any, state: dict[str, Any]) -> None:
    """Raise a ValueError unless the fitted attributes are complete, valid and consistent.

    Parameters
    ----------
    estimator : FMRegressor or FMClassifier
        The estimator, with its parameters set.
    state : dict
        The fitted attributes by name.
    """
    missing = sorted(name for name, part in PARTS.items() if part.is_required and name not in state)
    unknown = sorted(state.keys() - PARTS.keys())
    if missing or unknown:
        wrong = f"lacks {missing}" if missing else f"has {unknown}, which this version of skfm does not know"
        raise ValueError(f"the fitted {type(estimator).__name__} {wrong}")
    sizes = _sizes(estimator, state)
    for name, value in state.items():
        PARTS[name].check(name, value, sizes)
    _check_wholeness(estimator, state, sizes)
    if "_online" in state:
        check_online(state, sizes)
    if (state["_lasting"]["solver"], state["_lasting"]["loss"]) != (sizes.solver, sizes.loss):
        raise ValueError("_lasting and _model do not have the same solver and loss")


def _sizes(estimator: Any, state: dict[str, Any]) -> Sizes:
    model = state["_model"]
    check_keys("_model", model, {"solver", "loss", "n_outputs", "quantile"})
    solver, loss = model["solver"], model["loss"]
    losses = estimator._parameter_constraints["loss"][0].options
    if type(solver) is not str or type(loss) is not str or solver not in SOLVERS:
        raise ValueError(
            f"the model was fitted by solver={solver!r}, which this version of skfm does not know"
        )
    if loss not in losses or loss not in SOLVERS[solver].losses:
        raise ValueError(f"loss={loss!r} is none of a {type(estimator).__name__} fitted by solver={solver!r}")
    quantile = model["quantile"]
    if not isinstance(quantile, Real) or not 0 < float(quantile) < 1:
        raise ValueError(f"quantile={quantile!r} is not between 0 and 1")
    n_features = check_count("n_features_in_", state["n_features_in_"], least=1)
    n_outputs = check_count("n_outputs", model["n_outputs"], least=1)
    factors = state["factors_"]
    if not isinstance(factors, np.ndarray) or factors.ndim != 2 + (n_outputs > 1):
        raise ValueError("factors_ must be an array with one row of factors per column")
    values = state.get("classes_", state.get("levels_", ()))
    n_values = len(values) if isinstance(values, np.ndarray) and values.ndim == 1 else 0
    n_columns = factors.shape[-2]
    if state["_frame"] is None and n_columns != n_features:
        raise ValueError(f"factors_ has {n_columns} columns, but X has {n_features}")
    n_iter = check_count("n_iter_", state["n_iter_"])
    return Sizes(n_features, n_columns, n_outputs, factors.shape[-1], n_values, solver, loss, n_iter)


def _check_wholeness(estimator: Any, state: dict[str, Any], sizes: Sizes) -> None:
    """Check the conditions that involve several attributes."""
    solver, is_ordered = SOLVERS[sizes.solver], MODELS[sizes.loss].target == "levels"
    has_classes = is_classifier(estimator)
    expected = {
        "classes_": has_classes,
        "levels_": is_ordered and not has_classes,
        "covariances_": state["_posterior"] is not None,
    }
    for name, needed in expected.items():
        if (name in state) != needed:
            raise ValueError(
                f"{name} {'is missing from' if needed else 'does not belong to'} this kind of model"
            )
    if (state["_posterior"] is not None) != (solver.has_posterior and not solver.samples):
        raise ValueError(f"_posterior does not match solver={sizes.solver!r}")
    if (state["_draws"] is not None) != solver.samples:
        raise ValueError(f"_draws does not match solver={sizes.solver!r}")
    stored, draws = state.get("_standardized"), state["_draws"]
    if stored is not None and stored["intercept"].shape[:-1] != (
        () if draws is None else draws["intercept"].shape[:1]
    ):
        raise ValueError("_standardized and _draws do not hold the same draws")
    if sizes.n_outputs > 1 and sizes.n_outputs != sizes.n_values:
        raise ValueError(
            f"there are {sizes.n_values} classes, but the parameters are those of {sizes.n_outputs}"
        )
    if sizes.n_outputs == 1 and has_classes and sizes.n_values != 2 and not is_ordered:
        raise ValueError(f"there are {sizes.n_values} classes, but the parameters are those of two")
    if state["factors_"].dtype != state["coef_"].dtype:
        raise ValueError("coef_ and factors_ have different dtypes")
    if state["_lasting"].keys() != frozen_params(estimator).keys():
        raise ValueError(
            f"_lasting must hold {sorted(frozen_params(estimator))}, got {sorted(state['_lasting'])}"
        )
    if "_online" in state and not solver.learns_online:
        raise ValueError(f"_online does not match solver={sizes.solver!r}")
