"""Which columns of a DataFrame are encoded, and how, for the parameters of an estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .categories import make_encoder
from .columns import CATEGORY, LIST, NUMERIC, as_frame, column_mask, source_columns
from .frames import FrameEncoder
from .gaps import has_gaps


def plan_encoder(X: Any, estimator: Any) -> FrameEncoder | None:
    """Return an unfitted encoder for the parameters of an estimator.

    None if all columns are numeric and no numbers are missing.
    """
    given = estimator.categorical_features
    from_dtype, takes_all = (isinstance(given, str) and given == name for name in ("from_dtype", "all"))
    has_no_lists = estimator.multi_value_features is None
    if has_no_lists and (given is None or from_dtype) and as_frame(X) is None:
        return None
    columns = list(source_columns(X))
    names = [column.name for column in columns]
    delimiters = _delimiters(estimator.multi_value_features, names)
    if from_dtype or takes_all:
        chosen = np.full(len(columns), takes_all)
    else:
        chosen = column_mask([] if given is None else given, names, "categorical_features")
    kinds = []
    for number, column in enumerate(columns):
        if number in delimiters or (takes_all and column.holds_lists()):
            kinds.append(LIST)
        elif from_dtype:
            kinds.append(column.kind())
        else:
            kinds.append(CATEGORY if chosen[number] else column.kind_of_times() or NUMERIC)
    if all(kind == NUMERIC for kind in kinds) and not has_gaps(X):
        return None
    numeric = [column for column, kind in zip(columns, kinds, strict=True) if kind == NUMERIC]
    # Zeros and ones need no more digits than the other columns have.
    types = [str(column.dtype).lower() for column in numeric if not column.is_boolean()]
    is_float32 = bool(types) and all("float32" in dtype for dtype in types)
    limits = estimator.min_frequency, estimator.max_categories
    return FrameEncoder(
        names,
        kinds,
        [None if kind == NUMERIC else make_encoder(*limits) for kind in kinds],
        [delimiters.get(number) for number in range(len(columns))],
        estimator.multi_value_weights,
        "float32" if is_float32 else "float64",
    )


def _delimiters(given: Any, names: list[str]) -> dict[int, str | None]:
    """Return the delimiters of the columns in `multi_value_features`, by column number."""
    if given is None:
        return {}
    pairs = dict(given) if isinstance(given, Mapping) else dict.fromkeys(given)
    found: dict[int, str | None] = {}
    for key, delimiter in pairs.items():
        if delimiter is not None and (not isinstance(delimiter, str) or not delimiter):
            raise ValueError(
                f"multi_value_features[{key!r}] must be a delimiter such as '|', or None if the values are lists, "
                f"got {delimiter!r}."
            )
        (number,) = np.flatnonzero(column_mask([key], names, "multi_value_features"))
        found[int(number)] = delimiter
    return found
