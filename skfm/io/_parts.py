"""Validation of each fitted attribute of an estimator against the dimensions of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.preprocessing import OneHotEncoder

from ..core.matrix.parameters import FMParameters
from ..core.observation.registry import MODELS
from ..data.categories import LIST_WEIGHTS
from ..data.columns import CATEGORY, LIST, NUMERIC
from ..data.frames import FrameEncoder
from ..data.target_transform import TargetTransform
from ..fitted.draws import UserDraws
from ..training.state_checks import MAX_SEED
from ._checks import check_array, check_count, check_keys, check_not_negative, check_number
from ._frame_checks import check_gaps, check_parts


class Sizes(NamedTuple):
    """Dimensions and settings of a model, which determine the shapes of its fitted attributes.

    Attributes
    ----------
    n_features : int
        Number of columns of X, before encoding.
    n_columns, n_outputs, n_factors : int
        Dimensions of the parameters. `n_factors` is the total over all draws.
    n_values : int
        Number of classes or ordinal levels; 0 for other regressions.
    solver, loss : str
        The solver and the loss that the model was fitted with.
    n_iter : int
        Number of sweeps or epochs.
    """

    n_features: int
    n_columns: int
    n_outputs: int
    n_factors: int
    n_values: int
    solver: str
    loss: str
    n_iter: int

    @property
    def outputs(self) -> tuple[int, ...]:
        """Shape of the leading axes of the parameters: empty for a single output."""
        return () if self.n_outputs == 1 else (self.n_outputs,)


def _intercept(name: str, value: Any, sizes: Sizes) -> None:
    if sizes.n_outputs == 1:
        check_number(name, value)
    else:
        check_array(name, value, sizes.outputs)


def _coef(name: str, value: Any, sizes: Sizes) -> None:
    check_array(name, value, (*sizes.outputs, sizes.n_columns))


def _factors(name: str, value: Any, sizes: Sizes) -> None:
    check_array(name, value, (*sizes.outputs, sizes.n_columns, sizes.n_factors))


def _covariances(name: str, value: Any, sizes: Sizes) -> None:
    is_full = isinstance(value, np.ndarray) and value.ndim == len(sizes.outputs) + 3
    shape = (*sizes.outputs, sizes.n_columns, *(1 + is_full) * (1 + sizes.n_factors,))
    check_array(name, value, shape)
    if not is_full:
        check_not_negative(name, value)
        return
    matrices = value.reshape(-1, *value.shape[-2:])
    # In blocks, because the temporary arrays are larger than the covariances.
    for start in range(0, len(matrices), 4096):
        block = matrices[start : start + 4096].astype(np.float64)
        variances = np.diagonal(block, axis1=1, axis2=2)
        check_not_negative(f"the diagonal of {name}", variances)
        std = np.sqrt(variances)
        # A covariance is at most the product of the two standard deviations, apart from rounding.
        largest = 1.01 * std[:, :, None] * std[:, None, :] + np.finfo(value.dtype).tiny
        if (np.abs(block) > largest).any():
            raise ValueError(f"{name} contains covariances that are larger than the variances allow")


def _fields(name: str, value: Any, sizes: Sizes) -> None:
    check_array(name, value, (sizes.n_columns,), "biufUO")
    if value.dtype.kind == "O":
        _strings(name, value)


def _field_numbers(name: str, value: Any, sizes: Sizes) -> None:
    check_array(name, value, (sizes.n_columns,), "i")
    if not 0 <= value.min() <= value.max() < sizes.n_columns:
        raise ValueError(f"{name} must number the fields from 0")


def _frame(name: str, value: Any, sizes: Sizes) -> None:
    if value is None:
        return
    known = {f.name: f.default for f in dataclasses.fields(FrameEncoder)}
    if type(value) is dict:
        # Earlier versions did not write the attributes with a default.
        value = {key: v for key, v in known.items() if v is not dataclasses.MISSING} | value
    check_keys(name, value, set(known))
    lists = [value[part] for part in ("names", "kinds", "encoders", "delimiters")]
    # Columns that are derived from dates are described one by one.
    n_described = sizes.n_features if type(value["parts"]) is not list else len(value["parts"])
    if not all(type(part) is list and len(part) == n_described for part in lists):
        raise ValueError(f"{name} must describe each of the {n_described} columns of the DataFrame")
    for column, kind, encoder, delimiter in zip(*lists, strict=True):
        if type(column) is not str or kind not in (NUMERIC, CATEGORY, LIST):
            raise ValueError(f"{name} has a column {column!r} of the unknown kind {kind!r}")
        if (encoder is None) != (kind == NUMERIC) or not isinstance(encoder, OneHotEncoder | None):
            raise ValueError(f"{name} has an invalid encoder for column {column!r}")
        if delimiter is not None and (type(delimiter) is not str or not delimiter or kind != LIST):
            raise ValueError(f"{name} has an invalid delimiter for column {column!r}")
    check_gaps(name, value)
    check_parts(name, value, sizes.n_features)
    if value["weights"] not in LIST_WEIGHTS:
        raise ValueError(f"{name}/weights must be one of {list(LIST_WEIGHTS)}, got {value['weights']!r}")
    _type_name(f"{name}/dtype", value["dtype"], sizes)
    n_columns = sum(FrameEncoder(**value).widths)
    if n_columns != sizes.n_columns:
        raise ValueError(
            f"{name} produces {n_columns} columns, but the rest of the model has {sizes.n_columns}"
        )


def _names(name: str, value: Any, sizes: Sizes) -> None:
    check_array(name, value, (sizes.n_features,), "O")
    _strings(name, value)


def _strings(name: str, value: np.ndarray) -> None:
    if not all(type(item) is str for item in value):
        raise ValueError(f"{name} must contain only strings")


def _classes(name: str, value: Any, sizes: Sizes) -> None:
    check_array(name, value, (sizes.n_values,), "biufUO")
    if value.dtype.kind == "O" and len({type(item) for item in value} - {str}) > 0:
        raise ValueError(f"{name} must contain only strings, or only numbers of one type")
    if len(value) < 2 or not (value[:-1] < value[1:]).all():
        raise ValueError(f"{name} must hold at least two values in ascending order")


def _levels(name: str, value: Any, sizes: Sizes) -> None:
    check_array(name, value, (sizes.n_values,))
    _classes(name, value, sizes)


def _history(name: str, value: Any, sizes: Sizes) -> None:
    if type(value) is not dict or not all(
        type(key) is str and type(values) is list for key, values in value.items()
    ):
        raise ValueError(f"{name} must be a dict of lists of numbers with string keys")
    # NaN is valid: R-hat and the effective sample size are undefined for fewer than four draws.
    if not all(type(number) in (float, int) for values in value.values() for number in values):
        raise ValueError(f"{name} must contain only numbers")
    if any(len(values) != sizes.n_iter for values in value.values()):
        raise ValueError(f"{name} must hold one number for each of the {sizes.n_iter} iterations of n_iter_")


def _device(name: str, value: Any, sizes: Sizes) -> None:
    kind, _, index = value.partition(":") if type(value) is str else ("", "", "")
    if kind not in ("cpu", "cuda", "mps") or not (
        index == "" or (index.isascii() and index.isdigit() and len(index) < 5)
    ):
        raise ValueError(f"{name} must be the name of a device, got {value!r}")


def _coding(name: str, value: Any, sizes: Sizes) -> None:
    check_keys(name, value, set(TargetTransform._fields))
    check_number(f"{name}/shift", value["shift"])
    for part in ("scale", "unit"):
        check_number(f"{name}/{part}", value[part], above=0)
    if sizes.n_values and (value["shift"], value["scale"]) != (0, 1):
        raise ValueError(f"{name} must not shift or scale class numbers, only the targets of a regression")
    check_array(f"{name}/start", value["start"], (sizes.n_outputs,))
    if type(value["identity_link"]) is not bool:
        raise ValueError(f"{name}/identity_link must be a bool, got {value['identity_link']!r}")
    if value["outputs"] is not None:
        check_array(f"{name}/outputs", value["outputs"], (sizes.n_outputs,), "i")
        if not ((value["outputs"] >= 0) & (value["outputs"] < sizes.n_values)).all():
            raise ValueError(f"{name}/outputs must hold class numbers from 0 to {sizes.n_values - 1}")
    if value["class_weight"] is not None:
        check_array(f"{name}/class_weight", value["class_weight"], (sizes.n_values,))
        check_not_negative(f"{name}/class_weight", value["class_weight"])


def _type_name(name: str, value: Any, sizes: Sizes) -> None:
    if value not in ("float32", "float64"):
        raise ValueError(f"{name} must be 'float32' or 'float64', got {value!r}")


def _columns(name: str, value: Any, sizes: Sizes) -> None:
    check_array(name, value, (np.size(value),), "i")
    if len(value) and not (value[0] >= 0 and value[-1] < sizes.n_columns and (np.diff(value) > 0).all()):
        raise ValueError(f"{name} must hold increasing column numbers less than {sizes.n_columns}")


def _conditioning(name: str, value: Any, sizes: Sizes) -> None:
    check_keys(name, value, {"center", "scale"})
    for part, numbers in value.items():
        check_array(f"{name}/{part}", numbers, (sizes.n_columns,))
    if not (value["scale"] > 0).all():
        raise ValueError(f"{name}/scale must be positive")


def _posterior(name: str, value: Any, sizes: Sizes) -> None:
    if value is None:
        return
    shapes: dict[str, tuple[int, ...]] = {
        "intercept_variance": (sizes.n_outputs,),
        "noise_precision": (sizes.n_outputs,),
    }
    if isinstance(value, dict) and "noise_ratio" in value:
        shapes["noise_ratio"] = (sizes.n_outputs, sizes.n_columns)
    check_keys(name, value, set(shapes))
    for part, shape in shapes.items():
        check_array(f"{name}/{part}", value[part], shape)
        if part != "intercept_variance" and not (value[part] > 0).all():
            raise ValueError(f"{name}/{part} must be positive")
    check_not_negative(f"{name}/intercept_variance", value["intercept_variance"])


def _draws(name: str, value: Any, sizes: Sizes) -> None:
    if value is None:
        return
    # Models saved by earlier versions have no ratios.
    check_keys(name, {"noise_ratio": None} | value, set(UserDraws._fields))
    model = MODELS[sizes.loss]
    if model.latent is None:
        raise ValueError(f"{name} does not match loss={sizes.loss!r}")
    check_count(f"{name}/n_sweeps", value["n_sweeps"])
    n_chains, n_draws = (
        check_count(f"{name}/n_chains", value["n_chains"], least=1),
        len(np.atleast_1d(value["intercept"])),
    )
    if n_draws == 0 or n_draws % n_chains or sizes.n_factors % n_draws:
        raise ValueError(
            f"{name} has {n_draws} draws, which do not match {n_chains} chains and {sizes.n_factors} factors"
        )
    n_cuts = max(0, sizes.n_values - 1) if model.has_cut_points else None
    shapes: dict[str, tuple[int, ...] | None] = {
        "intercept": (n_draws, sizes.n_outputs),
        "coef": (n_draws, sizes.n_outputs, sizes.n_columns),
        "noise_std": (n_draws,) if model.has_noise else None,
        "cut_points": None if n_cuts is None else (n_draws, n_cuts),
        "log_likelihood": (n_draws,),
    }
    if value.get("noise_ratio") is not None:
        shapes["noise_ratio"] = (n_draws, sizes.n_columns) if model.has_noise else None
    for part, shape in shapes.items():
        if shape is not None:
            check_array(f"{name}/{part}", value[part], shape)
        elif value[part] is not None:
            raise ValueError(f"{name}/{part} does not match loss={sizes.loss!r}")
    if value["noise_std"] is not None:
        check_not_negative(f"{name}/noise_std", value["noise_std"])
    if value.get("noise_ratio") is not None and not (value["noise_ratio"] > 0).all():
        raise ValueError(f"{name}/noise_ratio must be positive")
    if value["cut_points"] is not None and (np.diff(value["cut_points"]) < 0).any():
        raise ValueError(f"{name}/cut_points must be ascending in each draw")


def _standardized(name: str, value: Any, sizes: Sizes) -> None:
    if value is None:
        return
    check_keys(name, value, set(FMParameters._fields))
    # Draws have an axis of their own.
    n_draws = value["intercept"].shape[:-1][:1] if isinstance(value["intercept"], np.ndarray) else ()
    shapes = {
        "intercept": (*n_draws, sizes.n_outputs),
        "linear": (*n_draws, sizes.n_outputs, sizes.n_columns),
        "factors": (sizes.n_outputs, sizes.n_columns, sizes.n_factors),
    }
    for part, shape in shapes.items():
        if part != "factors" or value[part] is not None:
            check_array(f"{name}/{part}", value[part], shape)


def _lasting(name: str, value: Any, sizes: Sizes) -> None:
    if type(value) is not dict or not all(isinstance(v, str | np.bool_ | Real) for v in value.values()):
        raise ValueError(f"{name} must contain only strings and numbers")
    expected: dict[str, Callable[[Any], bool]] = {
        "quantile": lambda v: isinstance(v, Real) and 0 < float(v) < 1,
        "l2_linear": lambda v: type(v) is str and v in ("auto", "a number"),
        "l2_factors": lambda v: type(v) is str and v in ("auto", "a number"),
    }
    for key, is_valid in expected.items():
        if key in value and not is_valid(value[key]):
            raise ValueError(f"{name}/{key} has the invalid value {value[key]!r}")


def _online(name: str, value: Any, sizes: Sizes) -> None:
    # Models of earlier versions have no running scales.
    optional = {"scales"} if isinstance(value, dict) and "scales" in value else set()
    check_keys(name, value, {"tensors", "numbers", "n_chunks"} | optional)
    check_count(f"{name}/n_chunks", value["n_chunks"])


def _seed(name: str, value: Any, sizes: Sizes) -> None:
    check_count(name, value, below=MAX_SEED)


def _nothing(name: str, value: Any, sizes: Sizes) -> None:
    """Accept any value: attributes with this check have already been checked with the sizes."""


class _Part(NamedTuple):
    check: Callable[[str, Any, Sizes], None]
    is_required: bool = True


#: The fitted attributes by name: how each is checked, and whether every model has it.
PARTS: dict[str, _Part] = {
    "n_features_in_": _Part(_nothing),
    "feature_names_in_": _Part(_names, False),
    "classes_": _Part(_classes, False),
    "levels_": _Part(_levels, False),
    "intercept_": _Part(_intercept),
    "coef_": _Part(_coef),
    "factors_": _Part(_factors),
    "covariances_": _Part(_covariances, False),
    "fields_": _Part(_fields),
    "n_iter_": _Part(_nothing),
    "history_": _Part(_history),
    "device_": _Part(_device),
    "_field_numbers": _Part(_field_numbers),
    "_frame": _Part(_frame),
    "_model": _Part(_nothing),
    "_coding": _Part(_coding),
    "_dtype": _Part(_type_name),
    "_dense_columns": _Part(_columns),
    "_conditioning": _Part(_conditioning),
    "_posterior": _Part(_posterior),
    "_draws": _Part(_draws),
    "_standardized": _Part(_standardized, False),
    "_lasting": _Part(_lasting),
    "_seed": _Part(_seed),
    "_online": _Part(_online, False),
}
