"""A generator of synthetic data from a factorization machine with known parameters."""

from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_params


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "cardinalities": ["array-like"],
        "n_factors": [Interval(Integral, 0, None, closed="left")],
        "n_numeric": [Interval(Integral, 0, None, closed="left")],
        "task": [StrOptions({"regression", "classification"})],
        "n_classes": [Interval(Integral, 2, None, closed="left")],
        "intercept": [Interval(Real, None, None, closed="neither")],
        "linear_scale": [Interval(Real, 0, None, closed="left")],
        "interaction_scale": [Interval(Real, 0, None, closed="left")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "skew": [Interval(Real, 0, None, closed="left")],
        "return_parameters": ["boolean"],
        "dtype": "no_validation",  # checked below, since numpy accepts many spellings of a dtype
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_factorization(
    n_samples=1000,
    cardinalities=(100, 50),
    *,
    n_factors=4,
    n_numeric=0,
    task="regression",
    n_classes=2,
    intercept=0.0,
    linear_scale=1.0,
    interaction_scale=1.0,
    noise=0.1,
    skew=0.0,
    return_parameters=False,
    dtype=np.float64,
    random_state=None,
):
    """Generate a random regression or classification problem from a factorization machine.

    Every sample has one category of each one-hot encoded field, followed by numeric columns with a standard normal
    distribution. The linear weights and the factors are normally distributed. They are scaled such that the linear
    part and the sum of the pairwise interactions of a sample have the given standard deviations, independent of the
    number of columns.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.

    cardinalities : array-like of int of shape (n_fields,), default=(100, 50)
        Number of categories of each one-hot encoded field. May be empty if `n_numeric` is positive.

    n_factors : int, default=4
        Latent dimension of the underlying model. With 0, the model is linear.

    n_numeric : int, default=0
        Number of dense numeric columns, drawn from a standard normal distribution.

    task : {"regression", "classification"}, default="regression"
        Type of the target. In regression, `y` is the raw prediction plus noise. In classification, `y` is drawn from
        the class probabilities: the logistic function of the raw prediction for two classes, and the softmax of the
        raw predictions of one model per class for more than two.

    n_classes : int, default=2
        Number of classes. Ignored when `task="regression"`.

    intercept : float, default=0.0
        Intercept of the underlying model.

    linear_scale : float, default=1.0
        Standard deviation of the linear part of the raw prediction, over random models and samples.

    interaction_scale : float, default=1.0
        Standard deviation of the sum of the pairwise interactions, over random models and samples.

    noise : float, default=0.1
        Standard deviation of the Gaussian noise that is added to the raw prediction. Ignored if
        `task="classification"`, where the classes are drawn at random.

    skew : float, default=0.0
        Exponent of the distribution of the categories: the probability of the k-th most frequent category of a field
        is proportional to ``k ** -skew``. 0 gives a uniform distribution; values around 1 are typical of users, items
        and words.

    return_parameters : bool, default=False
        If True, return the parameters of the underlying model as well.

    dtype : {numpy.float32, numpy.float64}, default=numpy.float64
        Data type of `X` and of the regression target. The parameters are always float64.

    random_state : int, RandomState instance or None, default=None
        Determines random number generation for dataset creation. Pass an int for reproducible output across multiple
        function calls.

    Returns
    -------
    X : csr_matrix of shape (n_samples, n_features)
        The samples: one-hot encoded fields in the order of `cardinalities`, followed by the numeric columns, so
        ``n_features = sum(cardinalities) + n_numeric``. The column indices of each row are sorted.

    y : ndarray of shape (n_samples,)
        The targets of dtype `dtype`, or the class labels from 0 to ``n_classes - 1`` with an integer dtype.

    parameters : :class:`~sklearn.utils.Bunch`
        Only returned if `return_parameters=True`. A dictionary-like object with the attributes below. With more than
        two classes, `raw_prediction` has a trailing axis of length `n_classes`, and the other attributes have a
        leading one.

        intercept : float
            Intercept.
        coef : ndarray of shape (n_features,)
            Linear weights.
        factors : ndarray of shape (n_features, n_factors)
            Latent factors.
        raw_prediction : ndarray of shape (n_samples,)
            Raw prediction without noise. In binary classification, these are the log odds of class 1.

    Raises
    ------
    ValueError
        If a parameter is out of range, or if there are no columns to generate.

    See Also
    --------
    sklearn.datasets.make_regression : Generate a random regression problem from a linear model.

    Examples
    --------
    >>> from skfm.datasets import make_factorization
    >>> X, y, truth = make_factorization(
    ...     n_samples=500, cardinalities=(30, 20), n_factors=2, return_parameters=True, random_state=0
    ... )
    >>> X.shape, X.nnz, y.shape
    ((500, 50), 1000, (500,))
    >>> truth.coef.shape, truth.factors.shape
    ((50,), (50, 2))
    >>> print(f"standard deviation of the noise: {(y - truth.raw_prediction).std():.2f}")
    standard deviation of the noise: 0.10
    """
    cardinalities = _check_cardinalities(cardinalities, n_numeric)
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"The dtype must be numpy.float32 or numpy.float64. Got {dtype.name!r} instead.")
    rng = check_random_state(random_state)

    X = _draw_design(n_samples, cardinalities, n_numeric, skew, dtype, rng)
    n_models = n_classes if task == "classification" and n_classes > 2 else 1
    n_active = len(cardinalities) + n_numeric  # number of non-zeros per row
    n_pairs = max(n_active * (n_active - 1) // 2, 1)
    # <v_i, v_j> has variance n_factors * scale ** 4, and the pairs are uncorrelated.
    factor_scale = (interaction_scale**2 / (n_pairs * max(n_factors, 1))) ** 0.25
    coef = rng.standard_normal((n_models, X.shape[1])) * (linear_scale / np.sqrt(n_active))
    factors = rng.standard_normal((n_models, X.shape[1], n_factors)) * factor_scale
    raw = np.stack([intercept + _fm_terms(X, w, V) for w, V in zip(coef, factors, strict=True)], axis=1)

    if task == "regression":
        y = (raw[:, 0] + noise * rng.standard_normal(n_samples)).astype(dtype, copy=False)
    else:
        logits = np.column_stack([np.zeros(n_samples), raw]) if n_models == 1 else raw
        # The argmax of logits plus Gumbel noise is a sample from the softmax distribution.
        y = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    if not return_parameters:
        return X, y

    if n_models == 1:
        truth = Bunch(intercept=float(intercept), coef=coef[0], factors=factors[0], raw_prediction=raw[:, 0])
    else:
        intercepts = np.full(n_models, float(intercept))
        truth = Bunch(intercept=intercepts, coef=coef, factors=factors, raw_prediction=raw)
    return X, y, truth


def _check_cardinalities(cardinalities, n_numeric):
    """Return the cardinalities as an int64 array of shape (n_fields,), or raise a ValueError."""
    values = np.asarray(cardinalities)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu") or (values < 1).any():
        raise ValueError(
            "The cardinalities must be a one-dimensional sequence of positive integers, one per field. "
            f"Got {cardinalities!r} instead."
        )
    if values.size + n_numeric == 0:
        raise ValueError(
            "There is no column to generate: cardinalities is empty and n_numeric=0. "
            "Give at least one cardinality or n_numeric >= 1."
        )
    return values.astype(np.int64)


def _draw_design(n_samples, cardinalities, n_numeric, skew, dtype, rng):
    """Draw one category per field and the numeric columns. Return a CSR matrix of shape (n_samples, n_features)."""
    n_fields, n_features = len(cardinalities), int(cardinalities.sum()) + n_numeric
    width = n_fields + n_numeric
    index_dtype = np.int32 if max(n_samples * width, n_features) < np.iinfo(np.int32).max else np.int64
    indices = np.empty((n_samples, width), index_dtype)
    values = np.ones((n_samples, width), dtype)
    offset = 0
    for field, cardinality in enumerate(cardinalities):
        if skew == 0:
            category = rng.randint(cardinality, size=n_samples)
        else:
            cdf = np.cumsum(np.arange(1, cardinality + 1) ** -float(skew))
            rank = np.searchsorted(cdf, rng.uniform(0, cdf[-1], n_samples), side="right")
            # Permute the categories, so that their numbers are independent of their frequencies.
            category = rng.permutation(cardinality)[np.minimum(rank, cardinality - 1)]
        indices[:, field] = category + offset
        offset += cardinality
    indices[:, n_fields:] = np.arange(offset, n_features)
    values[:, n_fields:] = rng.standard_normal((n_samples, n_numeric))
    indptr = np.arange(0, n_samples * width + 1, width, dtype=index_dtype)
    X = sp.csr_matrix((values.ravel(), indices.ravel(), indptr), shape=(n_samples, n_features))
    X.has_sorted_indices = X.has_canonical_format = True  # true by construction, and avoids a scan by scipy
    return X


def _fm_terms(X, w, V):
    """Return the linear part plus the pairwise interactions, (n_samples,).

    The interactions are computed as ``1/2 sum_f [(sum_j x_j V_jf)^2 - sum_j x_j^2 V_jf^2]``.
    """
    X = X.astype(np.float64, copy=False)
    squared = sp.csr_matrix((X.data**2, X.indices, X.indptr), shape=X.shape)
    return X @ w + 0.5 * (((X @ V) ** 2).sum(axis=1) - squared @ (V**2).sum(axis=1))
