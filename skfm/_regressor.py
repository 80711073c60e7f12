"""Factorization machines for regression."""

from __future__ import annotations

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils._param_validation import StrOptions

from ._base import BaseFM
from ._input import Rows
from ._state import no_posterior, noise_variance, predict_raw, predict_variance
from ._task import Coding


class FMRegressor(RegressorMixin, BaseFM):
    """Factorization machine for regression.

    A linear model with an interaction of every pair of columns, whose strength is the inner
    product of two vectors of `n_factors` numbers, one a column::

        yhat(x) = intercept + <coef, x> + sum_{i<j} <factors_i, factors_j> x_i x_j

    So interactions can be learned that the training data hardly show, such as those of a user
    and a film. The time it takes grows with the number of non-zeros in X, not with the
    number of pairs.

    Columns and target may be in any units: they are standardized inside, and the fitted
    attributes are in the units of X and y. Read more in the :ref:`user guide <user_guide>`.

    Parameters
    ----------
    n_factors : int, default=8
        Length of the vectors of the interactions. 0 is a linear model. With `solver="vb"` more
        cost time but rarely accuracy.

    solver : {"vb", "als"}, default="vb"
        - "vb" approximates the posterior of a Bayesian model by variational inference. It learns
          how strongly to regularize and needs no tuning; predictions have a standard deviation.
        - "als" minimizes the penalized loss by alternating least squares, with the penalties
          `l2_linear` and `l2_factors`. Less memory and time a sweep.

    loss : {"squared_error"}, default="squared_error"
        Half the squared error, ``(y - yhat) ** 2 / 2``.

    l2_linear : float or "auto", default="auto"
        Penalty of the linear term, ``l2_linear / 2 * sum(coef ** 2)`` beside the sum of the
        losses. On numeric columns (values other than 0 and 1) it is the penalty of the
        coefficients of the standardized columns. "auto" is learned by "vb", which takes no
        number, and 1 for "als".

    l2_factors : float or "auto", default="auto"
        Penalty of the interactions, ``l2_factors / 2 * sum(factors ** 2)``, in the same way.
        "auto" is learned by "vb", which takes no number, and 10 for "als".

    fit_intercept : bool, default=True
        Whether the model has an intercept.

    fit_linear : bool, default=True
        Whether the model has a linear term.

    max_iter : int, default=100
        Sweeps over all columns, at most.

    tol : float, default=4e-4
        Training stops when two sweeps in a row change the objective, or the bound, by less than
        this share of the loss, or of the expected log likelihood, that is part of it. 0 never stops.

    init_scale : float, default=0.1
        Standard deviation of the initial factors, for a standardized target.

    fields : "auto" or array-like of shape (n_features,), default="auto"
        The field of each column, as numbers or strings. Columns of a field share a prior in "vb".
        "auto" finds the columns that one-hot encode one category, and takes all numeric
        columns together.

    covariance_type : {"auto", "full", "diag"}, default="auto"
        Posterior covariances of "vb": of all parameters of a column, or variances only, which
        takes less memory and time for large `n_factors` and many non-zeros a row. "auto" takes
        "full" where it is not much more expensive.

    early_stopping : bool, default=False
        Whether to set a part of the training data aside and stop when the loss on it does not fall
        any more. Passing `X_val` and `y_val` to `fit` does the same on data of your own.

    validation_fraction : float, default=0.1
        Share of the training data to set aside for early stopping.

    n_iter_no_change : int, default=5
        Stop after so many sweeps without a lower loss on the validation data. The parameters
        of the lowest loss are kept.

    warm_start : bool, default=False
        Whether `fit` continues from the parameters of the fit before.

    device : str or torch.device, default="auto"
        Where to compute: "cpu", "cuda", "cuda:1", "mps", or "auto" for a CUDA device where there is one.

    random_state : int, RandomState instance or None, default=None
        Draws the initial factors and the validation data. Pass an int for the same result every time.

    verbose : int or bool, default=0
        Whether to show a progress bar, with the objective and the loss on the validation data.

    Attributes
    ----------
    intercept_ : float
        The intercept.

    coef_ : ndarray of shape (n_features,)
        The linear term.

    factors_ : ndarray of shape (n_features, n_factors)
        The vectors of the interactions, one a column.

    covariances_ : ndarray of shape (n_features, 1 + n_factors, 1 + n_factors) or (n_features, 1 + n_factors)
        Posterior covariances (or variances) of the linear and the interaction parameters of each
        column, both for standardized columns and a standardized target. Only with "vb".

    fields_ : ndarray of shape (n_features,)
        The field of each column, counted from 0.

    n_iter_ : int
        Number of sweeps of the last fit.

    history_ : dict of list
        One entry a sweep of the last fit: "bound" ("vb", the lower bound on the log evidence,
        rises) or "objective" ("als", falls), of the standardized target; and "validation_loss" with
        validation data, half the mean squared error.

    device_ : str
        Where the model was fitted. Predictions are made there too if the machine has such a device.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during `fit`, if X had names that are all strings.

    See Also
    --------
    FMClassifier : Factorization machine for classification.

    References
    ----------
    .. [1] S. Rendle, "Factorization Machines", IEEE International Conference on Data Mining, 2010.

    Examples
    --------
    Forty users rate thirty films by how well the styles of a film agree with their tastes. Users and
    films are one-hot encoded.

    >>> import numpy as np
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import OneHotEncoder
    >>> from skfm import FMRegressor
    >>> rng = np.random.default_rng(0)
    >>> ratings = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 30))
    >>> X = np.argwhere(np.isfinite(ratings))  # pairs of a user and a film
    >>> X_train, X_test, y_train, y_test = train_test_split(X, ratings.ravel(), random_state=0)
    >>> model = make_pipeline(OneHotEncoder(), FMRegressor(n_factors=2, random_state=0))
    >>> model.fit(X_train, y_train)
    Pipeline(...)
    >>> round(model.score(X_test, y_test), 2)
    1.0
    """

    _parameter_constraints: dict = {
        **BaseFM._parameter_constraints,
        "loss": [StrOptions({"squared_error"})],
    }

    def __init__(
        self,
        n_factors=8,
        *,
        solver="vb",
        loss="squared_error",
        l2_linear="auto",
        l2_factors="auto",
        fit_intercept=True,
        fit_linear=True,
        max_iter=100,
        tol=4e-4,
        init_scale=0.1,
        fields="auto",
        covariance_type="auto",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        warm_start=False,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_factors = n_factors
        self.solver = solver
        self.loss = loss
        self.l2_linear = l2_linear
        self.l2_factors = l2_factors
        self.fit_intercept = fit_intercept
        self.fit_linear = fit_linear
        self.max_iter = max_iter
        self.tol = tol
        self.init_scale = init_scale
        self.fields = fields
        self.covariance_type = covariance_type
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def predict(self, X, return_std=False):
        """Predict the target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        return_std : bool, default=False
            Whether to return the standard deviation of the predictive distribution, the noise
            of the target included. Needs ``solver="vb"``.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,)
            Predicted target.
        y_std : ndarray of shape (n_samples,)
            Standard deviation of the target, if `return_std`.
        """
        X = self._checked(X)
        mean = predict_raw(self, X)[0].numpy()
        if not return_std:
            return mean
        variance = predict_variance(self, X)
        if variance is None:
            raise no_posterior("return_std=True")
        return mean, (variance[0] + noise_variance(self)).sqrt().numpy()

    def _encode(self, y: np.ndarray, *, learn: bool) -> np.ndarray:
        return y.astype(np.float64, copy=False)

    def _decode(self, y: np.ndarray) -> np.ndarray:
        return y

    def _coding(self, rows: Rows) -> Coding:
        shift, scale = _location_and_scale(rows.y, rows.sample_weight, center=self.fit_intercept)
        return Coding(
            shift=np.array([shift]),
            scale=np.array([scale]),
            mean=np.zeros(1),
            target=lambda y: ((y - shift) / scale)[None],
            weight=lambda y, sample_weight: sample_weight,
        )


def _location_and_scale(y: np.ndarray, sample_weight: np.ndarray, *, center: bool) -> tuple[float, float]:
    """Return the weighted mean and standard deviation, or zero and the root mean square."""
    # Dividing by the largest value first keeps the squares of very small and large numbers finite.
    largest = float(np.abs(y).max()) or 1.0
    relative, weight = y / largest, sample_weight / sample_weight.sum(dtype=np.float64)
    mean = float(weight @ relative) if center else 0.0
    spread = float(np.sqrt(weight @ (relative - mean) ** 2))
    # A constant target has a spread of rounding errors.
    return mean * largest, spread * largest if spread > 10 * np.finfo(np.float64).eps else 1.0
