"""The factorization machine for regression."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ._base import BaseFM, learns_online
from .core.observation.registry import find_model, losses_for
from .data.targets import REGRESSION_TARGETS, Target, target_kind
from .fitted.cache import predictor
from .fitted.scores import r2
from .training.arguments import explain_arguments
from .training.rollback import all_or_nothing


class FMRegressor(RegressorMixin, BaseFM):
    """Factorization machine for regression.

    A factorization machine is a linear model with an interaction term for every pair of columns. The strength of each
    interaction is the inner product of the factors of the two columns, which are vectors of length `n_factors` [1]_::

        raw(x) = intercept + <coef, x> + sum_{i<j} <factors_i, factors_j> x_i x_j
        yhat(x) = raw(x), or exp(raw(x)) with loss="poisson" and loss="gamma"

    The model can therefore learn interactions that are rare in the training data, such as those of a user and a film.
    The computation time is linear in the number of non-zero entries of X and does not depend on the number of pairs.

    The columns and the target may be in any units: they are standardized internally, and the fitted attributes are in
    the units of X and y. Read more in the :ref:`user guide <user_guide>`.

    Parameters
    ----------
    n_factors : int, default=8
        Latent dimension: the length of the factors of each column. With 0, the model is linear. With `solver="vb"`,
        values that are larger than necessary cost time but rarely accuracy.

    solver : {"vb", "als", "mcmc", "adagrad", "adam", "sgd", "ftrl"}, default="vb"
        Algorithm that fits the model. Block solvers hold all data in memory and have no learning rate:

        - "vb" approximates the posterior distribution of a Bayesian model by variational inference. It learns the
          strength of the regularization, so no tuning is needed. Predictions of a regressor have a standard deviation,
          and the probabilities of a classifier are averaged over the posterior.
        - "mcmc" draws samples from this posterior by Gibbs sampling and averages the predictions over the draws. It is
          slightly more accurate than "vb" on rating data, but takes several times the time and memory: see `n_draws`.
        - "als" minimizes the penalized loss by alternating least squares, with the penalties `l2_linear` and
          `l2_factors`. It takes less memory, and less time per sweep.

        Minibatch solvers take one step per batch of rows. They are intended for large data, for data in chunks, for
        `partial_fit` and for the losses that block solvers do not support. All of them bound their steps by the
        curvature of the loss, and learn the penalties during training unless these are given:

        - "adagrad" has a step size for each column, which decreases as squared gradients accumulate [2]_. This is the
          recommended minibatch solver.
        - "adam" uses running means of the gradients and of their squares [3]_, which are updated only for the columns
          in use. It takes twice the memory of the model in addition to the model, whereas "adagrad" takes two numbers
          per column.
        - "sgd" is plain stochastic gradient descent with one step size for all columns.
        - "ftrl" is follow-the-regularized-leader for the linear term [4]_, which `l1_linear` makes sparse, and
          "adagrad" for the factors.

    loss : {"squared_error", "absolute_error", "huber", "log_cosh", "quantile", "poisson", "gamma", \
            "ordered_probit"}, default="squared_error"
        Loss function. All solvers support "squared_error", only "mcmc" supports "ordered_probit", and only the
        minibatch solvers support the others. With ``e = y - yhat``:

        - "squared_error": ``e ** 2 / 2``. Predicts the mean.
        - "absolute_error": ``abs(e)``. Predicts the median, which is robust to outliers.
        - "huber": ``e ** 2 / 2`` if ``abs(e) <= d``, else ``d * (abs(e) - d / 2)``, where d is 1.35 times a robust
          estimate of the standard deviation of y (1.4826 times the median absolute deviation from the median).
        - "log_cosh": ``s ** 2 * log(cosh(e / s))``, where s is the same robust estimate of the standard deviation of y.
          It is about ``e ** 2 / 2`` for small errors and ``s * abs(e)`` for large ones, as "huber", but smooth.
        - "quantile": ``max(quantile * e, (quantile - 1) * e)``. Predicts the quantile `quantile`.
        - "poisson": ``yhat - y * log(yhat)``, for counts and other non-negative targets. Predicts the mean.
        - "gamma": ``y / yhat + log(yhat)``, for positive targets whose spread increases with their mean. Predicts the
          mean.
        - "ordered_probit": for ordinal targets with few distinct values, such as ratings in stars. The raw prediction
          plus standard normal noise falls between two cut-points, which are learned. Predicts the mean.

    quantile : float, default=0.5
        The quantile that `loss="quantile"` predicts, between 0 and 1.

    l1_linear : float, default=0.0
        Strength of the L1 penalty of the linear term: ``l1_linear * sum(abs(coef))`` is added to the sum of the losses.
        Coefficients that reduce the losses by less than their penalty are exactly 0. Those of centered numeric columns
        are 0 at the means of the other columns, while `coef_` also contains their interactions with these means: see
        the :ref:`user guide <sparse-linear>`. Only used by "ftrl".

    l2_linear : float or "auto", default="auto"
        Strength of the L2 penalty of the linear term: ``l2_linear / 2 * sum(coef ** 2)`` is added to the sum of the
        losses. For numeric columns, which are those with values other than 0 and 1, all penalties apply to the
        parameters of the standardized columns. With "auto", the strength is learned for each field by "vb" and "mcmc",
        which accept no other value, and by the minibatch solvers. For "als", "auto" is 1 (in regression, for a target
        with unit standard deviation).

    l2_factors : float or "auto", default="auto"
        Strength of the L2 penalty of the factors: ``l2_factors / 2 * sum(factors ** 2)`` is added to the sum of the
        losses, as for `l2_linear`. With "auto", the strength is learned for each field and factor by "vb" and "mcmc",
        which accept no other value, and by the minibatch solvers. For "als", "auto" is 10 (in regression, for a target
        with unit standard deviation).

    fit_intercept : bool, default=True
        Whether to fit an intercept.

    fit_linear : bool, default=True
        Whether to fit a linear term.

    max_iter : int or None, default=None
        Maximum number of sweeps over all columns (block solvers) or epochs over all rows (minibatch solvers). With
        None, the number of sweeps is 100 for "vb" and "als", and 200 for "mcmc", including the burn-in. The number of
        epochs is 3 for a million rows or more, 8 for 100,000 rows, 19 for 10,000, and 100 to 215 for 2,560 or fewer.
        For a stream of chunks of unknown length, it is 3, and for an iterator, which can be read only once, it is 1.

    tol : float, default=4e-4
        Tolerance of the stopping criterion of "vb" and "als". They stop after two consecutive sweeps in which the
        objective ("als") or the evidence lower bound ("vb") changes by less than `tol` times the loss ("als") or the
        expected log likelihood ("vb"), or with "vb" and `squared_error` by less than `tol` times the sum of the sample
        weights. With 0, they do not stop early. Not used by the other solvers: "mcmc" makes all its sweeps, and the
        minibatch solvers schedule their learning rate for `max_iter` epochs.

    init_scale : float or "auto", default="auto"
        Standard deviation of the initial factors, for a standardized target. "auto" is 0.1.

    categorical_features : {"from_dtype", "all"}, array-like of bool, int or str, or None, default="from_dtype"
        Categorical columns, which are one-hot encoded internally. Each of them is a field.

        - "from_dtype": the columns of a pandas or polars DataFrame that have a string or categorical dtype, and columns
          of booleans with missing values. Booleans without missing values are the numbers 0 and 1. Columns of lists are
          encoded as well, with several categories per row.
        - "all": all columns of a DataFrame or a dense array, of any type. Each distinct number is a category. Columns
          of lists have several categories per row.
        - array-like: a mask, the numbers or the names of the categorical columns of a DataFrame or a dense array.
        - None: no columns.

        From columns of dates, the year, the month, the weekday and the hour are derived as categories, and the days
        since the first training date as a number.

        Missing values of a category are a category of their own. Unknown categories, which did not occur in the
        training data, are treated as an average category of their column: their parameters are at the prior of the
        field.

    min_frequency : int, float or None, default=None
        Minimum number of samples (int) or minimum fraction of the samples (float) of a category. Categories with fewer
        samples are grouped into one column, which also receives unknown categories.

    max_categories : int or None, default=None
        Maximum number of columns for the categories of a column of X, as in
        :class:`~sklearn.preprocessing.OneHotEncoder`. The least frequent categories are grouped into one column.

    multi_value_features : dict, array-like or None, default=None
        Columns with several categories per row, such as genres or tags. A dict maps the name or number of a column to
        the delimiter between the categories in a string, for example ``{"genres": "|"}``, or to None if the values are
        lists. An array-like holds the names or numbers of columns of lists.

    multi_value_weights : {"sqrt", "mean", "one"}, default="sqrt"
        Value of each of the n categories of a row in the encoded columns: ``1 / sqrt(n)`` ("sqrt"), ``1 / n`` ("mean")
        or 1 ("one").

    fields : "auto" or array-like of shape (n_features,), default="auto"
        Field of each column of X, as numbers or strings. The columns of a field share a prior in "vb" and "mcmc", and a
        learned penalty in the minibatch solvers. "auto" detects the columns that one-hot encode the same category, and
        assigns all numeric columns to one field. Each categorical column that is encoded internally is a field.

    select_factors : bool, default=True
        Whether "vb" and "mcmc" first test if the data support factors. If a factor does not raise the bound on the
        evidence of a linear model, `n_factors_` is 0 and the model is linear, because factors would cost time and
        accuracy. False always fits `n_factors` factors. "vb" makes no test if rows have at most two non-zeros, and
        neither solver makes one if there are dense numeric columns.

    noise : {"auto", "common"} or field, default="auto"
        Whether "vb" and "mcmc" with `squared_error` learn the noise of each category of a field, such as users, some of
        whom rate more erratically than others. Rows of categories with more noise then have less influence, and their
        predictions have larger standard deviations. "auto" selects the field of at least 100 categories that raises
        the evidence of the noise most, if there is one. A label of `fields_` stands for that field, whatever the
        number of its categories. "common" is the same noise for all rows.

    covariance_type : {"auto", "full", "diag"}, default="auto"
        Type of the posterior covariances of "vb": "full" is a covariance matrix of all parameters of each column, and
        "diag" only their variances, which takes less memory and time if `n_factors` is large or rows have many non-zero
        entries. "auto" is "full" unless this is much more expensive. For "mcmc", it is the type of the priors: "full"
        is a Normal-Wishart prior for each field, and "diag" a Normal-Gamma prior for each field and factor. Here "auto"
        is "full".

    learning_rate : float or "auto", default="auto"
        Learning rate of the minibatch solvers, for standardized columns and, in regression, a standardized target.
        "auto" is 0.25 for "adagrad" and "ftrl", 0.01 for "adam" (up to 0.1 for runs of few steps) and 0.03 for "sgd".
        If the loss diverges, training resumes from the last good state with a quarter of the learning rate, and a
        warning is issued.

    learning_rate_schedule : {"linear", "constant"}, default="linear"
        "linear" decreases the learning rate to zero over the epochs. "constant" does not change it, which is suitable
        for models that are trained further. `partial_fit` always uses a constant learning rate.

    batch_size : int or "auto", default="auto"
        Number of rows per step of the minibatch solvers. "auto" uses all rows if there are at most 2,560. For more
        rows, it is a multiple of 64 that increases with the number of rows up to 8192. For streams of chunks and
        `partial_fit`, it is 4096.

    shuffle : bool, default=True
        Whether the minibatch solvers assign the rows to batches at random and change the order of the batches in every
        epoch. In a stream, the rows of each chunk are shuffled, and the order of the chunks does not change.

    burn_in : int or "auto", default="auto"
        Number of initial "mcmc" sweeps to discard. "auto" is a fifth of `max_iter`, but at most 50, or 0 if
        `warm_start` continues the chains of a previous fit.

    n_draws : int or "auto", default="auto"
        Maximum number of draws that "mcmc" keeps per chain. They are evenly spaced over the sweeps after the burn-in
        and include the last one. Each draw takes as much memory and prediction time as one model. "auto" keeps all
        sweeps, or as many as fit in 256 MiB, but at least 20.

    n_chains : int, default=1
        Number of chains of "mcmc", which are run together from different starting points. Predictions are averaged over
        all chains. A warning is issued if the chains have not converged to the same distribution (R-hat above 1.1).

    early_stopping : bool, default=False
        Whether to set aside a fraction of the training data, stratified by class in classification, and to stop when
        the loss on it no longer decreases. Passing `X_val` and `y_val` to `fit` has the same effect with validation
        data of your own.

    validation_fraction : float, default=0.1
        Fraction of the training data to set aside for early stopping; for a stream, the fraction of its first chunk.
        Classes and levels have the same proportions in both parts, and small data sets set aside one sample of each.

    n_iter_no_change : int, default=5
        Number of sweeps or epochs without improvement of the validation loss before stopping. The parameters with the
        lowest validation loss are kept. "mcmc" counts from the end of its burn-in, uses the validation loss of the
        averaged predictions, makes at least 20 sweeps after the burn-in, and keeps all of its draws.

    warm_start : bool, default=False
        Whether `fit` continues from the parameters of the previous fit; the minibatch solvers also continue with the
        state of their step sizes. "mcmc" continues the chains of the previous fit from their last draws, or starts from
        the solution of another solver. It keeps only the new draws.

    checkpoint : str, path-like or None, default=None
        Path of a file in which a minibatch solver saves its state after an epoch or a chunk, at most every 30 seconds.
        If the file exists when `fit` is called, training resumes from it. The file is deleted at the end of the fit.

    device : str or torch.device, default="auto"
        Device for the computations: "cpu", "cuda", "cuda:1", "mps", or "auto", which is a CUDA device if there is one,
        else the CPU.

    random_state : int, RandomState instance or None, default=None
        Controls the random initialization of the factors, the selection of the validation data, the order of the rows
        and the draws of "mcmc". Pass an int for reproducible results across multiple function calls.

    verbose : int or bool, default=0
        Whether to show a progress bar with the objective and the validation loss. For a stream, the bar counts rows.

    Attributes
    ----------
    intercept_ : numpy.float64
        The intercept.

    coef_ : ndarray of shape (n_columns,)
        Coefficients of the linear term. The columns are those of X after encoding: see `encoded_feature_names_`.

    factors_ : ndarray of shape (n_columns, n_factors)
        Factors of the interactions, one vector per column. With "mcmc", these are the factors of all draws,
        concatenated and divided by the square root of the number of draws: the raw predictions of this single model are
        the averages over the draws.

    noise_field_ : str, int or None
        The field of `fields_` whose categories differ in their noise. None if the noise is the same for all rows.

    n_factors_ : int
        Number of factors of the fitted model: `n_factors`, or 0 if the data did not support factors (see
        `select_factors`).

    covariances_ : ndarray of shape (n_columns, 1 + n_factors, 1 + n_factors) or (n_columns, 1 + n_factors)
        Posterior covariances, or variances only, of the linear coefficient and the factors of each column, for
        standardized columns and, in regression, a standardized target. Only available with "vb".

    fields_ : ndarray of shape (n_columns,)
        Field of each column of the model: the label that was given as `fields`; or the name of the column of the
        DataFrame from which it is derived (where all numeric columns share a prior); or a number, counted from 0.

    encoded_feature_names_ : ndarray of shape (n_columns,)
        Names of the columns of `coef_` and `factors_`.

    n_iter_ : int
        Number of sweeps or epochs of the last fit. Each call of `partial_fit` increases it by one.

    history_ : dict of list
        Lists with one entry per sweep or epoch of the last fit:

        - "bound" ("vb"): the evidence lower bound of the standardized target, which increases.
        - "objective" ("als"): the penalized loss of the standardized target, which decreases.
        - "training_loss" (minibatch solvers): the mean loss of all rows in the units of y, without penalties. The loss
          of each row is computed before the step for its batch.
        - "validation_loss", if there are validation data: their mean loss in the units of y.
        - "log_likelihood" and "noise_precision" ("mcmc"), both of the standardized target and averaged over the chains.
        - "r_hat_log_likelihood", "ess_log_likelihood", "r_hat_noise_precision" and "ess_noise_precision" ("mcmc"):
          R-hat and the effective sample size of the sweeps since the burn-in [5]_; NaN for fewer than four sweeps.

    levels_ : ndarray of shape (n_levels,)
        The distinct values of y, sorted. Only available with ``loss="ordered_probit"``.

    posterior_ : PosteriorDraws
        The draws that were kept. Only available with "mcmc".

    device_ : str
        Device on which the model was fitted. Predictions are computed on the same device if it is available.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during `fit`. Defined only when X has feature names that are all strings.

    See Also
    --------
    FMClassifier : Factorization machine for classification.
    skfm.streaming.Chunks : Datasets that are larger than memory.

    References
    ----------
    .. [1] Steffen Rendle, "Factorization Machines", IEEE International Conference on Data Mining, 2010.

    .. [2] John Duchi, Elad Hazan and Yoram Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", Journal of Machine Learning Research 12, 2011.

    .. [3] Diederik P. Kingma and Jimmy Ba, "Adam: A Method for Stochastic Optimization", International Conference on
       Learning Representations, 2015.

    .. [4] H. Brendan McMahan et al., "Ad Click Prediction: a View from the Trenches", ACM SIGKDD Conference on
       Knowledge Discovery and Data Mining, 2013.

    .. [5] Aki Vehtari et al., "Rank-Normalization, Folding, and Localization: An Improved R-hat for Assessing
       Convergence of MCMC", Bayesian Analysis 16, 2021.

    Examples
    --------
    Forty users rate thirty films according to how well the style of each film matches their taste:

    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn.model_selection import train_test_split
    >>> from skfm import FMRegressor
    >>> rng = np.random.default_rng(0)
    >>> ratings = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 30))
    >>> X = pd.DataFrame(np.argwhere(np.isfinite(ratings)), columns=["user", "film"]).astype("category")
    >>> X_train, X_test, y_train, y_test = train_test_split(X, ratings.ravel(), random_state=0)
    >>> model = FMRegressor(n_factors=2, random_state=0).fit(X_train, y_train)
    >>> round(model.score(X_test, y_test), 2)
    1.0

    Counts with a minibatch solver: shops sell more products of their own kind. The categories in the array are one-hot
    encoded first:

    >>> from sklearn.metrics import d2_tweedie_score
    >>> from sklearn.preprocessing import OneHotEncoder
    >>> shop, product = rng.integers(0, 20, 2000), rng.integers(0, 30, 2000)
    >>> sold = rng.poisson(np.where(shop % 2 == product % 2, 5, 1))
    >>> X = OneHotEncoder().fit_transform(np.column_stack([shop, product]))
    >>> model = FMRegressor(solver="adagrad", loss="poisson", random_state=0).fit(X, sold)
    >>> bool(d2_tweedie_score(sold, model.predict(X), power=1) > 0.5)
    True
    """

    _parameter_constraints: dict = {
        **BaseFM._parameter_constraints,
        # Keys, so that the names have an order.
        "loss": [StrOptions(dict.fromkeys(losses_for("regression")).keys())],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
        "noise": [str, Integral],
    }
    levels_: np.ndarray
    fields_: np.ndarray
    _posterior: dict[str, np.ndarray] | None

    def __init__(
        self,
        n_factors=8,
        *,
        solver="vb",
        loss="squared_error",
        quantile=0.5,
        l1_linear=0.0,
        l2_linear="auto",
        l2_factors="auto",
        fit_intercept=True,
        fit_linear=True,
        max_iter=None,
        tol=4e-4,
        init_scale="auto",
        categorical_features="from_dtype",
        min_frequency=None,
        max_categories=None,
        multi_value_features=None,
        multi_value_weights="sqrt",
        fields="auto",
        select_factors=True,
        noise="auto",
        covariance_type="auto",
        learning_rate="auto",
        learning_rate_schedule="linear",
        batch_size="auto",
        shuffle=True,
        burn_in="auto",
        n_draws="auto",
        n_chains=1,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        warm_start=False,
        checkpoint=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_factors = n_factors
        self.solver = solver
        self.loss = loss
        self.quantile = quantile
        self.l1_linear = l1_linear
        self.l2_linear = l2_linear
        self.l2_factors = l2_factors
        self.fit_intercept = fit_intercept
        self.fit_linear = fit_linear
        self.max_iter = max_iter
        self.tol = tol
        self.init_scale = init_scale
        self.categorical_features = categorical_features
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.multi_value_features = multi_value_features
        self.multi_value_weights = multi_value_weights
        self.fields = fields
        self.select_factors = select_factors
        self.noise = noise
        self.covariance_type = covariance_type
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.burn_in = burn_in
        self.n_draws = n_draws
        self.n_chains = n_chains
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @property
    def noise_field_(self):
        """The field whose categories differ in their noise.

        Returns
        -------
        str, int or None
            A label of `fields_`. None if the noise is the same for all rows.
        """
        check_is_fitted(self)
        # The last draw of a sampler has the field that was selected.
        ratio = (self._posterior or self._draws or {}).get("noise_ratio")
        ratio = ratio[-1:] if ratio is not None else None
        if ratio is None or not (ratio[0] != 1).any():
            return None
        label = self.fields_[np.flatnonzero(ratio[0] != 1)[0]]
        return label.item() if isinstance(label, np.generic) else label

    @available_if(learns_online)
    @explain_arguments
    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Fit incrementally to a batch of samples.

        Only available for minibatch solvers. The first call measures the means and scales of the numeric columns and
        of the target, like `fit`; later calls use the same values. After `fit`, training continues with the step sizes
        of that fit.

        Each call makes one pass over its samples and increases `n_iter_` by one. The learning rate is constant. With
        ``batch_size="auto"``, up to 4096 samples are one step, so set a smaller batch size if there are few samples per
        call.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,)
            The target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights. If None, all samples have equal weights.

        Returns
        -------
        self : object
            The estimator. If the call fails, the estimator is unchanged.
        """
        self._partial_fit(X, y, sample_weight)
        return self

    def predict(self, X, return_std=False, quantiles=None):
        """Predict the target of samples.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            The samples.
        return_std : bool, default=False
            Whether to return the standard deviation of the predictive distribution, which includes the noise of the
            target. Requires a model fitted by "vb" or "mcmc".
        quantiles : array-like of shape (n_quantiles,), default=None
            Probabilities between 0 and 1. If given, the corresponding quantiles of the predictive distribution are
            returned instead of the prediction. For example, ``[0.05, 0.95]`` gives the bounds of an interval that
            contains the target with a probability of 90%. Requires a model fitted by "vb" or "mcmc".

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_quantiles)
            The predictions, or the requested quantiles. With "vb" and "mcmc", the predictions are the means of the
            predictive distributions.
        y_std : ndarray of shape (n_samples,)
            Standard deviations of the predictive distributions. Only returned if `return_std` is True.

        Raises
        ------
        ValueError
            If both `return_std` and `quantiles` are given, or if the model has no posterior.
        """
        X = self.encode(X)
        if quantiles is not None:
            if return_std:
                raise ValueError(
                    "return_std and quantiles are mutually exclusive. Call predict once for each of them."
                )
            return predictor(self).quantiles(X, quantiles).numpy()
        if return_std:
            mean, std = predictor(self).moments(X)
            return mean.numpy(), std.numpy()
        return predictor(self).mean(X).numpy()

    def score(self, X, y, sample_weight=None):
        """Return the coefficient of determination R2 of the predictions.

        This is :func:`sklearn.metrics.r2_score` of ``predict(X)``, also for targets and weights so large or small that
        their squares are not finite or zero.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,)
            The target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights. If None, all samples have equal weights.

        Returns
        -------
        score : float
            The coefficient of determination.
        """
        return r2(y, self.predict(X), sample_weight)

    def to_module(self, output="prediction", *, sparse_grad=False):
        """Return the fitted model as a PyTorch module.

        The module can be trained further, compiled and exported, and its predictions only require torch. Its parameters
        are copies of the fitted parameters, in the units of X and y.

        Parameters
        ----------
        output : {"prediction", "raw"}, default="prediction"
            Output of the module: the predictions, as from `predict`, or the raw predictions. Both have shape
            (n_samples,).
        sparse_grad : bool, default=False
            Whether gradients are sparse tensors: see :class:`skfm.nn.FactorizationMachine`.

        Returns
        -------
        module : torch.nn.Module
            The module. It accepts the same inputs as :class:`skfm.nn.FactorizationMachine`: dense and sparse matrices
            and triplets.
        """
        return self._to_module(output, ("prediction", "raw"), sparse_grad=sparse_grad)

    @classmethod
    def from_module(cls, module, **parameters):
        """Create a fitted estimator from the parameters of a layer.

        The estimator makes the same predictions as the layer; for a layer with `binary_values`, only if all values are
        0 or 1. Training can be continued with `partial_fit` of a minibatch solver, and with `fit` of any solver and
        ``warm_start=True``.

        Parameters
        ----------
        module : skfm.nn.FactorizationMachine or torch.nn.Module
            A layer, or a module that was returned by `to_module`.
        **parameters : dict
            Parameters of the estimator. By default, `n_factors` is that of the layer and `solver` is "adagrad".

        Returns
        -------
        estimator : FMRegressor
            The fitted estimator.
        """
        from .training.from_module import adopt, n_factors_of

        parameters = {"n_factors": n_factors_of(module), "solver": "adagrad", **parameters}
        return adopt(cls(**parameters), module, None)

    @property
    def _target(self) -> Target:
        return target_kind(self.loss, REGRESSION_TARGETS)(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # The loss is checked in fit only, so it may be anything here.
        model = find_model(self.loss)
        tags.target_tags.positive_only = model is not None and model.positive_only
        return tags
