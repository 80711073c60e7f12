"""Which columns of a model are looked at as one, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._base import BaseFM
from ..data.frames import frame_encoder


class Groups(NamedTuple):
    """Columns put together.

    Attributes
    ----------
    names : ndarray of str of shape (n_groups,)
    of_column : ndarray of int of shape (n_columns,)
        The group of each column.
    """

    names: np.ndarray
    of_column: np.ndarray


def check_model(estimator: Any) -> None:
    """Say so if an estimator is not a fitted factorization machine."""
    if not isinstance(estimator, BaseFM):
        raise TypeError(
            f"Only an FMRegressor or FMClassifier can be looked into, got a {type(estimator).__name__}. Of a pipeline "
            "pass the last step, pipeline[-1], with X as pipeline[:-1].transform(X); of a search pass best_estimator_."
        )
    check_is_fitted(estimator)


def groups_of(estimator: Any, by: str, parts: Sequence[Any] = ()) -> Groups:
    """Return the groups of a fitted estimator.

    Parameters
    ----------
    estimator : estimator
    by : {"auto", "field", "column"}
        "auto" is the columns of a DataFrame, else fields, except that dense numeric columns stand alone.
    parts : sequence of ndarray or csr of shape (n_samples, n_columns)
        The rows that are looked at, if any: of single columns only those in use count.
    """
    if by not in ("auto", "field", "column"):
        raise ValueError(f"by must be 'auto', 'field' or 'column', got {by!r}.")
    names = np.asarray(estimator.encoded_feature_names_, object)
    fields = np.asarray(estimator.fields_)
    labels = np.array(
        [str(field) if fields.dtype.kind in "OUS" else f"field {field}" for field in fields], object
    )
    alone = np.zeros(len(names), bool)
    if by == "column":
        alone[:] = True
    elif by == "auto":
        encoder = frame_encoder(estimator)
        if encoder is not None:
            labels = np.array(encoder.names, object)[encoder.sources]
        else:
            alone[estimator._dense_columns] = True
    keys = [(True, j) if alone[j] else (False, label) for j, label in enumerate(labels)]
    numbers: dict[Any, int] = {}
    of_column = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=int)
    shown = [names[key] if is_alone else key for is_alone, key in numbers]
    groups = Groups(np.array(shown, dtype=object), of_column)
    return _in_use(groups, parts, estimator) if by == "column" and parts else groups


def output_of(estimator: Any, class_of_interest: Any) -> int:
    """Return the number of the output that tells of a class, which only models of several outputs need."""
    n_outputs = np.size(estimator.intercept_)
    if n_outputs == 1:
        if class_of_interest is not None and class_of_interest != getattr(estimator, "classes_", [None])[-1]:
            raise ValueError(
                f"class_of_interest={class_of_interest!r} is not needed: this model has one raw prediction, which "
                "rises with the target or the second class. Leave it None."
            )
        return 0
    classes = estimator.classes_.tolist()
    if class_of_interest not in classes:
        raise ValueError(
            f"This model has a raw prediction for each class. class_of_interest must be one of {classes}, got "
            f"{class_of_interest!r}."
        )
    return classes.index(class_of_interest)


def _in_use(groups: Groups, parts: Sequence[Any], estimator: Any) -> Groups:
    """Leave out columns that are zero in all rows: most of them, for a few rows of one-hot encoded data."""
    used = sum(np.asarray((X != 0).sum(0)).ravel() for X in parts) > 0
    used |= np.asarray(estimator._conditioning["center"]) != 0
    rank = np.cumsum(used) - 1
    # Columns that are not in use contribute nothing, wherever they are counted.
    return Groups(groups.names[used], np.where(used, rank, 0) if used.any() else groups.of_column)
