"""scikit-learn's callbacks around a fit and each of its sweeps.

The only module that knows ``sklearn.callback``, which came with scikit-learn 1.9 and may
still change. Nothing happens where scikit-learn is older.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.solvers import Iterate
from .events import Events
from .history import History

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn < 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand-in for scikit-learn's mixin."""


__all__ = ["CallbackSupportMixin", "FitCallbacks", "NoCallbacks"]


class NoCallbacks(Events):
    """Null object: no callbacks registered."""

    def end_fit(self) -> None:
        """Report the end of the fit, when the estimator holds its fitted attributes."""


class FitCallbacks(NoCallbacks):
    """The callbacks that a user has set on an estimator with ``set_callbacks``.

    Parameters
    ----------
    estimator : estimator
        The estimator that is being fitted.
    max_iter : int
        Maximum number of sweeps.
    X : callable
        Returns the training data as the user passed them. For a DataFrame that is a copy.
    y : array-like
        The target as the user passed it.
    sample_weight : array-like or None
        None if the user passed no weights.
    fitted_attributes : callable
        Turns a state and the history into the attributes of a fitted estimator.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        max_iter: int,
        X: Callable[[], Any],
        y: Any,
        sample_weight: Any,
        fitted_attributes: Callable[[Iterate, History], dict[str, Any]],
    ) -> None:
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._task = {"estimator": estimator, "X": X(), "y": y, "metadata": metadata}
        self._fit = estimator._init_callback_context(max_subtasks=max_iter)
        self._fit.call_on_fit_task_begin(**self._task)
        self._sweep: Any = None
        self._fitted_attributes = fitted_attributes

    @classmethod
    def of(cls, estimator: Any, **task: Any) -> NoCallbacks:
        """Return the callbacks of an estimator, if there are any. The data are kept only in this case."""
        return cls(estimator, **task) if getattr(estimator, "_skl_callbacks", None) else NoCallbacks()

    def before_sweep(self) -> None:
        self._sweep = self._fit.subcontext(task_name="sweep").call_on_fit_task_begin(**self._task)

    def after_sweep(self, iterate: Iterate, history: History) -> bool:
        # The attributes are computed only if a callback asks for a fitted estimator.
        return self._sweep.call_on_fit_task_end(
            **self._task, reconstruction_attributes=lambda: self._fitted_attributes(iterate, history)
        )

    def end_fit(self) -> None:
        self._fit.call_on_fit_task_end(**self._task, reconstruction_attributes={})
