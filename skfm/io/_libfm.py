"""Reading and writing of libFM model files, which hold the parameters as text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from .._classifier import FMClassifier
from .._files import open_file, write_text
from .._regressor import FMRegressor
from ..core.matrix.parameters import FMParameters
from ..core.observation.base import FINITE
from ..core.observation.registry import MODELS, losses_for
from ..core.solvers import SOLVERS
from ..fitted.located import user_parameters
from ..streaming._checks import check_float_type
from ..training.from_parameters import fitted_with
from ._libfm_text import Reader, Sections, model_lines

#: The solver of the estimators that are read, and the inverse links of libFM for each of its tasks.
SOLVER = "als"
LINKS = {"regression": ("identity",), "classification": ("sigmoid", "normal_cdf")}
#: Inverse links whose predictions are the raw ones, or classes that follow from their sign.
WRITABLE = ("identity", "sigmoid", "normal_cdf", "none")


class LibFMParameters(NamedTuple):
    """The parameters in a model file of libFM.

    Attributes
    ----------
    intercept : float
        The global bias, or 0 if the model has none.

    coef : ndarray of shape (n_features,)
        The linear weights, or zeros if the model has none.

    factors : ndarray of shape (n_features, n_factors)
        The factors of the pairwise interactions.
    """

    intercept: float
    coef: np.ndarray
    factors: np.ndarray


def read_libfm_model(
    path: str | os.PathLike[str],
    task: str | None = None,
    *,
    loss: str | None = None,
    classes: Any = (-1, 1),
    dtype: Any = np.float64,
) -> LibFMParameters | FMRegressor | FMClassifier:
    r"""Read a model that libFM has saved with the option ``-save_model``.

    Parameters
    ----------
    path : path-like
        Path to the model file.
    task : {"regression", "classification"} or None, default=None
        Type of the result: a fitted :class:`~skfm.FMRegressor` or :class:`~skfm.FMClassifier`. If None, only the
        parameters are returned.
    loss : str or None, default=None
        Loss of the estimator. For a classifier it determines how raw predictions are converted to probabilities, which
        the file does not specify: use "log_loss" for models trained with ``-method sgd`` or ``-method sgda``, and
        "probit" for ``-method als``. The predicted classes do not depend on it. None means "squared_error" for
        regression and "log_loss" for classification.
    classes : array-like of shape (2,), default=(-1, 1)
        Class labels of a classifier, sorted. The second label corresponds to the positive targets of libFM.
    dtype : dtype, default=numpy.float64
        Data type of the parameters, float32 or float64.

    Returns
    -------
    model : LibFMParameters, FMRegressor or FMClassifier
        The parameters, or a fitted estimator that predicts with them. Training can be continued with
        ``warm_start=True``.

    Raises
    ------
    OSError
        If the file does not exist or cannot be read.
    ValueError
        If the file does not have the format of a libFM model, in which case the message contains the line number; or
        if an argument is invalid.

    See Also
    --------
    write_libfm_model : Write a model file for libFM.
    read_libsvm : Read data files of libFM.

    Notes
    -----
    The file has up to three sections, each with a heading: the global bias, the linear weights with one weight per
    line, and the factors with one row per line. Line ``j`` of the last two sections belongs to column ``j`` of X,
    counted from 0, so X must have the same columns in the same order as the training data of libFM.

    libFM clips the predictions of a regression to the range of the targets in the training data. This range is not
    stored in the file, so the predictions of the returned estimator are not clipped. libFM writes six significant
    digits of each number.

    Examples
    --------
    A model with two columns and one factor:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from skfm.io import read_libfm_model
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "model.libfm"
    >>> _ = path.write_text(
    ...     "#global bias W0\n0.5\n#unary interactions Wj\n1\n-1\n#pairwise interactions Vj,f\n2\n3\n"
    ... )
    >>> model = read_libfm_model(path, "regression")
    >>> model.predict([[1, 0], [0, 1], [1, 1]])
    array([ 1.5, -0.5,  6.5])
    >>> folder.cleanup()
    """
    if task is not None and task not in LINKS:
        raise ValueError(f"task must be 'regression', 'classification' or None, got {task!r}.")
    found = check_float_type(dtype)
    labels = np.asarray(classes)
    if task == "classification" and (labels.shape != (2,) or not labels[0] < labels[1]):
        raise ValueError(f"classes must hold two labels in ascending order, got {classes!r}.")
    if task is not None and loss is not None and loss not in _readable(task):
        raise ValueError(
            f"loss must be {' or '.join(map(repr, _readable(task)))} for a {task}, got {loss!r}."
        )
    try:
        with open_file(path) as file:
            sections = Reader().read(file)
        parameters = _to_parameters(sections, found)
    except ValueError as error:
        raise ValueError(
            f"{Path(path)} is not a model file of libFM or is damaged: {error}. Write it again with the option "
            "-save_model."
        ) from None
    if task is None:
        return parameters
    kinds: dict[str, Any] = {"regression": FMRegressor, "classification": FMClassifier}
    estimator = kinds[task](
        parameters.factors.shape[1],
        solver=SOLVER,
        **({} if loss is None else {"loss": loss}),
        fit_intercept=sections.intercept is not None,
        fit_linear=sections.coef is not None,
    )
    intercept, coef, factors = (torch.from_numpy(np.asarray(part, found)[None]) for part in parameters)
    fitted: FMRegressor | FMClassifier = fitted_with(
        estimator, FMParameters(intercept, coef, factors), labels if task == "classification" else None
    )
    return fitted


def write_libfm_model(estimator: FMRegressor | FMClassifier, path: str | os.PathLike[str]) -> None:
    """Write the parameters of a fitted estimator to a model file of libFM.

    The file has the format that libFM writes with its option ``-save_model``.

    Parameters
    ----------
    estimator : FMRegressor or FMClassifier
        A fitted regressor or binary classifier.
    path : path-like
        Path of the file to write. An existing file is replaced atomically once the new one is complete.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    TypeError
        If `estimator` is neither an FMRegressor nor an FMClassifier.
    ValueError
        If the model has more than two classes, or if libFM cannot compute its predictions from the raw predictions:
        the losses "poisson" and "gamma" have a log link, and "ordered_probit" has cut-points.
    OSError
        If the file cannot be written.

    See Also
    --------
    read_libfm_model : Read a model file of libFM.
    save_model : Save a complete estimator.

    Notes
    -----
    The file holds the parameters of the raw prediction. A regressor that is read from it makes the same predictions,
    and a classifier the same raw predictions, hence the same classes. Averages over a posterior are lost: the
    probabilities of a model fitted by "vb" or "mcmc" become more extreme where the posterior variance is large, and
    the classes predicted by "mcmc" may change where both are almost equally probable. Covariances, draws, the state of
    the optimizers and the class labels are not written.

    Numbers are written with enough digits to be read back exactly.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skfm import FMRegressor
    >>> from skfm.datasets import make_factorization
    >>> from skfm.io import read_libfm_model, write_libfm_model
    >>> X, y = make_factorization(200, (10, 8), random_state=0)
    >>> model = FMRegressor(n_factors=2, random_state=0).fit(X, y)
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "model.libfm"
    >>> write_libfm_model(model, path)
    >>> again = read_libfm_model(path, "regression")
    >>> bool((again.predict(X) == model.predict(X)).all())
    True
    >>> folder.cleanup()
    """
    if not isinstance(estimator, FMRegressor | FMClassifier):
        raise TypeError(
            f"write_libfm_model takes an FMRegressor or an FMClassifier, got {type(estimator).__name__}."
        )
    check_is_fitted(estimator)
    fitted: Any = estimator
    if np.size(fitted.intercept_) > 1:
        raise ValueError(
            f"The model has {np.size(fitted.intercept_)} classes, but a model file of libFM can hold only two. Save "
            "it with skfm.io.save_model, or fit and write one binary model per class."
        )
    loss = fitted._model["loss"]
    if MODELS[loss].inverse_link.kind not in WRITABLE:
        raise ValueError(
            f"The model was fitted with loss={loss!r}, whose predictions libFM cannot compute from the raw "
            "predictions. Save it with skfm.io.save_model."
        )
    intercept, coef, factors = (part[0].numpy() for part in user_parameters(fitted))
    sections = Sections(
        float(intercept) if fitted._lasting["fit_intercept"] else None,
        coef if fitted._lasting["fit_linear"] else None,
        factors,
    )
    write_text(path, model_lines(sections))


def _readable(task: str) -> list[str]:
    """Return the losses with which a model of a task can be read: those that predict as libFM does."""
    return [
        name
        for name in losses_for(task)
        if name in SOLVERS[SOLVER].losses
        and MODELS[name].inverse_link.kind in LINKS[task]
        # libFM takes any number for the target of a regression.
        and (task != "regression" or MODELS[name].range is FINITE)
    ]


def _to_parameters(sections: Sections, dtype: np.dtype) -> LibFMParameters:
    """Return the parameters in the given dtype, with zeros for missing sections."""
    intercept, coef, factors = sections
    if coef is None:
        coef = np.zeros(len(factors))
    with np.errstate(over="ignore"):
        parameters = LibFMParameters(
            0.0 if intercept is None else intercept,
            coef.astype(dtype, copy=False),
            factors.astype(dtype, copy=False),
        )
    if not all(np.isfinite(part).all() for part in parameters):
        raise ValueError(f"it has numbers that overflow {dtype}")
    return parameters
