"""The fitted state: numpy arrays on the estimator, which travel between machines and devices."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.bayes.variance import prediction_variance
from ..core.matrix.device import compute_dtype, prediction_device
from ..core.matrix.parameters import FMParameters, Posterior, raw_prediction
from ..core.solvers import SOLVERS
from ..data.scaling import Scaling, as_tensor, user_design


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
    units = Scaling.of(estimator)
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
