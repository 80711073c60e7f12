"""The converters that skl2onnx calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from skl2onnx.algebra.onnx_ops import (
    OnnxAdd,
    OnnxArgMax,
    OnnxArrayFeatureExtractor,
    OnnxCast,
    OnnxConcat,
    OnnxDiv,
    OnnxIdentity,
    OnnxMatMul,
    OnnxMul,
    OnnxReshape,
    OnnxSigmoid,
    OnnxSoftmax,
    OnnxSqrt,
    OnnxSub,
)
from skl2onnx.common.data_types import guess_proto_type

from ..core.matrix.parameters import FMParameters
from ..core.observation.inverse_links import InverseLink
from ._graph import Graph

#: The least sum of probabilities that is divided by.
TINY = float(np.finfo(np.float32).tiny)

#: The operators of each kind of inverse link, elementwise or over the outputs of a sample.
OPERATORS: dict[str, Callable[[Graph, Any], Any]] = {
    "identity": lambda graph, raw: raw,
    "none": lambda graph, raw: raw,
    "exp": lambda graph, raw: graph.exp(raw),
    "sigmoid": lambda graph, raw: graph.op(OnnxSigmoid, raw),
    "normal_cdf": lambda graph, raw: graph.normal_cdf(raw),
    "softmax": lambda graph, raw: graph.op(OnnxSoftmax, raw, axis=1),
}


def convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a fitted `FMRegressor`."""
    graph = Graph(operator, container)
    estimator = graph.estimator
    if graph.is_ordered:
        levels = estimator.levels_[:, None]
        found = graph.op(OnnxMatMul, _level_probabilities(graph), graph.array(levels))
    else:
        found = _predicted(graph, graph.raw(graph.mean_parameters()), graph.model.link)
    graph.op(OnnxIdentity, found, output_names=operator.outputs[:1]).add_to(scope, container)


def convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a fitted `FMClassifier`."""
    graph = Graph(operator, container)
    estimator = graph.estimator
    scores = _scores(graph)
    number = graph.op(OnnxArgMax, scores, axis=1, keepdims=0)
    classes = estimator.classes_
    if classes.dtype.kind in "OUS":
        labels = graph.op(OnnxArrayFeatureExtractor, classes.astype(str), number)
    else:
        labels = graph.op(OnnxArrayFeatureExtractor, classes.astype(np.int64), number)
        labels = graph.op(OnnxCast, labels, to=guess_proto_type(operator.outputs[0].type))
    shape = np.array([-1], np.int64)
    graph.op(OnnxReshape, labels, shape, output_names=operator.outputs[:1]).add_to(scope, container)
    graph.op(OnnxIdentity, scores, output_names=operator.outputs[1:2]).add_to(scope, container)


def _scores(graph: Graph) -> Any:
    """Return the probability of each class, or where there is none its raw prediction, (n_samples, n_classes)."""
    if graph.model.draws is not None:
        return _level_probabilities(graph) if graph.is_ordered else _averaged(graph)
    parameters, link = graph.mean_parameters(), graph.model.link
    raw = graph.raw(parameters)
    single = len(parameters.intercept) == 1
    if not link.is_probability:
        raw = _predicted(graph, raw, link)
        return _both(graph, raw, graph.op(OnnxSub, graph.array([0.0]), raw)) if single else raw
    if graph.model.has_posterior:
        raw = _shrunk(graph, parameters, raw, link)
    p = _predicted(graph, raw, link)
    if link.joint_outputs:
        return p
    if single:
        return _both(graph, p, graph.op(OnnxSub, graph.array([1.0]), p))
    # Each class against the rest, normalized.
    n_classes = len(parameters.intercept)
    total = graph.at_least(graph.op(OnnxMatMul, p, graph.array(np.ones((n_classes, 1)))), TINY)
    return graph.op(OnnxDiv, p, total)


def _shrunk(graph: Graph, parameters: FMParameters, raw: Any, link: InverseLink) -> Any:
    """Return raw predictions nearer to zero, by what is not known of them."""
    parts = graph.variance(parameters)
    variance = parts[0]
    for part in parts[1:]:
        variance = graph.op(OnnxAdd, variance, part)
    if link.variance_factor is None:
        raise _inexpressible(graph, link, "averages over a posterior")
    # One variance for all classes of a sample.
    share = link.variance_factor / len(parts)
    widened = graph.op(OnnxAdd, graph.op(OnnxMul, variance, graph.array([share])), graph.array([1.0]))
    return graph.op(OnnxDiv, raw, graph.op(OnnxSqrt, widened))


def _predicted(graph: Graph, raw: Any, link: InverseLink) -> Any:
    """Return the predictions that belong to raw predictions."""
    if link.kind not in OPERATORS:
        raise _inexpressible(graph, link, "predictions")
    return OPERATORS[link.kind](graph, raw)


def _inexpressible(graph: Graph, link: InverseLink, what: str) -> NotImplementedError:
    """Return the error for a model that no graph is known for."""
    return NotImplementedError(
        f"loss={graph.estimator._model['loss']!r} has the inverse link {link.kind!r}, for whose {what} skfm.onnx "
        "has no operators. Export the raw predictions, for example with to_module(output='raw') and torch.onnx."
    )


def _both(graph: Graph, positive: Any, negative: Any) -> Any:
    """Return what is known of two classes side by side."""
    return graph.op(OnnxConcat, negative, positive, axis=1)


def _draws(graph: Graph) -> tuple[Any, int, int]:
    """Return the raw predictions of all draws, (n_samples, n_draws * n_outputs), and how many of both there are."""
    n_outputs = graph.model.n_outputs
    parameters = graph.drawn_parameters()
    return graph.raw(parameters), len(parameters.intercept) // n_outputs, n_outputs


def _averaged(graph: Graph) -> Any:
    """Return the probabilities of the classes, averaged over the draws."""
    raw, n_draws, n_outputs = _draws(graph)
    p = _predicted(graph, raw, graph.model.link)
    average = np.tile(np.eye(n_outputs) / n_draws, (n_draws, 1))
    p = graph.op(OnnxMatMul, p, graph.array(average))
    if n_outputs == 1:
        return _both(graph, p, graph.op(OnnxSub, graph.array([1.0]), p))
    total = graph.at_least(graph.op(OnnxMatMul, p, graph.array(np.ones((n_outputs, 1)))), TINY)
    return graph.op(OnnxDiv, p, total)


def _level_probabilities(graph: Graph) -> Any:
    """Return the probabilities of the levels of an ordered target, averaged over the draws."""
    raw, n_draws, _ = _draws(graph)
    cuts = graph.cut_points
    assert cuts is not None  # for the type checker
    n_cuts = cuts.shape[1]
    # Each draw's raw prediction beside each of its cut-points.
    beside = graph.op(OnnxMatMul, raw, graph.array(np.kron(np.eye(n_draws), np.ones((1, n_cuts)))))
    below = graph.normal_cdf(graph.op(OnnxSub, graph.array(cuts.reshape(1, -1)), beside))
    # The probability of a level is a difference of neighbors, which the product with a matrix takes, after the mean.
    mean = np.tile(np.eye(n_cuts) / n_draws, (n_draws, 1))
    steps = np.eye(n_cuts, n_cuts + 1) - np.eye(n_cuts, n_cuts + 1, k=1)
    last = np.zeros((1, n_cuts + 1))
    last[0, -1] = 1
    levels = graph.op(OnnxMatMul, below, graph.array(mean @ steps))
    return graph.at_least(graph.op(OnnxAdd, levels, graph.array(last)), 0.0)
