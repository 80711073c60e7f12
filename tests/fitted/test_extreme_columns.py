"""Columns far from zero, of all scales, and the targets of all scales: predictions keep their digits.

The reference is a double loop in long double of the parameters in the units of the solver.
"""

import copy
import pickle

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from skfm import FMClassifier, FMRegressor
from skfm.core.interactions.pairwise import raw_prediction
from skfm.core.matrix.design import DesignMatrix
from skfm.data.scaling import Scaling
from skfm.fitted.cache import predictor
from skfm.fitted.located import standardized, user_parameters
from skfm.inspection import explain
from skfm.io import load_model, save_model
from skfm.onnx import to_onnx
from tests.helpers.raw import raw_scores

#: Rounding of predictions, relative to their spread.
ROUNDING = {np.float32: 5e-7, np.float64: 5e-15}
Wide = np.longdouble


def dense(X):
    return np.asarray(X.toarray() if sparse.issparse(X) else X)


def raw_reference(model, X, parameters=None):
    """Raw predictions in the user's units, (n_outputs, n_samples), in long double."""
    scaling = Scaling.of(model)
    w0, w, V = (t.numpy().astype(Wide) for t in (standardized(model) if parameters is None else parameters))
    columns = scaling.conditioning
    Z = (dense(X).astype(Wide) - columns.center.numpy()) / columns.scale.numpy()
    raw = []
    for b in range(len(w0)):
        found = w0[b] + Z @ w[b]
        for i in range(Z.shape[1]):
            for j in range(i):
                found = found + (V[b, i] @ V[b, j]) * Z[:, i] * Z[:, j]
        raw.append(found * Wide(float(scaling.scale[b])) + Wide(float(scaling.shift[b])))
    return np.array(raw)


def variance_reference(model, X):
    """The variance of a regression with full covariances, noise included, by the sums over columns."""
    scaling, fitted = Scaling.of(model), predictor(model).model.fitted
    columns = scaling.conditioning
    Z = (dense(X).astype(Wide) - columns.center.numpy()) / columns.scale.numpy()
    V, S = standardized(model).factors[0].numpy().astype(Wide), model.covariances_.astype(Wide)
    out = []
    for z in Z:
        s = z @ V
        T = np.einsum("p,pij->ij", z**2, S[:, 1:, 1:])
        h = np.einsum("p,pij,pj->i", z**3, S[:, 1:, 1:], V) - z**2 @ S[:, 0, 1:]
        own = np.einsum("pi,pij,pj->p", V, S[:, 1:, 1:], V) - (S[:, 1:, 1:] ** 2).sum((1, 2)) / 2
        rest = z**2 @ S[:, 0, 0] - 2 * z**3 @ (V * S[:, 0, 1:]).sum(1) + z**4 @ own
        out.append(s @ T @ s - 2 * s @ h + (T**2).sum() / 2 + rest)
    own = float(fitted._posterior["intercept_variance"][0]) + 1 / float(
        fitted._posterior["noise_precision"][0]
    )
    return (np.array(out) + own) * Wide(float(scaling.scale[0])) ** 2


def planted(n=80, seed=0):
    """Three columns of numbers and two flags, with a target in which they interact."""
    rng = np.random.default_rng(seed)
    Z = np.column_stack([rng.standard_normal((n, 3)), rng.random((n, 2)) < 0.4])
    y = Z[:, 0] * Z[:, 1] + Z[:, 2] - Z[:, 3] * Z[:, 0] + Z[:, 4] + 0.1 * rng.standard_normal(n)
    return Z, y


def sparse_planted(n=120, seed=0):
    rng = np.random.default_rng(seed)
    X = sparse.random(n, 12, 0.15, random_state=seed, format="csr")
    Z, V = X.toarray(), rng.standard_normal((12, 2))
    return X, Z @ rng.standard_normal(12) + ((Z @ V) ** 2 - Z**2 @ V**2).sum(1) / 2


def relative_error(found, expected):
    """The root mean square of the differences, relative to the spread."""
    with np.errstate(over="ignore"):
        apart = found.astype(Wide) - expected
    assert np.isfinite(apart).all()
    return float(np.sqrt((apart**2).mean()) / expected.std())


# --------------------------------------------------------------------- the reference


@pytest.mark.parametrize("solver", ["als", "vb", "adagrad", "mcmc"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=15)
@given(
    offsets=st.lists(st.sampled_from([0, 1, -1e2, 1e4]), min_size=3, max_size=3),
    exponents=st.lists(st.integers(-30, 30), min_size=3, max_size=3),
    far=st.sampled_from([1, 9]),
    y_exponent=st.integers(-25, 25),
    y_offset=st.sampled_from([0, 1, -100]),
    as_sparse=st.booleans(),
)
def test_predictions_are_exact(solver, dtype, offsets, exponents, far, y_exponent, y_offset, as_sparse):
    wide = dtype == np.float64
    scales = 10.0 ** np.array([*exponents, 0, 0])
    scales[:3] **= far if wide else 1
    Z, y = planted()
    # Twice as many digits of the offset in double precision.
    moved = np.array([*offsets, 0, 0]) ** (2 if wide else 1)
    X = ((Z + moved) * scales).astype(dtype)
    X = sparse.csr_matrix(X) if as_sparse else X
    y = (y + y_offset) * 10.0**y_exponent
    model = FMRegressor(2, solver=solver, max_iter=4, random_state=0).fit(X, y)
    expected = raw_reference(model, X)[0]
    size = max(1, np.abs(expected).max() / expected.std())
    assert relative_error(model.predict(X), expected) < ROUNDING[dtype] * float(size)
    if solver == "vb":
        std = model.predict(X, return_std=True)[1]
        assert_allclose(std, np.sqrt(variance_reference(model, X)).astype(float), rtol=2e3 * ROUNDING[dtype])
    if solver == "mcmc":
        parameters = standardized(model, of_draws=True)
        S = len(parameters.intercept)
        raw = np.concatenate([raw_reference(model, X, [t[s : s + 1] for t in parameters]) for s in range(S)])
        scale = float(Scaling.of(model).scale[0])
        noise = np.mean((np.asarray(model._draws["noise_std"], Wide) / scale) ** 2)
        std = scale * np.sqrt((raw / scale).var(0) + noise).astype(float)
        assert_allclose(model.predict(X, return_std=True)[1], std, rtol=2e3 * ROUNDING[dtype])
        q = model.predict(X, quantiles=[0.05, 0.5, 0.95])
        assert np.isfinite(q).all()
        assert (np.diff(q) > 0).all()


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("solver", ["als", "vb", "adagrad"])
@pytest.mark.parametrize("offset", [0, 1e3, 1e8])
def test_scores_are_exact(solver, n_classes, offset):
    Z, y = planted()
    X, y = Z + np.array([offset, 0, -offset, 0, 0]), np.digitize(y, [0, 1][: n_classes - 1])
    model = FMClassifier(2, solver=solver, max_iter=4, random_state=0).fit(X, y)
    expected = raw_reference(model, X)
    expected = expected[0] if n_classes == 2 else expected.T
    assert relative_error(raw_scores(model, X), expected) < ROUNDING[np.float64]
    # Probabilities are those of the same columns at zero, to the digits that X has lost far from there.
    near = clone(model).fit(Z, y).predict_proba(Z)
    assert_allclose(model.predict_proba(X), near, atol=1e-12 + 1e-13 * offset)


def as_before(model, X):
    """Raw predictions in the user's units without a center."""
    dtype = torch.float32 if X.dtype == model.factors_.dtype == np.float32 else torch.float64
    design = DesignMatrix.from_array(X, dtype=dtype, dense_columns=predictor(model).model.centered)
    parameters = user_parameters(model)
    return raw_prediction(design, type(parameters)(*(t.to(dtype) for t in parameters)))[0].numpy()


@pytest.mark.parametrize("solver", ["als", "vb", "adagrad"])
@pytest.mark.parametrize("offset", [0, 10, 1e3])
@pytest.mark.parametrize("kind", ["numbers", "flags", "sparse"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_prediction_is_worse_than_in_the_units_of_the_user(dtype, kind, offset, solver):
    if kind == "sparse":
        X, y = sparse_planted()
        X = X * 30
    else:
        X, y = planted()
        X = sparse.csr_matrix(X[:, 3:]) if kind == "flags" else X + np.array([offset, 0, -offset, 0, 0])
    X = X.astype(dtype)
    model = FMRegressor(2, solver=solver, max_iter=4, random_state=0).fit(X, 20 * y + 50)
    expected = raw_reference(model, X)[0]
    new = relative_error(model.predict(X), expected)
    old = relative_error(as_before(model, X).astype(dtype), expected)
    # Where there is nothing to lose, the errors are those of rounding the result.
    assert new <= 1.02 * old + np.finfo(dtype).eps / 2


# --------------------------------------------------------------------- as after StandardScaler


def timestamps(x):
    """Nanoseconds within a second."""
    return (1.7e18 + 3e8 * x).astype(np.int64).astype(float)


def noise(n):
    return np.random.default_rng(n).standard_normal(n)


#: What the columns of a case are once they are standardized, where these are not the five that were planted.
STANDARDIZED = {
    "narrow noise": lambda Z: np.column_stack([Z, noise(len(Z))]),
    "rounding": lambda Z: np.column_stack([Z, np.ones(len(Z))]),
}
CASES = {
    "1e9": lambda Z: Z + np.array([1e9, 0, 0, 0, 0]),
    "1e9, twice": lambda Z: Z + np.array([1e9, -1e9, 0, 0, 0]),
    "1e9 in CSR": lambda Z: sparse.csr_matrix(Z + np.array([1e9, 0, 0, 0, 0])),
    "narrow": lambda Z: np.column_stack([1 + 1e-12 * Z[:, 0], Z[:, 1:]]),
    "narrow noise": lambda Z: np.column_stack([Z, 1 + 1e-12 * noise(len(Z))]),
    "rounding": lambda Z: np.column_stack([Z, 1 + 3e-16 * (Z[:, 0] > 0)]),
    "timestamps": lambda Z: np.column_stack([timestamps(Z[:, 0]), Z[:, 1:]]),
    **{
        f"{number} {kind}": lambda Z, number=float(number), kind=kind: (Z * number).astype(kind)
        for kind, numbers in {
            "f8": ["1e-300", "1e-155", "1e155", "1e300"],
            "f4": ["1e-37", "1e-20", "1e20", "1e37"],
        }.items()
        for number in numbers
    },
    **{
        f"one column of {number} {kind}": lambda Z, number=float(number), kind=kind: (
            Z * [number, 1, 1, 1, 1]
        ).astype(kind)
        for kind, number in {"f8": "1e200", "f4": "1e-30"}.items()
    },
}


def r2(y, found):
    assert np.isfinite(found).all()
    return 1 - np.square(y - found).sum() / np.square(y - y.mean()).sum()


@pytest.mark.parametrize("solver", ["als", "vb", "adagrad", "mcmc"])
@pytest.mark.parametrize("case", CASES)
def test_dense_columns_fit_as_if_standardized(case, solver):
    Z, y = planted(200)
    X, X_new = CASES[case](Z[:150]), CASES[case](Z[150:])
    Z, Z_new = (STANDARDIZED.get(case, np.asarray)(rows) for rows in (Z[:150], Z[150:]))
    model = FMRegressor(2, solver=solver, max_iter=40, random_state=0)
    expected = r2(y[150:], clone(model).fit(Z, y[:150]).predict(Z_new))
    assert expected > 0.9
    model.fit(X, y[:150])
    assert r2(y[150:], model.predict(X_new).astype(float)) > expected - 0.005
    if solver in ("vb", "mcmc"):
        _, std = model.predict(X_new, return_std=True)
        assert ((std > 0.05) & (std < 2)).all()


@pytest.mark.parametrize("solver", ["als", "vb", "adagrad", "mcmc"])
@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [(np.float32, e) for e in (-37, -25, 25, 37)] + [(np.float64, e) for e in (-300, -160, 160, 300)],
)
@pytest.mark.parametrize("columns", [12, 1])
def test_sparse_columns_fit_as_if_scaled(columns, dtype, exponent, solver):
    X, y = sparse_planted()
    model = FMRegressor(2, solver=solver, max_iter=20, random_state=0)
    expected = r2(y, clone(model).fit(X.astype(dtype), y).predict(X.astype(dtype)).astype(float))
    scales = np.ones(12)
    scales[:columns] = 10.0**exponent
    moved = X.multiply(scales).tocsr().astype(dtype)
    model.fit(moved, y)
    assert abs(r2(y, model.predict(moved).astype(float)) - expected) < 0.01
    assert relative_error(model.predict(moved), raw_reference(model, moved)[0]) < 2 * ROUNDING[dtype]
    if solver in ("vb", "mcmc"):
        for found in model.predict(moved, return_std=True):
            assert np.isfinite(found).all()


def test_parameters_that_fit_nowhere_are_an_error():
    """Coefficients of columns next to zero are too large for their type."""
    X, y = sparse_planted()
    X = (X * 1e-38).astype(np.float32)
    with pytest.raises(
        ValueError, match="The fitted parameters do not fit into float32 in the units of X and y"
    ):
        FMRegressor(2, solver="als", max_iter=4).fit(X, 1e6 * y)


# --------------------------------------------------------------------- what is kept


@pytest.mark.parametrize("solver", ["als", "vb", "adagrad", "mcmc"])
def test_standardized_parameters_are_kept_only_where_they_are_needed(solver):
    Z, y = planted()
    bag, z = sparse_planted()
    model = FMRegressor(2, solver=solver, max_iter=4, random_state=0)
    assert clone(model).fit(Z[:, 3:], y)._standardized is None
    assert clone(model).fit(bag * 100, z)._standardized is None
    assert clone(model).fit(bag * 1e100, z)._standardized is None
    assert clone(model).set_params(fit_intercept=False).fit(Z + 5, y)._standardized is None
    kept = clone(model).fit(Z + 5, y)._standardized
    assert kept["factors"] is None
    lost = clone(model).fit((bag * 1e38).astype(np.float32), z)
    assert lost._standardized["factors"].shape == (1, *lost.factors_.shape)


@pytest.mark.parametrize("solver", ["als", "vb", "adagrad", "mcmc"])
@pytest.mark.parametrize("kind", ["near", "far", "large", "lost"])
def test_models_travel(kind, solver, tmp_path):
    """Pickles, copies and files predict the same, bit for bit, and learn the same."""
    Z, y = planted()
    X = {
        "near": Z,
        "far": Z + np.array([1e8, 0, -1e6, 0, 0]),
        "large": (Z + np.array([5, 0, 0, 0, 0])) * [1e200, 1, 1e-150, 1, 1],
        "lost": sparse.csr_matrix((Z * 1e38 * (np.abs(Z) < 1)).astype(np.float32)),
    }[kind]
    model = FMRegressor(2, solver=solver, max_iter=4, random_state=0).fit(X, y)
    save_model(model, tmp_path / "model")
    expected = model.predict(X)
    again = copy.deepcopy(model).set_params(warm_start=True).fit(X, y).predict(X)
    for other in (load_model(tmp_path / "model"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert (other.predict(X) == expected).all()
        assert (other.set_params(warm_start=True).fit(X, y).predict(X) == again).all()


def test_models_without_standardized_parameters_predict():
    """Those of earlier versions: they follow from the user's, with the digits that these have."""
    Z, y = planted()
    for X, tolerance in ((Z + np.array([100, 0, -10, 0, 0]), 1e-9), (Z * 1e-200, 1e-12)):
        for solver in ("als", "vb", "mcmc"):
            model = FMRegressor(2, solver=solver, max_iter=4, random_state=0).fit(X, y)
            old = copy.deepcopy(model)
            del old._standardized
            assert_allclose(old.predict(X), model.predict(X), rtol=tolerance, atol=tolerance)
            warm = [m.set_params(warm_start=True).fit(X, y).predict(X) for m in (old, model)]
            assert_allclose(*warm, rtol=1e-6, atol=1e-6)


# --------------------------------------------------------------------- learning on


@pytest.mark.parametrize("solver", ["als", "vb", "adagrad", "mcmc"])
@pytest.mark.parametrize("offset", [1e3, 1e9])
def test_a_warm_start_begins_where_the_fit_ended(solver, offset):
    """On rows with other means and spreads, too: nothing is lost on the way from one scaling to the other."""
    Z, y = planted(200)
    X = Z + np.array([offset, 0, -offset, 0, 0])
    options = {"max_iter": 60, "random_state": 0}
    model = FMRegressor(2, solver=solver, warm_start=True, **options).fit(X, y)
    before = r2(y, model.predict(X))
    model.set_params(max_iter=1, learning_rate=1e-9 if solver == "adagrad" else "auto")
    rows = Z[:, 0] > -0.5
    model.fit(X[rows], y[rows])
    assert r2(y[rows], model.predict(X[rows])) > before - 0.02


@pytest.mark.parametrize("offset", [0, 1e3, 1e9])
def test_partial_fit_far_from_zero(offset):
    Z, y = planted(200)
    X = Z + np.array([offset, 0, -offset, 0, 0])
    near, far = (FMRegressor(2, solver="adagrad", random_state=0, batch_size=20) for _ in range(2))
    for part in range(0, 200, 50):
        rows = slice(part, part + 50)
        assert_allclose(
            far.partial_fit(X[rows], y[rows]).predict(X),
            near.partial_fit(Z[rows], y[rows]).predict(Z),
            atol=1e-9 + 1e-14 * offset,
        )


# --------------------------------------------------------------------- edges


KINDS_OF_COLUMNS = {
    "far": lambda Z: Z + np.array([1e9, 0, -1e7, 0, 0]),
    "far in single precision": lambda Z: (Z + np.array([1e4, 0, -1e3, 0, 0])).astype(np.float32),
    "large": lambda Z: (Z + np.array([5, 0, 0, 0, 0])) * [1e200, 1, 1e-150, 1, 1],
    "large and far": lambda Z: (Z + np.array([1e9, 0, 0, 0, 0])) * [1e200, 1, 1e-150, 1, 1],
    "large in single precision": lambda Z: (Z * [1e30, 1, 1e-25, 1, 1]).astype(np.float32),
    "empty": lambda Z: sparse.csr_matrix(Z * (np.abs(Z) < 0.2) * 1e200),
}
COLUMNS = pytest.mark.parametrize("kind", KINDS_OF_COLUMNS)


@COLUMNS
def test_explanations_are_exact(kind):
    Z, y = planted()
    X = KINDS_OF_COLUMNS[kind](Z)
    model = FMRegressor(2, max_iter=5, random_state=0).fit(X, y)
    assert relative_error(explain(model, X).raw, raw_reference(model, X)[0]) < 1e-14
    assert relative_error(explain(model, X, background=X).raw, raw_reference(model, X)[0]) < 1e-13


@COLUMNS
@pytest.mark.parametrize("solver", ["als", "vb", "mcmc"])
def test_onnx_is_exact(kind, solver):
    Z, y = planted()
    X = KINDS_OF_COLUMNS[kind](Z)
    if sparse.issparse(X):
        X = X.toarray()
    model = FMRegressor(2, solver=solver, max_iter=5, random_state=0).fit(X, y)
    session = onnxruntime.InferenceSession(to_onnx(model, X[:1]).SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: X})
    assert relative_error(found[:, 0], raw_reference(model, X)[0]) < 10 * ROUNDING[X.dtype.type]


def test_onnx_in_single_precision_of_a_model_in_double():
    """The center of a column has more digits than the type of the graph."""
    rng = np.random.default_rng(0)
    X = (1e6 + rng.integers(-40, 40, (200, 2))).astype(np.float32)
    z = (X - 1e6) / 20
    y = z[:, 0] * z[:, 1] + z[:, 0]
    model = FMRegressor(2, random_state=0).fit(X.astype(np.float64), y)
    session = onnxruntime.InferenceSession(to_onnx(model, X[:1]).SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: X})
    assert relative_error(found[:, 0], raw_reference(model, X)[0]) < 1e-6


def forms(X):
    """The rows as a module takes them."""
    csr = sparse.csr_matrix(X)
    yield (torch.from_numpy(csr.toarray()),)
    yield tuple(
        torch.from_numpy(a)
        for a in (csr.indices.astype(np.int64), csr.indptr[:-1].astype(np.int64), csr.data)
    )


@COLUMNS
@pytest.mark.parametrize("kind_of_model", [FMRegressor, FMClassifier])
def test_modules_are_exact(kind, kind_of_model):
    Z, y = planted()
    X = KINDS_OF_COLUMNS[kind](Z)
    y = np.digitize(y, [0, 1]) if kind_of_model is FMClassifier else y
    model = kind_of_model(2, max_iter=5, random_state=0).fit(X, y)
    expected = raw_reference(model, X)
    rounding = 2 * ROUNDING[model.factors_.dtype.type]
    module = model.to_module("raw")
    for form in forms(X):
        found = module(*form).detach().numpy()
        assert relative_error(found.T.reshape(expected.shape), expected) < rounding
        probabilities = model.to_module()(*form).detach().numpy()
        final = model.predict(X) if kind_of_model is FMRegressor else model.predict_proba(X)
        assert_allclose(probabilities, final, atol=1e3 * ROUNDING[X.dtype.type] * np.abs(final).max())
    # And back, from the module or its machines.
    options = {"classes": [0, 1, 2]} if kind_of_model is FMClassifier else {}
    rounding = 2 * ROUNDING[X.dtype.type]
    for source in (module, list(module.machines)):
        back = kind_of_model.from_module(source, **options)
        raw = back.predict(X) if kind_of_model is FMRegressor else back.decision_function(X).T
        assert relative_error(raw.reshape(expected.shape), expected) < rounding
        (twice,) = (m(*form).detach().numpy() for m in [back.to_module("raw")])
        assert relative_error(twice.T.reshape(expected.shape), expected) < rounding


def test_machines_standardize_in_the_same_way_or_make_no_estimator():
    Z, y = planted()
    y = np.digitize(y, [0, 1])
    far, near, flags = (
        FMClassifier(2, max_iter=2, select_factors=False, random_state=0).fit(X, y).to_module("raw").machines
        for X in (Z + np.array([1e3, 0, 0, 0, 0]), Z, Z > 0)
    )
    for machines in ([far[0], near[1], far[2]], [far[0], flags[1], flags[2]], [flags[0], far[1], far[2]]):
        with pytest.raises(ValueError, match="must standardize the columns of their input in the same way"):
            FMClassifier.from_module(machines, classes=[0, 1, 2])
    FMClassifier.from_module(flags, classes=[0, 1, 2])


@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")
@pytest.mark.parametrize("sparse_grad", [False, True])
def test_modules_of_columns_far_away_are_trained(sparse_grad):
    Z, y = planted(200)
    X = Z + np.array([1e6, 0, -1e5, 0, 0])
    model = FMRegressor(2, solver="als", max_iter=1, random_state=0).fit(X, y)
    for form in forms(X):
        module = model.to_module(sparse_grad=sparse_grad)
        optimizer = torch.optim.Adagrad(module.parameters(), lr=0.1)
        losses = []
        for _ in range(60):
            optimizer.zero_grad()
            loss = (module(*form) - torch.from_numpy(y)).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.3 * losses[0]
        trained = FMRegressor.from_module(module)
        assert_allclose(trained.predict(X), module(*form).detach().numpy(), rtol=1e-12, atol=1e-13)
        assert trained.partial_fit(X, y).n_iter_ == 1


def test_gradients_of_standardized_machines():
    """By parameters and by values, of dense rows and of sparse ones."""
    Z, y = planted(12)
    X = Z[:, :3] + [3.0, 0, -2]
    machine = FMRegressor(2, solver="als", max_iter=2, random_state=0).fit(X, y).to_module("raw").machines[0]
    dense_rows, (indices, offsets, values) = (list(rows) for rows in forms(X))
    rows = dense_rows[0].requires_grad_()
    assert torch.autograd.gradcheck(machine, (rows,))
    assert torch.autograd.gradcheck(lambda v: machine(indices, offsets, v), (values.requires_grad_(),))


@pytest.mark.torch_graphs
@pytest.mark.parametrize("strict", [True, False])
def test_modules_of_columns_far_away_are_exported(strict):
    Z, y = planted()
    X = sparse.csr_matrix(Z + np.array([1e6, 0, -1e5, 0, 0]))
    model = FMClassifier(2, max_iter=3, random_state=0).fit(X, np.digitize(y, [0, 1]))
    expected = model.predict_proba(X)
    many = torch.export.Dim.DYNAMIC
    for number, form in enumerate(forms(X)):
        shapes = tuple({0: many} for _ in form)
        program = torch.export.export(model.to_module(), form, dynamic_shapes=shapes, strict=strict)
        for n in (len(expected), 7):
            rows = list(forms(X[:n]))[number]
            assert_allclose(program.module()(*rows).detach(), expected[:n], rtol=1e-9)


def test_scaled_like_standard_scaler():
    """The columns of a fit are those of scikit-learn's scaler, whatever their offset."""
    Z, y = planted(200)
    X = Z[:, :3] * [1, 5, 0.2] + [1e6, -300, 0.1]
    model = FMRegressor(2, solver="als", max_iter=2).fit(X, y)
    scaler = StandardScaler().fit(X)
    assert_allclose(model._conditioning["center"], scaler.mean_, rtol=1e-14)
    assert_allclose(model._conditioning["scale"], scaler.scale_, rtol=1e-12)
