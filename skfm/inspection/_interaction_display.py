"""Heat map of the interaction strengths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from ._groups import Inspected, groups_of, output_of
from ._terms import strength_matrix

#: Maximum number of groups for which the cells are annotated with their values.
MAX_ANNOTATED_GROUPS = 12


class InteractionDisplay:
    """Heat map of the strength of the interactions of columns or fields.

    It is recommended to use `from_estimator` to create an instance.

    Parameters
    ----------
    strength : ndarray of shape (n_groups, n_groups)
        Symmetric matrix of the interaction strengths. Undefined values are NaN.
    names : array-like of str of shape (n_groups,)
        Names of the columns or fields.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the heat map.
    figure_ : matplotlib Figure
        Figure containing the heat map.
    image_ : matplotlib AxesImage
        The heat map.
    text_ : list of matplotlib Text
        The annotations of the cells; empty if there are more than 12 groups.

    See Also
    --------
    interaction_strength : Rank pairs of columns or fields by the strength of their interaction.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skfm import FMRegressor
    >>> from skfm.inspection import InteractionDisplay
    >>> X = np.random.default_rng(0).standard_normal((200, 4))
    >>> model = FMRegressor(n_factors=2, random_state=0).fit(X, X[:, 0] * X[:, 2])
    >>> InteractionDisplay.from_estimator(model).strength.shape
    (4, 4)
    >>> plt.close()
    """

    def __init__(self, *, strength: np.ndarray, names: Any) -> None:
        self.strength = strength
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        by: str = "auto",
        class_of_interest: Any = None,
        ax: Any = None,
        cmap: Any = "viridis",
        colorbar: bool = True,
        feature_names: Any = None,
    ) -> InteractionDisplay:
        """Plot the interactions of a fitted estimator.

        Parameters
        ----------
        estimator : FMRegressor, FMClassifier or Pipeline
            A fitted estimator, a pipeline with one as last step, or a search over one of these.
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), default=None
            Samples over which the interactions are averaged. If None, the strengths are computed from the factors
            alone. See :func:`interaction_strength`.
        by : {"auto", "field", "column"}, default="auto"
            Groups of columns, as in :func:`explain`.
        class_of_interest : object, default=None
            The class whose interactions are plotted. Required if there are more than two classes.
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.
        cmap : str or matplotlib Colormap, default="viridis"
            Colormap recognized by matplotlib.
        colorbar : bool, default=True
            Whether to add a colorbar to the plot.
        feature_names : array-like of str of shape (n_columns,), default=None
            Names of the columns of ``coef_``, as in :func:`explain`.

        Returns
        -------
        display : InteractionDisplay
            The display object.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        inspected = Inspected.of(estimator, feature_names)
        estimator, X = inspected.model, None if X is None else inspected.encode(X)
        output = output_of(estimator, class_of_interest)
        groups = groups_of(estimator, by, () if X is None else [X], inspected.names)
        strength = strength_matrix(estimator, groups, output, X)
        # The diagonal holds interactions within a group, which are not comparable with those of pairs.
        np.fill_diagonal(strength, np.nan)
        return cls(strength=strength, names=groups.names).plot(ax=ax, cmap=cmap, colorbar=colorbar)

    def plot(self, *, ax: Any = None, cmap: Any = "viridis", colorbar: bool = True) -> InteractionDisplay:
        """Plot the heat map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.
        cmap : str or matplotlib Colormap, default="viridis"
            Colormap recognized by matplotlib.
        colorbar : bool, default=True
            Whether to add a colorbar to the plot.

        Returns
        -------
        display : InteractionDisplay
            This display object.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        n_groups = len(self.names)
        if ax is None:
            size = min(12.0, 2.5 + 0.45 * n_groups)
            _, ax = plt.subplots(figsize=(size + 1, size), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.image_ = ax.imshow(self.strength, cmap=cmap, vmin=0)
        ax.set_xticks(range(n_groups), self.names, rotation=90)
        ax.set_yticks(range(n_groups), self.names)
        self.text_ = []
        if n_groups <= MAX_ANNOTATED_GROUPS:
            largest = np.nanmax(self.strength) if np.isfinite(self.strength).any() else 0.0
            # Use as many decimals as give three significant digits of the largest value.
            decimals = max(0, 2 - math.floor(math.log10(largest))) if largest > 0 else 0
            for i, j in np.argwhere(np.isfinite(self.strength)):
                value = self.strength[i, j]
                color = "black" if value > largest / 2 else "white"
                self.text_.append(
                    ax.text(j, i, f"{value:.{decimals}f}", ha="center", va="center", color=color, fontsize=8)
                )
        if colorbar:
            self.figure_.colorbar(self.image_, ax=ax, label="strength of the interaction")
        return self
