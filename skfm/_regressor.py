"""Factorization machines for regression."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if

from ._base import BaseFM, all_or_nothing, learns_online
from .core.observation.losses import LOSSES
from .data.targets import NumericTarget, OrdinalTarget, Target
from .fitted.cache import predictor

REGRESSION_LOSSES = (
    "squared_error",
    "absolute_error",
    "huber",
    "quantile",
    "poisson",
    "gamma",
    "ordered_probit",
)


class FMRegressor(RegressorMixin, BaseFM):
    """Factorization machine for regression.

    A linear model with an interaction of every pair of columns, whose strength is the inner
    product of two vectors of `n_factors` numbers, one a column [1]_::

        raw(x) = intercept + <coef, x> + sum_{i<j} <factors_i, factors_j> x_i x_j
        yhat(x) = raw(x), or exp(raw(x)) with loss="poisson" and loss="gamma"

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

    solver : {"vb", "als", "mcmc", "adagrad", "adam", "sgd", "ftrl"}, default="vb"
        Block solvers hold all data in memory, and need no learning rate:

        - "vb" approximates the posterior of a Bayesian model by variational inference. It learns
          how strongly to regularize and needs no tuning; predictions have a standard deviation.
        - "mcmc" draws from that posterior by Gibbs sampling, and averages predictions over the draws. A little more
          accurate on ratings, in several times the time and memory: see `n_draws`.
        - "als" minimizes the penalized loss by alternating least squares, with the penalties
          `l2_linear` and `l2_factors`. Less memory and time a sweep.

        Minibatch solvers take a step for every batch of rows. They are for large data, for
        streams of chunks, for `partial_fit` and for the other losses. All bound their steps by the curvature of
        the loss, and learn their penalties along the way unless these are given:

        - "adagrad" has a step size for each column that shrinks with its gradients [2]_. Recommended.
        - "adam" goes by running means of the gradients and of their squares [3]_, for columns in
          use only. Takes twice the memory of the model besides, where "adagrad" takes two numbers a column.
        - "sgd" is plain stochastic gradient descent, with one step size for all columns.
        - "ftrl" follows the regularized leader on the linear term [4]_, which `l1_linear` makes sparse, and
          is "adagrad" on the factors.

    loss : {"squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma", "ordered_probit"}, \
            default="squared_error"
        All but the first and the last need a minibatch solver. With ``e = y - yhat``:

        - "squared_error": ``e ** 2 / 2``; predicts the mean.
        - "absolute_error": ``abs(e)``; predicts the median, which outliers hardly move.
        - "huber": ``e ** 2 / 2`` up to ``abs(e) = d``, ``d * (abs(e) - d / 2)`` beyond, where d is 1.35 robust
          standard deviations of y (1.4826 times the median distance from the median).
        - "quantile": ``max(quantile * e, (quantile - 1) * e)``; predicts the quantile `quantile`.
        - "poisson": ``yhat - y * log(yhat)``, for counts and other targets from 0 on; predicts the mean.
        - "gamma": ``y / yhat + log(yhat)``, for positive targets whose spread grows with their mean;
          predicts the mean.
        - "ordered_probit": for targets of a few values in order, such as ratings in stars. The raw prediction plus
          standard normal noise falls between two cut-points, which are learned; predicts the mean. Only for "mcmc".

    quantile : float, default=0.5
        Which quantile `loss="quantile"` predicts, between 0 and 1.

    l1_linear : float, default=0.0
        Penalty of the linear term, ``l1_linear * sum(abs(coef))`` beside the sum of the losses. Coefficients
        that are worth less are exactly 0. Only for "ftrl".

    l2_linear : float or "auto", default="auto"
        Penalty of the linear term, ``l2_linear / 2 * sum(coef ** 2)`` beside the sum of the
        losses. On numeric columns (values other than 0 and 1) this and the other penalties are those of the
        coefficients of the standardized columns. "auto" is learned for each field by "vb" and "mcmc", which take no
        number, and by the minibatch solvers; it is 1 for "als", for a target of standard deviation 1.

    l2_factors : float or "auto", default="auto"
        Penalty of the interactions, ``l2_factors / 2 * sum(factors ** 2)``, in the same way.
        "auto" is learned for each field and factor by "vb" and "mcmc", which take no number, and by the minibatch
        solvers; it is 10 for "als", for a target of standard deviation 1.

    fit_intercept : bool, default=True
        Whether the model has an intercept.

    fit_linear : bool, default=True
        Whether the model has a linear term.

    max_iter : int or None, default=None
        Sweeps over all columns (block solvers) or epochs over all rows (minibatch solvers), at most. None is 100
        sweeps, of "mcmc" 200 with the burn-in; or 3 epochs for a million rows and more, 8 for 100,000, 19 for 10,000,
        48 for 1,000 and 100 for 256 or fewer; 3 for a stream of unknown length, and 1 for an iterator, which can be
        read once only.

    tol : float, default=4e-4
        "vb" and "als" stop when two sweeps in a row change the objective, or the bound, by less than
        this share of the loss, or of the expected log likelihood, that is part of it. 0 never stops.
        The others do not read it: "mcmc" makes all its sweeps, and the learning rate of minibatch solvers plans for
        `max_iter` epochs.

    init_scale : float or "auto", default="auto"
        Standard deviation of the initial factors, for a standardized target. "auto" is 0.1.

    categorical_features : "from_dtype", array-like of bool, int or str, or None, default="from_dtype"
        Columns of categories, which are one-hot encoded inside, each as a field of its own. "from_dtype" takes the
        columns of a DataFrame of pandas or polars that hold strings, booleans or a categorical type, and, as categories
        of which a row has several, those that hold lists. Otherwise a mask, numbers or names of columns of a DataFrame
        or a dense array; None for none. A missing category is a category. One that the training data did not have is
        taken for an average one of its column: it is at the prior of the field.

    min_frequency : int, float or None, default=None
        Categories of fewer samples, or of a smaller share of them, have one column together, and new categories
        go there too.

    max_categories : int or None, default=None
        Most columns for the categories of a column of X; the rarest categories have one together.

    multi_value_features : dict, array-like or None, default=None
        Columns that hold several categories a row, such as genres or tags: a dict from the name or number of a column
        to the delimiter between the values of a string, ``{"genres": "|"}``, or to None where the values are lists.

    multi_value_weights : {"sqrt", "mean", "one"}, default="sqrt"
        What each of n such values of a row counts: ``1 / sqrt(n)``, ``1 / n`` or 1.

    fields : "auto" or array-like of shape (n_features,), default="auto"
        The field of each column of X, as numbers or strings. Columns of a field share a prior in "vb" and "mcmc", and a
        learned penalty in the minibatch solvers. "auto" finds the columns that one-hot encode one category, and takes
        all numeric columns together. Categories that are encoded inside are a field each.

    covariance_type : {"auto", "full", "diag"}, default="auto"
        Posterior covariances of "vb": of all parameters of a column, or variances only, which
        takes less memory and time for large `n_factors` and many non-zeros a row. "auto" takes
        "full" where it is not much more expensive. For "mcmc" that of the priors, where "auto" is "full": a
        Normal-Wishart prior for each field, and "diag" a Normal-Gamma prior for each of its factors.

    learning_rate : float or "auto", default="auto"
        Step size of the minibatch solvers, for standardized columns and target. "auto" is
        0.25 for "adagrad" and "ftrl", 0.01 for "adam" and 0.03 for "sgd". Where training blows up, it goes on from
        the last good state with a quarter of it, and warns.

    learning_rate_schedule : {"linear", "constant"}, default="linear"
        "linear" lowers the learning rate to zero over the epochs. "constant" does not, for models that go
        on learning; `partial_fit` always takes it.

    batch_size : int or "auto", default="auto"
        Rows that the minibatch solvers take a step for. "auto" is all of 256 rows or fewer, a multiple of 64
        up to 8192 that grows with the number of rows for more, and 4096 for streams and `partial_fit`.

    shuffle : bool, default=True
        Whether the minibatch solvers put rows into batches at random, and go through the batches in another order
        every epoch. The rows of a stream are shuffled within each chunk, and the chunks keep their order.

    burn_in : int or "auto", default="auto"
        Sweeps of "mcmc" at first of which nothing is kept. "auto" is a fifth of `max_iter` and 50 at most; 0 where
        `warm_start` continues chains.

    n_draws : int or "auto", default="auto"
        Draws of each chain that "mcmc" keeps, at most: evenly spread over the sweeps after the burn-in, the last
        among them. Each takes the memory of a model, and so much time in a prediction. "auto" keeps every sweep, or
        as many as fit in 256 MiB, but 20 at least.

    n_chains : int, default=1
        Chains of "mcmc", which are run together from different starting points. Predictions are averaged over all
        of them. A fit warns if they have not come to the same distribution (R-hat above 1.1).

    early_stopping : bool, default=False
        Whether to set a part of the training data aside and stop when the loss on it does not fall
        any more. Passing `X_val` and `y_val` to `fit` does the same on data of your own.

    validation_fraction : float, default=0.1
        Share of the training data to set aside for early stopping; of a stream, share of its first chunk.

    n_iter_no_change : int, default=5
        Stop after so many sweeps or epochs without a lower loss on the validation data. The parameters
        of the lowest loss are kept. "mcmc" counts from the end of its burn-in, by the loss of what its sweeps predict
        on average, makes 20 sweeps after it at least, and keeps all of its draws.

    warm_start : bool, default=False
        Whether `fit` continues from the parameters of the fit before, in minibatch solvers from the state of
        their step sizes too. "mcmc" goes on with the chains of the fit before, from their last draws, or starts from
        what another solver has found; it keeps the new draws only.

    checkpoint : str, path-like or None, default=None
        File in which a minibatch solver saves its state, every 30 seconds at most, after an epoch or a chunk. If it
        is there when `fit` begins, the fit goes on from it. It is deleted at the end of the fit.

    device : str or torch.device, default="auto"
        Where to compute: "cpu", "cuda", "cuda:1", "mps", or "auto" for a CUDA device where there is one.

    random_state : int, RandomState instance or None, default=None
        Draws the initial factors, the validation data, the order of the rows and the draws of "mcmc". Pass an int
        for the same result every time.

    verbose : int or bool, default=0
        Whether to show a progress bar, with the objective and the loss on the validation data. For
        a stream it counts rows.

    Attributes
    ----------
    intercept_ : float
        The intercept.

    coef_ : ndarray of shape (n_columns,)
        The linear term. Its columns are those of X, or what these are encoded as: see `encoded_feature_names_`.

    factors_ : ndarray of shape (n_columns, n_factors)
        The vectors of the interactions, one a column. With "mcmc" those of all draws side by side, over the square
        root of the number of draws: predictions of this one model are the averages over the draws.

    covariances_ : ndarray of shape (n_columns, 1 + n_factors, 1 + n_factors) or (n_columns, 1 + n_factors)
        Posterior covariances (or variances) of the linear and the interaction parameters of each
        column, both for standardized columns and a standardized target. Only with "vb".

    fields_ : ndarray of shape (n_columns,)
        The field of each column of the model: what `fields` calls it, else the column of the DataFrame that
        it comes from (of which all numeric ones share a prior), else a number, counted from 0.

    encoded_feature_names_ : ndarray of shape (n_columns,)
        Names of the columns of `coef_` and `factors_`.

    n_iter_ : int
        Number of sweeps or epochs of the last fit; with `partial_fit`, one more for each call.

    history_ : dict of list
        One entry a sweep or epoch of the last fit: "bound" ("vb", the lower bound on the log evidence,
        rises) or "objective" ("als", falls), both of the standardized target; or "training_loss"
        (minibatch solvers, the mean of the losses of all rows, each before the step for its batch, without
        penalties, in the units of y). With validation data also "validation_loss", the mean loss on them in
        the units of y. For "mcmc" "log_likelihood" and "noise_precision", both of the standardized target and
        averaged over the chains, and for each of the two ``"r_hat_..."`` and ``"ess_..."``, R-hat and the effective
        sample size of the sweeps since the burn-in so far [5]_ (nan for fewer than four).

    levels_ : ndarray of shape (n_levels,)
        The distinct values of y, in order. Only with ``loss="ordered_probit"``.

    posterior_ : PosteriorDraws
        The kept draws. Only with "mcmc".

    device_ : str
        Where the model was fitted. Predictions are made there too if the machine has such a device.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during `fit`, if X had names that are all strings.

    See Also
    --------
    FMClassifier : Factorization machine for classification.
    skfm.streaming.Chunks : Data sets larger than memory, for `fit`.

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
    Forty users rate thirty films by how well the styles of a film agree with their tastes.

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

    Counts, with a minibatch solver: shops sell more of the products of their own kind. Categories in an array are
    encoded in front.

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
        "loss": [StrOptions(set(REGRESSION_LOSSES))],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
    }
    levels_: np.ndarray

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

    @available_if(learns_online)
    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Learn from some more samples, with a minibatch solver.

        The first call measures the scales of numeric columns and of the target, as `fit` does; later calls keep
        to these measures.

        Each call is one pass over its samples, and counts in `n_iter_`. Learning rates do not decay. With
        ``batch_size="auto"`` up to 4096 samples are one step, so give a smaller batch size for smaller calls.
        After a `fit` it goes on with the step sizes of that.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,)
            Target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        self : object
            The estimator. If the call fails, it stays as it was.
        """
        self._partial_fit(X, y, sample_weight)
        return self

    def predict(self, X, return_std=False, quantiles=None):
        """Predict the target.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Samples.
        return_std : bool, default=False
            Whether to return the standard deviation of the predictive distribution, the noise
            of the target included. Needs ``solver="vb"`` or ``solver="mcmc"``.
        quantiles : array-like of shape (n_quantiles,), default=None
            Return these quantiles of the predictive distribution instead, numbers between 0 and 1. ``[0.05, 0.95]``
            are the ends of an interval that holds the target with a probability of 90 %. Needs ``solver="vb"`` or
            ``solver="mcmc"``.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_quantiles)
            Predicted target, the mean of the predictive distribution; or its quantiles.
        y_std : ndarray of shape (n_samples,)
            Standard deviation of the target, if `return_std`.
        """
        X = self.encode(X)
        if quantiles is not None:
            if return_std:
                raise ValueError(
                    "predict returns a standard deviation or quantiles. Ask for one after the other."
                )
            return predictor(self).quantiles(X, quantiles).numpy()
        if return_std:
            mean, std = predictor(self).moments(X)
            return mean.numpy(), std.numpy()
        return predictor(self).mean(X).numpy()

    def to_module(self, output="prediction", *, sparse_grad=False):
        """Return the fitted model as a module of torch.

        It needs torch alone to predict, can be trained further, compiled and exported. Its parameters are copies, in
        the units of X and y. If `fit` has centered columns, its machines subtract the centers from their input, and
        their parameters are those of the centered columns.

        Parameters
        ----------
        output : {"prediction", "raw"}, default="prediction"
            Whether it returns what `predict` does, or the raw prediction, (n_samples,) each.
        sparse_grad : bool, default=False
            Whether gradients are sparse tensors: see :class:`skfm.nn.FactorizationMachine`.

        Returns
        -------
        module : torch.nn.Module
            Takes rows as :class:`skfm.nn.FactorizationMachine` does: dense, sparse, or as triplet.
        """
        return self._to_module(output, ("prediction", "raw"), sparse_grad=sparse_grad)

    @classmethod
    def from_module(cls, module, **parameters):
        """Return a fitted estimator with the parameters of a layer.

        It predicts as the layer does, as far as that has no other values than 0 and 1 if it has `binary_values`.
        A minibatch solver goes on from there by `partial_fit`, and any solver by `fit` with ``warm_start=True``.

        Parameters
        ----------
        module : skfm.nn.FactorizationMachine or torch.nn.Module
            A layer, or what `to_module` returns.
        **parameters : dict
            Parameters of the estimator. `n_factors` is that of the layer, and `solver` "adagrad" if it is not given.

        Returns
        -------
        estimator : FMRegressor
            Fitted, without a sweep made.
        """
        from .training.from_module import adopt, n_factors_of

        parameters = {"n_factors": n_factors_of(module), "solver": "adagrad", **parameters}
        return adopt(cls(**parameters), module, None)

    @property
    def _target(self) -> Target:
        return OrdinalTarget(self) if self.loss == "ordered_probit" else NumericTarget(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # The loss is checked in fit only, so it may be anything here.
        loss = LOSSES.get(self.loss) if isinstance(self.loss, str) else None
        tags.target_tags.positive_only = loss is not None and loss.positive_only
        return tags
