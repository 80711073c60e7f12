"""Observation models: what they declare, how they are found, and what follows from the declarations."""

import dataclasses
import inspect
import math
import pickle
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.special import ndtr

import skfm.core.observation as folder
from skfm import FMClassifier, FMRegressor
from skfm.core.observation import inverse_links
from skfm.core.observation.base import CLASSIFICATION, REGRESSION, ObservationModel
from skfm.core.observation.inverse_links import CUT_POINTS, IDENTITY, SIGMOID, InverseLink
from skfm.core.observation.parts import LatentVariables, MinibatchLoss, QuadraticBound
from skfm.core.observation.registry import (
    MODELS,
    _found,
    find_model,
    loss_parameters,
    losses_for,
    losses_with,
    make_loss,
)
from skfm.core.solvers import SOLVERS

ALL = pytest.mark.parametrize("name", MODELS)
ESTIMATORS = {REGRESSION: FMRegressor, CLASSIFICATION: FMClassifier}
LINKS = [link for link in vars(inverse_links).values() if isinstance(link, InverseLink)]
#: The model of a contributor, with the name {name}.
NEW_FILE = """
from skfm.core.observation.base import REGRESSION, ObservationModel
from skfm.core.observation.gaussian import SquaredErrorLoss
from skfm.core.observation.inverse_links import IDENTITY

MODEL = ObservationModel(
    name="{name}", tasks=(REGRESSION,), target="numbers", inverse_link=IDENTITY, loss=SquaredErrorLoss
)
"""


@ALL
def test_declarations(name):
    """What other parts of the package read is there, and the parts agree with it."""
    model = MODELS[name]
    assert model.name == name
    assert model.tasks
    assert set(model.tasks) <= {REGRESSION, CLASSIFICATION}
    assert model.target in ("numbers", "labels", "levels")
    assert (model.target == "numbers") <= (model.tasks == (REGRESSION,))
    assert (model.target == "labels") <= (model.tasks == (CLASSIFICATION,))
    assert (model.target == "levels") == model.has_cut_points
    assert model.range.words
    parts = [model.loss, model.quadratic, model.latent]
    kinds = [MinibatchLoss, QuadraticBound, LatentVariables]
    assert any(part is not None for part in parts)
    for part, kind in zip(parts, kinds, strict=True):
        if part is not None:
            assert issubclass(part if inspect.isclass(part) else type(part), kind)
            assert part.inverse_link is model.inverse_link
    if model.joint_loss is not None:
        assert model.target == "labels"
        assert model.joint_loss.inverse_link.joint_outputs
    assert model.has_noise <= (model.target == "numbers")
    assert model.has_noise <= any(part is not None and part.has_noise for part in parts[1:])


@ALL
def test_range(name):
    """The predicate is elementwise, and no model takes what is not finite."""
    contains = MODELS[name].range.contains
    y = torch.tensor([[0.0, 1.0, 2.0], [math.inf, -math.inf, math.nan]], dtype=torch.float64)
    assert contains(y).shape == y.shape
    assert contains(y).dtype == torch.bool
    assert not bool(contains(y)[1].any())
    assert bool(contains(y[0, 1]))


@ALL
def test_parameters_are_those_of_the_estimators(name):
    """Under the same names and with the same defaults."""
    model = MODELS[name]
    for task in model.tasks:
        signature = inspect.signature(ESTIMATORS[task]).parameters
        for parameter, default in model.parameters.items():
            assert signature[parameter].default == default
            assert loss_parameters()[parameter] == default


def test_estimators_and_solvers_take_what_is_declared():
    """The names that an estimator or a solver takes, in one order whatever the seed of hashes."""
    assert list(MODELS) == sorted(MODELS)
    for task, estimator in ESTIMATORS.items():
        names = list(estimator._parameter_constraints["loss"][0].options)
        assert (
            names == sorted(name for name in MODELS if task in MODELS[name].tasks) == list(losses_for(task))
        )
        assert inspect.signature(estimator).parameters["loss"].default in names
    for solver in SOLVERS.values():
        part = "loss" if solver.learns_online else "latent" if solver.samples else "quadratic"
        assert (
            solver.losses == losses_with(part) == {n for n in MODELS if getattr(MODELS[n], part) is not None}
        )
        for name in solver.losses:
            found = solver.model(name, 1, 0.5)
            if solver.learns_online:
                assert type(found) is MODELS[name].loss
            else:
                assert found is MODELS[name].quadratic


def test_what_names_no_model():
    for loss in ("nothing", None, 3, ["huber"], ("huber",)):
        assert find_model(loss) is None
    assert find_model("huber") is MODELS["huber"]
    with pytest.raises(ValueError, match="loss='probit' has no form for the minibatch solvers"):
        make_loss("probit")
    with pytest.raises(KeyError, match="nothing"):
        make_loss("nothing")


@pytest.fixture
def new_file(tmp_path, monkeypatch):
    """Write a file of the folder, which is elsewhere and forgotten after the test."""
    written = []

    def write(module, name):
        (tmp_path / f"{module}.py").write_text(NEW_FILE.format(name=name))
        written.append(f"{folder.__name__}.{module}")

    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path)])
    yield write
    for module in written:
        sys.modules.pop(module, None)
        vars(folder).pop(module.rpartition(".")[2], None)


def test_a_new_file_is_found(new_file):
    """Nothing else has to know of it."""
    new_file("a_new_model", "brand_new")
    found = _found()
    assert found.keys() == MODELS.keys() | {"brand_new"}
    assert list(found) == sorted(found)
    assert all(found[name] is MODELS[name] for name in MODELS)


def test_two_files_with_the_same_name(new_file):
    new_file("another_model", "huber")
    with pytest.raises(TypeError, match="Two observation models have the name 'huber'"):
        _found()


def test_parts_of_another_link():
    with pytest.raises(TypeError, match=r"'odd' declares the inverse link 'sigmoid', but .* has 'identity'"):
        ObservationModel(
            name="odd",
            tasks=(CLASSIFICATION,),
            target="labels",
            inverse_link=SIGMOID,
            loss=MODELS["huber"].loss,
        )


@ALL
def test_models_and_parts_can_be_pickled(name):
    """They are part of modules, which are saved."""
    model = MODELS[name]
    assert pickle.loads(pickle.dumps(model)).inverse_link.kind == model.inverse_link.kind
    if model.loss is not None:
        assert type(pickle.loads(pickle.dumps(model.make_loss()))) is model.loss
    if model.quadratic is not None:
        assert type(pickle.loads(pickle.dumps(model.quadratic))) is type(model.quadratic)


# -------------------------------------------------------------------------------------- inverse links


def test_kinds():
    """Each kind once."""
    kinds = [link.kind for link in LINKS]
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) == {"identity", "none", "exp", "sigmoid", "normal_cdf", "softmax", "cut_points"}
    assert [link.kind for link in LINKS if not link.identity_link] == ["exp"]
    assert [link.kind for link in LINKS if link.joint_outputs] == ["softmax"]
    assert {link.kind for link in LINKS if not link.is_probability} == {"identity", "none", "exp"}


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.kind)
def test_values(link):
    """Predictions of each kind; without a variance the expectation is the prediction."""
    raw = torch.linspace(-4, 4, 9, dtype=torch.float64).expand(3, 9) * torch.tensor([[1.0], [0.5], [2.0]])
    if link is CUT_POINTS:
        with pytest.raises(TypeError, match="needs the cut-points"):
            link(raw)
        return
    f = raw.numpy()
    expected = {
        "identity": f,
        "none": f,
        "exp": np.exp(f),
        "sigmoid": 1 / (1 + np.exp(-f)),
        "normal_cdf": ndtr(f),
        "softmax": np.exp(f) / np.exp(f).sum(0),
    }[link.kind]
    assert_allclose(link(raw), expected, rtol=1e-12)
    assert_allclose(link.expectation(raw), expected, rtol=1e-12)


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.kind)
def test_inverses(link):
    """Where a link has an inverse, or log probabilities of two classes, they lead back to the raw prediction."""
    raw = torch.linspace(-4, 4, 9, dtype=torch.float64)
    if link.joint_outputs or link is CUT_POINTS:
        with pytest.raises(NotImplementedError, match=repr(link.kind)):
            link.link(raw)
    else:
        assert_allclose(link.link(link(raw)), raw, rtol=1e-9, atol=1e-9)
    if link.kind in ("sigmoid", "normal_cdf"):
        log_p, log_q = (link.log_probability(sign * raw) for sign in (1, -1))
        assert_allclose(log_p.exp(), link(raw), rtol=1e-12)
        assert_allclose(link.score(log_p, log_q), raw, rtol=1e-9, atol=1e-9)
        return
    for function in (link.log_probability, lambda raw: link.score(raw, raw)):
        with pytest.raises(NotImplementedError, match="no probability of a single class"):
            function(raw)


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.kind)
def test_expectation_over_a_gaussian(link):
    """The mean of the prediction over N(m, v), by a quadrature of more nodes than the link may have itself."""
    if link.joint_outputs or link is CUT_POINTS:
        return
    points, weights = np.polynomial.hermite_e.hermegauss(61)
    for mean in (-2.0, 0.3, 1.5):
        for variance in (0.0, 0.4, 3.0):
            f = torch.tensor(mean + math.sqrt(variance) * points)
            average = float(weights @ link(f).numpy() / weights.sum())
            m, v = torch.tensor(mean, dtype=torch.float64), torch.tensor(variance, dtype=torch.float64)
            found = float(link.expectation(m, v))
            assert_allclose(found, average, rtol=1e-5 if link.nodes else 1e-8)
            if link.is_probability:
                assert_allclose(link(link.averaged_score(m, v)), found, rtol=1e-7)
            if link.variance_factor is not None:
                shrunk = m / torch.sqrt(1 + link.variance_factor * v)
                assert_allclose(found, link.expectation(shrunk), rtol=1e-12)


def test_the_logistic_expectation_over_wide_distributions():
    """The integral over the standard logistic variable, in place of the normal one."""
    logistic = np.linspace(-40, 40, 8001)
    density = np.exp(-np.logaddexp(0, logistic) - np.logaddexp(0, -logistic))
    for std in (1.0, 3.0, 4.9, 5.1, 30.0, 1e3, 1e6):
        for quotient in (-3.0, -1.0, -0.1, 0.0, 0.7):
            m = torch.tensor([quotient * std], dtype=torch.float64)
            below = ndtr((m[:, None] - torch.tensor(logistic)) / std).numpy()
            found = SIGMOID.expectation(m, torch.full_like(m, std**2))
            assert_allclose(found, below @ density * 0.01, atol=2e-3 if std > 3 else 1e-4)
            assert_allclose(
                torch.sigmoid(SIGMOID.averaged_score(m, torch.full_like(m, std**2))), found, rtol=1e-9
            )


def test_models_hand_on_what_their_links_do():
    raw, variance = torch.linspace(-2, 2, 5), torch.ones(5)
    model = MODELS["log_loss"]
    assert torch.equal(model.expectation(raw, variance), SIGMOID.expectation(raw, variance))
    assert torch.equal(model.outcome(raw), SIGMOID(raw))
    assert torch.equal(model.log_probability(raw), SIGMOID.log_probability(raw))
    assert torch.equal(model.score(raw, -raw), SIGMOID.score(raw, -raw))
    assert model.has_probabilities
    assert model.identity_link
    assert not model.has_noise
    assert MODELS["squared_error"].has_noise
    assert MODELS["squared_error"].inverse_link is IDENTITY
    assert not MODELS["poisson"].identity_link
    assert [MODELS[name].positive_only for name in ("gamma", "poisson", "huber", "log_loss")] == [1, 1, 0, 0]
    assert [MODELS[name].has_cut_points for name in ("ordered_probit", "probit")] == [True, False]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"tasks": "regression"}, "tuple of 'regression' and 'classification' as tasks, got 'regression'"),
        ({"tasks": ("regressor",)}, r"as tasks, got \('regressor',\)"),
        ({"tasks": ()}, r"as tasks, got \(\)"),
        ({"target": "number"}, "as target, got 'number'"),
        ({"loss": MODELS["huber"].make_loss()}, "as a class, not as an instance"),
        ({"inverse_link": MODELS["poisson"].inverse_link}, "declares the inverse link 'exp', but"),
    ],
)
def test_wrong_declarations_are_errors(declared, message):
    with pytest.raises(TypeError, match=message):
        dataclasses.replace(MODELS["huber"], **declared)
