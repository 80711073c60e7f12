"""Estimators as modules of torch, and layers as estimators."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skfm import FMClassifier, FMRegressor
from skfm.nn import FactorizationMachine
from tests.helpers.problems import KINDS, levels, numeric, plant, three_fields
from tests.helpers.raw import raw_scores
from tests.helpers.slow import parametrize

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")


def inputs(X):
    """The same rows in all forms that a module takes."""
    csr = sparse.csr_matrix(X)
    dense = torch.from_numpy(csr.toarray())
    indices, starts = (torch.from_numpy(part.astype(np.int64)) for part in (csr.indices, csr.indptr[:-1]))
    yield (dense,)
    yield (dense.to_sparse_coo(),)
    yield (dense.to_sparse_csr(),)
    yield (indices, starts, torch.from_numpy(csr.data))
    yield ((indices, starts, torch.from_numpy(csr.data)),)


def assert_predicts(module, X, expected, rtol=1e-9):
    for given in inputs(X):
        found = module(*given).detach().numpy()
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert_allclose(found, expected, rtol=rtol, atol=rtol * abs(expected).max())


@KINDS
@pytest.mark.parametrize("solver", ["vb", "als", "adagrad", "mcmc"])
def test_regressors(make_X, solver):
    X = make_X()
    y = plant(X)
    model = FMRegressor(3, solver=solver, max_iter=5, random_state=0).fit(X, y)
    assert_predicts(model.to_module(), X, model.predict(X))
    assert_predicts(model.to_module("raw"), X, model.predict(X))
    assert_allclose(FMRegressor.from_module(model.to_module()).predict(X), model.predict(X), rtol=1e-9)


@pytest.mark.parametrize("loss", ["poisson", "gamma", "huber", "quantile", "absolute_error"])
def test_losses_of_regressors(loss):
    X = np.random.default_rng(0).random((60, 3))
    y = np.exp(plant(X) / 50)
    model = FMRegressor(2, solver="adagrad", loss=loss, max_iter=3, random_state=0).fit(X, y)
    assert_predicts(model.to_module(), X, model.predict(X))
    back = FMRegressor.from_module(model.to_module(), loss=loss)
    assert_allclose(back.predict(X), model.predict(X), rtol=1e-9)


@KINDS
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"solver": "vb", "covariance_type": "full"},
        {"solver": "vb", "covariance_type": "diag", "loss": "probit"},
        {"solver": "als"},
        {"solver": "adagrad"},
    ],
    ids=lambda options: "-".join(options.values()),
)
def test_classifiers(make_X, n_classes, options):
    """Probabilities, over the posterior where there is one."""
    X = make_X()
    y = np.array(["a", "b", "c"])[levels(plant(X), n_classes)]
    model = FMClassifier(3, max_iter=5, random_state=0, **options).fit(X, y)
    assert_predicts(model.to_module(), X, model.predict_proba(X))
    assert_predicts(model.to_module("raw"), X, raw_scores(model, X))
    kept = {key: value for key, value in options.items() if key != "covariance_type"}
    back = FMClassifier.from_module(model.to_module(), classes=model.classes_, **kept)
    assert_allclose(back.decision_function(X), raw_scores(model, X), rtol=1e-9, atol=1e-9)
    assert np.array_equal(back.predict(X), model.predict(X))
    if options["solver"] != "vb":
        assert_allclose(back.predict_proba(X), model.predict_proba(X), rtol=1e-9, atol=1e-12)


def test_single_precision():
    X = KINDS.args[1][1]().astype(np.float32)
    y = plant(X)
    model = FMRegressor(3, max_iter=5, random_state=0).fit(X, y)
    assert_predicts(model.to_module(), X, model.predict(X), rtol=1e-5)
    back = FMRegressor.from_module(model.to_module())
    assert back.factors_.dtype == np.float32
    assert_allclose(back.predict(X), model.predict(X), rtol=1e-5)


def test_probabilities_of_duplicated_entries():
    """The variance, too, takes the sum of what stands in the same place."""
    X = KINDS.args[1][2]()
    model = FMClassifier(2, max_iter=3, random_state=0).fit(X, levels(plant(X), 2))
    indices, starts, values = next(iter([g for g in inputs(X[:5]) if len(g) == 3]))
    twice = torch.cat([indices, indices]).view(2, -1).T.reshape(-1)
    halves = torch.stack([values * 0.25, values * 0.75], 1).reshape(-1)
    found = model.to_module()(twice, 2 * starts, halves)
    assert_allclose(found.detach(), model.predict_proba(X[:5]), rtol=1e-9)


def test_margins_have_no_probabilities():
    X = KINDS.args[1][0]()
    model = FMClassifier(2, solver="adagrad", loss="hinge", max_iter=3).fit(X, levels(plant(X), 2))
    assert_predicts(model.to_module("raw"), X, model.decision_function(X))
    with pytest.raises(AttributeError, match="predict_proba is not available"):
        model.to_module()


def test_averages_over_draws_are_no_module():
    X = KINDS.args[1][0]()
    model = FMClassifier(2, solver="mcmc", max_iter=6, random_state=0).fit(X, levels(plant(X), 2))
    with pytest.raises(ValueError, match="an average over its draws"):
        model.to_module()
    model.to_module("raw")


def test_modules_travel(tmp_path):
    """A pickle, a state, and copies that the estimator does not notice."""
    X = KINDS.args[1][3]()
    y = levels(plant(X), 3)
    model = FMClassifier(2, max_iter=3, random_state=0).fit(X, y)
    before = model.predict_proba(X)
    module = model.to_module()
    assert_predicts(pickle.loads(pickle.dumps(module)), X, before)
    other = FMClassifier(2, max_iter=1, random_state=1).fit(X, y).to_module()
    other.load_state_dict(module.state_dict())
    assert_predicts(other, X, before)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.zero_()
    assert np.array_equal(model.predict_proba(X), before)


@pytest.mark.torch_graphs
@parametrize(
    ("make_X", "n_classes", "strict"),
    [(make_X, n, strict) for make_X in (three_fields, numeric) for n in (2, 3) for strict in (True, False)],
    fast=lambda make_X, n_classes, strict: (
        (make_X, n_classes) == ((three_fields, 2) if strict else (numeric, 3))
    ),
)
def test_modules_are_exported(make_X, n_classes, strict):
    """Probabilities over a posterior too, for any number of rows."""
    many = torch.export.Dim.DYNAMIC
    X = make_X()
    model = FMClassifier(2, max_iter=3, random_state=0).fit(X, levels(plant(X), n_classes))
    for given in inputs(X):
        if given[0].layout != torch.strided if torch.is_tensor(given[0]) else True:
            continue
        shapes = tuple({0: many} for _ in given)
        program = torch.export.export(model.to_module(), given, dynamic_shapes=shapes, strict=strict)
        for n in (len(y := model.predict_proba(X)), 7):
            rows = [g for g in inputs(X[:n]) if len(g) == len(given) and torch.is_tensor(g[0])]
            found = program.module()(*next(g for g in rows if g[0].layout == torch.strided))
            assert_allclose(found.detach(), y[:n], rtol=1e-8, atol=1e-9)


def test_modules_are_trained_further():
    X = KINDS.args[1][1]()
    y = plant(X)
    model = FMRegressor(3, max_iter=1, random_state=0).fit(X, y)
    module, rows = model.to_module(), next(iter(inputs(X)))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (module(*rows) - torch.from_numpy(y)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    # And back.
    trained = FMRegressor.from_module(module)
    assert_allclose(trained.predict(X), module(*rows).detach(), rtol=1e-9)
    sparse_module = model.to_module(sparse_grad=True)
    sparse_module(*rows).sum().backward()
    assert sparse_module.machines[0].factors.weight.grad.is_sparse


def random_layer(n_features=11, n_factors=2, **options):
    layer = FactorizationMachine(n_features, n_factors, dtype=torch.float64, **options)
    generator = torch.Generator().manual_seed(len(options))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    return layer


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"linear": True, "bias": True},
        {"half": False, "bias": True},
        {"binary_values": True, "subtract_self_interactions": False},
        {"binary_values": True, "subtract_self_interactions": False, "half": False, "linear": True},
        {"activation": "exp", "linear": True},
    ],
)
def test_an_estimator_predicts_as_its_layer(options):
    X = KINDS.args[1][0]()
    layer = random_layer(**options)
    loss = "poisson" if "activation" in options else "squared_error"
    model = FMRegressor.from_module(layer, loss=loss)
    assert_allclose(model.predict(X), layer(next(iter(inputs(X)))[0])[:, 0].detach(), rtol=1e-9, atol=1e-12)
    assert model.n_iter_ == 0
    assert model.n_features_in_ == 11
    assert clone(model).get_params() == model.get_params()
    assert_allclose(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_estimators_go_on_from_a_layer():
    """By partial_fit and by a warm start, with every kind of solver."""
    X = KINDS.args[1][0]()
    y = plant(X) / 10
    layer = random_layer(linear=True, bias=True)
    model = FMRegressor.from_module(layer, random_state=0)
    before = model.score(X, y)
    for _ in range(5):
        model.partial_fit(X, y)
    assert model.score(X, y) > before
    assert model.n_iter_ == 5
    for solver in ("vb", "als", "adagrad", "mcmc"):
        model = FMRegressor.from_module(layer, solver=solver, warm_start=True, max_iter=10, random_state=0)
        assert model.fit(X, y).score(X, y) > before
    labels = np.array(["n", "y"])[levels(y, 2)]
    classifier = FMClassifier.from_module(layer, classes=["n", "y"], class_weight={"y": 2}, random_state=0)
    before = classifier.score(X, labels)
    for _ in range(20):
        classifier.partial_fit(X, labels)
    assert classifier.score(X, labels) > before


def test_layers_of_several_classes():
    X = KINDS.args[1][0]()
    layers = [random_layer(linear=True), random_layer(), random_layer(bias=True, linear=True)]
    model = FMClassifier.from_module(layers, classes=["x", "y", "z"])
    raw = torch.cat([layer(next(iter(inputs(X)))[0]) for layer in layers], 1)
    assert_allclose(model.predict_proba(X), torch.softmax(raw, 1).detach(), rtol=1e-9)
    assert set(model.predict(X)) <= {"x", "y", "z"}
    model = FMClassifier.from_module(torch.nn.ModuleList(layers), classes=[1, 2, 3], solver="als")
    p = torch.sigmoid(raw)
    assert_allclose(model.predict_proba(X), (p / p.sum(1, keepdim=True)).detach(), rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FMRegressor.from_module(torch.nn.Linear(3, 1)), TypeError, "module must be a skfm.nn"),
        (lambda: FMRegressor.from_module([]), ValueError, "same shape"),
        (lambda: FMRegressor.from_module([random_layer()] * 3), ValueError, "but module has 3"),
        (
            lambda: FMClassifier.from_module(random_layer(), classes=[1, 2, 3]),
            ValueError,
            r"Expected 3 layer\(s\)",
        ),
        (lambda: FMClassifier.from_module(random_layer(), classes=[1]), ValueError, "at least two distinct"),
        (lambda: FMClassifier.from_module(random_layer(), classes=[1, 0]), ValueError, "in ascending order"),
        (
            lambda: FMClassifier.from_module([random_layer(3), random_layer(4), random_layer(3)], [0, 1, 2]),
            ValueError,
            "All layers must have the same shape",
        ),
        (lambda: FMRegressor.from_module(random_layer(activation="tanh")), ValueError, "activation='tanh'"),
        (
            lambda: FMRegressor.from_module(random_layer(subtract_self_interactions=False)),
            ValueError,
            "subtract_self_interactions=False",
        ),
        (
            lambda: FMRegressor.from_module(random_layer(), n_factors=5),
            ValueError,
            "n_factors=5 was asked for",
        ),
        (lambda: FMRegressor.from_module(random_layer(), loss="probit"), ValueError, "loss"),
        (
            lambda: FMRegressor.from_module(random_layer(), loss="ordered_probit", solver="mcmc"),
            ValueError,
            "cut-points",
        ),
        (lambda: FMRegressor().to_module(), NotFittedError, "not fitted"),
        (
            lambda: FMRegressor.from_module(random_layer()).to_module("probability"),
            ValueError,
            "output must be",
        ),
    ],
)
def test_what_cannot_be(make, error, message):
    with pytest.raises(error, match=message):
        make()
