"""Ranking of pairs of columns or fields by the strength of their interaction."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._groups import Inspected, groups_of, output_of
from ._terms import CenteredModel, strength_matrix

#: Number of inner products that are computed at a time.
PRODUCTS_PER_BLOCK = 1 << 22


def interaction_strength(
    estimator: Any,
    X: Any = None,
    *,
    by: str = "auto",
    top: int | None = 20,
    class_of_interest: Any = None,
    feature_names: Any = None,
) -> Any:
    """Rank pairs of columns or fields by the strength of their interaction.

    Parameters
    ----------
    estimator : FMRegressor, FMClassifier or Pipeline
        A fitted estimator, a pipeline with one as last step, or a search over one of these.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), default=None
        Samples. If given, the strength of a pair is the root mean square of its interaction over these samples, which
        also are the background: see the parameter ``background`` of :func:`explain`. If None, the strength is computed
        from the factors under the assumption that all categories are equally frequent and independent::

            strength(g, h) = sqrt(trace(C_g C_h))

        Here C_g is the covariance matrix of the factors of the columns of the group g, or ``v v'`` for a single column
        with factors v, which is assumed to have unit variance. This is the root mean square of the interaction over
        all pairs of categories, without main effects.
    by : {"auto", "field", "column"}, default="auto"
        Groups of columns, as in :func:`explain`.
    top : int or None, default=20
        Number of pairs to return. None returns all pairs.
    class_of_interest : object, default=None
        The class whose interactions are ranked. Required if there are more than two classes.
    feature_names : array-like of str of shape (n_columns,), default=None
        Names of the columns of ``coef_``, as in :func:`explain`.

    Returns
    -------
    pairs : pandas.DataFrame of shape (n_pairs, 3)
        The columns ``first``, ``second`` and ``strength``, sorted by decreasing strength. The strengths are in units of
        the raw prediction.

    Raises
    ------
    ImportError
        If pandas is not installed.
    ValueError
        If a table of all pairs would be too large, or if an argument is invalid.

    See Also
    --------
    explain : Decompose raw predictions into an intercept, main effects and pairwise interactions.
    InteractionDisplay : Heat map of the interaction strengths.

    Examples
    --------
    >>> import numpy as np
    >>> from skfm import FMRegressor
    >>> from skfm.inspection import interaction_strength
    >>> X = np.random.default_rng(0).standard_normal((200, 4))
    >>> model = FMRegressor(n_factors=2, random_state=0).fit(X, X[:, 0] * X[:, 2] + 0.1 * X[:, 1] * X[:, 3])
    >>> print(*interaction_strength(model, X).iloc[0, :2])
    x0 x2
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "interaction_strength requires pandas. Install it with: pip install pandas"
        ) from error
    inspected = Inspected.of(estimator, feature_names)
    estimator, X = inspected.model, None if X is None else inspected.encode(X)
    output = output_of(estimator, class_of_interest)
    groups = groups_of(estimator, by, () if X is None else [X], inspected.names)
    if by == "column" and X is None:
        first, second, strength = _strongest_column_pairs(inspected, output, top)
    else:
        first, second = np.triu_indices(len(groups.names), 1)
        strength = strength_matrix(estimator, groups, output, X)[first, second]
    names = groups.names
    order = np.argsort(-strength, kind="stable")[:top]
    return pd.DataFrame(
        {"first": names[first[order]], "second": names[second[order]], "strength": strength[order]}
    )


def _strongest_column_pairs(
    inspected: Inspected, output: int, top: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs of columns of different groups whose inner products have the largest absolute values."""
    V = CenteredModel.of(inspected.model).factors[output]
    apart = groups_of(inspected.model, "auto", (), inspected.names).of_column
    best: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    step = max(1, PRODUCTS_PER_BLOCK // max(1, len(V)))
    for start in range(0, len(V), step):
        products = np.abs(V[start : start + step] @ V[start:].T)
        rows, columns = np.triu_indices(products.shape[0], 1, products.shape[1])
        differ = apart[start + rows] != apart[start + columns]
        rows, columns = rows[differ], columns[differ]
        values = products[rows, columns]
        if top is not None and len(values) > top:
            kept = np.argpartition(-values, top - 1)[:top]
            rows, columns, values = rows[kept], columns[kept], values[kept]
        best.append((start + rows, start + columns, values))
    first, second, values = (np.concatenate(parts) for parts in zip(*best, strict=True))
    return first, second, values
