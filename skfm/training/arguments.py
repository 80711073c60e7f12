"""Arguments of ``fit`` that other libraries have: an error names what takes their place here."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

_VALIDATION = "Pass X_val and y_val to fit: fit(X, y, X_val=X_val, y_val=y_val)"
_VALIDATION_WEIGHT = "Pass sample_weight_val to fit"
_PATIENCE = (
    "Set n_iter_no_change in the constructor, and pass X_val and y_val to fit or set early_stopping=True"
)
_METRIC = (
    "Validation data are judged by the loss of the model; for other scores use scikit-learn's callbacks or "
    "cross_validate"
)
_RANKING = (
    "There is no loss that compares the rows of a group. Predict clicks or ratings of single rows, and leave out the "
    "groups. For groups in cross-validation, pass them to the splitter"
)
_CATEGORIES = "Set categorical_features in the constructor"
_NAMES = "Pass X as a DataFrame, which has the names"
_OFFSET = "There is no offset. For regression, fit to y minus the offset"
_CONTINUE = "Set warm_start=True in the constructor, or call partial_fit"
_SWEEPS = "Set max_iter in the constructor"
_THREADS = "Set the number of threads with torch.set_num_threads"
_WEIGHT = "Pass sample_weight to fit"
_CALLBACKS = "Call set_callbacks before fit, which requires scikit-learn 1.9 or newer"
_START = "Use FMRegressor.from_module or FMClassifier.from_module, and warm_start=True"
_CLASSES = "The classes are found in y; only partial_fit of a classifier takes them"
_FIELDS = "Set fields in the constructor, or pass X as a DataFrame"
_ENTITIES = "Encode users, items and their features as columns of X, or pass X as a DataFrame"

#: What takes the place of the arguments that the ``fit`` methods of other libraries have.
ELSEWHERE = {
    advice: names.split()
    for advice, names in {
        _VALIDATION: "eval_set eval_sets validation_data valid_sets valid_set val_data X_test y_test X_valid y_valid "
        "eval_X eval_y valid_data validation_set eval_data",
        _VALIDATION_WEIGHT: "eval_sample_weight sample_weight_eval_set sample_weight_validation sample_weight_test",
        _PATIENCE: "early_stopping_rounds patience early_stop",
        _METRIC: "eval_metric eval_metrics feval metrics metric scoring",
        _RANKING: "group groups qid eval_group eval_qid group_id query_id",
        _CATEGORIES: "categorical_feature categorical_indicator cat_features cat_cols cat_idxs",
        _NAMES: "feature_name feature_names columns",
        _OFFSET: "base_margin init_score offset baseline exposure",
        _CONTINUE: "init_model xgb_model resume reset",
        _SWEEPS: "epochs n_epochs nb_epoch num_epochs n_iter n_iterations num_boost_round max_epochs",
        _THREADS: "n_jobs num_threads n_threads nthread",
        _WEIGHT: "weight weights sample_weights class_weights",
        _CALLBACKS: "monitor callback callbacks",
        _START: "coef_init intercept_init",
        _CLASSES: "classes",
        _FIELDS: "grouping group_shapes field_names",
        _ENTITIES: "user_features item_features interactions X_rel",
    }.items()
}
ADVICE = {name: advice for advice, names in ELSEWHERE.items() for name in names}


def explain_arguments(fit: Callable) -> Callable:
    """Decorate a method to raise a TypeError with advice for arguments that it does not have."""
    known = [name for name in inspect.signature(fit).parameters if name != "self"]

    @functools.wraps(fit)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        for name in (name for name in kwargs if name not in known):
            method = f"{type(self).__name__}.{fit.__name__}"
            advice = _advice(name, known, self.get_params(deep=False))
            raise TypeError(f"{method} got an unexpected keyword argument {name!r}. {advice}.")
        return fit(self, *args, **kwargs)

    return wrapper


def _advice(name: str, known: list[str], parameters: Iterable[str]) -> str:
    """Return what to do in place of passing an argument."""
    if name in parameters:
        return f"It is a parameter of the constructor: set it there, or with set_params({name}=...)"
    if name in ADVICE:
        return ADVICE[name]
    close = difflib.get_close_matches(name, [*known, *parameters], 1)
    return f"The most similar name is {close[0]!r}" if close else f"Its arguments are {', '.join(known)}"
