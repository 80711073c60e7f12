"""Encoding of DataFrames with categorical columns as matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.preprocessing import OneHotEncoder

from .categories import (
    codes_of,
    count_new,
    encoded_width,
    fit_categories,
    infrequent_categories,
    list_block,
    one_hot_block,
    values_of,
)
from .columns import (
    DATE,
    DURATION,
    NUMERIC,
    SourceColumn,
    source_columns,
)
from .dates import DAYS, derive_parts, derived_columns, derived_kind, derived_name
from .gaps import MISSING_SUFFIX, fill_gaps, has_gaps, mean_of, means_of_table

#: Suffix of the name of the column for unknown categories.
UNSEEN = "(unseen)"


@dataclass(frozen=True)
class FrameEncoder:
    """Encodes the columns of a DataFrame as columns of a matrix, in the same order.

    A numeric column remains a single column, with the mean of the column in the place of missing numbers. If numbers
    are missing in the training data, a column of zeros and ones that indicates these follows.

    A categorical column is one-hot encoded, with one column per category and a last column for unknown categories,
    which are those that did not occur in `fit`. This last column is zero in the training data, so a Bayesian solver
    leaves its parameters at the prior of the field. A column of lists, which has several categories per row, is encoded
    in the same way.

    Attributes
    ----------
    names : list of str
        Names of the columns of the DataFrame.
    kinds : list of {"numeric", "category", "list"}
        Kind of each column.
    encoders : list of OneHotEncoder or None
        Encoder of each column; None for numeric columns.
    delimiters : list of str or None
        Delimiter between the categories in a string; None for columns that are not strings with several categories.
    weights : str
        Weights of the categories of columns of lists, a key of `LIST_WEIGHTS`.
    dtype : str
        Data type of the matrix.
    means : list of float or None
        Mean of each numeric column, by which missing numbers are replaced; None for columns in which numbers must not
        be missing: booleans, and the columns of arrays. None before `fit_transform`, and in models saved by earlier
        versions.
    indicators : list of bool, or None
        Whether numbers of the column were missing in the training data.
    parts : list of dict, or None
        What is derived from columns of dates and durations: see `derive_parts`. If it is not None, all other attributes
        describe the derived columns.
    """

    names: list[str]
    kinds: list[str]
    encoders: list[OneHotEncoder | None]
    delimiters: list[str | None]
    weights: str
    dtype: str
    means: list[float | None] | None = None
    indicators: list[bool] | None = None
    parts: list[dict[str, Any]] | None = None

    def _columns(self, X: Any) -> Iterator[tuple[SourceColumn, str, OneHotEncoder | None, str | None]]:
        columns = source_columns(X)
        if self.parts is not None:
            columns = derived_columns(list(columns), self.parts)
        return zip(columns, self.kinds, self.encoders, self.delimiters, strict=True)

    @classmethod
    def of_numbers(cls, X: Any, table: Any, weight: np.ndarray) -> FrameEncoder:
        """Return the encoder of a DataFrame of numbers without gaps: see `means_of_table`."""
        names = [column.name for column in source_columns(X)]
        n = len(names)
        means = means_of_table(X, table, weight)
        return cls(names, [NUMERIC] * n, [None] * n, [None] * n, "one", str(table.dtype), means, [False] * n)

    @property
    def is_trivial(self) -> bool:
        """Whether the encoding of rows without gaps is the table of their numbers."""
        return set(self.kinds) == {NUMERIC} and not any(self._indicators) and self.parts is None

    @property
    def _indicators(self) -> list[bool]:
        return [False] * len(self.names) if self.indicators is None else self.indicators

    def fit_transform(self, X: Any, weight: np.ndarray) -> tuple[Any, FrameEncoder]:
        """Return the encoded matrix and the fitted encoder.

        Parameters
        ----------
        X : DataFrame or ndarray
        weight : ndarray of shape (n_samples,)
            Positive.
        """
        plan = self._derived(X)
        means: list[float | None] = []
        indicators = []
        for column, kind, *_ in plan._columns(X):
            mean, has_missing = None, False
            if kind == NUMERIC and column.can_have_gaps():
                numbers = column.numbers(self.dtype, allow_missing=True)
                mean, has_missing = mean_of(numbers, weight, column.name), bool(np.isnan(numbers).any())
            means.append(mean)
            indicators.append(has_missing)
        encoder = replace(plan, means=means, indicators=indicators)
        return encoder._transform(X, learn=True), encoder

    def _derived(self, X: Any) -> FrameEncoder:
        """Return an encoder of the columns that are derived from the training data."""
        if not {DATE, DURATION} & set(self.kinds):
            return self
        parts = derive_parts(list(source_columns(X)), self.kinds)
        origins = [part["column"] for part in parts]
        kinds = [
            derived_kind(self.kinds[number], part["part"])
            for number, part in zip(origins, parts, strict=True)
        ]
        return replace(
            self,
            names=[
                derived_name(self.names[number], part["part"])
                for number, part in zip(origins, parts, strict=True)
            ],
            kinds=kinds,
            encoders=[
                None if kind == NUMERIC else clone(self.encoders[number])
                for kind, number in zip(kinds, origins, strict=True)
            ],
            delimiters=[self.delimiters[number] for number in origins],
            parts=parts,
        )

    def transform(self, X: Any) -> Any:
        """Return the encoded matrix: sparse, or dense if there are neither categories nor lists."""
        return self._transform(X, learn=False)

    def _transform(self, X: Any, *, learn: bool) -> Any:
        blocks: list[Any] = []
        one_hot_run: list[tuple[np.ndarray, int]] = []
        means = [None] * len(self.names) if self.means is None else self.means
        for (column, kind, encoder, delimiter), mean, indicate in zip(
            self._columns(X), means, self._indicators, strict=True
        ):
            if encoder is None:
                is_fillable = mean is not None and column.can_have_gaps()
                numbers = column.numbers(self.dtype, allow_missing=is_fillable)
                block: Any = fill_gaps(numbers, mean, indicate=indicate)
            else:
                values, lengths = values_of(column, kind, delimiter)
                if learn:
                    fit_categories(encoder, values, column.name)
                codes = codes_of(encoder, values, column.name)
                if lengths is None:
                    # Encode consecutive categorical columns as one block, since stacking fewer blocks is faster.
                    one_hot_run.append((codes, encoded_width(encoder)))
                    continue
                block = list_block(codes, lengths, encoded_width(encoder), self.weights, self.dtype)
            blocks += [*_flush(one_hot_run, self.dtype), block]
        blocks += _flush(one_hot_run, self.dtype)
        if set(self.kinds) == {NUMERIC}:
            return np.hstack(blocks)
        blocks = [sparse.csr_matrix(block) for block in blocks]
        return blocks[0] if len(blocks) == 1 else sparse.hstack(blocks, format="csr", dtype=self.dtype)

    def count_new(self, X: Any, encoded: sparse.csr_matrix, skipped: set[str]) -> dict[str, int]:
        """Return the number of unknown categories of each column that has any.

        Parameters
        ----------
        X : DataFrame or ndarray
        encoded : csr_matrix of shape (n_samples, n_encoded)
            The same rows, encoded. Categories are counted only where these have unknown or rare ones.
        skipped : set of str
            Names of the columns that are left out.
        """
        if not any(self.encoders):
            return {}
        entries = np.bincount(encoded.indices, minlength=encoded.shape[1])
        found = {}
        for (column, kind, encoder, delimiter), end in zip(
            self._columns(X), np.cumsum(self.widths), strict=True
        ):
            if encoder is None or column.name in skipped:
                continue
            # Unknown categories are in the last column, or together with the rare ones if there are any.
            if not entries[end - 1] and not infrequent_categories(encoder):
                continue
            if n := count_new(encoder, values_of(column, kind, delimiter)[0]):
                found[column.name] = n
        return found

    @property
    def widths(self) -> list[int]:
        """Number of columns of the matrix for each column of the DataFrame."""
        return [
            1 + indicate if encoder is None else encoded_width(encoder)
            for encoder, indicate in zip(self.encoders, self._indicators, strict=True)
        ]

    @property
    def sources(self) -> np.ndarray:
        """Index of the column, in `names`, from which each column of the matrix is derived."""
        return np.repeat(np.arange(len(self.names)), self.widths)

    @property
    def origins(self) -> np.ndarray:
        """Index of the DataFrame's column from which each of the columns `names` is derived."""
        if self.parts is None:
            return np.arange(len(self.names))
        return np.array([part["column"] for part in self.parts])

    @property
    def encoded_names(self) -> np.ndarray:
        """Name of each column of the matrix."""
        names: list[str] = []
        parts = [None] * len(self.names) if self.parts is None else [part["part"] for part in self.parts]
        for name, encoder, indicate, part in zip(
            self.names, self.encoders, self._indicators, parts, strict=True
        ):
            if encoder is None:
                # A missing date is indicated next to its days.
                source = name.removesuffix(f" ({DAYS})") if part == DAYS else name
                names += [name, f"{source} {MISSING_SUFFIX}"] if indicate else [name]
            else:
                names += [*encoder.get_feature_names_out([name]), f"{name}_{UNSEEN}"]
        return np.array(names, dtype=object)

    @property
    def known_fields(self) -> np.ndarray:
        """Index of the categorical column that each column of the matrix encodes, or -1 for numeric columns."""
        is_numeric = np.array([kind == NUMERIC for kind in self.kinds])
        return np.where(is_numeric[self.sources], -1, self.sources)

    @property
    def unseen(self) -> np.ndarray:
        """Mask of the columns of the matrix for unknown categories."""
        last = np.zeros(sum(self.widths), bool)
        ends = np.cumsum(self.widths) - 1
        last[ends[[encoder is not None for encoder in self.encoders]]] = True
        return last

    def categories(self, number: int) -> list[Any]:
        """Return the categories of the columns that encode a column of the DataFrame, without unknown categories."""
        encoder = self.encoders[number]
        assert encoder is not None  # for the type checker
        values, rare = encoder.categories_[0].tolist(), infrequent_categories(encoder)
        return [*(value for value in values if value not in rare), "infrequent_sklearn"] if rare else values

    def attributes(self) -> dict[str, Any]:
        """Return the attributes from which this encoder can be rebuilt: plain objects and encoders of scikit-learn."""
        return dict(vars(self))


def stored_encoder(estimator: Any) -> FrameEncoder | None:
    """Return the encoder of an estimator that was fitted to a DataFrame, or to an array with categories."""
    state = getattr(estimator, "_frame", None)
    return None if state is None else FrameEncoder(**state)


def frame_encoder(estimator: Any) -> FrameEncoder | None:
    """Return the encoder of a fitted estimator, or None if it does not encode its columns."""
    encoder = stored_encoder(estimator)
    return None if encoder is None or encoder.is_trivial else encoder


def filling_encoder(estimator: Any, X: Any) -> FrameEncoder | None:
    """Return the encoder of a fitted estimator, or None if it does not encode its columns and X has no gaps."""
    encoder = stored_encoder(estimator)
    return None if encoder is None or (encoder.is_trivial and not has_gaps(X)) else encoder


def _flush(run: list[tuple[np.ndarray, int]], dtype: str) -> list[sparse.csr_matrix]:
    """Return a list with one block for the collected one-hot columns, if there are any, and clear these."""
    if not run:
        return []
    codes, widths = zip(*run, strict=True)
    run.clear()
    return [one_hot_block(list(codes), list(widths), dtype)]
