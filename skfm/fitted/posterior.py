"""The public representation of posterior draws."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from .draws import drawn_factors, draws_of


@dataclass(frozen=True, eq=False)
class PosteriorDraws:
    """Draws from the posterior of a factorization machine, the ``posterior_`` of models fitted by "mcmc".

    All arrays begin with axes for chains and draws, and are in the units of X and y. A classifier of more than two
    classes has one more axis, for the class, before those of the columns.

    The signs and the order of factors, or a rotation of all of them, make no difference to a model, and differ from
    draw to draw: average predictions or inner products of factors, never the factors themselves.

    Attributes
    ----------
    intercept : ndarray of shape (n_chains, n_draws)
        The intercept.
    coef : ndarray of shape (n_chains, n_draws, n_features)
        The linear term.
    factors : ndarray of shape (n_chains, n_draws, n_features, n_factors)
        The vectors of the interactions.
    noise_std : ndarray of shape (n_chains, n_draws) or None
        Standard deviation of the noise of a regression, in the units of y. If it differs between the categories of a
        field, this is that of a new category.
    cut_points : ndarray of shape (n_chains, n_draws, n_levels - 1) or None
        Cut-points between the levels of an ordered target.
    log_likelihood : ndarray of shape (n_chains, n_draws)
        Weighted log likelihood of the training data, of a standardized target.
    noise_ratio : ndarray of shape (n_chains, n_draws, n_features) or None
        The precision of the noise of rows with a category, divided by ``noise_std ** -2``; one for the columns of other
        fields. None if the noise is the same for all rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skfm import FMRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 3))
    >>> y = X @ [1.0, 2.0, 0.0] + 0.5 * rng.standard_normal(200)
    >>> posterior = FMRegressor(n_factors=2, solver="mcmc", max_iter=120, random_state=0).fit(X, y).posterior_
    >>> posterior.coef.shape
    (1, 96, 3)
    >>> bool(abs(posterior.noise_std.mean() - 0.5) < 0.1)
    True
    """

    intercept: np.ndarray
    coef: np.ndarray
    factors: np.ndarray
    noise_std: np.ndarray | None
    cut_points: np.ndarray | None
    log_likelihood: np.ndarray
    noise_ratio: np.ndarray | None = None

    def to_dict(self) -> dict[str, np.ndarray]:
        """Return the arrays by name, without those that the model does not have.

        Returns
        -------
        draws : dict of ndarray
            The attributes that are not None.
        """
        return {name: value for name, value in vars(self).items() if value is not None}

    def to_arviz(self) -> Any:
        """Convert the draws to the data structure of ArviZ, for plots and summaries.

        Returns
        -------
        data : arviz.InferenceData or xarray.DataTree
            With the groups ``posterior`` and ``sample_stats``; the latter holds the log likelihood as ``lp``. Which
            class depends on the version of ArviZ.

        Raises
        ------
        ImportError
            If ArviZ is not installed.
        """
        try:
            # The types of ArviZ differ between versions and are not needed here.
            arviz: Any = import_module("arviz")
        except ImportError as error:
            raise ImportError("to_arviz needs ArviZ. Install it with: pip install arviz") from error
        posterior = self.to_dict()
        groups = {"posterior": posterior, "sample_stats": {"lp": posterior.pop("log_likelihood")}}
        if int(arviz.__version__.split(".")[0]) >= 1:
            return arviz.from_dict(groups)
        return arviz.from_dict(**groups)


def posterior_draws(estimator: Any) -> PosteriorDraws:
    """Return the draws of a fitted estimator.

    Parameters
    ----------
    estimator : estimator
        Fitted by a sampler.

    Returns
    -------
    draws : PosteriorDraws
        Copies.
    """
    kept = draws_of(estimator)
    assert kept is not None  # for the type checker
    shape = kept.n_chains, len(kept.intercept) // kept.n_chains
    single = kept.intercept.shape[1] == 1

    def unfold(array: Any, *, by_output: bool = False) -> Any:
        if array is None:
            return None
        array = array[:, 0] if by_output and single else array
        # The arrays are copied so that changes by the user do not affect the model.
        return array.reshape(*shape, *array.shape[1:]).copy()

    return PosteriorDraws(
        unfold(kept.intercept, by_output=True),
        unfold(kept.coef, by_output=True),
        unfold(drawn_factors(estimator), by_output=True),
        unfold(kept.noise_std),
        unfold(kept.cut_points),
        unfold(kept.log_likelihood),
        unfold(kept.noise_ratio),
    )
