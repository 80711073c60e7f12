"""Models saved by earlier versions load, and predict and learn as they did then.

Every number of the inputs is a quarter of a small integer, so that all sums of them are exact.
"""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from numpy.testing import assert_allclose
from scipy import sparse

from skfm import FMRegressor
from skfm.io import load_model
from skfm.streaming import Chunks
from tests.helpers.streams import chunks_of

FOLDER = Path(__file__).parent / "saved_models"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
MODELS = pytest.mark.parametrize("name", [name for name in EXPECTED if not name.endswith(".checkpoint")])
#: Seeds of the data that the models were fitted to, of those that they learn more from, and of those they predict.
FIT, MORE, NEW = 11, 12, 13

# The encoders of scikit-learn and the chains are what they were.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Trying to unpickle estimator"),
    pytest.mark.filterwarnings("ignore:The (chains|halves of the chain) disagree"),
]


def two_fields(seed, n=60):
    """One of 7 and one of 5 columns of ones per row, and a target in which they interact."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 7, n), rng.integers(0, 5, n)
    indices, starts = np.column_stack([first, 7 + second]).ravel(), np.arange(0, 2 * n + 1, 2)
    X = sparse.csr_matrix((np.ones(2 * n), indices, starts), shape=(n, 12))
    return X, first - 2.0 * second + 3.0 * ((first + second) % 2) + rng.integers(-2, 3, n) / 4


def shop(seed, n=60):
    """A DataFrame with strings, lists, a flag and numbers far from zero, and a target."""
    rng = np.random.default_rng(seed)
    names, tags = np.array(["Oslo", "Rome", "Wien"]), np.array(["new", "old", "red"])
    city, flag, number = rng.integers(0, 3, n), rng.integers(0, 2, n), rng.integers(-8, 9, n) / 4
    which = rng.integers(0, 8, n)
    lists = [[str(tag) for bit, tag in enumerate(tags) if code >> bit & 1] for code in which.tolist()]
    columns = {"city": names[city].tolist(), "size": (100 + number).tolist(), "tags": lists}
    y = number * (city - 1) + 2.0 * flag * (which % 2) + city + rng.integers(-1, 2, n) / 4
    return pd.DataFrame({**columns, "member": (flag == 1).tolist()}), np.asarray(y)


def new_rows(name):
    """Ten rows, one of them with a category that no fit has seen."""
    if "frame" not in name:
        return two_fields(NEW, 10)[0]
    frame = shop(NEW, 10)[0]
    return frame.assign(city=["Paris", *frame["city"].tolist()[1:]])


def more_rows(name):
    if "frame" in name:
        return shop(MORE, 40)
    X, y = two_fields(MORE, 40)
    if "classifier" not in name:
        return X, y
    ranks = np.argsort(np.argsort(y, kind="stable"), kind="stable")
    return X, np.array(["high", "low", "middle"])[ranks * 3 // len(y)]


def load(name):
    path = FOLDER / name
    if path.suffix == ".pickle":
        return pickle.loads(path.read_bytes())
    if path.suffix == ".skops":
        return skops.io.load(path, trusted=["skfm._classifier.FMClassifier"])
    return load_model(path)


def predictions(name, model):
    """Return everything that a model says of the new rows, by name."""
    X = new_rows(name)
    if "classifier" in name:
        return {"decision_function": model.decision_function(X), "predict_proba": model.predict_proba(X)}
    found = {"predict": model.predict(X)}
    if model.solver == "vb":
        found["mean"], found["std"] = model.predict(X, return_std=True)
        found["quantiles"] = model.predict(X, quantiles=[0.1, 0.5, 0.9])
    return found


@MODELS
def test_a_saved_model_predicts_what_it_did(name):
    found = predictions(name, load(name))
    assert found.keys() == {what for what in EXPECTED[name] if " after " not in what}
    for what, values in found.items():
        assert_allclose(values, EXPECTED[name][what], rtol=1e-12, atol=1e-12, err_msg=what)


@MODELS
def test_a_saved_model_learns_more_as_it_did(name):
    method = "predict_proba" if "classifier" in name else "predict"
    warm = load(name).set_params(warm_start=True, max_iter=5)
    found = {f"{method} after warm start": warm.fit(*more_rows(name))}
    if hasattr(warm, "partial_fit"):
        online = load(name).set_params(early_stopping=False)
        for _ in range(2):
            online.partial_fit(*more_rows(name))
        found[f"{method} after partial_fit"] = online
    assert found.keys() == {what for what in EXPECTED[name] if " after " in what}
    for what, model in found.items():
        values = getattr(model, method)(new_rows(name))
        # The rounding of other libraries and processors grows from sweep to sweep.
        assert_allclose(values, EXPECTED[name][what], rtol=1e-8, atol=1e-8, err_msg=what)


@pytest.mark.parametrize("name", ["array.checkpoint", "stream.checkpoint"])
@pytest.mark.parametrize("random_state", [0, 77])
def test_a_saved_checkpoint_is_resumed(name, random_state, tmp_path):
    """The interrupted run has drawn all random numbers, so that another seed makes no difference."""
    X, y = two_fields(FIT)
    path = shutil.copy(FOLDER / name, tmp_path / name)
    model = FMRegressor(
        2, solver="adagrad", max_iter=4, batch_size=8, random_state=random_state, checkpoint=path
    )
    is_stream = name == "stream.checkpoint"
    model.fit(*((Chunks(lambda: chunks_of(X, y, 12), n_features=12),) if is_stream else (X, y)))
    assert not path.exists()
    assert model.n_iter_ == EXPECTED[name]["n_iter"][0]
    found = {"predict": model.predict(new_rows(name)), "training_loss": model.history_["training_loss"]}
    for what, values in found.items():
        assert_allclose(values, EXPECTED[name][what], rtol=1e-8, atol=1e-8, err_msg=what)
