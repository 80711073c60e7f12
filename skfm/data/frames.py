"""From DataFrames with categories to the matrix of a factorization machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.preprocessing import OneHotEncoder

from .categories import (
    codes_of,
    fit_categories,
    list_block,
    one_hot,
    one_hot_block,
    rare_categories,
    values_of,
    width,
)
from .columns import (
    CATEGORY,
    LIST,
    NUMERIC,
    SourceColumn,
    as_frame,
    selected,
    source_columns,
)

#: The column of categories that the training data did not have, after the name of the field.
UNSEEN = "(unseen)"


@dataclass(frozen=True)
class FrameEncoder:
    """How the columns of a DataFrame become those of a matrix, in the same order.

    A numeric column stays one column. A category becomes one column for each of its values, and a last one for
    values that were not there when it learned. That one is all zeros in the training data, so that a solver leaves it
    at the prior of its field. A column of lists has several values a row, and is encoded in the same way.

    Attributes
    ----------
    names : list of str
        Of the columns of the DataFrame.
    kinds : list of {"numeric", "category", "list"}
    encoders : list of OneHotEncoder or None
        None for numeric columns.
    delimiters : list of str or None
        What separates the values of a column of lists that are written as strings.
    weights : str
        A key of `LIST_WEIGHTS`.
    dtype : str
        Of the matrix.
    """

    names: list[str]
    kinds: list[str]
    encoders: list[OneHotEncoder | None]
    delimiters: list[str | None]
    weights: str
    dtype: str

    @classmethod
    def plan(cls, X: Any, estimator: Any) -> FrameEncoder | None:
        """Return what the parameters of an estimator make of the columns of X. None if all are numeric."""
        given = estimator.categorical_features
        from_dtype = isinstance(given, str)
        no_more = estimator.multi_value_features is None
        if no_more and (given is None or (from_dtype and as_frame(X) is None)):
            return None
        columns = list(source_columns(X))
        names = [column.name for column in columns]
        delimiters = _delimiters(estimator.multi_value_features, names)
        if from_dtype:
            chosen = np.zeros(len(columns), bool)
        else:
            chosen = selected([] if given is None else given, names, "categorical_features")
        kinds = []
        for number, column in enumerate(columns):
            if number in delimiters:
                kinds.append(LIST)
            elif from_dtype:
                kinds.append(column.kind())
            else:
                kinds.append(CATEGORY if chosen[number] else NUMERIC)
        if all(kind == NUMERIC for kind in kinds):
            return None
        numeric = [column for column, kind in zip(columns, kinds, strict=True) if kind == NUMERIC]
        narrow = bool(numeric) and all("float32" in str(column.dtype).lower() for column in numeric)
        limits = estimator.min_frequency, estimator.max_categories
        return cls(
            names,
            kinds,
            [None if kind == NUMERIC else one_hot(*limits) for kind in kinds],
            [delimiters.get(number) for number in range(len(columns))],
            estimator.multi_value_weights,
            "float32" if narrow else "float64",
        )

    def _columns(self, X: Any) -> Iterator[tuple[SourceColumn, str, OneHotEncoder | None, str | None]]:
        return zip(source_columns(X), self.kinds, self.encoders, self.delimiters, strict=True)

    def fit_transform(self, X: Any) -> sparse.csr_matrix:
        """Learn the categories, and return the matrix."""
        return self._transform(X, learn=True)

    def transform(self, X: Any) -> sparse.csr_matrix:
        """Return the matrix."""
        return self._transform(X, learn=False)

    def _transform(self, X: Any, *, learn: bool) -> sparse.csr_matrix:
        blocks: list[Any] = []
        one_hot_run: list[tuple[np.ndarray, int]] = []
        for column, kind, encoder, delimiter in self._columns(X):
            if encoder is None:
                block = sparse.csr_matrix(column.numbers(self.dtype)[:, None])
            else:
                values, lengths = values_of(column, kind, delimiter)
                if learn:
                    fit_categories(encoder, values, column.name)
                codes = codes_of(encoder, values, column.name)
                if lengths is None:
                    # Neighbors of this kind are one block: stacking few blocks is faster.
                    one_hot_run.append((codes, width(encoder)))
                    continue
                block = list_block(codes, lengths, width(encoder), self.weights, self.dtype)
            blocks += [*_flushed(one_hot_run, self.dtype), block]
        blocks += _flushed(one_hot_run, self.dtype)
        return blocks[0] if len(blocks) == 1 else sparse.hstack(blocks, format="csr", dtype=self.dtype)

    @property
    def widths(self) -> list[int]:
        """Number of columns of the matrix that each column of the DataFrame has."""
        return [1 if encoder is None else width(encoder) for encoder in self.encoders]

    @property
    def sources(self) -> np.ndarray:
        """Number of the DataFrame's column that each column of the matrix comes from."""
        return np.repeat(np.arange(len(self.names)), self.widths)

    @property
    def encoded_names(self) -> np.ndarray:
        """Name of each column of the matrix."""
        names: list[str] = []
        for name, encoder in zip(self.names, self.encoders, strict=True):
            if encoder is None:
                names.append(name)
            else:
                names += [*encoder.get_feature_names_out([name]), f"{name}_{UNSEEN}"]
        return np.array(names, dtype=object)

    @property
    def known_fields(self) -> np.ndarray:
        """Number of the column that each column of the matrix one-hot encodes, -1 for numeric ones."""
        is_numeric = np.array([kind == NUMERIC for kind in self.kinds])
        return np.where(is_numeric[self.sources], -1, self.sources)

    @property
    def unseen(self) -> np.ndarray:
        """Which columns of the matrix are for values that were not there, a mask."""
        last = np.zeros(sum(self.widths), bool)
        ends = np.cumsum(self.widths) - 1
        last[ends[[encoder is not None for encoder in self.encoders]]] = True
        return last

    def categories(self, number: int) -> list[Any]:
        """Return the values that the columns of a category stand for, without the last one."""
        encoder = self.encoders[number]
        assert encoder is not None  # for the type checker
        values, rare = encoder.categories_[0].tolist(), rare_categories(encoder)
        return [*(value for value in values if value not in rare), "infrequent_sklearn"] if rare else values

    def attributes(self) -> dict[str, Any]:
        """Return all that it takes to make this encoder again: plain objects and encoders of scikit-learn."""
        return dict(vars(self))


def frame_encoder(estimator: Any) -> FrameEncoder | None:
    """Return the encoder of an estimator, None if it takes its columns as they are."""
    state = getattr(estimator, "_frame", None)
    return None if state is None else FrameEncoder(**state)


def _flushed(run: list[tuple[np.ndarray, int]], dtype: str) -> list[sparse.csr_matrix]:
    """Return the block of the one-hot columns so far, which are then forgotten, or none."""
    if not run:
        return []
    codes, widths = zip(*run, strict=True)
    run.clear()
    return [one_hot_block(list(codes), list(widths), dtype)]


def _delimiters(given: Any, names: list[str]) -> dict[int, str | None]:
    """Return the delimiter of each column that the user calls one of lists, by its number."""
    if given is None:
        return {}
    pairs = dict(given) if isinstance(given, Mapping) else dict.fromkeys(given)
    found: dict[int, str | None] = {}
    for key, delimiter in pairs.items():
        if delimiter is not None and (not isinstance(delimiter, str) or not delimiter):
            raise ValueError(
                f"multi_value_features[{key!r}] must be a delimiter such as '|', or None for values that are lists, "
                f"got {delimiter!r}."
            )
        (number,) = np.flatnonzero(selected([key], names, "multi_value_features"))
        found[int(number)] = delimiter
    return found
