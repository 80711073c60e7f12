"""The docstrings of the two estimators agree with their signatures and with each other."""

import ast
import inspect
import re

import pytest

from skfm import FMClassifier, FMRegressor

ESTIMATORS = pytest.mark.parametrize("cls", [FMRegressor, FMClassifier])

#: Parameters and attributes that both estimators have, but with different types or descriptions, and why.
DIFFERENT_TYPES = {
    "loss": "the losses of regression and classification are disjoint except for one",
    "intercept_": "more than two classes have one intercept each",
    "coef_": "more than two classes add a leading axis",
    "factors_": "more than two classes add a leading axis",
}
DIFFERENT_DESCRIPTIONS = {
    "loss": "each loss has its formula",
    "select_factors": "vb tests whether the data support factors in regression only",
    "init_scale": "the default of a classifier depends on the solver, that of a regressor does not",
    "intercept_": "says which attributes have a leading axis for the classes",
    "history_": "a regressor has a noise precision, and losses in the units of the target",
}


def entries(cls, section):
    """Return the type and the description of each entry of a section of the class docstring, in order."""
    doc = inspect.cleandoc(cls.__doc__)
    _, _, rest = doc.partition(f"\n{section}\n{'-' * len(section)}\n")
    assert rest, f"{cls.__name__} has no section {section}"
    body = re.split(r"\n\n[A-Z][\w ]+\n-{3,}\n", rest)[0].replace("\\\n", "")
    found = {}
    for entry in re.split(r"\n(?=\S)", body):
        head, _, text = entry.partition("\n")
        name, _, kind = head.partition(" : ")
        assert name not in found, f"{cls.__name__} documents {name} twice"
        found[name] = " ".join(kind.split()), inspect.cleandoc(text)
    return found


@pytest.mark.parametrize("section", ["Parameters", "Attributes"])
def test_what_both_estimators_have_is_described_in_the_same_words(section):
    regressor, classifier = (entries(cls, section) for cls in (FMRegressor, FMClassifier))
    shared = regressor.keys() & classifier.keys()
    for place, allowed in enumerate((DIFFERENT_TYPES, DIFFERENT_DESCRIPTIONS)):
        differing = {name for name in shared if regressor[name][place] != classifier[name][place]}
        assert differing == shared & allowed.keys()


@ESTIMATORS
def test_parameters_are_documented_in_the_order_of_the_signature(cls):
    assert list(entries(cls, "Parameters")) == list(inspect.signature(cls).parameters)


@ESTIMATORS
def test_documented_defaults_are_those_of_the_signature(cls):
    for name, (kind, _) in entries(cls, "Parameters").items():
        _, stated, default = kind.rpartition("default=")
        assert stated, f"{name} has no default in its documentation"
        actual = inspect.signature(cls).parameters[name].default
        # The representation tells False from 0, and 1 from 1.0.
        assert repr(ast.literal_eval(default)) == repr(actual), name


@ESTIMATORS
def test_every_entry_has_a_type_and_a_description_of_sentences(cls):
    for section in ("Parameters", "Attributes"):
        for name, (kind, text) in entries(cls, section).items():
            assert kind, f"{name} has no type"
            assert text.endswith("."), f"the description of {name} does not end with a period"
