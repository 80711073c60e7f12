"""Arguments of ``fit`` from other libraries: the error says what takes their place."""

import inspect
import re

import numpy as np
import pytest
import sklearn
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.validation import has_fit_parameter

from skfm import FMClassifier, FMRegressor
from skfm.training.arguments import ADVICE

X = np.random.default_rng(0).normal(size=(20, 3))
Y = X[:, 0]

#: What the messages of some arguments contain.
EXPECTED = {
    "eval_set": "Pass X_val and y_val to fit",
    "validation_data": "Pass X_val and y_val to fit",
    "sample_weight_eval_set": "Pass sample_weight_val to fit",
    "early_stopping_rounds": "Set n_iter_no_change in the constructor",
    "group": "There is no loss that compares the rows of a group",
    "cat_features": "Set categorical_features in the constructor",
    "epochs": "Set max_iter in the constructor",
    "max_iter": "It is a parameter of the constructor",
    "sample_wieght": "The most similar name is 'sample_weight'",
    "gibberish": "Its arguments are X, y, sample_weight, X_val, y_val, sample_weight_val",
}


@pytest.mark.parametrize("estimator", [FMRegressor, FMClassifier])
@pytest.mark.parametrize("name", sorted({*ADVICE, *EXPECTED}))
def test_foreign_arguments_are_explained(estimator, name):
    message = (
        f"{estimator.__name__}.fit got an unexpected keyword argument '{name}'. {EXPECTED.get(name, '')}"
    )
    model = estimator()
    with pytest.raises(TypeError, match=re.escape(message)):
        model.fit(X, Y > 0, **{name: 1})
    assert vars(model) == vars(estimator())


@pytest.mark.parametrize("estimator", [FMRegressor, FMClassifier])
def test_advice_names_arguments_and_parameters_that_exist(estimator):
    known = {*inspect.signature(estimator.fit).parameters, *inspect.signature(estimator).parameters}
    known |= {"partial_fit", "from_module", "set_callbacks", "cross_validate"}
    for advice in ADVICE.values():
        for word in re.findall(r"\b[a-z]+_[a-z_]+\b", advice):
            assert word in known or word in ("scikit_learn", "set_num_threads"), advice


def test_partial_fit_explains_too():
    with pytest.raises(TypeError, match=r"FMRegressor.partial_fit got .*'eval_set'\. Pass X_val"):
        FMRegressor(solver="adagrad").partial_fit(X, Y, eval_set=[(X, Y)])


def test_what_scikit_learn_reads_of_the_signature_is_unchanged():
    assert list(inspect.signature(FMRegressor.fit).parameters) == [
        *("self", "X", "y", "sample_weight", "X_val", "y_val", "sample_weight_val")
    ]
    assert has_fit_parameter(FMClassifier(), "sample_weight")
    with sklearn.config_context(enable_metadata_routing=True):
        requests = FMRegressor().get_metadata_routing().fit.requests
    assert set(requests) == {"sample_weight", "X_val", "y_val", "sample_weight_val"}


@pytest.mark.parametrize("routing", [False, True])
def test_validation_data_that_a_pipeline_did_not_transform(routing):
    pairs, y = np.argwhere(np.ones((5, 4))).astype(str), np.arange(20.0)
    hint = r"Pipeline\(\.\.\., transform_input=\['X_val'\]\)"
    with sklearn.config_context(enable_metadata_routing=routing):
        if routing:
            model = FMRegressor(2, max_iter=2).set_fit_request(X_val=True, y_val=True)
            pipe, arguments = make_pipeline(OneHotEncoder(), model), {"X_val": pairs, "y_val": y}
        else:
            pipe = Pipeline([("encode", OneHotEncoder()), ("fm", FMRegressor(2, max_iter=2))])
            arguments = {"fm__X_val": pairs, "fm__y_val": y}
        with pytest.raises(ValueError, match=hint):
            pipe.fit(pairs, y, **arguments)
        numbers = {
            name: values if values is y else values.astype(float) for name, values in arguments.items()
        }
        with pytest.raises(ValueError, match=f"has 2 features, .*{hint}"):
            pipe.fit(pairs, y, **numbers)
