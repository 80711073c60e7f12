"""Plot of the factors of the categories of a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils._optional_dependencies import check_matplotlib_support

from ..data.frames import frame_encoder
from ._groups import Inspected, groups_of, output_of
from ._labels import place_labels


class EmbeddingDisplay:
    """Scatter plot of the first two principal components of the factors of a column's categories.

    It is recommended to use `from_estimator` to create an instance.

    Parameters
    ----------
    points : ndarray of shape (n_categories, 2)
        First two principal components of the factors.
    labels : sequence of str of length n_categories
        Names of the categories.
    explained : ndarray of shape (2,)
        Fraction of the variance that each component explains.
    name : str
        Name of the column.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the plot.
    figure_ : matplotlib Figure
        Figure containing the plot.
    scatter_ : matplotlib PathCollection
        The points.
    text_ : list of matplotlib Text
        The labels of the points.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfm import FMRegressor
    >>> from skfm.inspection import EmbeddingDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"shop": rng.choice(list("abcdef"), 300), "kind": rng.choice(list("uvw"), 300)})
    >>> y = (X["shop"] < "d") * (X["kind"] == "u") + rng.normal(0, 0.1, 300)
    >>> display = EmbeddingDisplay.from_estimator(FMRegressor(n_factors=2, random_state=0).fit(X, y), "shop")
    >>> [text.get_text() for text in display.text_]
    ['a', 'b', 'c', 'd', 'e', 'f']
    >>> plt.close()
    """

    def __init__(
        self, *, points: np.ndarray, labels: Sequence[str], explained: np.ndarray, name: str
    ) -> None:
        self.points = points
        self.labels = labels
        self.explained = explained
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        column: Any,
        *,
        labeled: int | Sequence[Any] = 30,
        class_of_interest: Any = None,
        ax: Any = None,
        feature_names: Any = None,
    ) -> EmbeddingDisplay:
        """Plot the categories of a column of a fitted estimator.

        Parameters
        ----------
        estimator : FMRegressor, FMClassifier or Pipeline
            A fitted estimator, a pipeline with one as last step, or a search over one of these.
        column : str or int
            Name of a categorical column of the DataFrame that the model was fitted to. For models fitted to other data,
            one of the labels in ``fields_``, or a name that :func:`explain` gives to a field.
        labeled : int or sequence, default=30
            The categories to label, or the number of categories to label, those farthest from the origin.
            Labels do not cover each other: those that find no place are left out, the ones nearest to the origin first.
        class_of_interest : object, default=None
            The class whose factors are plotted. Required if there are more than two classes.
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.
        feature_names : array-like of str of shape (n_columns,), default=None
            Names of the columns of ``coef_``, as in :func:`explain`.

        Returns
        -------
        display : EmbeddingDisplay
            The display object.

        Raises
        ------
        ValueError
            If there is no such column, or if it has fewer than two categories or no factors.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        inspected = Inspected.of(estimator, feature_names)
        vectors, labels = _vectors(inspected, column, output_of(inspected.model, class_of_interest))
        if len(vectors) < 2 or vectors.shape[1] < 1:
            raise ValueError(
                f"Column {column!r} has {len(vectors)} categories and {vectors.shape[1]} factors, but the plot "
                "requires at least two categories and one factor. Choose another column, or fit with n_factors >= 1."
            )
        pca = PCA(min(2, *vectors.shape)).fit(vectors)
        points, explained = np.zeros((len(vectors), 2)), np.zeros(2)
        points[:, : pca.n_components_] = pca.transform(vectors)
        # The fractions are undefined (NaN) if all vectors are equal.
        explained[: pca.n_components_] = np.nan_to_num(pca.explained_variance_ratio_)
        display = cls(points=points, labels=labels, explained=explained, name=str(column))
        return display.plot(ax=ax, labeled=labeled)

    def plot(self, *, ax: Any = None, labeled: int | Sequence[Any] = 30) -> EmbeddingDisplay:
        """Plot the principal components of the factors.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.
        labeled : int or sequence, default=30
            The categories to label, or the number of categories to label, those farthest from the origin.
            Labels do not cover each other: those that find no place are left out, the ones nearest to the origin first.

        Returns
        -------
        display : EmbeddingDisplay
            This display object.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(6, 6), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        chosen = self._chosen(labeled)
        faint = np.ones(len(self.points))
        faint[len(chosen) < len(faint)] = 0.4
        self.scatter_ = ax.scatter(*self.points.T, s=14, alpha=faint)
        ax.set_xlabel(f"first component ({self.explained[0]:.0%} of the variance)")
        ax.set_ylabel(f"second component ({self.explained[1]:.0%})")
        ax.set_title(f"Factors of {self.name}")
        # The labels of the points farthest from the origin are placed first.
        rank = np.argsort(-np.square(self.points[chosen]).sum(1), kind="stable")
        order = np.array(chosen, int)[rank]
        texts = place_labels(ax, self.points[order], [self.labels[i] for i in order], fontsize=8)
        placed = {i: text for i, text in zip(order.tolist(), texts, strict=True) if text is not None}
        self.text_ = [placed[i] for i in chosen if i in placed]
        return self

    def _chosen(self, labeled: int | Sequence[Any]) -> list[int]:
        """Return the indices of the categories to label."""
        if isinstance(labeled, int):
            distance = np.square(self.points).sum(1)
            return sorted(np.argsort(-distance, kind="stable")[:labeled].tolist())
        places = {label: i for i, label in enumerate(self.labels)}
        unknown = [label for label in map(str, labeled) if label not in places]
        if unknown:
            raise ValueError(
                f"labeled contains the category {unknown[0]!r}, which column {self.name!r} does not have."
            )
        return [places[str(label)] for label in labeled]


def _vectors(inspected: Inspected, column: Any, output: int) -> tuple[np.ndarray, list[str]]:
    """Return the factors of the categories of a column, and their names."""
    estimator = inspected.model
    factors = estimator.factors_ if estimator.factors_.ndim == 2 else estimator.factors_[output]
    fields = np.asarray(estimator.fields_)
    if frame_encoder(estimator) is not None:
        found = estimator.embedding(column)
        labels = [str(label) for label in found.index.get_level_values(-1)]
        n_categories = len(labels) // (1 if estimator.factors_.ndim == 2 else len(estimator.factors_))
        return found.to_numpy()[output * n_categories : (output + 1) * n_categories], labels[:n_categories]
    named = groups_of(estimator, "field", (), inspected.names)
    members = np.flatnonzero((fields == column) | (named.names[named.of_column] == column))
    if not len(members):
        known = [
            *np.unique(fields).tolist()[:20],
            *(name for name in named.names if not name.startswith("field ")),
        ]
        raise ValueError(f"There is no field {column!r}. The fields are {', '.join(map(repr, known))}.")
    prefix = f"{column}_"
    names = [str(name) for name in inspected.names[members]]
    return factors[members], [name.removeprefix(prefix) for name in names]
