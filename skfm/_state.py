"""The fitted state: numpy arrays on the estimator, which travel between machines and devices."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._draws import UserDraws, draw_attributes, fold_draws
from ._task import Task
from ._training import Record
from ._units import Units, as_tensor, finite, user_design
from .core.device import compute_dtype, prediction_device
from .core.parameters import FMParameters, Posterior, raw_prediction
from .core.solvers import SOLVERS
from .core.solvers.base import Iterate
from .core.variance import prediction_variance

#: Fitted attributes that not every solver leaves behind.
OPTIONAL = ("covariances_",)


def fitted_attributes(task: Task, iterate: Iterate, record: Record) -> dict[str, Any]:
    """Return what a fitted estimator holds: numpy arrays and plain Python objects."""
    dtype = np.float32 if task.dtype == np.float32 else np.float64
    # With centered columns, predictions in the user's units are small differences of large numbers.
    exact = np.float64 if task.units.conditioning.centers else dtype
    kept: UserDraws | None = None
    if iterate.draws is None:
        parameters = task.units.to_user(iterate.parameters)
    else:
        parameters, kept = fold_draws(task, iterate.draws)
    intercept, coef, factors = (finite(t.numpy(), exact) for t in parameters)
    # Several classes are a leading axis; a single output has none.
    single = len(intercept) == 1
    shown = 0 if single else slice(None)
    attributes = {
        "intercept_": float(intercept[0]) if single else intercept,
        "coef_": coef[shown],
        "factors_": factors[shown],
        "fields_": task.field_labels,
        "n_iter_": record.n_iter,
        "history_": {name: list(values) for name, values in record.history.items()},
        "device_": str(task.problem.device),
        "_model": {
            "solver": task.solver.name,
            "loss": task.problem.loss,
            "n_outputs": len(task.coding.start),
            "quantile": task.quantile,
        },
        "_coding": task.coding._asdict(),
        "_dtype": str(np.dtype(dtype)),
        "_field_numbers": task.problem.fields.numpy(force=True),
        "_dense_columns": task.problem.design.dense_columns.numpy(force=True),
        "_posterior": None,
        "_draws": None if kept is None else draw_attributes(kept, exact),
        **task.units.attributes(),
    }
    if iterate.posterior is not None:
        covariances, *rest = (t.numpy(force=True).astype(dtype) for t in iterate.posterior)
        attributes["covariances_"] = covariances[shown]
        attributes["_posterior"] = dict(zip(("intercept_variance", "noise_precision"), rest, strict=True))
    return attributes


def fitted_parameters(
    estimator: Any, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> FMParameters:
    """Return the parameters of a fitted estimator as tensors, in the user's units."""
    n_outputs = np.size(estimator.intercept_)
    n_features, n_factors = estimator.factors_.shape[-2:]
    return FMParameters(
        as_tensor(np.reshape(estimator.intercept_, n_outputs), dtype, device),
        as_tensor(estimator.coef_, dtype, device).reshape(n_outputs, n_features),
        as_tensor(estimator.factors_, dtype, device).reshape(n_outputs, n_features, n_factors),
    )


def fitted_model(estimator: Any) -> Any:
    """Return the loss or likelihood that a fitted estimator was trained with."""
    settings = dict(estimator._model)
    return SOLVERS[settings.pop("solver")].model(**settings)


def predict_raw(estimator: Any, X: Any) -> Tensor:
    """Return the raw prediction, of shape (n_outputs, n_samples), in the dtype of X on the CPU."""
    dtype, device = prediction_place(estimator, X)
    design = user_design(estimator, X, dtype, device)
    raw = raw_prediction(design, fitted_parameters(estimator, dtype, device))
    return raw.to("cpu").to(dtype_of(X))


def predict_variance(estimator: Any, X: Any) -> Tensor | None:
    """Return the variance of the raw prediction, noise excluded, None without a posterior.

    It is worked out in the solver's units, where the posterior lives, and returned in the
    user's, of shape (n_outputs, n_samples) in the dtype of X on the CPU.
    """
    if estimator._posterior is None:
        return None
    dtype, device = prediction_place(estimator, X)
    units = Units.of(estimator)
    means = FMParameters(*(t.to(dtype).to(device) for t in units.to_solver(fitted_parameters(estimator))))
    covariances = as_tensor(estimator.covariances_, dtype, device)
    posterior = Posterior(
        covariances if len(means.intercept) > 1 else covariances[None],
        *(as_tensor(estimator._posterior[name], dtype, device) for name in Posterior._fields[1:]),
    )
    variance = prediction_variance(units.design(X, dtype, device), means, posterior).to("cpu")
    return (variance * units.scale.to(variance.dtype)[:, None].square()).to(dtype_of(X))


def noise_variance(estimator: Any) -> float:
    """Return the variance of the noise in the user's units."""
    return float(estimator._coding["scale"] ** 2 / estimator._posterior["noise_precision"][0])


def no_posterior(purpose: str) -> ValueError:
    """Return the error for a model that was fitted without a posterior."""
    names = " or ".join(f"solver={name!r}" for name, solver in SOLVERS.items() if solver.has_posterior)
    return ValueError(
        f"{purpose} needs a posterior, and this model was fitted without one. Fit it with {names}."
    )


def prediction_place(estimator: Any, X: Any) -> tuple[torch.dtype, torch.device]:
    """Return the type and the device to predict in."""
    precision = np.result_type(X.dtype, estimator.factors_.dtype)
    device = prediction_device(estimator.device_, precision)
    return compute_dtype(precision, device), device


def dtype_of(X: Any) -> torch.dtype:
    """Return the type of predictions for X."""
    return compute_dtype(X.dtype, torch.device("cpu"))
