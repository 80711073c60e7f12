"""Fitted estimators of parameters that were learned elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_random_state
from torch import Tensor

from ..core.matrix.design import DesignMatrix
from ..core.matrix.device import resolve_device
from ..core.matrix.parameters import FMParameters
from ..core.matrix.standardize import Standardization
from ..core.observation.parts import MinibatchLoss
from ..core.observation.registry import MODELS
from ..core.solvers.base import Iterate, Problem
from ..data.fields import Fields, given_fields
from ..data.scaling import Scaling
from ..data.target_transform import TargetTransform
from .history import History
from .partial_fit import frozen_params
from .problem import TrainingProblem, supported_solver
from .result import fitted_attributes
from .start import draw_seed


def fitted_with(
    estimator: Any,
    parameters: FMParameters,
    classes: np.ndarray | None,
    columns: Standardization | None = None,
) -> Any:
    """Make an estimator a fitted one with these parameters.

    The data are unknown, so neither the target nor, by default, the columns are transformed.

    Parameters
    ----------
    estimator : estimator
        An estimator that is not fitted and has the `n_factors` of the parameters.
    parameters : FMParameters
        float32 or float64, on the CPU.
    classes : ndarray or None
        The labels of a classifier, in ascending order.
    columns : Standardization or None
        The columns to which the parameters apply, if these are not the user's.

    Returns
    -------
    estimator
        The same.
    """
    solver = supported_solver(estimator)
    n_outputs, n_features, _ = parameters.factors.shape
    # Broadcast arrays of a single number take almost no memory.
    number = torch.zeros(1, dtype=torch.long, device="cpu").expand(n_features)
    fields = Fields(np.broadcast_to(np.int64(0), n_features), number)
    if not isinstance(estimator.fields, str):
        fields = given_fields(estimator.fields, n_features)
    zero, one = (torch.tensor([value], dtype=torch.float64, device="cpu") for value in (0.0, 1.0))
    if columns is None:
        columns = Standardization(zero.expand(n_features), one.expand(n_features))
    task = TrainingProblem(
        _problem(estimator, fields, columns.center.nonzero()[:, 0].numpy(), parameters.factors.dtype),
        Scaling(columns, zero.expand(n_outputs), one.expand(n_outputs)),
        _coding(estimator, solver, n_outputs, classes),
        np.dtype(np.float64 if parameters.factors.dtype == torch.float64 else np.float32),
        solver,
        fields.labels,
        getattr(estimator, "quantile", 0.5),
    )
    # No sweep was made.
    record = History(solver.objective_name, validated=False)
    if classes is not None:
        estimator.classes_ = classes
    estimator.n_features_in_ = n_features
    estimator._frame = None
    estimator.__dict__.update(
        fitted_attributes(task, Iterate(parameters, 0.0), record),
        _lasting=frozen_params(estimator),
        _seed=draw_seed(check_random_state(estimator.random_state)),
    )
    return estimator


def _problem(estimator: Any, fields: Fields, dense_columns: np.ndarray, dtype: torch.dtype) -> Problem:
    numpy_dtype = np.float64 if dtype == torch.float64 else np.float32
    none: Tensor = torch.zeros(0, dtype=dtype, device="cpu")
    no_rows = sparse.csr_matrix((0, len(fields.numbers)), dtype=numpy_dtype)
    return Problem(
        DesignMatrix.from_array(no_rows, dtype=dtype, dense_columns=dense_columns),
        none[None],
        none,
        estimator.loss,
        fields.numbers,
        compute_device=resolve_device(estimator.device),
    )


def _coding(estimator: Any, solver: Any, n_outputs: int, classes: np.ndarray | None) -> TargetTransform:
    """Return the coding of a target that is not transformed."""
    model = solver.model(estimator.loss, n_outputs, getattr(estimator, "quantile", 0.5))
    start = np.zeros(n_outputs)
    if classes is None:
        return TargetTransform(0.0, 1.0, start, identity_link=MODELS[estimator.loss].identity_link)
    weight = np.ones(len(classes))
    if isinstance(estimator.class_weight, dict):
        weight = np.array([estimator.class_weight.get(label, 1.0) for label in classes.tolist()])
    outputs = None
    if not isinstance(model, MinibatchLoss):
        outputs = np.arange(n_outputs) if n_outputs > 1 else np.array([1])
    return TargetTransform(0.0, 1.0, start, outputs=outputs, class_weight=weight)
