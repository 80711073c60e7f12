"""Exact decomposition of raw predictions into an intercept, main effects and pairwise interactions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from ._groups import ColumnGroups, Inspected, groups_of
from ._terms import CenteredModel, average_sums, group_sums

#: Maximum number of pair terms in an explanation, over all samples and outputs.
MAX_TERMS = 1 << 27
#: Maximum number of terms and samples that the representation of an explanation shows.
MAX_SHOWN_TERMS, MAX_SHOWN_ROWS = 15, 5


@dataclass(frozen=True, eq=False)
class Explanation:
    """Decomposition of raw predictions into an intercept, main effects and pairwise interactions.

    For a model with more than two classes, `main` and `pairs` have an additional axis for the classes after that of
    the samples.

    Attributes
    ----------
    intercept : float or ndarray of shape (n_classes,)
        The raw prediction of the background. By default, the background is a row in which all centered numeric columns
        are at their means and all other columns are zero.
    main : ndarray of shape (n_samples, n_groups)
        Main effects of the groups of columns.
    pairs : ndarray of shape (n_samples, n_pairs)
        Interactions of pairs of groups.
    names : ndarray of str of shape (n_groups,)
        Names of the groups of columns, which are the columns of a DataFrame, fields or single columns.
    pair_groups : ndarray of int of shape (n_pairs, 2)
        For each pair, the indices in `names` of the two groups. If both are the same, the pair holds the interactions
        within the group, for example of the words of a text.
    classes : ndarray of shape (n_classes,) or None
        The classes, or None if there is no axis for them.
    """

    intercept: Any
    main: np.ndarray
    pairs: np.ndarray
    names: np.ndarray
    pair_groups: np.ndarray
    classes: np.ndarray | None = None

    @property
    def raw(self) -> np.ndarray:
        """The raw predictions, which are the sums of all terms.

        Returns
        -------
        raw : ndarray of shape (n_samples,) or (n_samples, n_classes)
            The raw predictions.
        """
        return self.intercept + self.main.sum(-1) + self.pairs.sum(-1)

    @property
    def pair_names(self) -> list[str]:
        """The names of the pairs.

        Returns
        -------
        names : list of str
            Names of the form "a x b".
        """
        return [" x ".join(self.names[list(pair)]) for pair in self.pair_groups]

    def to_frame(self, row: int = 0, *, class_of_interest: Any = None) -> Any:
        """Return the terms of one prediction, sorted by decreasing absolute value.

        Parameters
        ----------
        row : int, default=0
            Index of the sample.
        class_of_interest : object, default=None
            The class whose raw prediction is explained. Required if there are more than two classes.

        Returns
        -------
        terms : pandas.DataFrame of shape (n_terms, 1)
            The column ``contribution`` with the names of the terms as index. The intercept is the first term. The
            contributions sum to the raw prediction.

        Raises
        ------
        ImportError
            If pandas is not installed.
        ValueError
            If `class_of_interest` is not one of the classes.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "Explanation.to_frame requires pandas. Install it with: pip install pandas"
            ) from error
        main, pairs, intercept = self.main[row], self.pairs[row], self.intercept
        if self.classes is not None:
            classes = self.classes.tolist()
            if class_of_interest not in classes:
                raise ValueError(f"class_of_interest must be one of {classes}, got {class_of_interest!r}.")
            number = classes.index(class_of_interest)
            main, pairs, intercept = main[number], pairs[number], intercept[number]
        values = np.concatenate([[intercept], main, pairs])
        index = pd.Index(["intercept", *self.names, *self.pair_names], name="term")
        terms = pd.DataFrame({"contribution": values}, index)
        order = np.concatenate([[0], 1 + np.argsort(-np.abs(values[1:]), kind="stable")])
        return terms.iloc[order]

    def __repr__(self) -> str:
        summary, table, rest = self._shown()
        return "\n".join([summary, *([] if table is None else [table.to_string()]), *rest])

    def _repr_html_(self) -> str:
        summary, table, rest = self._shown()
        return "\n".join([f"<p>{summary}</p>", *([] if table is None else [table.to_html()]), *rest])

    def _shown(self) -> tuple[str, Any, list[str]]:
        """Return a summary, a table of the largest terms of the first samples, and what the table leaves out."""
        summary = (
            f"Explanation of {_count(len(self.main), 'prediction')} by {_count(len(self.names), 'main effect')} and "
            f"{_count(len(self.pair_groups), 'pair')}"
        )
        try:
            import pandas as pd
        except ImportError:
            return summary, None, []
        terms = np.concatenate([self.main, self.pairs], axis=-1)
        if self.classes is None:
            shown, head = terms[:MAX_SHOWN_ROWS], np.full(min(len(terms), MAX_SHOWN_ROWS), self.intercept)
            columns = pd.RangeIndex(len(shown), name="sample")
        else:
            shown, head = terms[0], self.intercept
            columns = pd.Index(self.classes, name="class")
            summary += f", of sample 0 of {len(terms)}" if len(terms) > 1 else ""
        order = np.argsort(-np.abs(shown).mean(0), kind="stable")[:MAX_SHOWN_TERMS]
        names = np.array([*self.names, *self.pair_names], object)[order]
        table = pd.DataFrame(np.vstack([head, shown[:, order].T]), ["intercept", *names], columns)
        left = [
            _count(n, f"more {what}")
            for n, what in (
                (terms.shape[-1] - len(order), "term"),
                (len(terms) - len(shown) if self.classes is None else 0, "sample"),
            )
            if n
        ]
        return summary, table, [f"... and {' and '.join(left)}"] if left else []


def explain(
    estimator: Any, X: Any, *, by: str = "auto", background: Any = None, feature_names: Any = None
) -> Explanation:
    """Decompose raw predictions exactly into an intercept, main effects and pairwise interactions.

    The raw prediction of a factorization machine is a sum over columns and pairs of columns. This function returns the
    partial sums over groups of columns and pairs of groups. Numeric columns that `fit` has centered are measured from
    their means, so main effects are those at the average values of these columns and do not depend on the origin of
    their units.

    The terms sum to the raw prediction, up to rounding. The raw prediction is the result of ``predict`` of a regressor,
    or its logarithm with the losses "poisson" and "gamma", and the result of ``decision_function`` of a classifier.
    With "vb" and "mcmc", the explained raw predictions are the means over the posterior. ``decision_function`` of a
    classifier with one of these solvers has the same sign, but is closer to zero for samples about which the model
    knows little.

    Parameters
    ----------
    estimator : FMRegressor, FMClassifier or Pipeline
        A fitted estimator, a pipeline with one as last step, or a search over one of these. A pipeline transforms the
        samples and names the columns with ``get_feature_names_out``.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
        The samples, as ``estimator.predict`` takes them.
    by : {"auto", "field", "column"}, default="auto"
        Groups of columns:

        - "column": each column of ``coef_`` is a group.
        - "field": the columns of each field of ``fields_`` are a group.
        - "auto": the columns that were encoded from the same column of a DataFrame are a group. For models fitted to
          other data, the same as "field", except that each dense numeric column is a group.
    background : {array-like, sparse matrix, DataFrame} of shape (n_background, n_features), default=None
        Samples that define the reference of the terms. The main effect of a group is the change of the raw prediction
        if this group has the values of the sample instead of its average over the background, while all other groups
        are at their averages; the interactions are the remainder. With None, the reference is zero for the columns of
        categories and the mean for centered numeric columns.
    feature_names : array-like of str of shape (n_columns,), default=None
        Names of the columns of ``coef_``. With None, they are the names of the columns of a DataFrame, or those that
        the steps of a pipeline give.

    Returns
    -------
    explanation : Explanation
        The terms of the decomposition.

    Raises
    ------
    ValueError
        If the number of terms is too large.

    See Also
    --------
    interaction_strength : Rank pairs of columns or fields by the strength of their interaction.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfm import FMRegressor
    >>> from skfm.inspection import explain
    >>> X = pd.DataFrame({"user": ["Ann", "Bo"] * 20, "film": ["Up", "Up", "Her", "Her"] * 10})
    >>> model = FMRegressor(n_factors=2, random_state=0).fit(X, [5.0, 1.0, 1.0, 5.0] * 10)
    >>> explanation = explain(model, X[:2])
    >>> bool(abs(explanation.raw - model.predict(X[:2])).max() < 1e-9)
    True
    >>> print(explanation.to_frame(0).index[1])
    user x film
    """
    inspected = Inspected.of(estimator, feature_names)
    estimator, X = inspected.model, inspected.encode(X)
    background = None if background is None else inspected.encode(background)
    groups = groups_of(estimator, by, [X] if background is None else [X, background], inspected.names)
    first, second = np.triu_indices(len(groups.names))
    n_outputs = np.size(estimator.intercept_)
    if X.shape[0] * n_outputs * len(first) > MAX_TERMS:
        raise ValueError(
            f"{X.shape[0]} rows with {len(first)} pairs have too many terms. Explain fewer rows, or group columns with "
            "by='field'."
        )
    model = CenteredModel.of(estimator)
    intercept = model.intercept.copy()
    main = np.zeros((X.shape[0], n_outputs, len(groups.names)))
    pairs = np.zeros((X.shape[0], n_outputs, len(first)))
    for b in range(n_outputs):
        average = average_sums(model, groups, background, b)
        intercept[b] += average.raw()
        for sums in group_sums(model, groups, X, b):
            main[sums.rows, b] = sums.main(average)
            pairs[sums.rows, b] = sums.pairs(average, first, second)
    # Omit the pairs of a group with itself for groups of one-hot columns, which have no interactions within the group.
    kept = (first != second) | _has_self_interactions(groups, X, estimator)[first]
    single = n_outputs == 1
    return Explanation(
        float(intercept[0]) if single else intercept,
        main[:, 0] if single else main,
        (pairs[:, 0] if single else pairs)[..., kept],
        groups.names,
        np.column_stack([first, second])[kept],
        None if single else estimator.classes_,
    )


def _count(n: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _has_self_interactions(groups: ColumnGroups, X: Any, estimator: Any) -> np.ndarray:
    """Return a mask of the groups that have more than one non-zero column in a row, so that these interact."""
    n_groups = len(groups.names)
    used = sparse.csr_matrix(X != 0)
    centered = np.asarray(estimator._conditioning["center"]) != 0
    at = np.where(centered, n_groups, groups.of_column)  # centered columns are counted in every row below
    members = sparse.csr_matrix((np.ones(len(at)), (np.arange(len(at)), at)), shape=(len(at), n_groups + 1))
    most = (used @ members).max(0).toarray().ravel()[:n_groups]
    return most + np.bincount(groups.of_column[centered], minlength=n_groups) > 1
