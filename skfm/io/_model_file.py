"""Saving and loading of estimators in safetensors files, which hold arrays and settings but no code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .. import __version__
from .._classifier import FMClassifier
from .._regressor import FMRegressor
from ._codec import Decoder, Encoder
from ._codecs import CODECS
from ._form import check_form
from ._tensors import open_tensors, write_tensors

#: The metadata key of the settings, and the version of the format.
METADATA_KEY, FORMAT_VERSION = "skfm", 1
#: The only classes that a file may name.
CLASSES = {cls.__name__: cls for cls in (FMRegressor, FMClassifier)}
#: Attributes that scikit-learn may set on an estimator for metadata routing and callbacks. They are not learned.
EXCLUDED_ATTRIBUTES = {"_metadata_request", "_skl_callbacks", "_callback_fit_ctx", "_parent_callback_ctx"}
RESAVE_ADVICE = "Save the model again with skfm.io.save_model."


def save_model(estimator: FMRegressor | FMClassifier, path: str | os.PathLike[str]) -> None:
    """Save a fitted estimator to a safetensors file.

    The file holds the fitted attributes of the estimator as arrays and its parameters as JSON. Loading it does not
    execute any code, so files from untrusted sources can be opened. A loaded model makes bitwise identical predictions,
    and `partial_fit` and ``warm_start=True`` continue from the saved state.

    Parameters
    ----------
    estimator : FMRegressor or FMClassifier
        A fitted estimator with any solver. Subclasses and pipelines are not supported; save the other steps of a
        pipeline separately.
    path : path-like
        Path of the file to write. An existing file is replaced atomically once the new one is complete.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    TypeError
        If `estimator` is neither an FMRegressor nor an FMClassifier.
    ValueError
        If the estimator has a value that the file cannot store, such as a `RandomState` instance as `random_state`.
    OSError
        If the file cannot be written.

    See Also
    --------
    load_model : Load an estimator from a file.
    write_libfm_model : Write only the parameters, in the format of libFM.

    Notes
    -----
    The parameter `checkpoint` is the path of a file on the machine where the model was trained, so it is not saved: it
    is None in a loaded model. Callbacks and metadata routing requests are not saved either.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skfm import FMRegressor
    >>> from skfm.datasets import make_factorization
    >>> from skfm.io import load_model, save_model
    >>> X, y = make_factorization(200, (10, 8), random_state=0)
    >>> model = FMRegressor(n_factors=2, random_state=0).fit(X, y)
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "model.safetensors"
    >>> save_model(model, path)
    >>> again = load_model(path)
    >>> bool((again.predict(X) == model.predict(X)).all())
    True
    >>> folder.cleanup()
    """
    kind = type(estimator)
    if CLASSES.get(kind.__name__) is not kind:
        raise TypeError(
            f"save_model takes an FMRegressor or an FMClassifier, got {kind.__module__}.{kind.__qualname__}. For a "
            "pipeline, pass its last step, or save the whole pipeline with skops."
        )
    check_is_fitted(estimator)
    parameters = _plain_parameters(estimator)
    state = {
        name: value
        for name, value in estimator.__dict__.items()
        if name not in parameters and name not in EXCLUDED_ATTRIBUTES
    }
    try:
        estimator._validate_params()
        check_form(estimator, state)
    except ValueError as error:
        raise ValueError(
            f"This {kind.__name__} cannot be saved: {error}. Correct it, or fit the estimator again."
        ) from error
    encoder = Encoder(CODECS)
    settings = {
        "format": FORMAT_VERSION,
        "version": __version__,
        "class": kind.__name__,
        "parameters": {n: encoder.encode(v, f"parameters/{n}") for n, v in parameters.items()},
        "state": {name: encoder.encode(value, name) for name, value in state.items()},
    }
    write_tensors(path, encoder.arrays, METADATA_KEY, json.dumps(settings, allow_nan=False))


def load_model(path: str | os.PathLike[str]) -> FMRegressor | FMClassifier:
    """Load an estimator from a file that was written by `save_model`.

    Loading does not execute any code from the file, and the content is validated before it is used. A damaged or
    malicious file raises an error, and loading it requires at most a small multiple of its size in memory.

    Parameters
    ----------
    path : path-like
        Path to a file that was written by `save_model`.

    Returns
    -------
    estimator : FMRegressor or FMClassifier
        The fitted estimator.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file does not exist or cannot be read.
    ValueError
        If the file was not written by `save_model`, is damaged, or has inconsistent content.

    See Also
    --------
    save_model : Save an estimator to a file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skfm import FMClassifier
    >>> from skfm.datasets import make_factorization
    >>> from skfm.io import load_model, save_model
    >>> X, y = make_factorization(200, (10, 8), task="classification", random_state=0)
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "model.safetensors"
    >>> save_model(FMClassifier(n_factors=2, random_state=0).fit(X, y), path)
    >>> load_model(path).classes_
    array([0, 1])
    >>> folder.cleanup()
    """
    try:
        with open_tensors(path) as file:
            settings = _parse_settings(file.text(METADATA_KEY))
            estimator = _build(settings, file)
            file.check_all_taken()
    except (OSError, ImportError):
        raise
    except Exception as error:  # a file with arbitrary content may cause any error
        raise ValueError(
            f"{Path(path)} is not a model file of skfm.io or is damaged: {error}. {RESAVE_ADVICE}"
        ) from error
    return estimator


def _parse_settings(text: str) -> dict[str, Any]:
    """Parse the JSON settings, unless the result would take far more memory than the text."""
    # An empty list takes 64 bytes, a dict with one entry 250, and a string at least 50 (two quotation marks).
    n_objects = 250 * text.count("{") + 64 * text.count("[") + 30 * text.count('"')
    if n_objects > max(1 << 20, 8 * len(text)):
        raise ValueError("its settings contain too many small objects")
    settings = json.loads(text, parse_constant=_reject_constant)
    if type(settings) is not dict or "format" not in settings:
        raise ValueError("its settings do not have the format that skfm writes")
    if settings["format"] != FORMAT_VERSION:
        raise ValueError(
            f"it was written by skfm {settings.get('version')!r} in a format that skfm {__version__} cannot read"
        )
    return settings


def _plain_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters of an estimator in the form in which they are stored."""
    parameters: dict[str, Any] = estimator.get_params(deep=False)
    if isinstance(parameters["random_state"], np.random.RandomState):
        raise ValueError(
            "random_state is a RandomState, which a model file cannot hold. Replace it with an int or None: "
            "estimator.set_params(random_state=0)."
        )
    parameters["checkpoint"] = None
    if not isinstance(parameters["fields"], str | list | tuple | np.ndarray):
        parameters["fields"] = np.asarray(parameters["fields"])
    return parameters


def _build(settings: dict[str, Any], source: Decoder) -> Any:
    """Create the estimator that the settings describe."""
    name = settings.get("class")
    if type(name) is not str or name not in CLASSES:
        raise ValueError(f"its class is {name!r}, which is not one of {', '.join(CLASSES)}")
    parameters, state = (_decode_all(settings.get(part), source) for part in ("parameters", "state"))
    unknown = sorted(parameters.keys() - CLASSES[name]().get_params().keys())
    if unknown:
        raise ValueError(f"{name} has no parameters {unknown}")
    if parameters.get("checkpoint") is not None:
        raise ValueError("it has a value for the parameter checkpoint, which saved models never have")
    estimator = CLASSES[name](**parameters)
    estimator._validate_params()
    check_form(estimator, state)
    estimator.__dict__.update(state)
    return estimator


def _decode_all(nodes: Any, source: Decoder) -> dict[str, Any]:
    if type(nodes) is not dict:
        raise ValueError("its settings do not have the format that skfm writes")
    return {name: source.decode(node) for name, node in nodes.items()}


def _reject_constant(word: str) -> Any:
    """Raise an error for NaN and Infinity, which the json module accepts although they are not valid JSON."""
    raise ValueError(f"its settings contain {word}, which is not valid JSON")
