"""The fields of the columns, as users see them and as solvers count them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.matrix.design import DesignMatrix
from ..core.matrix.fields import as_field_labels
from ..core.matrix.tiles import describe_fields
from .frames import FrameEncoder

#: Rows that are used to find the fields where a solver does not need them exactly. Measured: of a million one-hot
#: columns of Zipf frequencies, all but 200 rare ones are told apart.
FIELD_ROWS = 1 << 15


class Fields(NamedTuple):
    """Which columns belong together.

    Attributes
    ----------
    labels : ndarray of shape (n_columns,)
        As users see them: the labels that they gave, the columns of their DataFrame, or numbers.
    numbers : LongTensor of shape (n_columns,)
        Columns of one number share a prior.
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
    encoder : FrameEncoder or None
        Of the DataFrame that the design encodes.
    exact : bool
        Whether all rows are used to find the fields.
    """
    if not isinstance(fields, str):
        return given_fields(fields, design.shape[1], encoder)
    found = describe_fields(design if exact else _some_rows(design))
    if encoder is None:
        return Fields(found.numpy(force=True), found)
    # The encoder knows its categories. Numeric columns are found among the others: they share a prior.
    known = torch.from_numpy(encoder.known_fields).to(found)
    numbers = as_field_labels(torch.where(known >= 0, known, len(encoder.names) + found))
    return Fields(np.array(encoder.names)[encoder.sources], numbers)


def given_fields(fields: Any, n_columns: int, encoder: FrameEncoder | None = None) -> Fields:
    """Return the fields of the user, one label for each column of X."""
    labels = np.asarray(fields)
    n_given = n_columns if encoder is None else len(encoder.names)
    if labels.shape != (n_given,):
        raise ValueError(
            f"fields must be 'auto' or hold one label for each of the {n_given} columns of X, "
            f"got an array of shape {labels.shape}."
        )
    labels = labels if encoder is None else labels[encoder.sources]
    return Fields(labels, as_field_labels(torch.from_numpy(np.unique(labels, return_inverse=True)[1])))


def _some_rows(design: DesignMatrix) -> DesignMatrix:
    """Return at most `FIELD_ROWS` rows, evenly spread: enough to see which columns belong together."""
    n_samples = design.shape[0]
    if n_samples <= FIELD_ROWS:
        return design
    return design.take(torch.arange(0, n_samples, -(-n_samples // FIELD_ROWS), device=design.device))
