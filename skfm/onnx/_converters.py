"""The converters that skl2onnx calls."""

from __future__ import annotations

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
from ._graph import Graph

#: The least sum of probabilities that is divided by.
TINY = float(np.finfo(np.float32).tiny)


def convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a fitted `FMRegressor`."""
    graph = Graph(operator, container)
    estimator = graph.estimator
    if graph.is_ordered:
        levels = estimator.levels_[:, None]
        found = graph.op(OnnxMatMul, _level_probabilities(graph), graph.array(levels))
    else:
        found = graph.raw(graph.mean_parameters())
        if not getattr(graph.model.observation, "identity_link", True):
            found = graph.exp(found)
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
    estimator = graph.estimator
    if graph.model.draws is not None:
        return _level_probabilities(graph) if graph.is_ordered else _averaged(graph)
    parameters = graph.mean_parameters()
    raw, loss = graph.raw(parameters), estimator._model["loss"]
    single = len(parameters.intercept) == 1
    if loss in ("hinge", "squared_hinge"):
        return _both(graph, raw, graph.op(OnnxSub, graph.array([0.0]), raw)) if single else raw
    if getattr(graph.model.observation, "joint_outputs", False):
        return graph.op(OnnxSoftmax, raw, axis=1)
    if graph.model.has_posterior:
        raw = _shrunk(graph, parameters, raw)
    p = _probability(graph, raw, loss)
    if single:
        return _both(graph, p, graph.op(OnnxSub, graph.array([1.0]), p))
    # Each class against the rest, normalized.
    n_classes = len(parameters.intercept)
    total = graph.at_least(graph.op(OnnxMatMul, p, graph.array(np.ones((n_classes, 1)))), TINY)
    return graph.op(OnnxDiv, p, total)


def _shrunk(graph: Graph, parameters: FMParameters, raw: Any) -> Any:
    """Return raw predictions nearer to zero, by what is not known of them."""
    estimator = graph.estimator
    parts = graph.variance(parameters)
    variance = parts[0]
    for part in parts[1:]:
        variance = graph.op(OnnxAdd, variance, part)
    # One variance for all classes of a sample.
    share = (np.pi / 8 if estimator._model["loss"] == "log_loss" else 1.0) / len(parts)
    widened = graph.op(OnnxAdd, graph.op(OnnxMul, variance, graph.array([share])), graph.array([1.0]))
    return graph.op(OnnxDiv, raw, graph.op(OnnxSqrt, widened))


def _probability(graph: Graph, raw: Any, loss: str) -> Any:
    return graph.op(OnnxSigmoid, raw) if loss == "log_loss" else graph.normal_cdf(raw)


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
    p = _probability(graph, raw, graph.estimator._model["loss"])
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
