"""Fitted estimators made of parameters that another program has learned."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._coding import Coding
from .._online import lasting


def fitted_with(
    estimator: Any, intercept: float, coef: np.ndarray, factors: np.ndarray, classes: np.ndarray | None = None
) -> Any:
    """Give an estimator of one output the attributes of a fit that has ended with these parameters.

    Parameters
    ----------
    estimator : FMRegressor or FMClassifier
        Whose `solver` and `loss` go together.
    intercept : float
    coef : ndarray of shape (n_features,)
    factors : ndarray of shape (n_features, n_factors)
    classes : ndarray of shape (2,), optional
        The labels of a classifier, in ascending order.

    Returns
    -------
    FMRegressor or FMClassifier
        The same.
    """
    n_features = len(coef)
    coding = Coding(0.0, 1.0, np.zeros(1))
    if classes is not None:
        estimator.classes_ = classes
        coding = coding._replace(outputs=np.array([1]), class_weight=np.ones(2))
    # Nothing is known of the data: columns and target are taken as they are. Arrays of one value take no memory.
    same = {"center": np.broadcast_to(0.0, n_features), "scale": np.broadcast_to(1.0, n_features)}
    estimator.__dict__.update(
        n_features_in_=n_features,
        intercept_=float(intercept),
        coef_=coef,
        factors_=factors,
        fields_=np.zeros(n_features, np.int64),
        _field_numbers=np.zeros(n_features, np.int64),
        _frame=None,
        n_iter_=0,
        history_={},
        device_="cpu",
        _model={"solver": estimator.solver, "loss": estimator.loss, "n_outputs": 1, "quantile": 0.5},
        _coding=coding._asdict(),
        _dtype=str(factors.dtype),
        _dense_columns=np.arange(0),
        _posterior=None,
        _draws=None,
        _conditioning=same,
        _seed=0,
        _lasting=lasting(estimator),
    )
    return estimator
