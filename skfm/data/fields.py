"""The fields of the columns: the labels for users, and the numbers for solvers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.matrix.design import DesignMatrix
from ..core.matrix.fields import as_field_labels
from ..core.matrix.tiles import describe_fields
from .frames import FrameEncoder

#: Number of rows from which the fields are inferred if the solver does not need them exactly. In an experiment with a
#: million one-hot columns with Zipf-distributed frequencies, all but 200 rare columns were assigned correctly.
MAX_FIELD_ROWS = 1 << 15


class Fields(NamedTuple):
    """The field of each column.

    Attributes
    ----------
    labels : ndarray of shape (n_columns,)
        Labels for users: those that were given, the names of the columns of a DataFrame, or numbers.
    numbers : LongTensor of shape (n_columns,)
        Field numbers for solvers. Columns with the same number share a prior.
    """

    labels: np.ndarray
    numbers: Tensor


def fields_of(fields: Any, design: DesignMatrix, encoder: FrameEncoder | None, *, exact: bool) -> Fields:
    """Return the fields of the columns of a design.

    Parameters
    ----------
    fields : "auto" or array-like
        The parameter of the estimator.
    design : DesignMatrix
        The encoded data.
    encoder : FrameEncoder or None
        Encoder of the DataFrame.
    exact : bool
        Whether to infer the fields from all rows, not from a sample of rows.
    """
    if not isinstance(fields, str):
        return given_fields(fields, design.shape[1], encoder)
    found = describe_fields(design if exact else _sample_rows(design))
    if encoder is None:
        return Fields(found.numpy(force=True), found)
    # The fields of categorical columns are known from the encoder. Those of numeric columns are inferred.
    known = torch.from_numpy(encoder.known_fields).to(found)
    numbers = as_field_labels(torch.where(known >= 0, known, len(encoder.names) + found))
    return Fields(np.array(encoder.names)[encoder.sources], numbers)


def given_fields(fields: Any, n_columns: int, encoder: FrameEncoder | None = None) -> Fields:
    """Return the fields that the user has given as one label per column of X."""
    labels = np.asarray(fields)
    n_given = n_columns if encoder is None else int(encoder.origins[-1]) + 1
    if labels.shape != (n_given,):
        raise ValueError(
            f"fields must be 'auto' or hold one label for each of the {n_given} columns of X, "
            f"got an array of shape {labels.shape}."
        )
    labels = labels if encoder is None else labels[encoder.origins[encoder.sources]]
    return Fields(labels, as_field_labels(torch.from_numpy(np.unique(labels, return_inverse=True)[1])))


def _sample_rows(design: DesignMatrix) -> DesignMatrix:
    """Return at most `MAX_FIELD_ROWS` evenly spaced rows."""
    n_samples = design.shape[0]
    if n_samples <= MAX_FIELD_ROWS:
        return design
    return design.take(torch.arange(0, n_samples, -(-n_samples // MAX_FIELD_ROWS), device=design.device))
