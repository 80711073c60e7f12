"""The factors of a column's categories as a DataFrame."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.frames import frame_encoder


def encoded_names(estimator: Any) -> np.ndarray:
    """Return the name of each column of ``coef_`` and ``factors_``."""
    encoder = frame_encoder(estimator)
    if encoder is not None:
        return encoder.encoded_names
    n_features = estimator.n_features_in_
    return np.asarray(getattr(estimator, "feature_names_in_", [f"x{j}" for j in range(n_features)]), object)


def embedding(estimator: Any, column: Any) -> Any:
    """Return the factors of a column's categories: see `BaseFM.embedding`."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "embedding returns a pandas DataFrame. Install it with: pip install pandas"
        ) from error
    encoder = frame_encoder(estimator)
    if encoder is None or not any(encoder.encoders):
        raise ValueError(
            f"embedding needs a model that was fitted to categories, but this {type(estimator).__name__} was fitted to "
            "numbers alone. Fit it to a DataFrame with columns of categories, or name them in categorical_features. "
            "For data that are encoded already, the rows of factors_ are the vectors."
        )
    known = [
        name for name, one_hot in zip(encoder.names, encoder.encoders, strict=True) if one_hot is not None
    ]
    if column not in known:
        raise ValueError(
            f"There is no column of categories {column!r}. There are: {', '.join(map(repr, known))}."
        )
    number = encoder.names.index(column)
    categories = encoder.categories(number)
    first = int(np.sum(encoder.widths[:number]))
    factors = estimator.factors_[..., first : first + len(categories), :]
    index = pd.Index(categories, name=column, dtype=object if None in categories else None)
    if factors.ndim == 3:
        # There is one model per class.
        index = pd.MultiIndex.from_product([estimator.classes_, index], names=["class", column])
    names = [f"factor{k}" for k in range(factors.shape[-1])]
    return pd.DataFrame(factors.reshape(len(index), len(names)), index, names)
