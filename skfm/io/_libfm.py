"""Models of libFM: text files with the parameters."""

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
from ._libfm_text import Reader, Sections, lines_of

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
        The global bias, 0 where the model has none.

    coef : ndarray of shape (n_features,)
        The weights of the columns, zeros where the model has none.

    factors : ndarray of shape (n_features, n_factors)
        The vectors of the interactions.
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
    r"""Read a model that libFM has written with its option ``-save_model``.

    Parameters
    ----------
    path : path-like
        The file.
    task : {"regression", "classification"} or None, default=None
        What to make of it: a fitted :class:`~skfm.FMRegressor` or :class:`~skfm.FMClassifier`. With None the
        parameters alone are returned.
    loss : str or None, default=None
        How a classifier turns raw predictions into probabilities, which the file does not say: "log_loss" for models
        that libFM has learned with ``-method sgd`` or ``sgda``, "probit" for ``als``. None is "log_loss". The
        predicted classes are the same.
    classes : array-like of shape (2,), default=(-1, 1)
        The labels of a classifier in ascending order. The second is that of libFM's positive targets.
    dtype : dtype, default=numpy.float64
        Type of the parameters, float32 or float64.

    Returns
    -------
    model : LibFMParameters, FMRegressor or FMClassifier
        The parameters, or an estimator that predicts with them. It can be fitted further with ``warm_start=True``.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If the file is not of this form; the message has the number of the line. Or if a parameter is wrong.

    See Also
    --------
    write_libfm_model : Write such a file.
    read_libsvm : Read data files of libFM.

    Notes
    -----
    The file has up to three sections, each under a heading: the global bias, a weight a line, and a row of factors a
    line. Column ``j`` of X is line ``j`` of both, so X must have its columns as the training data of libFM had, where
    they are counted from 0.

    libFM cuts its predictions of a regression off at the smallest and the largest target of the training data. These
    are not in the file, and the predictions here are not cut off. libFM writes six digits of each number.

    Examples
    --------
    A model of two columns with one factor each.

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
        raise ValueError(f"classes must be two labels in ascending order, got {classes!r}.")
    if task is not None and loss is not None and loss not in _readable(task):
        raise ValueError(
            f"loss must be {' or '.join(map(repr, _readable(task)))} for a {task}, got {loss!r}."
        )
    try:
        with open_file(path) as file:
            sections = Reader().read(file)
        parameters = _parameters(sections, found)
    except ValueError as error:
        raise ValueError(
            f"{Path(path)} is no model file of libFM, or damaged: {error}. Write it anew with -save_model."
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
    """Write the parameters of a fitted estimator as libFM does with its option ``-save_model``.

    Parameters
    ----------
    estimator : FMRegressor or FMClassifier
        A fitted one, of a regression or of two classes.
    path : path-like
        Where to write. A file there is replaced in one step, when the new one is complete.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    TypeError
        If it is of another class.
    ValueError
        If the model has more than two classes, or predicts otherwise than libFM can: the losses "poisson" and "gamma"
        with their logarithm, and "ordered_probit" with its cut-points.
    OSError
        If the file cannot be written.

    See Also
    --------
    read_libfm_model : Read such a file.
    save_model : Save all of an estimator.

    Notes
    -----
    The file has the parameters of the raw prediction, from which a regression predicts the same. Of a classifier it
    keeps the sign of the raw prediction, and so the predicted class. Averages over a posterior are lost: probabilities
    of "vb" come out nearer to 0 and 1 than they were where little is known, and so do those of "mcmc", whose classes
    may also differ where both are all but equally probable. Covariances, draws, the state of step sizes and the labels
    of the classes are left out.

    Numbers have as many digits as it takes to read the same ones back.

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
            f"The model has {np.size(fitted.intercept_)} classes, and a model file of libFM has room for two. Save it "
            "with skfm.io.save_model, or write a model of each class against the rest."
        )
    loss = fitted._model["loss"]
    if MODELS[loss].inverse_link.kind not in WRITABLE:
        raise ValueError(
            f"The model was fitted with loss={loss!r}, whose predictions do not follow from the raw ones as in libFM. "
            "Save it with skfm.io.save_model."
        )
    intercept, coef, factors = (part[0].numpy() for part in user_parameters(fitted))
    sections = Sections(
        float(intercept) if fitted._lasting["fit_intercept"] else None,
        coef if fitted._lasting["fit_linear"] else None,
        factors,
    )
    write_text(path, lines_of(sections))


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


def _parameters(sections: Sections, dtype: np.dtype) -> LibFMParameters:
    """Return the parameters in a type, zeros for what there is not."""
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
        raise ValueError(f"its numbers do not fit into {dtype}")
    return parameters
