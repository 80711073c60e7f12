"""Plot of predictive intervals and targets."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import column_or_1d

from ._groups import Inspected


class IntervalDisplay:
    """Plot of the predictive intervals of a Bayesian regressor and the true targets.

    It is recommended to use `from_estimator` to create an instance.

    Parameters
    ----------
    lower, median, upper : ndarray of shape (n_samples,)
        Lower bound, median and upper bound of the intervals.
    y_true : ndarray of shape (n_samples,)
        True targets.
    coverage : float
        Nominal coverage: the probability that an interval contains the target.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the intervals.
    figure_ : matplotlib Figure
        Figure containing the plot.
    covered_ : float
        Empirical coverage: the fraction of all targets that are inside their intervals.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skfm import FMRegressor
    >>> from skfm.datasets import make_factorization
    >>> from skfm.inspection import IntervalDisplay
    >>> X, y = make_factorization(1000, cardinalities=(20, 20), noise=0.5, random_state=0)
    >>> model = FMRegressor(random_state=0).fit(X[:700], y[:700])
    >>> display = IntervalDisplay.from_estimator(model, X[700:], y[700:])
    >>> bool(0.8 < display.covered_ < 0.97)
    True
    >>> plt.close()
    """

    def __init__(
        self, *, lower: np.ndarray, median: np.ndarray, upper: np.ndarray, y_true: np.ndarray, coverage: float
    ) -> None:
        self.lower, self.median, self.upper = lower, median, upper
        self.y_true = y_true
        self.coverage = coverage

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        coverage: float = 0.9,
        n_shown: int = 200,
        random_state: Any = 0,
        ax: Any = None,
    ) -> IntervalDisplay:
        """Plot the intervals of a fitted estimator.

        Parameters
        ----------
        estimator : FMRegressor
            A regressor that was fitted with ``solver="vb"`` or ``solver="mcmc"``.
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,)
            True targets.
        coverage : float, default=0.9
            Nominal coverage of the intervals, between 0 and 1.
        n_shown : int, default=200
            Maximum number of samples to plot. If there are more, a random subset is plotted.
        random_state : int, RandomState instance or None, default=0
            Determines the random subset.
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.

        Returns
        -------
        display : IntervalDisplay
            The display object.

        Raises
        ------
        ValueError
            If `coverage` is not between 0 and 1, if the lengths of X and y differ, or if the estimator has no
            posterior.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        inspected = Inspected.of(estimator)
        if not 0 < coverage < 1:
            raise ValueError(f"coverage must be between 0 and 1, got {coverage!r}.")
        outside = (1 - coverage) / 2
        lower, median, upper = inspected.model.predict(
            inspected.transform(X), quantiles=[outside, 0.5, 1 - outside]
        ).T
        y = column_or_1d(y)
        if len(y) != len(median):
            raise ValueError(f"X has {len(median)} rows, but y has {len(y)} values.")
        display = cls(lower=lower, median=median, upper=upper, y_true=y, coverage=coverage)
        return display.plot(ax=ax, n_shown=n_shown, random_state=random_state)

    def plot(self, *, ax: Any = None, n_shown: int = 200, random_state: Any = 0) -> IntervalDisplay:
        """Plot the intervals and the targets, sorted by the median.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.
        n_shown : int, default=200
            Maximum number of samples to plot. If there are more, a random subset is plotted.
        random_state : int, RandomState instance or None, default=0
            Determines the random subset.

        Returns
        -------
        display : IntervalDisplay
            This display object.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(8, 4), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        inside = (self.lower <= self.y_true) & (self.y_true <= self.upper)
        self.covered_ = float(inside.mean())
        shown = check_random_state(random_state).permutation(len(inside))[:n_shown]
        shown = shown[np.argsort(self.median[shown], kind="stable")]
        at = np.arange(len(shown))
        ax.vlines(at, self.lower[shown], self.upper[shown], color="C0", alpha=0.4, label="interval")
        ax.plot(at, self.median[shown], color="C0", label="median")
        for kind, color, label in ((inside, "black", "target inside"), (~inside, "C3", "target outside")):
            chosen = kind[shown]
            ax.plot(at[chosen], self.y_true[shown][chosen], ".", color=color, label=label)
        ax.set_xlabel("samples, sorted by median")
        ax.set_ylabel("target")
        ax.set_title(f"{self.covered_:.1%} of the targets inside intervals of {self.coverage:.0%}")
        ax.legend()
        return self
