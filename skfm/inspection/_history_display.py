"""Plot of the objective and the validation loss during a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from ._groups import Inspected

#: Keys of the objectives of the solvers in `history_`. Each history has one of them.
OBJECTIVES = ("bound", "objective", "training_loss", "log_likelihood")


class HistoryDisplay:
    """Plot of the objective and the validation loss per sweep or epoch.

    It is recommended to use `from_estimator` to create an instance.

    Parameters
    ----------
    history : dict of list
        The attribute ``history_`` of a fitted estimator.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the objective.
    validation_ax_ : matplotlib Axes or None
        Axes with the validation loss: `ax_` if both have the same unit, and None if there is no validation loss.
    figure_ : matplotlib Figure
        Figure containing the curves.
    lines_ : list of matplotlib Line2D
        The curves.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skfm import FMRegressor
    >>> from skfm.datasets import make_factorization
    >>> from skfm.inspection import HistoryDisplay
    >>> X, y = make_factorization(500, cardinalities=(20, 20), random_state=0)
    >>> model = FMRegressor(early_stopping=True, random_state=0).fit(X, y)
    >>> len(HistoryDisplay.from_estimator(model).lines_)
    2
    >>> plt.close()
    """

    def __init__(self, *, history: dict[str, list[float]]) -> None:
        self.history = history

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> HistoryDisplay:
        """Plot the history of a fitted estimator.

        Parameters
        ----------
        estimator : FMRegressor, FMClassifier or Pipeline
            A fitted estimator, a pipeline with one as last step, or a search over one of these.
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.

        Returns
        -------
        display : HistoryDisplay
            The display object.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        return cls(history=Inspected.of(estimator).model.history_).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> HistoryDisplay:
        """Plot the history.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.

        Returns
        -------
        display : HistoryDisplay
            This display object.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        name = next((name for name in OBJECTIVES if name in self.history), None)
        if name is None:
            raise ValueError(
                f"history must have one of the keys {', '.join(map(repr, OBJECTIVES))}, got {sorted(self.history)}."
            )
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_, self.validation_ax_ = ax, ax.figure, None
        values = self.history[name]
        steps = np.arange(1, len(values) + 1)
        self.lines_ = ax.plot(steps, values, color="C0", label=name.replace("_", " "))
        ax.set_xlabel("epoch" if name == "training_loss" else "sweep")
        ax.set_ylabel(name.replace("_", " "))
        validation = self.history.get("validation_loss")
        if validation:
            # The training loss of a minibatch solver is a mean per row, as is the validation loss. The objectives of
            # block solvers have other units.
            same = name == "training_loss"
            other = self.validation_ax_ = ax if same else ax.twinx()
            steps = np.arange(1, len(validation) + 1)
            self.lines_ += other.plot(steps, validation, color="C1", label="validation loss")
            best = int(np.argmin(validation))
            other.plot(steps[best], validation[best], "o", color="C1")
            other.annotate(
                f"{validation[best]:.4g}", (steps[best], validation[best]), (0, 8), textcoords="offset points"
            )
            ax.set_ylabel("mean loss" if same else name.replace("_", " "))
            if not same:
                other.set_ylabel("validation loss")
        ax.legend(handles=self.lines_)
        return self
