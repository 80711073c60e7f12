"""Model files whose encoder of a DataFrame contradicts itself."""

import copy

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from skfm import FMRegressor
from skfm.io import load_model, save_model


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": np.where(rng.random(60) < 0.3, np.nan, rng.uniform(20, 60, 60)),
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 9999, 60), unit="h"),
            "city": rng.choice(["Oslo", "Rome"], 60),
        }
    )
    return FMRegressor(2, max_iter=2, random_state=0).fit(frame, rng.standard_normal(60))


def replaced(part, place, value):
    def forge(frame):
        frame[part][place] = value

    return forge


def in_part(place, key, value):
    def forge(frame):
        frame["parts"][place][key] = value

    return forge


#: Columns: age, when (year), when (month), when (weekday), when (hour), when (days), city.
FORGERIES = {
    "mean of a category": (replaced("means", 6, 1.0), "must be None for columns of kind 'category'"),
    "mean is text": (replaced("means", 0, "1"), "must be a finite number"),
    "mean is infinite": (replaced("means", 0, np.inf), "must be a finite number"),
    "indicator without a mean": (replaced("means", 0, None), "False for columns without a mean"),
    "indicator is a number": (replaced("indicators", 0, 1), "indicators must be booleans"),
    "indicator too many": (replaced("indicators", 5, True), "produces"),
    "means are missing": (lambda frame: frame.update(means=None), "the means and the indicators of all 7"),
    "too few means": (lambda frame: frame["means"].pop(), "the means and the indicators of all 7"),
    "too few parts": (lambda frame: frame["parts"].pop(), "must describe each of the 6 columns"),
    "unknown part": (in_part(1, "part", "second"), "unknown part 'second'"),
    "category as a number": (in_part(1, "part", "days"), "a part 'days' of the kind 'category'"),
    "no first date": (in_part(5, "first", None), "must be the first date"),
    "first date out of range": (in_part(5, "first", 1 << 62), "must be the first date"),
    "zone is a number": (in_part(5, "zone", 1), "zone must be a string"),
    "column out of range": (in_part(6, "column", 3), "column must be an integer"),
    "column left out": (in_part(6, "column", 1), "each of the 3 columns"),
    "columns in another order": (in_part(0, "column", 2), "each of the 3 columns"),
    "unknown key": (lambda frame: frame["parts"][0].update(other=1), "must be a dict with the keys"),
    "unknown attribute": (lambda frame: frame.update(other=1), "must be a dict with the keys"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_encoders_are_refused(model, name, tmp_path):
    forge, message = FORGERIES[name]
    forged = copy.deepcopy(model)
    forge(forged._frame)
    with pytest.raises(ValueError, match=message):
        save_model(forged, tmp_path / "forged.safetensors")


def test_encoders_of_earlier_versions_are_loaded(tmp_path):
    frame = pd.DataFrame({"age": np.arange(40.0), "city": list("abcd") * 10})
    model = FMRegressor(2, max_iter=2, random_state=0).fit(frame, np.arange(40.0) % 7)
    expected = model.predict(frame)
    for name in ("means", "indicators", "parts"):
        del model._frame[name]
    save_model(model, tmp_path / "model.safetensors")
    for old in (model, load_model(tmp_path / "model.safetensors")):
        assert_array_equal(old.predict(frame), expected)
        # These models know no means.
        with pytest.raises(ValueError, match="Input X contains NaN: column 'age'"):
            old.predict(frame.assign(age=np.nan))
