"""Fits that fail leave the estimator as it was."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


class FailureAfterFit(Exception):  # noqa: N818
    """A fit that ends with an error after it has stored a model on the estimator.

    Parameters
    ----------
    error : Exception
        The error that the user sees.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class NothingToLearn(Exception):  # noqa: N818
    """A call that succeeds without learning anything, which leaves the estimator as it was."""


def all_or_nothing(fit: Callable) -> Callable:
    """Decorate a method to undo all that it has set on the estimator if it fails.

    Validation sets attributes on the estimator before anything is learned. They are removed again by any error but
    `FailureAfterFit`, which stands for the error in it.
    """

    @functools.wraps(fit)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = self.__dict__.copy()
        try:
            return fit(self, *args, **kwargs)
        except NothingToLearn:
            self.__dict__.clear()
            self.__dict__.update(before)
            return self
        except FailureAfterFit as failure:
            error = failure.error
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        # Raised here to keep the cause and the context of the error.
        raise error

    return wrapper
