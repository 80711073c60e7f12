"""scikit-learn's callbacks around a fit and each of its sweeps.

The only module that knows ``sklearn.callback``, which came with scikit-learn 1.9 and may
still change. Nothing happens where scikit-learn is older.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn < 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand-in for scikit-learn's mixin."""


__all__ = ["CallbackSupportMixin", "FitCallbacks", "NoCallbacks"]


class NoCallbacks:
    """Nobody wants to hear about the fit."""

    def begin_sweep(self) -> None:
        """Announce a sweep."""

    def end_sweep(self, iterate: Any, record: Any) -> bool:
        """Report a sweep, by its state and the record so far; return whether somebody asks to stop."""
        return False

    def end(self) -> None:
        """Report the end of the fit."""


class FitCallbacks(NoCallbacks):
    """The callbacks that a user has set on an estimator with ``set_callbacks``.

    Parameters
    ----------
    estimator : estimator
        The one being fitted.
    max_iter : int
        Sweeps at most.
    X : callable
        Returns what it is fitted to, as the user passed it: of a DataFrame that takes a copy.
    y : array-like
        Its target, in the user's terms.
    sample_weight : array-like or None
        None if the user gave none.
    fitted_attributes : callable
        Turns a state and the record into the attributes of a fitted estimator.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        max_iter: int,
        X: Callable[[], Any],
        y: Any,
        sample_weight: Any,
        fitted_attributes: Callable[[Any, Any], dict[str, Any]],
    ) -> None:
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._task = {"estimator": estimator, "X": X(), "y": y, "metadata": metadata}
        self._fit = estimator._init_callback_context(max_subtasks=max_iter)
        self._fit.call_on_fit_task_begin(**self._task)
        self._sweep: Any = None
        self._fitted_attributes = fitted_attributes

    @classmethod
    def of(cls, estimator: Any, **task: Any) -> NoCallbacks:
        """Return the callbacks of an estimator, if it has any: only then are the data kept for them."""
        return cls(estimator, **task) if getattr(estimator, "_skl_callbacks", None) else NoCallbacks()

    def begin_sweep(self) -> None:
        """Announce a sweep."""
        self._sweep = self._fit.subcontext(task_name="sweep").call_on_fit_task_begin(**self._task)

    def end_sweep(self, iterate: Any, record: Any) -> bool:
        """Report a sweep; attributes are worked out only if a callback asks for a fitted estimator."""
        return self._sweep.call_on_fit_task_end(
            **self._task, reconstruction_attributes=lambda: self._fitted_attributes(iterate, record)
        )

    def end(self) -> None:
        """Report the end of the fit; the estimator holds its fitted attributes by now."""
        self._fit.call_on_fit_task_end(**self._task, reconstruction_attributes={})
