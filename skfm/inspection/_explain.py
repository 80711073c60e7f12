"""The exact split of raw predictions into an intercept, main effects and pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from ._groups import Groups, check_model, groups_of
from ._terms import CenteredModel, average_sums, group_sums

#: Numbers of an explanation, at most.
LARGEST = 1 << 27


@dataclass(frozen=True, eq=False)
class Explanation:
    """Raw predictions as sums of an intercept, main effects and interactions of pairs.

    A model of several classes has one more axis, for the class, after that of the samples; in `intercept` it is the
    only one.

    Attributes
    ----------
    intercept : float or ndarray of shape (n_classes,)
        The raw prediction for the background: for a row in which every numeric column that was centered is at its
        mean and everything else is zero, unless the user gave another one.
    main : ndarray of shape (n_samples, n_groups)
        Main effects.
    pairs : ndarray of shape (n_samples, n_pairs)
        Interactions.
    names : ndarray of str of shape (n_groups,)
        Of the groups of columns: the columns of a DataFrame, fields or single columns.
    pair_groups : ndarray of int of shape (n_pairs, 2)
        The groups of each pair, numbers of `names`. A group with itself holds the interactions among its own columns,
        as of the words of a text.
    classes : ndarray of shape (n_classes,) or None
        The classes, if there is an axis for them.
    """

    intercept: Any
    main: np.ndarray
    pairs: np.ndarray
    names: np.ndarray
    pair_groups: np.ndarray
    classes: np.ndarray | None = None

    @property
    def raw(self) -> np.ndarray:
        """The sums: the raw predictions, (n_samples,) or (n_samples, n_classes).

        Returns
        -------
        raw : ndarray
            As in the class.
        """
        return self.intercept + self.main.sum(-1) + self.pairs.sum(-1)

    @property
    def pair_names(self) -> list[str]:
        """The names of the pairs.

        Returns
        -------
        names : list of str
            One a pair.
        """
        return [" x ".join(self.names[list(pair)]) for pair in self.pair_groups]

    def to_frame(self, row: int = 0, *, class_of_interest: Any = None) -> Any:
        """Return the terms of one prediction, the largest first.

        Parameters
        ----------
        row : int, default=0
            Number of the sample.
        class_of_interest : object, default=None
            The class, if there are more than two.

        Returns
        -------
        terms : pandas.DataFrame of shape (n_terms,)
            With the term as the index and its ``contribution``. They sum to the raw prediction.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame returns a pandas DataFrame. Install it with: pip install pandas"
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
        return (
            f"Explanation of {len(self.main)} predictions by {len(self.names)} main effects and "
            f"{len(self.pair_groups)} pairs"
        )


def explain(estimator: Any, X: Any, *, by: str = "auto", background: Any = None) -> Explanation:
    """Split raw predictions exactly into an intercept, main effects and interactions of pairs.

    A factorization machine is a sum over columns and pairs of columns; this takes the sums apart, group by group.
    Numeric columns count from their means where `fit` has centered them, so that a main effect is that at average
    values of these columns, whatever the zero of their units. The terms sum to the raw prediction, to rounding: to
    ``predict`` of a regressor, to its logarithm under the losses "poisson" and "gamma", and to ``decision_function``
    of a classifier. With "mcmc" it is the one model of ``coef_`` and ``factors_`` that is explained, whose raw
    predictions are the averages over the draws.

    Parameters
    ----------
    estimator : FMRegressor or FMClassifier
        Fitted.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
        Samples.
    by : {"auto", "field", "column"}, default="auto"
        What is taken together: the columns of ``encoded_feature_names_`` one by one ("column"), those of one of
        ``fields_`` ("field"), or by "auto" those of one column of the DataFrame that the model was fitted to; of
        other models fields, but dense numeric columns one by one.
    background : {array-like, sparse matrix, DataFrame} of shape (n_background, n_features), default=None
        Samples that main effects are counted from: that of a group is then what changes if this group is not at its
        average over these samples but all others are, and pairs are what is left. None is the zero of each category,
        and the mean of each numeric column: an average that the priors of the model aim at.

    Returns
    -------
    explanation : Explanation
        The terms.

    Raises
    ------
    ValueError
        If there would be too many terms to hold.

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
    check_model(estimator)
    X = estimator.encode(X)
    background = None if background is None else estimator.encode(background)
    groups = groups_of(estimator, by, [X] if background is None else [X, background])
    first, second = np.triu_indices(len(groups.names))
    n_outputs = np.size(estimator.intercept_)
    if X.shape[0] * n_outputs * len(first) > LARGEST:
        raise ValueError(
            f"{X.shape[0]} rows of {len(first)} pairs are too many to hold. Explain fewer rows, or take columns "
            "together with by='field'."
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
    # A group of one-hot columns has no interactions of its own.
    kept = (first != second) | _has_own(groups, X, estimator)[first]
    single = n_outputs == 1
    return Explanation(
        float(intercept[0]) if single else intercept,
        main[:, 0] if single else main,
        (pairs[:, 0] if single else pairs)[..., kept],
        groups.names,
        np.column_stack([first, second])[kept],
        None if single else estimator.classes_,
    )


def _has_own(groups: Groups, X: Any, estimator: Any) -> np.ndarray:
    """Tell which groups have several columns in a row: a one-hot encoded category has no interactions of its own."""
    n_groups = len(groups.names)
    used = sparse.csr_matrix(X != 0)
    centered = np.asarray(estimator._conditioning["center"]) != 0
    at = np.where(centered, n_groups, groups.of_column)  # these count in every row
    members = sparse.csr_matrix((np.ones(len(at)), (np.arange(len(at)), at)), shape=(len(at), n_groups + 1))
    most = (used @ members).max(0).toarray().ravel()[:n_groups]
    return most + np.bincount(groups.of_column[centered], minlength=n_groups) > 1
