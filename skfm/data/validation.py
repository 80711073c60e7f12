"""The arguments of ``fit``: checked, samples of weight zero removed, validation samples set apart."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_array, check_consistent_length
from sklearn.utils.validation import _check_sample_weight, _check_y, validate_data

from .columns import MISSING, as_frame, source_columns
from .frame_plan import plan_encoder
from .frames import FrameEncoder, filling_encoder, frame_encoder
from .identifiers import warn_of_identifiers
from .samples import Samples, SideColumns
from .sparse_structure import check_structure

#: How X is checked, in ``fit`` and in ``predict``: float32 stays, all else becomes float64.
X_OPTIONS: dict[str, Any] = {"accept_sparse": "csr", "dtype": [np.float64, np.float32]}


#: Mean weight, and sum of the weights per column, below which the penalties and priors outweigh the data.
SMALL_MEAN_WEIGHT, SMALL_WEIGHT_PER_COLUMN = 0.1, 5


#: What explains validation data whose columns are not those of X.
_PIPELINE_HINT = (
    " If the model is a step of a Pipeline, the steps before it transform X_val only with metadata routing and "
    "Pipeline(..., transform_input=['X_val'])."
)


#: Fraction of the samples that is set apart at most in order to have one of each class.
LARGEST_FRACTION = 0.25


class NoWeightError(ValueError):
    """All samples have a weight of zero."""


def warn_of_small_weights(samples: Samples) -> None:
    """Warn if the weights count as so few samples that the priors and penalties outweigh them."""
    n_samples, n_columns = samples.X.shape
    total = float(samples.sample_weight.sum(dtype=np.float64))
    if total < SMALL_MEAN_WEIGHT * n_samples and total < SMALL_WEIGHT_PER_COLUMN * n_columns:
        warnings.warn(
            f"The sample weights sum to {total:.3g} for {n_samples} samples. A weight of two means the same as the "
            f"sample twice, so these samples count as {total:.3g} only, and the penalties and priors outweigh them. "
            "Rescale the weights to a mean of one: sample_weight / sample_weight.mean().",
            stacklevel=2,
        )


def check_rows(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    reset: bool,
    y_numeric: bool,
    known_new: set[str] | None = None,
) -> Samples:
    """Check samples as scikit-learn does, and drop those of weight zero, since weights mean repeats.

    With ``reset=False`` and a set ``known_new``, the samples are for training: unknown categories are reported, except
    those of the columns in the set, to which the reported ones are added.
    """
    is_frame = as_frame(X) is not None  # refuses frames that are not evaluated, or have a name twice
    encoder = plan_encoder(X, estimator) if reset else filling_encoder(estimator, X)
    given = estimator.categorical_features
    if reset and isinstance(given, str) and given == "from_dtype":
        warn_of_identifiers(X)
    if encoder is not None:
        samples = _check_frame(estimator, encoder, X, y, sample_weight, reset=reset, y_numeric=y_numeric)
        if not reset and known_new is not None:
            warn_of_new_categories(encoder, samples, known_new)
        return samples
    with _hint_at_categories(X):
        table, y = validate_data(
            estimator, check_structure(X), y, reset=reset, y_numeric=y_numeric, **X_OPTIONS
        )
    weight = _check_weight(sample_weight, table, table.dtype)
    samples = Samples(table, y, SideColumns(weight))
    samples = samples if weight.all() else samples.take(np.flatnonzero(weight))
    if reset:
        estimator._frame = (
            FrameEncoder.of_numbers(X, samples.X, samples.sample_weight).attributes() if is_frame else None
        )
    return samples


@np.errstate(over="ignore", invalid="ignore")
def _check_frame(
    estimator: Any,
    encoder: FrameEncoder,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    reset: bool,
    y_numeric: bool,
) -> Samples:
    """Do the same with a DataFrame that has to be encoded."""
    validate_data(estimator, X, y, reset=reset, skip_check_array=True)
    y = _check_y(y, y_numeric=y_numeric, estimator=estimator)
    check_consistent_length(X, y)
    if not len(y):
        raise ValueError(f"Found 0 samples, while {type(estimator).__name__} needs at least 1.")
    weight = _check_weight(sample_weight, X, np.dtype(encoder.dtype))
    places = np.flatnonzero(weight)
    source = X if len(places) == len(weight) else _safe_indexing(X, places)
    if reset:
        encoded, encoder = encoder.fit_transform(source, weight[places])
        estimator._frame = encoder.attributes()
    else:
        encoded = encoder.transform(source)
    encoded = check_array(encoded, estimator=estimator, **X_OPTIONS)
    return Samples(encoded, y[places], SideColumns(weight[places]), X, places)


def warn_of_new_categories(encoder: FrameEncoder, samples: Samples, known_new: set[str]) -> None:
    """Warn of categories in training data that an earlier fit did not see, once per column."""
    found = encoder.count_new(samples.as_given(), samples.X, known_new)
    known_new.update(found)
    if found:
        shown = ", ".join(f"{name!r} has {n}" for name, n in found.items())
        warnings.warn(
            f"Training continues with categories that the first training data did not contain: {shown}. The new "
            "categories of a column share one vector, and cannot be distinguished. Fit a new model to all data, or let "
            "the first training data contain all categories.",
            stacklevel=2,
        )


def check_features(estimator: Any, X: Any) -> Any:
    """Return X as a fitted model takes it: a matrix of numbers in the columns of `coef_`."""
    as_frame(X)  # to refuse frames that are not evaluated, or have a name twice
    encoder = frame_encoder(estimator)
    if encoder is None:
        try:
            with _hint_at_categories(X):
                return validate_data(estimator, check_structure(X), reset=False, **X_OPTIONS)
        except (TypeError, ValueError):
            # The gaps are sought only now, because this takes longer than the prediction of a few rows.
            encoder = filling_encoder(estimator, X)
            if encoder is None:
                raise
    if getattr(X, "ndim", 2) == 1:
        raise ValueError(
            "Expected 2D array, got 1D array instead. For a single row pass X.iloc[[0]], not X.iloc[0]."
        )
    validate_data(estimator, X, reset=False, skip_check_array=True)
    with np.errstate(over="ignore", invalid="ignore"):
        return check_array(encoder.transform(X), estimator=estimator, **X_OPTIONS)


@contextmanager
def _hint_at_categories(X: Any) -> Iterator[None]:
    """Add advice to errors about values that are not numbers, in X or else in y."""
    try:
        # scikit-learn adds all numbers first to see whether any is not finite. The sum can be infinite or NaN.
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except ValueError as error:
        if str(error).startswith("Input X contains"):
            if as_frame(X) is not None:
                for column in source_columns(X):
                    column.numbers(np.float64)
            if "NaN" in str(error).partition("\n")[0]:
                raise ValueError(f"Input X contains NaN. {MISSING}") from None
        if "could not convert string to float" not in str(error):
            raise
        if not sparse.issparse(X) and np.asarray(X).dtype.kind in "OUS":
            advice = "If X has columns of categories, pass it as a DataFrame, or name them in categorical_features."
        else:
            advice = "A regression takes numbers: if y holds classes, use FMClassifier."
        raise ValueError(f"{error}. {advice}") from error


def _check_weight(sample_weight: Any, X: Any, dtype: Any) -> np.ndarray:
    """Return weights in the type of X, none of them negative and some of them not zero."""
    try:
        weight = _check_sample_weight(
            sample_weight, X, dtype=np.float64 if sample_weight is not None else dtype
        )
    except ValueError as error:
        # Newer versions of scikit-learn check this themselves.
        if "at least one non-zero" in str(error):
            raise NoWeightError(str(error)) from error
        raise
    if (weight < 0).any():
        first = int(np.argmax(weight < 0))
        raise ValueError(
            f"sample_weight must not be negative, but sample_weight[{first}] = {weight[first]}. "
            "Give the samples that should not count a weight of 0."
        )
    largest = float(weight.max(initial=0.0))
    if not largest:
        raise NoWeightError("Sample weights are all zero: they must contain at least one positive number.")
    with np.errstate(over="ignore"):
        weight = weight.astype(dtype, copy=False)
        total = weight.sum(dtype=dtype)
    if not np.isfinite(total):
        raise ValueError(
            f"The sum of sample_weight exceeds the range of {np.dtype(dtype)}: the largest weight is {largest:.3g}. "
            "Divide the weights by a constant, for example by their mean."
        )
    if not total:
        raise NoWeightError(
            f"All of sample_weight is zero in {np.dtype(dtype)}, the type of X: the largest weight is {largest:.3g}. "
            "Multiply the weights by a constant, or divide them by their mean."
        )
    return weight


def check_validation_rows(
    estimator: Any, X_val: Any, y_val: Any, sample_weight_val: Any, *, y_numeric: bool
) -> Samples | None:
    """Check the validation data that were passed to ``fit``. None if there were none."""
    given = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
    passed = [name for name, value in given.items() if value is not None]
    for name in ("X_val", "y_val"):
        if passed and name not in passed:
            raise ValueError(f"{passed[0]} is provided, but {name} was not provided.")
    if not passed:
        return None
    try:
        return check_rows(estimator, X_val, y_val, sample_weight_val, reset=False, y_numeric=y_numeric)
    except ValueError as error:
        message = str(error)
        hint = _PIPELINE_HINT if any(sign in message for sign in ("could not convert", "feature")) else ""
        raise ValueError(
            f"Invalid validation data ({', '.join(passed)}): {message.rstrip('.')}.{hint}"
        ) from error


def split_rows(
    samples: Samples, validation_fraction: float, *, stratify: bool, seed: int
) -> tuple[Samples, Samples]:
    """Return training and validation samples, with ``stratify`` some of each value of y in both."""
    n_samples = len(samples.y)
    n_wanted, n_values = validation_fraction * n_samples, len(np.unique(samples.y)) if stratify else 1
    # A fraction of a small data set may be less than one sample of each class.
    is_small = math.ceil(n_wanted) < n_values <= LARGEST_FRACTION * n_samples
    try:
        parts = train_test_split(
            np.arange(n_samples),
            test_size=n_values if is_small else validation_fraction,
            stratify=samples.y if stratify else None,
            random_state=seed,
        )
    except ValueError as error:
        raise ValueError(
            f"early_stopping=True cannot set validation_fraction={validation_fraction} of {n_samples} "
            f"samples aside: {error} Choose another validation_fraction, or pass X_val and y_val to fit."
        ) from error
    training, validation = samples.split(*parts)
    return training, validation
