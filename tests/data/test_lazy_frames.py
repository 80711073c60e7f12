"""DataFrames that have not been evaluated are refused in words, wherever X is taken."""

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone

from skfm import FMClassifier
from skfm.inspection import explain
from skfm.streaming import Chunks

FRAME = pl.DataFrame({"user": list("abcd") * 10, "x": np.arange(40.0)})
Y = np.arange(40) % 5 > 2

CALLS = {
    "fit": lambda model, X: clone(model).fit(X, Y),
    "fit with X_val": lambda model, X: clone(model).fit(
        FRAME.select(X.collect_schema().names()), Y, X_val=X, y_val=Y
    ),
    "partial_fit": lambda model, X: model.partial_fit(X, Y),
    "predict": lambda model, X: model.predict(X),
    "predict_proba": lambda model, X: model.predict_proba(X),
    "decision_function": lambda model, X: model.decision_function(X),
    "score": lambda model, X: model.score(X, Y),
    "encode": lambda model, X: model.encode(X),
    "explain": explain,
    "a chunk": lambda model, X: (
        clone(model).set_params(max_iter=1).fit(Chunks([(X, Y)], classes=[False, True]))
    ),
}


@pytest.mark.parametrize("columns", [["user", "x"], ["x"]])
@pytest.mark.parametrize("name", CALLS)
def test_lazy_frames(name, columns):
    frame = FRAME.select(columns)
    model = FMClassifier(2, solver="adagrad", max_iter=2, random_state=0).fit(frame, Y)
    with pytest.raises(
        TypeError, match=r"is a LazyFrame, which has not been evaluated yet\. (Pass|Yield) X\.collect"
    ):
        CALLS[name](model, frame.lazy())
