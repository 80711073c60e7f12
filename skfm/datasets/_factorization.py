"""A generator that plants a factorization machine, so that the truth behind a data set is known."""

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
        "dtype": "no_validation",  # checked below: numpy has many spellings of a dtype
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
    """Generate a random problem whose truth is a factorization machine.

    Every sample has one category from each one-hot encoded field, followed by standard normal numeric
    columns. Weights and factors are normal, and scaled so that the linear part and the pairwise
    interactions of a sample have the standard deviations asked for, whatever the number of columns.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.

    cardinalities : array-like of int of shape (n_fields,), default=(100, 50)
        Number of categories of each one-hot encoded field. May be empty where `n_numeric` is not 0.

    n_factors : int, default=4
        Latent dimension of the planted model; 0 plants a linear model.

    n_numeric : int, default=0
        Number of dense numeric columns, drawn from a standard normal distribution.

    task : {"regression", "classification"}, default="regression"
        Whether `y` is the raw prediction plus noise, or a class drawn with the probabilities that the
        raw prediction implies: by the logistic function for two classes, by softmax over one planted
        model a class for more.

    n_classes : int, default=2
        Number of classes. Ignored when `task="regression"`.

    intercept : float, default=0.0
        Intercept of the planted model.

    linear_scale : float, default=1.0
        Standard deviation, over models and samples, of the linear part of the raw prediction.

    interaction_scale : float, default=1.0
        Standard deviation, over models and samples, of the sum over pairwise interactions.

    noise : float, default=0.1
        Standard deviation of the Gaussian noise added to the raw prediction. Ignored when
        `task="classification"`, where drawing the class is the noise.

    skew : float, default=0.0
        How unequally often categories occur: the k-th most frequent of a field has a probability
        proportional to ``k ** -skew``. 0 is uniform; about 1 is typical of users, items and words.

    return_parameters : bool, default=False
        If True, also return the planted model.

    dtype : {numpy.float32, numpy.float64}, default=numpy.float64
        Dtype of `X` and of a regression target. The model itself is always float64.

    random_state : int, RandomState instance or None, default=None
        Determines random number generation. Pass an int for reproducible output across multiple
        function calls.

    Returns
    -------
    X : csr_matrix of shape (n_samples, n_features)
        One-hot blocks in the order of `cardinalities`, then numeric columns;
        ``n_features = sum(cardinalities) + n_numeric``. Column indices are sorted.

    y : ndarray of shape (n_samples,)
        Target values of dtype `dtype`, or class labels 0 to ``n_classes - 1`` of an integer dtype.

    parameters : :class:`~sklearn.utils.Bunch`
        Only if `return_parameters=True`. A dictionary-like object with the attributes below; with more
        than two classes each has a class axis: the last one of `raw_prediction`, else a leading one.

        intercept : float
            Intercept.
        coef : ndarray of shape (n_features,)
            Linear weights.
        factors : ndarray of shape (n_features, n_factors)
            Latent factors.
        raw_prediction : ndarray of shape (n_samples,)
            Noise-free prediction; the log-odds of class 1 in binary classification.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or there is no column to generate.

    See Also
    --------
    sklearn.datasets.make_regression : Plants a linear model in dense data.

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
    n_active = len(cardinalities) + n_numeric  # non-zeros of a row
    n_pairs = max(n_active * (n_active - 1) // 2, 1)
    # <v_i, v_j> has variance n_factors * scale ** 4, and pairs are uncorrelated
    factor_scale = (interaction_scale**2 / (n_pairs * max(n_factors, 1))) ** 0.25
    coef = rng.standard_normal((n_models, X.shape[1])) * (linear_scale / np.sqrt(n_active))
    factors = rng.standard_normal((n_models, X.shape[1], n_factors)) * factor_scale
    raw = np.stack([intercept + _fm_terms(X, w, V) for w, V in zip(coef, factors, strict=True)], axis=1)

    if task == "regression":
        y = (raw[:, 0] + noise * rng.standard_normal(n_samples)).astype(dtype, copy=False)
    else:
        logits = np.column_stack([np.zeros(n_samples), raw]) if n_models == 1 else raw
        # adding Gumbel noise and taking the largest draws from the softmax distribution
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
    """Cardinalities as an int64 array of shape (n_fields,), or a ValueError."""
    values = np.asarray(cardinalities)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu") or (values < 1).any():
        raise ValueError(
            "The cardinalities must be a one-dimensional sequence of positive integers, one a field. "
            f"Got {cardinalities!r} instead."
        )
    if values.size + n_numeric == 0:
        raise ValueError(
            "There is no column to generate: cardinalities is empty and n_numeric=0. "
            "Give at least one cardinality or n_numeric >= 1."
        )
    return values.astype(np.int64)


def _draw_design(n_samples, cardinalities, n_numeric, skew, dtype, rng):
    """Draw one category a field and the numeric columns: CSR of shape (n_samples, n_features)."""
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
            # the category number must not tell how frequent it is
            category = rng.permutation(cardinality)[np.minimum(rank, cardinality - 1)]
        indices[:, field] = category + offset
        offset += cardinality
    indices[:, n_fields:] = np.arange(offset, n_features)
    values[:, n_fields:] = rng.standard_normal((n_samples, n_numeric))
    indptr = np.arange(0, n_samples * width + 1, width, dtype=index_dtype)
    X = sp.csr_matrix((values.ravel(), indices.ravel(), indptr), shape=(n_samples, n_features))
    X.has_sorted_indices = X.has_canonical_format = True  # true by construction; saves a scan
    return X


def _fm_terms(X, w, V):
    """Linear part plus pairwise interactions of CSR `X`, by the sum-of-squares identity: (n_samples,)."""
    X = X.astype(np.float64, copy=False)
    squared = sp.csr_matrix((X.data**2, X.indices, X.indptr), shape=X.shape)
    return X @ w + 0.5 * (((X @ V) ** 2).sum(axis=1) - squared @ (V**2).sum(axis=1))
