"""Missing numbers in ONNX: the mean and the indicator are the same as in `predict`."""

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skfm import FMRegressor
from skfm.onnx import to_onnx


def gappy(n=150, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(20, 60, n).astype(float),
            "city": rng.choice(["Oslo", "Rome"], n),
            "size": rng.standard_normal(n).astype(np.float32),
            "rooms": pd.array(rng.integers(1, 5, n), "Int64"),
            "count": rng.integers(1, 5, n),
        }
    )
    y = 0.1 * frame["age"] + frame["size"] * (frame["city"] == "Oslo")
    for name, share in (("age", 0.3), ("rooms", 0.2)):
        frame.loc[rng.random(n) < share, name] = None
    return frame, y.to_numpy()


@pytest.mark.parametrize("columns", [slice(None), ["age", "size", "rooms"], ["size", "count"], ["size"]])
@pytest.mark.parametrize("solver", ["vb", "mcmc", "adagrad"])
def test_missing_numbers(solver, columns):
    frame, y = gappy()
    X = frame.loc[:, columns]
    model = FMRegressor(2, solver=solver, max_iter=5, random_state=0).fit(X, y)
    new = X.assign(size=X["size"].where(np.arange(len(X)) % 3 > 0))
    # Rows with and without gaps declare the same types.
    for first in (0, 1):
        session = onnxruntime.InferenceSession(to_onnx(model, X[first : first + 1]).SerializeToString())
        types = {given.name: given.type for given in session.get_inputs()}
        assert types.get("rooms") in (None, "tensor(double)")
        dtypes = {"tensor(double)": float, "tensor(float)": np.float32, "tensor(int64)": np.int64}
        for rows in (X, new):
            inputs = {
                name: (
                    rows[[name]].astype("Float64").to_numpy(float, na_value=np.nan).astype(dtypes[kind])
                    if kind in dtypes
                    else rows[[name]].to_numpy()
                )
                for name, kind in types.items()
            }
            assert_allclose(session.run(None, inputs)[0][:, 0], model.predict(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "what"), [("when", "dates"), ("took", "durations")])
def test_dates_and_durations_are_refused_by_name(name, what):
    frame, y = gappy()
    times = pd.date_range("2024-01-01", periods=len(y), freq="7h")
    X = frame[["age", "city"]].assign(**{name: times if name == "when" else times - times[0]})
    model = FMRegressor(2, max_iter=3).fit(X, y)
    with pytest.raises(NotImplementedError, match=f"Column '{name}.* is derived from a column of {what}"):
        to_onnx(model, X[:1])
