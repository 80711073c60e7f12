"""The factorization machine for classification."""

from __future__ import annotations

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from ._base import BaseFM, learns_online
from .core.observation.registry import find_model, losses_for
from .data.targets import CLASSIFICATION_TARGETS, ClassTarget, OrderedClassTarget, default_loss, target_kind
from .fitted.cache import predictor
from .training.arguments import explain_arguments
from .training.rollback import all_or_nothing


def _has_probabilities(estimator: FMClassifier) -> bool:
    """Return whether the loss has probabilities; the hinge losses have none."""
    loss = estimator._model["loss"] if hasattr(estimator, "_model") else estimator.loss
    # The loss is checked in fit only, so it may be anything here.
    model = find_model(loss)
    if model is not None and not model.has_probabilities:
        raise AttributeError(
            f"predict_proba is not available with loss={loss!r}, which does not model probabilities. "
            f"Use loss={default_loss(estimator)!r}, or sklearn.calibration.CalibratedClassifierCV."
        )
    return True


class FMClassifier(ClassifierMixin, BaseFM):
    """Factorization machine for classification.

    A factorization machine is a linear model with an interaction term for every pair of columns. The strength of each
    interaction is the inner product of the factors of the two columns, which are vectors of length `n_factors` [1]_::

        raw(x) = intercept + <coef, x> + sum_{i<j} <factors_i, factors_j> x_i x_j
        P(y = classes_[1]) = 1 / (1 + exp(-raw(x)))        # loss="log_loss"

    The model can therefore learn interactions that are rare in the training data, such as those of a user and an
    advertisement. The computation time is linear in the number of non-zero entries of X and does not depend on the
    number of pairs. With more than two classes, there is one raw prediction per class: see `loss`.

    The columns may be in any units: they are standardized internally, and the fitted attributes are in the units of X.
    Read more in the :ref:`user guide <user_guide>`.

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

    loss : {"log_loss", "probit", "ordered_probit", "hinge", "squared_hinge"}, default="log_loss"
        Loss function. With z = 1 for samples of a class and z = -1 for all others:

        - "log_loss": ``log(1 + exp(-z * raw))``, in which the raw prediction is the log odds, as in logistic
          regression. For more than two classes, the minibatch solvers fit one multinomial model with
          ``P(y = c) = exp(raw_c) / sum_k exp(raw_k)``, and the block solvers fit each class against the rest.
        - "probit": ``-log(Phi(z * raw))``, where Phi is the cumulative distribution function of the standard normal
          distribution. Only supported by block solvers, which fit each class against the rest.
        - "ordered_probit": for ordinal classes, in the order of `classes_`. The raw prediction plus standard normal
          noise falls between two cut-points, which are learned. Only supported by "mcmc".
        - "hinge": ``max(0, 1 - z * raw)``, the loss of a linear support vector machine, and "squared_hinge", its
          square. Only supported by minibatch solvers, which fit each class against the rest if there are more than two.
          There are no probabilities.

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
        Standard deviation of the initial factors. "auto" is 0.1. For "vb", it is chosen so that the summed interactions
        of a row have unit variance, if this is larger: with smaller initial factors, those of categories with few rows
        can shrink to zero.

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
        Whether "mcmc" first tests if the data support factors. If a factor does not raise the bound on the evidence
        of a linear model, `n_factors_` is 0 and the model is linear, because factors would cost time and accuracy.
        False always fits `n_factors` factors. There is no test if there are dense numeric columns. "vb" accepts the
        parameter, but makes the test in regression only.

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

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which are multiplied by the sample weights. A dict maps class labels to weights.
        "balanced" gives all classes the same total weight; for a stream, in its first chunk. With None, all classes
        have weight one.

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
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted.

    intercept_ : numpy.float64 or ndarray of shape (n_classes,)
        The intercept. With more than two classes, `intercept_`, `coef_`, `factors_` and `covariances_` have a leading
        axis for the classes, except with ``loss="ordered_probit"``.

    coef_ : ndarray of shape (n_columns,) or (n_classes, n_columns)
        Coefficients of the linear term. The columns are those of X after encoding: see `encoded_feature_names_`.

    factors_ : ndarray of shape (n_columns, n_factors) or (n_classes, n_columns, n_factors)
        Factors of the interactions, one vector per column. With "mcmc", these are the factors of all draws,
        concatenated and divided by the square root of the number of draws: the raw predictions of this single model are
        the averages over the draws.

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
        Lists with one entry per sweep or epoch of the last fit. Losses of classes that are fitted against the rest are
        summed:

        - "bound" ("vb"): the evidence lower bound, which increases.
        - "objective" ("als"): the penalized loss, which decreases.
        - "training_loss" (minibatch solvers): the mean loss of all rows, without penalties. The loss of each row is
          computed before the step for its batch.
        - "validation_loss", if there are validation data: the log loss of `predict_proba` for them, or their mean loss
          if there are no probabilities.
        - "log_likelihood" ("mcmc"), averaged over the chains.
        - "r_hat_log_likelihood" and "ess_log_likelihood" ("mcmc"): R-hat and the effective sample size of the sweeps
          since the burn-in [5]_; NaN for fewer than four sweeps.

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
    FMRegressor : Factorization machine for regression.
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
    Classes that a linear model cannot separate, since they depend on whether two categories are equal:

    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfm import FMClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame(rng.choice(["red", "green", "blue"], size=(300, 2)), columns=["shirt", "shoes"])
    >>> y = np.where(X["shirt"] == X["shoes"], "same", "different")
    >>> model = FMClassifier(n_factors=2, random_state=0).fit(X, y)
    >>> model.predict(pd.DataFrame({"shirt": ["red", "red"], "shoes": ["red", "blue"]}))
    array(['same', 'different'], dtype='<U9')

    The same classes from records that arrive daily, with hashed categories and a minibatch solver:

    >>> from sklearn.feature_extraction import FeatureHasher
    >>> hasher = FeatureHasher(1000, alternate_sign=False)
    >>> model = FMClassifier(n_factors=2, solver="adagrad", batch_size=50, random_state=0)
    >>> for day in range(10):
    ...     X = rng.choice(["red", "green", "blue"], size=(300, 2))
    ...     y = np.where(X[:, 0] == X[:, 1], "same", "different")
    ...     records = [{"shirt": shirt, "shoes": shoes} for shirt, shoes in X]
    ...     model = model.partial_fit(hasher.transform(records), y, classes=["same", "different"])
    >>> model.predict(hasher.transform([{"shirt": "red", "shoes": "blue"}]))
    array(['different'], dtype='<U9')
    """

    _parameter_constraints: dict = {
        **BaseFM._parameter_constraints,
        # Keys, so that the names have an order.
        "loss": [StrOptions(dict.fromkeys(losses_for("classification")).keys())],
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }
    classes_: np.ndarray

    def __init__(
        self,
        n_factors=8,
        *,
        solver="vb",
        loss="log_loss",
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
        covariance_type="auto",
        learning_rate="auto",
        learning_rate_schedule="linear",
        batch_size="auto",
        shuffle=True,
        burn_in="auto",
        n_draws="auto",
        n_chains=1,
        class_weight=None,
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
        self.covariance_type = covariance_type
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.burn_in = burn_in
        self.n_draws = n_draws
        self.n_chains = n_chains
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @available_if(learns_online)
    @explain_arguments
    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Fit incrementally to a batch of samples.

        Only available for minibatch solvers. The first call measures the means and scales of the numeric columns, like
        `fit`; later calls use the same values. After `fit`, training continues with the step sizes of that fit.

        Each call makes one pass over its samples and increases `n_iter_` by one. The learning rate is constant. With
        ``batch_size="auto"``, up to 4096 samples are one step, so set a smaller batch size if there are few samples per
        call.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,)
            The class labels.
        classes : array-like of shape (n_classes,), default=None
            All class labels that can occur in `y`. Must be given in the first call, and can be omitted in later ones.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights. If None, all samples have equal weights.

        Returns
        -------
        self : object
            The estimator. If the call fails, the estimator is unchanged.
        """
        self._target.learn_online(classes)
        self._partial_fit(X, y, sample_weight)
        return self

    def decision_function(self, X):
        """Return the raw predictions, from which the probabilities are computed.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Log odds ("log_loss"), standard normal quantiles ("probit") or margins (the hinge losses). With two classes,
            these are the scores of ``classes_[1]``, else the scores of each class against the rest. For multinomial
            models and for "ordered_probit" with more than two classes, the scores are the logarithms of the
            probabilities up to a constant per sample. With "vb" and "mcmc", they are derived from the probabilities
            averaged over the posterior distribution, so that both rank samples alike.
        """
        X = self.encode(X)
        scores = predictor(self).scores(X).numpy()
        return scores[0] if len(scores) == 1 else np.ascontiguousarray(scores.T)

    def predict(self, X):
        """Predict the class labels of samples.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            The predicted class labels.
        """
        X = self.encode(X)
        return self.classes_[predictor(self).classes(X).numpy()]

    @available_if(_has_probabilities)
    def predict_proba(self, X):
        """Predict the class probabilities of samples.

        With "vb" and "mcmc", the probabilities are expected values over the posterior distribution: they are closer to
        1/2 if the posterior variance of a sample is larger. With more than two classes, the probabilities of the
        minibatch solvers are the softmax of the scores, and those of the block solvers are the normalized probabilities
        of each class against the rest. Not available for the hinge losses.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes)
            The probabilities of the classes, in the order of `classes_`.
        """
        X = self.encode(X)
        return predictor(self).probabilities(X).T.contiguous().numpy()

    @available_if(_has_probabilities)
    def predict_log_proba(self, X):
        """Predict the logarithms of the class probabilities of samples.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        log_p : ndarray of shape (n_samples, n_classes)
            The log probabilities of the classes, in the order of `classes_`.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def to_module(self, output="probability", *, sparse_grad=False):
        """Return the fitted model as a PyTorch module.

        The module can be trained further, compiled and exported, and its predictions only require torch. Its parameters
        are copies of the fitted parameters, in the units of X. For "vb", the probabilities take the posterior variance
        of the raw predictions into account, whose parameters are not trainable. For "mcmc", only the raw predictions
        are available, since the probabilities are averages over the draws.

        Parameters
        ----------
        output : {"probability", "raw"}, default="probability"
            Output of the module: the probabilities, as from `predict_proba`, or the raw predictions, as from
            `decision_function`, of shape (n_samples,) or (n_samples, n_classes). With "vb" and "mcmc", the raw
            predictions are the means over the posterior distribution.
        sparse_grad : bool, default=False
            Whether gradients are sparse tensors: see :class:`skfm.nn.FactorizationMachine`.

        Returns
        -------
        module : torch.nn.Module
            The module. It accepts the same inputs as :class:`skfm.nn.FactorizationMachine`: dense and sparse matrices
            and triplets.
        """
        if output == "probability":
            _has_probabilities(self)
        return self._to_module(output, ("probability", "raw"), sparse_grad=sparse_grad)

    @classmethod
    def from_module(cls, module, classes=(0, 1), **parameters):
        """Create a fitted estimator from the parameters of layers.

        The estimator makes the same predictions as the layers; for layers with `binary_values`, only if all values are
        0 or 1. Training can be continued with `partial_fit` of a minibatch solver, and with `fit` of any solver and
        ``warm_start=True``.

        Parameters
        ----------
        module : skfm.nn.FactorizationMachine, list of them or torch.nn.Module
            A layer, whose output is the raw prediction of ``classes[1]``; for more than two classes, a list with one
            layer per class; or a module that was returned by `to_module`.
        classes : array-like of shape (n_classes,), default=(0, 1)
            The class labels, sorted.
        **parameters : dict
            Parameters of the estimator. By default, `n_factors` is that of the layers and `solver` is "adagrad".

        Returns
        -------
        estimator : FMClassifier
            The fitted estimator.
        """
        from .training.from_module import adopt, n_factors_of

        labels = np.unique(classes)
        if len(labels) < 2 or len(labels) != len(classes) or not (labels == np.asarray(classes)).all():
            raise ValueError(
                f"classes must hold at least two distinct labels in ascending order, got {classes!r}."
            )
        parameters = {"n_factors": n_factors_of(module), "solver": "adagrad", **parameters}
        return adopt(cls(**parameters), module, labels)

    @property
    def _target(self) -> ClassTarget:
        return target_kind(self.loss, CLASSIFICATION_TARGETS)(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Classes that are not in order can be out of its reach.
        tags.classifier_tags.poor_score = isinstance(self._target, OrderedClassTarget)
        return tags
