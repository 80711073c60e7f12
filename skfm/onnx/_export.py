"""Fitted estimators and pipelines as ONNX models."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from .._classifier import FMClassifier
from .._regressor import FMRegressor
from ..data.columns import as_frame
from ..data.frames import frame_encoder
from ._times import refuse_times


def register_converters() -> None:
    """Teach skl2onnx to convert factorization machines.

    After that ``skl2onnx.to_onnx`` and ``convert_sklearn`` take `FMRegressor` and `FMClassifier`, alone and in
    pipelines. Calling it again does no harm.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.
    """
    try:
        from skl2onnx import update_registered_converter
    except ImportError as error:
        raise ImportError("skfm.onnx needs skl2onnx. Install it with: pip install skl2onnx") from error
    from ._converters import convert_classifier, convert_regressor
    from ._declarations import (
        CLASSIFIER_OPTIONS,
        REGRESSOR_OPTIONS,
        declare_classifier,
        declare_regressor,
        parse_regressor,
    )

    update_registered_converter(
        FMRegressor,
        "SkfmFMRegressor",
        declare_regressor,
        convert_regressor,
        parser=parse_regressor,
        options=REGRESSOR_OPTIONS,
    )
    update_registered_converter(
        FMClassifier,
        "SkfmFMClassifier",
        declare_classifier,
        convert_classifier,
        options=CLASSIFIER_OPTIONS,
    )


def to_onnx(estimator: Any, X: Any = None, **options: Any) -> Any:
    """Convert a fitted factorization machine, or a pipeline that ends in one, to an ONNX model.

    Parameters
    ----------
    estimator : estimator
        Fitted. The preceding steps of a pipeline have to be supported by skl2onnx, as scikit-learn's encoders and
        scalers are.
    X : array-like of shape (n_samples, n_features), default=None
        A few rows, from which the types of the inputs are taken: one input for an array, one per column for a
        DataFrame. ONNX runtimes do not support sparse inputs, so pass dense rows: ``X[:1].toarray()``.
    **options
        More arguments of ``skl2onnx.to_onnx``, such as ``initial_types`` and ``target_opset``. ``options`` may contain,
        as ``{id(estimator): {...}}`` with the factorization machine as the estimator:

        - ``return_std=True`` for a regressor fitted by "vb" or "mcmc", which adds the output ``std``, the standard
          deviations that ``predict(X, return_std=True)`` returns;
        - ``raw_scores=True`` for a classifier, which returns the decision function instead of probabilities. Two
          classes have two columns with opposite signs;
        - ``nocl=True`` for a classifier, which returns the numbers of the classes instead of their labels;
        - ``zipmap``, which is False by default, so that probabilities are a matrix.

    Returns
    -------
    model : onnx.ModelProto
        The output of a regressor is ``variable``, the predictions. The outputs of a classifier are ``label`` and
        ``probabilities``; with the hinge losses, the latter contains the decision function. Probabilities are
        averaged over the posterior, as in `FMClassifier.predict_proba`.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.
    NotImplementedError
        If the factorization machine encodes a column that ONNX cannot encode, such as a column of lists, or if its
        loss has predictions for which there are no operators.
    ValueError
        If an input does not have the type that the model needs, or if ``return_std`` is used with a model without a
        posterior.

    Notes
    -----
    A model that was fitted to a DataFrame has one input per column, of shape (n_samples, 1) and with the name of the
    column, in which skl2onnx replaces spaces and punctuation by underscores. It accepts ``X[[name]].to_numpy()``:
    strings for columns of strings and of dtype object, and numbers or booleans in the type of the column for all
    others. Missing and unknown categories are encoded as in ``predict``. In onnxruntime, a missing string is None, NaN
    or pandas.NA in an array of objects. Columns of integers, and boolean columns of categories, that had missing values
    in `fit` become inputs of type double, where NaN is a missing value.

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import OneHotEncoder
    >>> from skfm import FMClassifier
    >>> from skfm.onnx import to_onnx
    >>> rng = np.random.default_rng(0)
    >>> X = rng.choice(["red", "green", "blue"], size=(300, 2)).astype(object)
    >>> model = make_pipeline(OneHotEncoder(), FMClassifier(n_factors=2, random_state=0))
    >>> model = model.fit(X, X[:, 0] == X[:, 1])
    >>> session = onnxruntime.InferenceSession(to_onnx(model, X[:1]).SerializeToString())
    >>> label, probabilities = session.run(None, {"X": X})
    >>> bool(abs(probabilities - model.predict_proba(X)).max() < 1e-5)
    True
    """
    register_converters()
    from skl2onnx import to_onnx as convert

    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    refuse_times(frame_encoder(last))
    if isinstance(last, FMClassifier):
        options["options"] = _with_matrices(options.get("options"), estimator, last)
    if last is estimator and options.get("initial_types") is None and _is_table(estimator, X):
        from ._inputs import column_types

        validate_data(estimator, X, reset=False, skip_check_array=True)
        options["initial_types"] = column_types(estimator, X)
    return convert(estimator, X, **options)


def _is_table(estimator: Any, X: Any) -> bool:
    """Return whether the columns of X may have several types, so that the model needs one input per column."""
    if isinstance(X, np.ndarray):
        return X.dtype.kind == "O" and frame_encoder(estimator) is not None
    return X is not None and as_frame(X) is not None


def _with_matrices(
    options: dict[Any, Any] | None, estimator: Any, classifier: FMClassifier
) -> dict[Any, Any]:
    """Return options by which the probabilities of a classifier are a matrix, unless they contain "zipmap"."""
    found = dict(options or {})
    if any("zipmap" in (key if isinstance(key, str) else value) for key, value in found.items()):
        return found
    if any(isinstance(key, str) for key in found):
        # Options by name, which cannot be combined with those by identity.
        name = "zipmap" if classifier is estimator else f"{estimator.steps[-1][0]}__zipmap"
        return {**found, name: False}
    key = type(classifier) if type(classifier) in found else id(classifier)
    found[key] = {"zipmap": False, **found.get(key, {})}
    return found
