"""Fits that fail leave the estimator as it was."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .history import n_sweeps


class FailureAfterFit(Exception):  # noqa: N818
    """A fit that ends with an error or an interrupt after it has stored a model on the estimator.

    Parameters
    ----------
    error : BaseException
        The error that the user sees.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class NothingToLearn(Exception):  # noqa: N818
    """A call that succeeds without learning anything, which leaves the estimator as it was."""


def all_or_nothing(fit: Callable) -> Callable:
    """Decorate a method to undo all that it has set on the estimator if it fails.

    Validation sets attributes on the estimator before anything is learned. They are removed again by any error but
    `FailureAfterFit`, which stands for the error in it. An interrupt after the fitted attributes have been stored
    leaves them, wherever it arrives.
    """

    @functools.wraps(fit)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = self.__dict__.copy()
        try:
            return fit(self, *args, **kwargs)
        except NothingToLearn:
            self.__dict__ = before
            return self
        except FailureAfterFit as failure:
            error = failure.error
        except KeyboardInterrupt as interrupt:
            # Each fit stores a new history, in a single operation with all other attributes.
            if self.__dict__.get("history_") is before.get("history_"):
                self.__dict__ = before
                raise
            error = interrupt
        except BaseException:
            self.__dict__ = before
            raise
        if isinstance(error, KeyboardInterrupt):
            error.add_note(
                f"This {type(self).__name__} is fitted: it holds the best model of {n_sweeps(self.n_iter_)}."
            )
        # Raised here to keep the cause and the context of the error.
        raise error

    return wrapper
