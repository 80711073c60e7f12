"""How strongly pairs of columns or fields interact."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._groups import check_model, groups_of, output_of
from ._terms import CenteredModel, strength_matrix

#: Inner products at a time.
BLOCK = 1 << 22


def interaction_strength(
    estimator: Any, X: Any = None, *, by: str = "auto", top: int | None = 20, class_of_interest: Any = None
) -> Any:
    """Rank pairs of columns or fields by the strength of their interaction.

    Parameters
    ----------
    estimator : FMRegressor or FMClassifier
        Fitted.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), default=None
        Samples. The strength of a pair is then the root mean square over these of its term, counted from their
        averages: see the ``background`` of `explain`. Without them it is worked out from the factors, as if all
        categories were equally frequent and independent::

            strength(g, h) = sqrt(trace(C_g C_h))

        with C the covariance matrix of the factors of a field's columns, or ``v v'`` of a single column of unit
        variance: the root mean square over pairs of categories of what is not a main effect.
    by : {"auto", "field", "column"}, default="auto"
        What is taken together, as in `explain`.
    top : int or None, default=20
        How many pairs to return, None for all.
    class_of_interest : object, default=None
        The class, if there are more than two.

    Returns
    -------
    pairs : pandas.DataFrame of shape (n_pairs, 3)
        Columns ``first``, ``second`` and ``strength``, the strongest first. Strengths are in units of the raw
        prediction.

    Raises
    ------
    ImportError
        If pandas is not installed.

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
            "interaction_strength returns a pandas DataFrame. Install it with: pip install pandas"
        ) from error
    check_model(estimator)
    output = output_of(estimator, class_of_interest)
    X = None if X is None else estimator.encode(X)
    groups = groups_of(estimator, by, () if X is None else [X])
    if by == "column" and X is None:
        first, second, strength = _columns(estimator, output, top)
    else:
        first, second = np.triu_indices(len(groups.names), 1)
        strength = strength_matrix(estimator, groups, output, X)[first, second]
    names = groups.names
    order = np.argsort(-strength, kind="stable")[:top]
    return pd.DataFrame(
        {"first": names[first[order]], "second": names[second[order]], "strength": strength[order]}
    )


def _columns(estimator: Any, output: int, top: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the strongest pairs of columns of different groups, by the absolute value of their inner product."""
    V = CenteredModel.of(estimator).factors[output]
    apart = groups_of(estimator, "auto").of_column
    best: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    step = max(1, BLOCK // max(1, len(V)))
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
