"""What the draws of a sampler predict, and the averages of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.matrix.parameters import FMParameters, raw_prediction
from ..core.observation.base import ObservationModel
from ..core.observation.registry import MODELS
from ..data.scaling import as_tensor, user_design
from .draws import drawn_factors, draws_of
from .state import dtype_of, prediction_place

#: Raw predictions of all draws that are held at a time.
PREDICTIONS = 1 << 24


def raw_draws(estimator: Any, X: Any) -> Iterator[Tensor]:
    """Yield the raw predictions of every draw, (n_draws, n_outputs, n_rows), for some rows after the other."""
    kept = draws_of(estimator)
    assert kept is not None  # for the type checker
    dtype, device = prediction_place(estimator, X)
    design, columns = user_design(estimator, X, dtype, device), None
    if 2 * len(design.indices) < design.shape[1]:
        # A few rows do not need all columns of all draws.
        design, used = design.compact()
        columns = used.numpy(force=True)
    coef = kept.coef if columns is None else kept.coef[..., columns]
    parts = (kept.intercept, coef, drawn_factors(estimator, columns))
    parameters = FMParameters(*(as_tensor(part, dtype, device).flatten(0, 1) for part in parts))
    for _, part in design.pieces(max(1, PREDICTIONS // len(parameters.intercept))):
        yield raw_prediction(part, parameters).unflatten(0, kept.intercept.shape)


def mean_outcome(estimator: Any, X: Any) -> Tensor:
    """Return means or probabilities of the levels, averaged over the draws, (n_outputs or n_levels, n_samples)."""
    model, cuts = _model(estimator), _cut_points(estimator)
    parts = [
        model.outcome(raw, None if cuts is None else cuts.to(raw)).mean(0) for raw in raw_draws(estimator, X)
    ]
    return torch.cat(parts, 1).to("cpu").to(dtype_of(X))


def mean_log_probabilities(estimator: Any, X: Any) -> tuple[Tensor, Tensor]:
    """Return the logarithms of P(y = 1) and P(y = 0), averaged over the draws, each (n_outputs, n_samples)."""
    model: Any = _model(estimator)
    found = []
    for raw in raw_draws(estimator, X):
        both = (model.log_probability(sign * raw).logsumexp(0) for sign in (1, -1))
        found.append(torch.stack(list(both)) - np.log(len(raw)))
    log_p, log_q = torch.cat(found, 2).to("cpu").to(dtype_of(X))
    return log_p, log_q


def draw_probabilities(estimator: Any, X: Any) -> Tensor:
    """Return the probabilities of the classes, averaged over the draws, (n_classes, n_samples)."""
    if estimator._draws["cut_points"] is not None:
        return mean_outcome(estimator, X)
    log_p, log_q = mean_log_probabilities(estimator, X)
    if len(log_p) == 1:
        return torch.cat([log_q, log_p]).exp()
    # Each class against the rest, normalized.
    return torch.softmax(log_p, 0)


def draw_scores(estimator: Any, X: Any) -> Tensor:
    """Return raw predictions that go with the averaged probabilities, (1, n_samples) or (n_classes, n_samples)."""
    if estimator._draws["cut_points"] is not None:
        p = mean_outcome(estimator, X)
        log_p = p.clamp(min=torch.finfo(p.dtype).tiny).log()
        return log_p if len(p) > 2 else log_p[1:] - log_p[:1]
    model: Any = _model(estimator)
    return model.score(*mean_log_probabilities(estimator, X))


def _model(estimator: Any) -> ObservationModel:
    return MODELS[estimator._model["loss"]]


def _cut_points(estimator: Any) -> Tensor | None:
    cuts = estimator._draws["cut_points"]
    return None if cuts is None else as_tensor(cuts, torch.float64)
