"""Small fitted models, and what it means that two are the same."""

import pickle

import numpy as np
import skops.io
from sklearn.preprocessing import OneHotEncoder

from skfm import FMRegressor
from skfm.io import load_model, save_model


def data(seed=0, n=50):
    """Flags, a dense column far from zero and a sparse one, and a target of three positive values."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.random((n, 3)) < 0.4, 5 + rng.random(n), rng.random(n) * (rng.random(n) < 0.2)])
    return X, rng.integers(1, 4, n)


def small(kind=FMRegressor, y=None, **options):
    X, target = data()
    options = {"solver": "als", "max_iter": 3, "random_state": 0, **options}
    return kind(2, **options).fit(X, target if y is None else y)


def reloaded(model, folder):
    """Return a model from each format in which it can be saved."""
    save_model(model, folder / "model.safetensors")
    dumped = skops.io.dumps(model)
    return (
        load_model(folder / "model.safetensors"),
        pickle.loads(pickle.dumps(model)),
        skops.io.loads(dumped, trusted=skops.io.get_untrusted_types(data=dumped)),
    )


def assert_same(found, expected):
    """The same types, values and bits, all the way down."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert_same(found.tolist(), expected.tolist())
    elif isinstance(expected, OneHotEncoder):
        assert found.get_params() == expected.get_params()
        assert_same(found.categories_, expected.categories_)
        assert_same(found.get_feature_names_out(["x"]), expected.get_feature_names_out(["x"]))
    elif isinstance(expected, float | np.floating):
        assert np.array(found).tobytes() == np.array(expected).tobytes() or (
            found != found and expected != expected
        )
    else:
        assert found == expected
