"""Models in safetensors files: arrays and settings, and nothing that could run."""

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

#: The key of the metadata under which the settings stand, and the version of their form.
KEY, FORMAT = "skfm", 1
#: The only classes that a file can name.
CLASSES = {cls.__name__: cls for cls in (FMRegressor, FMClassifier)}
#: What else scikit-learn may have put on an estimator. It tells how to call it and who watches, not what it learned.
LEFT_OUT = {"_metadata_request", "_skl_callbacks", "_callback_fit_ctx", "_parent_callback_ctx"}
ADVICE = "Save the model anew with skfm.io.save_model."


def save_model(estimator: FMRegressor | FMClassifier, path: str | os.PathLike[str]) -> None:
    """Save a fitted estimator to a safetensors file.

    The file holds all that the estimator has learned, as arrays, and its parameters, as JSON. Loading it runs no
    code, so files from others can be opened. A loaded model predicts the same, bit for bit, and goes on learning
    where the saved one was.

    Parameters
    ----------
    estimator : FMRegressor or FMClassifier
        A fitted one, with any solver. Not a subclass, and not a pipeline: save its other steps by other means.
    path : path-like
        Where to write. A file there is replaced in one step, when the new one is complete.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator is of another class.
    ValueError
        If the estimator holds what a file cannot, such as a `RandomState` for `random_state`.
    OSError
        If the file cannot be written.

    See Also
    --------
    load_model : Load such a file.
    write_libfm_model : Write the parameters only, as libFM does.

    Notes
    -----
    The parameter `checkpoint` names a file of the machine that trains, and is None in a loaded model. Callbacks and
    requests for metadata routing are not kept.

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
            f"save_model takes an FMRegressor or an FMClassifier, got {kind.__module__}.{kind.__qualname__}. Pass the "
            "last step of a pipeline, or save a whole pipeline with skops."
        )
    check_is_fitted(estimator)
    parameters = _plain_parameters(estimator)
    state = {
        name: value
        for name, value in estimator.__dict__.items()
        if name not in parameters and name not in LEFT_OUT
    }
    try:
        estimator._validate_params()
        check_form(estimator, state)
    except ValueError as error:
        raise ValueError(
            f"This {kind.__name__} cannot be saved: {error}. Correct that, or fit it anew."
        ) from error
    encoder = Encoder(CODECS)
    settings = {
        "format": FORMAT,
        "version": __version__,
        "class": kind.__name__,
        "parameters": {n: encoder.encode(v, f"parameters/{n}") for n, v in parameters.items()},
        "state": {name: encoder.encode(value, name) for name, value in state.items()},
    }
    write_tensors(path, encoder.arrays, KEY, json.dumps(settings, allow_nan=False))


def load_model(path: str | os.PathLike[str]) -> FMRegressor | FMClassifier:
    """Load an estimator from a file of `save_model`.

    No code of the file is run. What it says is checked before it is used: a file that is damaged, or made by
    somebody who means harm, is an error, and takes no more than a few times its size of memory.

    Parameters
    ----------
    path : path-like
        A file of `save_model`.

    Returns
    -------
    estimator : FMRegressor or FMClassifier
        As it was saved.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If it is not a file of `save_model`, or damaged, or its parts do not go together.

    See Also
    --------
    save_model : Save such a file, with an example.
    """
    try:
        with open_tensors(path) as file:
            settings = _parse_settings(file.text(KEY))
            estimator = _build(settings, file)
            file.check_all_taken()
    except (OSError, ImportError):
        raise
    except Exception as error:  # what a file of any content may lead to
        raise ValueError(f"{Path(path)} is no model of skfm.io, or damaged: {error}. {ADVICE}") from error
    return estimator


def _parse_settings(text: str) -> dict[str, Any]:
    """Read the JSON of a file, unless it would take far more memory than it has characters."""
    # An empty list takes 64 bytes, a dict of one entry 250, a string 50 and more.
    n_objects = 250 * text.count("{") + 64 * text.count("[") + 30 * text.count('"')
    if n_objects > max(1 << 20, 8 * len(text)):
        raise ValueError("its settings hold too many small parts")
    settings = json.loads(text, parse_constant=_refuse)
    if type(settings) is not dict or "format" not in settings:
        raise ValueError("its settings are not in the form that skfm writes")
    if settings["format"] != FORMAT:
        raise ValueError(
            f"it was written by skfm {settings.get('version')!r}, in a form that {__version__} does not know"
        )
    return settings


def _plain_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters of an estimator as a file holds them."""
    parameters: dict[str, Any] = estimator.get_params(deep=False)
    if isinstance(parameters["random_state"], np.random.RandomState):
        raise ValueError(
            "random_state is a RandomState, which a model file cannot hold. Replace it by an int or None: "
            "estimator.set_params(random_state=0)."
        )
    parameters["checkpoint"] = None
    if not isinstance(parameters["fields"], str | list | tuple | np.ndarray):
        parameters["fields"] = np.asarray(parameters["fields"])
    return parameters


def _build(settings: dict[str, Any], source: Decoder) -> Any:
    """Make the estimator that the settings describe."""
    name = settings.get("class")
    if type(name) is not str or name not in CLASSES:
        raise ValueError(f"it holds a {name!r}, which is none of {', '.join(CLASSES)}")
    parameters, state = (_decode_all(settings.get(part), source) for part in ("parameters", "state"))
    unknown = sorted(parameters.keys() - CLASSES[name]().get_params().keys())
    if unknown:
        raise ValueError(f"{name} has no parameters {unknown}")
    if parameters.get("checkpoint") is not None:
        raise ValueError("it names a checkpoint, which no saved model has")
    estimator = CLASSES[name](**parameters)
    estimator._validate_params()
    check_form(estimator, state)
    estimator.__dict__.update(state)
    return estimator


def _decode_all(nodes: Any, source: Decoder) -> dict[str, Any]:
    if type(nodes) is not dict:
        raise ValueError("its settings are not in the form that skfm writes")
    return {name: source.decode(node) for name, node in nodes.items()}


def _refuse(word: str) -> Any:
    raise ValueError(f"its settings hold {word}, which is no JSON")
