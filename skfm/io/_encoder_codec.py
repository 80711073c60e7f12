"""The codec for the one-hot encoders of a model that was fitted to a DataFrame."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import OneHotEncoder

from ..data.categories import infrequent_categories, make_encoder
from ._checks import check_hashes
from ._codec import Codec, Decoder, Encoder, expect


class OneHotCodec(Codec):
    """Codec for encoders of one column, which are stored as their categories and a mask of the infrequent ones.

    The encoder is rebuilt by fitting it to these categories, with each infrequent category once and each other category
    twice. This does not depend on the private state of scikit-learn's encoder, which may change between versions.
    """

    tag = "one-hot"

    def accepts(self, value: Any) -> bool:
        return type(value) is OneHotEncoder and len(getattr(value, "categories_", ())) == 1

    def encode(self, value: Any, to: Encoder, name: str, depth: int) -> Any:
        categories = np.asarray(value.categories_[0], object)
        rare = infrequent_categories(value)
        parts = {
            "categories": categories,
            "rare": np.array([category in rare for category in categories.tolist()], bool),
            "min_frequency": value.min_frequency,
            "max_categories": value.max_categories,
        }
        return {key: to.encode(part, f"{name}/{key}", depth) for key, part in parts.items()}

    def decode(self, content: Any, source: Decoder, depth: int) -> Any:
        parts = {key: source.decode(part, depth) for key, part in expect(content, dict).items()}
        if parts.keys() != {"categories", "rare", "min_frequency", "max_categories"}:
            raise ValueError("an encoder does not have the format that skfm writes")
        categories, rare = parts["categories"], parts["rare"]
        if isinstance(categories, np.ndarray) and categories.ndim == 1:
            check_hashes(categories.tolist())
        if (
            not isinstance(categories, np.ndarray)
            or categories.dtype != object
            or categories.ndim != 1
            or not len(categories)
            or len(set(categories.tolist())) != len(categories)
            or not isinstance(rare, np.ndarray)
            or rare.dtype != bool
            or rare.shape != categories.shape
        ):
            raise ValueError("the categories of an encoder do not have the format that skfm writes")
        # This is the validation that `fit` does, with the same errors.
        limits = {name: parts[name] for name in ("min_frequency", "max_categories")}
        make_encoder(**limits)._validate_params()
        merges = any(limit is not None for limit in limits.values())
        if rare.any() and not merges:
            raise ValueError(
                "an encoder has infrequent categories but neither min_frequency nor max_categories"
            )
        encoder = make_encoder(min_frequency=2 if merges else None)
        encoder.fit(np.repeat(categories, np.where(rare, 1, 2))[:, None])
        if encoder.categories_[0].tolist() != categories.tolist():
            raise ValueError("the categories of an encoder are not sorted")
        return encoder.set_params(**limits)
