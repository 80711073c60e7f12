"""Methods and attributes of fitted estimators other than predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..data.validation import check_features
from .embedding import embedding, encoded_names
from .posterior import PosteriorDraws, posterior_draws

#: Attributes that hold the parameters in the user's units.
PARAMETERS = frozenset({"intercept_", "coef_", "factors_"})


class FittedMixin:
    """The draws, the columns and their vectors, and the model as a module of torch."""

    factors_: np.ndarray
    _draws: dict[str, Any] | None

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in PARAMETERS and "_standardized" in self.__dict__:
            # The assigned arrays replace the parameters found by the fit.
            self.__dict__["_standardized"] = None

    @property
    def posterior_(self) -> PosteriorDraws:
        """The kept draws of "mcmc".

        Returns
        -------
        draws : PosteriorDraws
            A copy.
        """
        # An AttributeError makes hasattr return whether there are draws.
        if getattr(self, "_draws", None) is None:
            raise AttributeError(
                f"This {type(self).__name__} has no posterior_. Fit it with solver='mcmc' to have draws."
            )
        return posterior_draws(self)

    @property
    def n_factors_(self) -> int:
        """The number of factors of the fitted model.

        Returns
        -------
        int
            `n_factors`, or 0 if the data did not support factors.
        """
        check_is_fitted(self)
        width = self.factors_.shape[-1]
        # The factors of all draws are next to each other.
        return width if self._draws is None else width // len(self._draws["intercept"])

    @property
    def encoded_feature_names_(self) -> np.ndarray:
        """The names of the columns of `coef_` and `factors_`.

        Returns
        -------
        names : ndarray of str of shape (n_columns,)
            The columns of X: for categories, one name per value, such as "city_Oslo"; for numbers with missing
            values, also the name of the indicator, such as "age (missing)"; for dates, one name per part, such as
            "when (days)". Without names "x0", "x1" and so on.
        """
        check_is_fitted(self)
        return encoded_names(self)

    def encode(self, X):
        """Return samples in the columns of `coef_` and `factors_`, as the model sees them.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        X_encoded : ndarray or csr_matrix of shape (n_samples, n_columns)
            Categories one-hot encoded, numbers in the units of X, with the mean in the place of missing ones. It is X
            itself if there is nothing to encode.
        """
        check_is_fitted(self)
        return check_features(self, X)

    def embedding(self, column):
        """Return the factors of the categories of a column.

        Categories with similar vectors interact in similar ways with all others. Signs, order and rotations of the
        factors have no meaning; distances and inner products have.

        Parameters
        ----------
        column : str
            Name of a column of categories, or of lists, in the DataFrame that the model was fitted to.

        Returns
        -------
        factors : pandas.DataFrame of shape (n_categories, n_factors)
            One row per category, indexed by category. For a classifier of more than two classes, one row for each class
            and category. Rare categories that share a vector are "infrequent_sklearn".

        Raises
        ------
        ValueError
            If there is no such column of categories.
        ImportError
            If pandas is not installed.

        Examples
        --------
        >>> import pandas as pd
        >>> from skfm import FMRegressor
        >>> X = pd.DataFrame({"user": ["Ann", "Bo", "Ann", "Bo"], "film": ["Up", "Up", "Her", "Her"]})
        >>> model = FMRegressor(n_factors=2, select_factors=False, random_state=0)
        >>> model.fit(X, [5, 1, 1, 5]).embedding("film").shape
        (2, 2)
        """
        check_is_fitted(self)
        return embedding(self, column)

    def _to_module(self, output: str, choices: tuple[str, ...], *, sparse_grad: bool) -> Any:
        """Return the fitted model as a module of torch."""
        from .modules import to_module

        check_is_fitted(self)
        if output not in choices:
            raise ValueError(f"output must be one of {', '.join(map(repr, choices))}, got {output!r}.")
        return to_module(self, output, sparse_grad=sparse_grad)
