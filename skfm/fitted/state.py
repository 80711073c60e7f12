"""The state that a fitted estimator needs for predictions."""

from __future__ import annotations

from functools import cached_property
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.bayes.variance import prediction_variance
from ..core.interactions.base import Interaction
from ..core.interactions.pairwise import PAIRWISE
from ..core.matrix.design import DesignMatrix
from ..core.matrix.device import compute_dtype, prediction_device
from ..core.matrix.parameters import Posterior
from ..core.matrix.standardize import Standardization
from ..core.observation.inverse_links import InverseLink
from ..core.observation.registry import MODELS
from ..core.solvers import SOLVERS
from ..data.scaling import Scaling, as_tensor
from .draws import UserDraws, draws_of
from .located import located, standard_factors, stored_parameters, user_arrays, user_factors
from .tables import ColumnTable, ParameterTables, Place

#: The fitted attributes that predictions depend on.
SOURCES = (
    "intercept_",
    "coef_",
    "factors_",
    "covariances_",
    "levels_",
    "device_",
    "_model",
    "_coding",
    "_conditioning",
    "_posterior",
    "_draws",
    "_standardized",
)


class Rows(NamedTuple):
    """Rows to predict, in the columns that they use.

    Attributes
    ----------
    design : DesignMatrix of shape (n_samples, n_used)
        Rows in the units of predictions.
    columns : ndarray of shape (n_used,) or None
        Indices of these columns in increasing order. None if all are kept.
    place : Place
    dtype : torch.dtype
        Data type of the predictions.
    """

    design: DesignMatrix
    columns: np.ndarray | None
    place: Place
    dtype: torch.dtype


class FittedModel:
    """The parameters of a fitted estimator, its posterior and its observation model, ready to predict.

    Columns are centered before predictions are made, and parameters are those at the centers: raw predictions in the
    user's units are differences of large numbers where columns are far from zero. A scale alone changes no digit of
    the product of a value and a parameter, so columns and the target are scaled only where squares of numbers could
    leave the range of their type. All else shares the memory of the fitted attributes.

    A model is what the attributes held when it was built. Another array in place of an attribute makes another model,
    see `predictor`; numbers that are changed inside of an array may go unnoticed.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator. The model keeps no reference to it.

    Attributes
    ----------
    scaling : Scaling
        The units of the solver, in which the posterior is.
    units : Scaling
        The units of predictions.
    centered : ndarray of int
        The columns that are centered.
    mean : ParameterTables
        In the units of predictions; of a sampler those that predict the mean over the draws.
    """

    #: The form of the raw prediction.
    interaction: ClassVar[Interaction] = PAIRWISE

    def __init__(self, estimator: Any) -> None:
        self.fitted: Any = SimpleNamespace(**{name: getattr(estimator, name, None) for name in SOURCES})
        self.scaling = Scaling.of(estimator)
        self.n_outputs = np.size(estimator.intercept_)
        self.centered = np.flatnonzero(self.scaling.conditioning.center.numpy())
        self._is_scaled = not self.scaling.is_within(estimator.factors_.dtype)
        self.units = self.scaling if self._is_scaled else self.scaling.without_scales()
        self.mean = self._tables(of_draws=False)

    def is_built_from(self, estimator: Any) -> bool:
        """Return whether an estimator still holds the attributes that the model was built from."""
        held = vars(estimator)
        return all(held.get(name) is value for name, value in vars(self.fitted).items())

    # ------------------------------------------------------------------------------ predictions

    def place(self, X: Any) -> Place:
        """Return the type and the device to predict in."""
        precision = np.result_type(X.dtype, self.fitted.factors_.dtype)
        device = prediction_device(self.fitted.device_, precision)
        return Place(compute_dtype(precision, device), device)

    def rows(self, X: Any) -> Rows:
        """Return rows in the columns that they use."""
        place, columns = self.place(X), None
        # Which columns are dense must not depend on the values of the batch. Otherwise the order of summation would
        # differ between batches.
        design = DesignMatrix.from_array(
            X, dtype=place.dtype, device=place.device, dense_columns=self.centered
        )
        if 2 * (len(design.indices) + len(design.dense_columns)) < design.shape[1]:
            design, used = design.compact()
            columns = used.numpy(force=True)
        if self.standardizes:
            is_own = place.device.type != "cpu" or not (
                isinstance(X, np.ndarray) and np.may_share_memory(X, design.dense.numpy())
            )
            design = self._map(self.units.conditioning, columns).apply(design, in_place=is_own)
        return Rows(design, columns, place, compute_dtype(X.dtype, torch.device("cpu")))

    def raw(self, rows: Rows) -> Tensor:
        """Return the raw predictions of the mean parameters in the user's units, (n_outputs, n_samples)."""
        raw = self.interaction.raw(rows.design, self.mean.at(rows.place, rows.columns)).to("cpu")
        if self._is_scaled:
            raw = raw * self.units.scale[:, None] + self.units.shift[:, None]
        return raw.to(rows.dtype)

    def standard_variance(self, rows: Rows) -> Tensor:
        """Return the variance of the raw predictions, noise excluded, in the units of the solver.

        Returns
        -------
        Tensor of shape (n_outputs, n_samples)
            On the CPU.
        """
        factors = self.standard_factors(rows.place, rows.columns)
        posterior = self.posterior(rows.place, rows.columns)
        design = rows.design
        if not self._is_scaled:
            design = self._map(self.scaling.conditioning.without_centers(), rows.columns).apply(design)
        return prediction_variance(design, factors, posterior).to("cpu")

    # ------------------------------------------------------------------------------ what was fitted

    @cached_property
    def link(self) -> InverseLink:
        """The inverse link of the loss that the model was fitted with."""
        settings = dict(self.fitted._model)
        part = SOLVERS[settings.pop("solver")].model(**settings)
        # A joint model of several outputs can have its own link. A model for samplers only has no other part to query.
        return part.inverse_link if part is not None else MODELS[settings["loss"]].inverse_link

    @property
    def standardizes(self) -> bool:
        """Whether the columns in the units of predictions differ from those in the user's units."""
        return self._is_scaled or len(self.centered) > 0

    @property
    def has_posterior(self) -> bool:
        """Whether there is a Gaussian posterior."""
        return self.fitted._posterior is not None

    def posterior(self, place: Place, columns: np.ndarray | None = None) -> Posterior:
        """Return the Gaussian posterior of some columns, or of all of them, in the units of the solver."""
        rest = (
            as_tensor(self.fitted._posterior[name], *place)
            for name in ("intercept_variance", "noise_precision")
        )
        return Posterior(self._covariances.tensor(place, columns), *rest)

    def standard_factors(self, place: Place, columns: np.ndarray | None = None) -> Tensor:
        """Return the factors of some columns, or of all of them, in the units of the solver."""
        return self._standard_factors.tensor(place, columns)

    @property
    def noise_variance(self) -> float:
        """The variance of the noise of a regression with a Gaussian posterior, in the units of the solver.

        If it differs between categories, this is that of rows without one.
        """
        return 1 / float(self.fitted._posterior["noise_precision"][0])

    @cached_property
    def log_noise(self) -> np.ndarray | None:
        """The logarithm of the factor by which a column changes the noise variance, (n_features,).

        With draws, the variance is the mean over the draws.
        """
        if self.draws is not None:
            if self.draws.noise_ratio is None:
                return None
            std = np.asarray(self.draws.noise_std, np.float64)
            variance = np.square(std / std.max())
            return np.log(variance / variance.sum() @ (1 / np.asarray(self.draws.noise_ratio, np.float64)))
        ratio = self.fitted._posterior.get("noise_ratio")
        return None if ratio is None else -np.log(np.asarray(ratio[0], np.float64))

    def noise_variances(self, rows: Rows) -> Tensor:
        """Return the variance of the noise of each row, (n_samples,) or (), in float64 on the CPU."""
        common = torch.tensor(self.noise_variance, dtype=torch.float64, device="cpu")
        if self.log_noise is None:
            return common
        return common * self._sums_of_columns(rows, self.log_noise[:, None])[:, 0].exp()

    def drawn_noise(self, rows: Rows) -> Tensor:
        """Return the standard deviation of the noise of each row in every draw, in the units of predictions.

        Returns
        -------
        Tensor of shape (n_draws, n_samples) or (n_draws, 1)
            In float64 on the CPU.
        """
        assert self.draws is not None  # for the type checker
        common = as_tensor(self.draws.noise_std, torch.float64)[:, None] / self.units.scale[0]
        if self.draws.noise_ratio is None:
            return common
        logs = -0.5 * np.log(np.asarray(self.draws.noise_ratio, np.float64))
        return common * self._sums_of_columns(rows, logs.T).T.exp()

    def _sums_of_columns(self, rows: Rows, table: np.ndarray) -> Tensor:
        """Return sums over the columns that each row has, (n_samples, n), of a table (n_features, n)."""
        used = table if rows.columns is None else table[rows.columns]
        place = Place(torch.float64, rows.place.device) if rows.place.device.type != "mps" else rows.place
        # The power of zero leaves out the numbers in the columns.
        return rows.design.matmul(as_tensor(used, *place), power=0).to("cpu", torch.float64)

    @cached_property
    def draws(self) -> UserDraws | None:
        """The draws of a sampler, in the user's units."""
        return draws_of(self.fitted)

    @cached_property
    def drawn(self) -> ParameterTables:
        """The parameters of all draws in the units of predictions, n_draws * n_outputs of them."""
        return self._tables(of_draws=True)

    @cached_property
    def _covariances(self) -> ColumnTable:
        covariances = np.asarray(self.fitted.covariances_)
        return ColumnTable(covariances if self.n_outputs > 1 else covariances[None])

    @cached_property
    def _standard_factors(self) -> ColumnTable:
        return standard_factors(self.fitted, self.scaling).table()

    @staticmethod
    def _map(conditioning: Standardization, columns: np.ndarray | None) -> Standardization:
        """Return the map of the columns in use."""
        return conditioning if columns is None else conditioning.take(torch.from_numpy(columns))

    def _tables(self, *, of_draws: bool) -> ParameterTables:
        """Return the parameters in the units of predictions."""
        fitted = self.fitted
        factors = standard_factors(fitted, self.scaling) if self._is_scaled else user_factors(fitted)
        table = factors.table(len(fitted._draws["intercept"]) if of_draws else None)
        if not self.standardizes:
            intercept, linear = user_arrays(fitted, of_draws=of_draws)
        else:
            # Factors are needed only if a model has to be moved from the origin to the centers.
            needed = len(self.centered) > 0 and stored_parameters(fitted) is None
            exact = located(fitted, of_draws=of_draws, with_factors=needed).within(self.units)
            intercept, linear = exact.intercept.numpy(), exact.linear.numpy()
        return ParameterTables(intercept, ColumnTable(linear), table)
