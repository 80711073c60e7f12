"""Factorization machines for classification."""

from __future__ import annotations

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from ._base import BaseFM, all_or_nothing, learns_online
from .data.targets import ClassTarget, OrderedClassTarget
from .fitted.cache import predictor


def _has_probabilities(estimator: FMClassifier) -> bool:
    """Tell whether the loss has probabilities; the hinge losses have none."""
    loss = estimator._model["loss"] if hasattr(estimator, "_model") else estimator.loss
    if loss in ("hinge", "squared_hinge"):
        raise AttributeError(
            f"predict_proba is not available with loss={loss!r}, which does not model probabilities. "
            "Use loss='log_loss', or sklearn.calibration.CalibratedClassifierCV."
        )
    return True


class FMClassifier(ClassifierMixin, BaseFM):
    """Factorization machine for classification.

    A linear model with an interaction of every pair of columns, whose strength is the inner
    product of two vectors of `n_factors` numbers, one a column [1]_::

        raw(x) = intercept + <coef, x> + sum_{i<j} <factors_i, factors_j> x_i x_j
        P(y = classes_[1]) = 1 / (1 + exp(-raw(x)))        # loss="log_loss"

    So interactions can be learned that the training data hardly show, such as those of a user
    and an advertisement. The time it takes grows with the number of non-zeros in X, not with the
    number of pairs. More than two classes have such a raw prediction each: see `loss`.

    Columns may be in any units: they are standardized inside, and the fitted attributes are in
    the units of X. Read more in the :ref:`user guide <user_guide>`.

    Parameters
    ----------
    n_factors : int, default=8
        Length of the vectors of the interactions. 0 is a linear model. With `solver="vb"` more
        cost time but rarely accuracy.

    solver : {"vb", "als", "mcmc", "adagrad", "adam", "sgd", "ftrl"}, default="vb"
        Block solvers hold all data in memory, and need no learning rate:

        - "vb" approximates the posterior of a Bayesian model by variational inference. It learns
          how strongly to regularize and needs no tuning; probabilities are averaged over the posterior.
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

    loss : {"log_loss", "probit", "ordered_probit", "hinge", "squared_hinge"}, default="log_loss"
        With z = 1 for samples of the class and -1 for others:

        - "log_loss": ``log(1 + exp(-z * raw))``, which takes the raw prediction for log odds, as logistic
          regression does. More than two classes are one model under the minibatch solvers, with
          ``P(y = c) = exp(raw_c) / sum_k exp(raw_k)``; under block solvers each is fitted against the rest.
        - "probit": takes the raw prediction for a quantile of the normal distribution. Only for
          block solvers.
        - "ordered_probit": for classes in order, as `classes_` has them. The raw prediction plus standard normal
          noise falls between two cut-points, which are learned. Only for "mcmc".
        - "hinge": ``max(0, 1 - z * raw)``, the loss of a linear support vector machine, and "squared_hinge", its
          square. Only for minibatch solvers, and without probabilities. More than two classes are each fitted
          against the rest.

    l1_linear : float, default=0.0
        Penalty of the linear term, ``l1_linear * sum(abs(coef))`` beside the sum of the losses. Coefficients
        that are worth less are exactly 0. Only for "ftrl".

    l2_linear : float or "auto", default="auto"
        Penalty of the linear term, ``l2_linear / 2 * sum(coef ** 2)`` beside the sum of the
        losses. On numeric columns (values other than 0 and 1) this and the other penalties are those of the
        coefficients of the standardized columns. "auto" is learned for each field by "vb" and "mcmc", which take no
        number, and by the minibatch solvers; it is 1 for "als".

    l2_factors : float or "auto", default="auto"
        Penalty of the interactions, ``l2_factors / 2 * sum(factors ** 2)``, in the same way.
        "auto" is learned for each field and factor by "vb" and "mcmc", which take no number, and by the minibatch
        solvers; it is 10 for "als".

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
        Standard deviation of the initial factors. "auto" is 0.1, but for "vb" as much as gives all interactions of a
        row together a variance of one, if that is more: where categories have few rows, smaller factors can shrink to
        nothing.

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
        Step size of the minibatch solvers, for standardized columns. "auto" is
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

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, by which the weights of their samples are multiplied. "balanced"
        gives all classes the same total weight; of a stream, in its first chunk.

    early_stopping : bool, default=False
        Whether to set a part of the training data aside, the same of each class, and stop when the
        loss on it does not fall any more. Passing `X_val` and `y_val` to `fit` does the same on
        data of your own.

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
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted.

    intercept_ : float or ndarray of shape (n_classes,)
        The intercept. This and the next three have a leading axis of classes if there are more
        than two.

    coef_ : ndarray of shape (n_columns,) or (n_classes, n_columns)
        The linear term. Its columns are those of X, or what these are encoded as: see `encoded_feature_names_`.

    factors_ : ndarray of shape (n_columns, n_factors) or (n_classes, n_columns, n_factors)
        The vectors of the interactions, one a column. With "mcmc" those of all draws side by side, over the square
        root of the number of draws: this one model has the averages of the raw predictions.

    covariances_ : ndarray of shape ([n_classes,] n_columns, 1 + n_factors[, 1 + n_factors])
        Posterior covariances (or variances) of the linear and the interaction parameters of each
        column, for standardized columns. Only with "vb".

    fields_ : ndarray of shape (n_columns,)
        The field of each column of the model: what `fields` calls it, else the column of the DataFrame that
        it comes from (of which all numeric ones share a prior), else a number, counted from 0.

    encoded_feature_names_ : ndarray of shape (n_columns,)
        Names of the columns of `coef_` and `factors_`.

    n_iter_ : int
        Number of sweeps or epochs of the last fit; with `partial_fit`, one more for each call.

    history_ : dict of list
        One entry a sweep or epoch of the last fit: "bound" ("vb", the lower bound on the log evidence,
        rises), "objective" ("als", falls) or "training_loss" (minibatch solvers, the mean of the
        losses of all rows, each before the step for its batch, without penalties). With validation data
        also "validation_loss", the mean loss a sample. Classes that are fitted against the rest add up.
        For "mcmc" "log_likelihood", averaged over the chains, and "r_hat_log_likelihood" and "ess_log_likelihood",
        R-hat and the effective sample size of the sweeps since the burn-in so far (nan for fewer than four).

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
    FMRegressor : Factorization machine for regression.
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

    Examples
    --------
    A class that no linear model can tell, since it depends on whether two categories agree.

    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfm import FMClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame(rng.choice(["red", "green", "blue"], size=(300, 2)), columns=["shirt", "shoes"])
    >>> y = np.where(X["shirt"] == X["shoes"], "same", "different")
    >>> model = FMClassifier(n_factors=2, random_state=0).fit(X, y)
    >>> model.predict(pd.DataFrame({"shirt": ["red", "red"], "shoes": ["red", "blue"]}))
    array(['same', 'different'], dtype='<U9')

    The same from records that come day by day, with hashed categories and a minibatch solver.

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
        "loss": [StrOptions({"log_loss", "probit", "ordered_probit", "hinge", "squared_hinge"})],
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
    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Learn from some more samples, with a minibatch solver.

        The first call measures the scales of numeric columns, as `fit` does; later calls keep to these measures.

        Each call is one pass over its samples, and counts in `n_iter_`. Learning rates do not decay. With
        ``batch_size="auto"`` up to 4096 samples are one step, so give a smaller batch size for smaller calls.
        After a `fit` it goes on with the step sizes of that.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,)
            Class labels.
        classes : array-like of shape (n_classes,), default=None
            All labels that there will ever be. Needed in the first call only.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        self : object
            The estimator. If the call fails, it stays as it was.
        """
        self._target.learn_online(classes)
        self._partial_fit(X, y, sample_weight)
        return self

    def decision_function(self, X):
        """Return the raw predictions, before they are turned into probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Log odds ("log_loss"), standard scores ("probit") or margins (the hinge losses): of ``classes_[1]``
            for two classes, else of each class against the rest. Of the softmax of more than two classes, the
            logarithms of the probabilities up to a constant; so of the levels of "ordered_probit". With "mcmc" they
            are those of the averaged probabilities.
        """
        X = self.encode(X)
        scores = predictor(self).scores(X).numpy()
        return scores[0] if len(scores) == 1 else np.ascontiguousarray(scores.T)

    def predict(self, X):
        """Predict the class.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Predicted class labels.
        """
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)]

    @available_if(_has_probabilities)
    def predict_proba(self, X):
        """Predict the probability of each class.

        With a posterior ("vb", "mcmc") probabilities are expected values over it, closer to 1/2 the less
        is known about the columns of a sample, so that under "vb" samples of almost the same score can stand in
        another order. Those of more than two classes are a softmax under the minibatch solvers, else the probabilities
        of each against the rest, normalized. The hinge losses have none.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes)
            Probabilities, in the order of `classes_`.
        """
        X = self.encode(X)
        return predictor(self).probabilities(X).T.contiguous().numpy()

    @available_if(_has_probabilities)
    def predict_log_proba(self, X):
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        log_p : ndarray of shape (n_samples, n_classes)
            Log probabilities, in the order of `classes_`.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def to_module(self, output="probability", *, sparse_grad=False):
        """Return the fitted model as a module of torch.

        It needs torch alone to predict, can be trained further, compiled and exported. Its parameters are copies, in
        the units of X. If `fit` has centered columns, its machines subtract the centers from their input, and
        their parameters are those of the centered columns. Probabilities of a model with a posterior ("vb") take the
        variance of the raw predictions along, whose parameters are not trained. Those of "mcmc" are averages over
        draws, which no module has.

        Parameters
        ----------
        output : {"probability", "raw"}, default="probability"
            Whether it returns what `predict_proba` does, (n_samples, n_classes), or the raw predictions, (n_samples,)
            or (n_samples, n_classes), as `decision_function`. With "mcmc" these are means over the draws.
        sparse_grad : bool, default=False
            Whether gradients are sparse tensors: see :class:`skfm.nn.FactorizationMachine`.

        Returns
        -------
        module : torch.nn.Module
            Takes rows as :class:`skfm.nn.FactorizationMachine` does: dense, sparse, or as triplet.
        """
        if output == "probability":
            _has_probabilities(self)
        return self._to_module(output, ("probability", "raw"), sparse_grad=sparse_grad)

    @classmethod
    def from_module(cls, module, classes=(0, 1), **parameters):
        """Return a fitted estimator with the parameters of layers.

        It predicts as the layers do, as far as these have no other values than 0 and 1 if they have `binary_values`.
        A minibatch solver goes on from there by `partial_fit`, and any solver by `fit` with ``warm_start=True``.

        Parameters
        ----------
        module : skfm.nn.FactorizationMachine, list of them or torch.nn.Module
            A layer, whose output is the raw prediction of ``classes[1]``; for more than two classes a list with one a
            class; or what `to_module` returns.
        classes : array-like of shape (n_classes,), default=(0, 1)
            The class labels, sorted.
        **parameters : dict
            Parameters of the estimator. `n_factors` is that of the layer, and `solver` "adagrad" if it is not given.

        Returns
        -------
        estimator : FMClassifier
            Fitted, without a sweep made.
        """
        from .training.from_module import adopt, n_factors_of

        labels = np.unique(classes)
        if len(labels) < 2 or len(labels) != len(classes) or not (labels == np.asarray(classes)).all():
            raise ValueError(
                f"classes must be at least two distinct labels in sorted order, got {classes!r}."
            )
        parameters = {"n_factors": n_factors_of(module), "solver": "adagrad", **parameters}
        return adopt(cls(**parameters), module, labels)

    @property
    def _target(self) -> ClassTarget:
        return OrderedClassTarget(self) if self.loss == "ordered_probit" else ClassTarget(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Classes that are not in order can be out of its reach.
        tags.classifier_tags.poor_score = self.loss == "ordered_probit"
        return tags
