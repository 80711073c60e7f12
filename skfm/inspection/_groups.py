"""Groups of columns that are explained together, and their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
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


class Inspected(NamedTuple):
    """A fitted model and the steps of a pipeline before it.

    Attributes
    ----------
    model : FMRegressor or FMClassifier
    steps : list of Pipeline
        The transformers of nested pipelines, the outer ones first.
    names : ndarray of str of shape (n_columns,)
        Names of the columns of ``coef_``.
    """

    model: Any
    steps: list[Any]
    names: np.ndarray

    @classmethod
    def of(cls, estimator: Any, feature_names: Any = None) -> Inspected:
        """Return the model in an estimator, a pipeline or a search. Raise an error if it is not fitted.

        Parameters
        ----------
        estimator : FMRegressor, FMClassifier, Pipeline or a search over one of these
        feature_names : array-like of str of shape (n_columns,) or None
            Names that replace those of the model and of the pipeline.
        """
        model, steps = estimator, []
        while not isinstance(model, BaseFM):
            if isinstance(model, Pipeline) and len(model.steps):
                steps.append(model[:-1])
                model = model[-1]
            elif hasattr(model, "best_estimator_"):
                model = model.best_estimator_
            else:
                raise TypeError(
                    "estimator must be an FMRegressor or FMClassifier, a Pipeline with one as last step, or a fitted "
                    f"search over these, got a {type(estimator).__name__}."
                )
        check_is_fitted(model)
        if feature_names is not None:
            names = np.asarray(feature_names, object)
            n_columns = np.shape(model.coef_)[-1]
            if names.shape != (n_columns,):
                raise ValueError(
                    f"feature_names must hold one name for each of the {n_columns} columns of coef_, got an array of "
                    f"shape {names.shape}."
                )
            return cls(model, steps, names)
        return cls(model, steps, _names_of(model, steps))

    def transform(self, X: Any) -> Any:
        """Return X as the model takes it."""
        for step in self.steps:
            X = step.transform(X) if len(step.steps) else X
        return X

    def encode(self, X: Any) -> Any:
        """Return X in the columns of ``coef_``."""
        return self.model.encode(self.transform(X))


def _names_of(model: Any, steps: list[Any]) -> np.ndarray:
    """Return the names that the model knows from a DataFrame, or else those that the steps before it give."""
    known = np.asarray(model.encoded_feature_names_, object)
    if hasattr(model, "feature_names_in_"):
        return known
    names = None
    for step in steps:
        if not len(step.steps):
            continue
        try:
            names = step.get_feature_names_out(names)
        except (AttributeError, ValueError, NotFittedError):
            # Not every transformer knows the names of its output.
            return known
    return known if names is None or len(names) != len(known) else np.asarray(names, object)


def groups_of(estimator: Any, by: str, parts: Sequence[Any], names: np.ndarray) -> ColumnGroups:
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
    names : ndarray of str of shape (n_columns,)
        Names of the columns.
    """
    if by not in ("auto", "field", "column"):
        raise ValueError(f"by must be 'auto', 'field' or 'column', got {by!r}.")
    labels = _field_labels(np.asarray(estimator.fields_), names)
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


def _field_labels(fields: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return the label of the field of each column.

    Fields that were found are numbered. One whose columns have names that begin in the same way up to an underscore, as
    those of an encoder do, is called by this beginning.
    """
    if fields.dtype.kind in "OUS":
        return np.array([str(field) for field in fields], object)
    numbers, of_column = np.unique(fields, return_inverse=True)
    prefixes = []
    for number in range(len(numbers)):
        members = [str(name) for name in names[of_column == number]]
        if len(members) == 1:
            prefixes.append("" if re.fullmatch(r"x\d+", members[0]) else members[0])
        else:
            first, last = min(members), max(members)
            same = [a == b for a, b in zip(first, last, strict=False)]
            prefixes.append(first[: [*same, False].index(False)].rpartition("_")[0].rstrip("_"))
    shown = [
        prefix if prefix and prefixes.count(prefix) == 1 else f"field {number}"
        for number, prefix in zip(numbers, prefixes, strict=True)
    ]
    return np.array(shown, object)[of_column]


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
