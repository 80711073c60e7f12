"""Groups of columns that are explained together, and their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._base import BaseFM
from ..data.frames import frame_encoder


class ColumnGroups(NamedTuple):
    """Groups of columns.

    Attributes
    ----------
    names : ndarray of str of shape (n_groups,)
        Names of the groups.
    of_column : ndarray of int of shape (n_columns,)
        The group of each column.
    """

    names: np.ndarray
    of_column: np.ndarray


def check_model(estimator: Any) -> None:
    """Raise a TypeError or NotFittedError if an object is not a fitted factorization machine."""
    if not isinstance(estimator, BaseFM):
        raise TypeError(
            f"estimator must be an FMRegressor or FMClassifier, got a {type(estimator).__name__}. For a pipeline, pass "
            "the last step, pipeline[-1], and X as pipeline[:-1].transform(X); for a search, pass best_estimator_."
        )
    check_is_fitted(estimator)


def groups_of(estimator: Any, by: str, parts: Sequence[Any] = ()) -> ColumnGroups:
    """Return the groups of a fitted estimator.

    Parameters
    ----------
    estimator : FMRegressor or FMClassifier
        A fitted estimator.
    by : {"auto", "field", "column"}
        How columns are grouped. "auto" groups by the columns of the DataFrame if there was one, else by fields, with
        one group per dense numeric column.
    parts : sequence of ndarray or csr matrix of shape (n_samples, n_columns)
        Encoded samples. If given, columns that are zero in all of them are omitted from the groups of "column".
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
    groups = ColumnGroups(np.array(shown, dtype=object), of_column)
    return _restrict_to_used_columns(groups, parts, estimator) if by == "column" and parts else groups


def output_of(estimator: Any, class_of_interest: Any) -> int:
    """Return the index of the output for a class, and check that a class is given only if there are several outputs."""
    n_outputs = np.size(estimator.intercept_)
    if n_outputs == 1:
        if class_of_interest is not None and class_of_interest != getattr(estimator, "classes_", [None])[-1]:
            raise ValueError(
                f"class_of_interest={class_of_interest!r} cannot be used with this model, which has a single raw "
                "prediction for the target or the second class. Pass class_of_interest=None."
            )
        return 0
    classes = estimator.classes_.tolist()
    if class_of_interest not in classes:
        raise ValueError(
            f"class_of_interest must be one of {classes}, since this model has one raw prediction per class, got "
            f"{class_of_interest!r}."
        )
    return classes.index(class_of_interest)


def _restrict_to_used_columns(groups: ColumnGroups, parts: Sequence[Any], estimator: Any) -> ColumnGroups:
    """Omit the columns that are zero in all rows, which are most columns for a few rows of one-hot encoded data."""
    used = sum(np.asarray((X != 0).sum(0)).ravel() for X in parts) > 0
    used |= np.asarray(estimator._conditioning["center"]) != 0
    rank = np.cumsum(used) - 1
    # Unused columns contribute nothing, so they can be assigned to any group.
    return ColumnGroups(groups.names[used], np.where(used, rank, 0) if used.any() else groups.of_column)
