"""The converters that skl2onnx calls."""

from __future__ import annotations

from typing import Any

import numpy as np
from skl2onnx.algebra.onnx_ops import (
    OnnxAdd,
    OnnxArgMax,
    OnnxArrayFeatureExtractor,
    OnnxCast,
    OnnxMatMul,
    OnnxMul,
    OnnxReshape,
    OnnxSqrt,
    OnnxSub,
)
from skl2onnx.common.data_types import guess_proto_type

from ..fitted.predictors import no_posterior
from ._declarations import labels_of
from ._graph import Graph
from ._predictions import decision_function, drawn, level_probabilities, predicted, probabilities


def convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a fitted `FMRegressor`."""
    graph = Graph(operator, container)
    if container.get_options(graph.estimator, {"return_std": False})["return_std"]:
        found = _moments(graph)
    else:
        found = [_mean(graph)]
    for node, output in zip(found, operator.outputs, strict=True):
        _add(graph, node, output, scope, container)


def convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a fitted `FMClassifier`."""
    graph = Graph(operator, container)
    scores = probabilities(graph)
    number = graph.op(OnnxArgMax, scores, axis=1, keepdims=0)
    labels = graph.op(OnnxArrayFeatureExtractor, labels_of(operator), number)
    shape = np.array([-1], np.int64)
    graph.op(OnnxReshape, labels, shape, output_names=operator.outputs[:1]).add_to(scope, container)
    if container.get_options(graph.estimator, {"raw_scores": False})["raw_scores"]:
        scores = decision_function(graph)
    _add(graph, scores, operator.outputs[1], scope, container)


def _add(graph: Graph, node: Any, output: Any, scope: Any, container: Any) -> None:
    """Add a node and its inputs as an output of the operator, in the type that is declared for it."""
    to = guess_proto_type(output.type)
    graph.op(OnnxCast, node, to=to, output_names=[output]).add_to(scope, container)


def _mean(graph: Graph) -> Any:
    """Return the mean of the target, (n_samples, 1)."""
    if graph.is_ordered:
        return _expected_level(graph, level_probabilities(graph), graph.estimator.levels_)
    return predicted(graph, graph.raw(graph.mean_parameters()), graph.model.link)


def _moments(graph: Graph) -> list[Any]:
    """Return the mean and the standard deviation of the target, noise included, (n_samples, 1) each."""
    if graph.model.draws is None and not graph.model.has_posterior:
        raise no_posterior("return_std=True")
    mean = _mean(graph)
    if graph.is_ordered:
        levels = np.asarray(graph.estimator.levels_, np.float64)
        # The second moment about the middle level loses fewer digits than that about zero.
        middle, p = levels.mean(), level_probabilities(graph)
        shift = graph.op(OnnxSub, mean, graph.array([middle]))
        second = _expected_level(graph, p, np.square(levels - middle))
        variance = graph.op(OnnxSub, second, graph.op(OnnxMul, shift, shift))
        return [mean, graph.op(OnnxSqrt, graph.at_least(variance, 0.0))]
    if graph.model.draws is not None:
        raw, n_draws, _ = drawn(graph)
        noise = float(np.mean(np.square(np.asarray(graph.model.draws.noise_std))))
        average = graph.array(np.full((n_draws, 1), 1 / n_draws))
        deviation = graph.op(OnnxSub, raw, graph.op(OnnxMatMul, raw, average))
        variance = graph.op(OnnxMatMul, graph.op(OnnxMul, deviation, deviation), average)
    else:
        noise = graph.model.noise_variance * float(graph.units.scale[0]) ** 2
        (variance,) = graph.variance(graph.mean_parameters())
    if graph.model.log_noise is not None:
        own = graph.exp(graph.product(graph.model.log_noise[:, None]))
        variance = graph.op(OnnxAdd, variance, graph.op(OnnxMul, own, graph.array([noise])))
        return [mean, graph.op(OnnxSqrt, variance)]
    return [mean, graph.op(OnnxSqrt, graph.op(OnnxAdd, variance, graph.array([noise])))]


def _expected_level(graph: Graph, p: Any, values: np.ndarray) -> Any:
    """Return the expectation of a value of each level, (n_samples, 1)."""
    return graph.op(OnnxMatMul, p, graph.array(np.asarray(values)[:, None]))
