"""Fitted estimators and pipelines as ONNX models."""

from __future__ import annotations

from typing import Any

from sklearn.base import is_classifier

from .._classifier import FMClassifier
from .._regressor import FMRegressor
from ..data.frames import frame_encoder


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
        from skl2onnx.common.shape_calculator import (
            calculate_linear_classifier_output_shapes,
            calculate_linear_regressor_output_shapes,
        )
    except ImportError as error:
        raise ImportError("skfm.onnx needs skl2onnx. Install it with: pip install skl2onnx") from error
    from ._converters import convert_classifier, convert_regressor

    update_registered_converter(
        FMRegressor, "SkfmFMRegressor", calculate_linear_regressor_output_shapes, convert_regressor
    )
    update_registered_converter(
        FMClassifier,
        "SkfmFMClassifier",
        calculate_linear_classifier_output_shapes,
        convert_classifier,
        options={
            "zipmap": [True, False, "columns"],
            "nocl": [True, False],
            "output_class_labels": [False, True],
        },
    )


def to_onnx(estimator: Any, X: Any = None, **options: Any) -> Any:
    """Convert a fitted factorization machine, or a pipeline that ends in one, to an ONNX model.

    Parameters
    ----------
    estimator : estimator
        Fitted. What stands before it in a pipeline has to be known to skl2onnx, as scikit-learn's
        encoders and scalers are.
    X : array-like of shape (n_samples, n_features), default=None
        A few rows, whose types become those of the inputs: one input for an array, one for each column of a
        DataFrame. ONNX has no sparse inputs that its runtimes take, so pass dense rows: ``X[:1].toarray()``.
    **options
        More arguments of ``skl2onnx.to_onnx``, ``initial_types`` and ``target_opset`` among them. Of a classifier
        probabilities are a matrix unless `options` says otherwise.

    Returns
    -------
    model : onnx.ModelProto
        Its outputs are ``variable``, the predictions of a regressor; or ``label`` and ``probabilities`` of a
        classifier, where the hinge losses have the decision function in place of the latter. Probabilities are
        averaged over the posterior, as `FMClassifier.predict_proba` does.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.
    NotImplementedError
        If the factorization machine was fitted to a DataFrame and has encoded it itself, or if its loss has
        predictions for which there are no operators.

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
    if frame_encoder(last) is not None:
        raise NotImplementedError(
            "This model was fitted to a DataFrame and has encoded its categories itself, which ONNX has no word for. "
            f"Export a pipeline, as make_pipeline(OneHotEncoder(handle_unknown='ignore'), {type(last).__name__}()), "
            "fitted to the same data."
        )
    if is_classifier(last) and isinstance(last, FMClassifier) and "options" not in options:
        options["options"] = {id(last): {"zipmap": False}}
    return convert(estimator, X, **options)
