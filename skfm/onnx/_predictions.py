"""Predictions from raw predictions with ONNX operators, by the inverse link that the model declares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from skl2onnx.algebra.onnx_ops import (
    OnnxAdd,
    OnnxConcat,
    OnnxDiv,
    OnnxLog,
    OnnxMatMul,
    OnnxMin,
    OnnxMul,
    OnnxSigmoid,
    OnnxSoftmax,
    OnnxSqrt,
    OnnxSub,
)

from ..core.matrix.parameters import FMParameters
from ..core.observation.inverse_links import InverseLink
from ._graph import Graph

#: Smallest sum of probabilities that is divided by, and smallest probability whose logarithm is taken.
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


def predicted(graph: Graph, raw: Any, link: InverseLink) -> Any:
    """Return the predictions that belong to raw predictions."""
    if link.kind not in OPERATORS:
        raise inexpressible(graph, link, "predictions")
    return OPERATORS[link.kind](graph, raw)


def inexpressible(graph: Graph, link: InverseLink, what: str) -> NotImplementedError:
    """Return the error for a model for which no graph is known."""
    return NotImplementedError(
        f"loss={graph.estimator._model['loss']!r} has the inverse link {link.kind!r}, for whose {what} skfm.onnx "
        "has no operators. Export the raw predictions, for example with to_module(output='raw') and torch.onnx."
    )


def probabilities(graph: Graph) -> Any:
    """Return the probability of each class, or where there is none its raw prediction, (n_samples, n_classes)."""
    if graph.model.draws is not None:
        return level_probabilities(graph) if graph.is_ordered else _normalized(graph, *_averaged(graph))
    parameters, link = graph.mean_parameters(), graph.model.link
    raw = graph.raw(parameters)
    if not link.is_probability:
        return _scores_of(graph, predicted(graph, raw, link))
    average = _averaging(graph, parameters, link)
    p = average(raw)
    if link.joint_outputs:
        return p
    single = len(parameters.intercept) == 1
    # Both are computed from the raw prediction, because 1 - p loses all significant digits where p is close to one.
    return _normalized(graph, p, average(_negative(graph, raw)) if single else None)


def decision_function(graph: Graph) -> Any:
    """Return the decision function, (n_samples, n_classes); two classes have opposite numbers."""
    link = graph.model.link
    if graph.model.draws is None:
        return _scores_of(graph, _averaged_scores(graph))
    if graph.is_ordered:
        log_p = _logarithm(graph, level_probabilities(graph))
        if len(graph.estimator.classes_) > 2:
            return log_p
        return _scores_of(graph, graph.op(OnnxMatMul, log_p, graph.array([[-1.0], [1.0]])))
    if link.kind != "sigmoid":
        raise inexpressible(graph, link, "decision function (option 'raw_scores') over draws")
    p, q = _averaged(graph)
    return _scores_of(graph, graph.op(OnnxSub, _logarithm(graph, p), _logarithm(graph, q)))


def _averaged_scores(graph: Graph) -> Any:
    """Return the scores of the outputs of a model without draws, averaged over the posterior if there is one."""
    parameters, link = graph.mean_parameters(), graph.model.link
    raw = graph.raw(parameters)
    if not graph.model.has_posterior:
        return raw
    if link.variance_factor is not None:
        return graph.op(OnnxDiv, raw, _width(graph, _shared_variance(graph, parameters), link))
    average = _averaging(graph, parameters, link)
    log_p, log_q = (_logarithm(graph, average(signed)) for signed in (raw, _negative(graph, raw)))
    return graph.op(OnnxSub, log_p, log_q)


def level_probabilities(graph: Graph) -> Any:
    """Return the probabilities of the levels of an ordered target, averaged over the draws."""
    raw, n_draws, _ = drawn(graph)
    cuts = graph.cut_points
    assert cuts is not None  # for the type checker
    n_cuts = cuts.shape[1]
    # The raw prediction of each draw, repeated for each of its cut-points.
    repeated = graph.op(OnnxMatMul, raw, graph.array(np.kron(np.eye(n_draws), np.ones((1, n_cuts)))))
    below = graph.normal_cdf(graph.op(OnnxSub, graph.array(cuts.reshape(1, -1)), repeated))
    # The probability of a level is a difference of neighbors. The product with a matrix takes it, after the mean.
    mean = np.tile(np.eye(n_cuts) / n_draws, (n_draws, 1))
    steps = np.eye(n_cuts, n_cuts + 1) - np.eye(n_cuts, n_cuts + 1, k=1)
    last = np.zeros((1, n_cuts + 1))
    last[0, -1] = 1
    levels = graph.op(OnnxMatMul, below, graph.array(mean @ steps))
    return graph.at_least(graph.op(OnnxAdd, levels, graph.array(last)), 0.0)


def drawn(graph: Graph) -> tuple[Any, int, int]:
    """Return the raw predictions of all draws, (n_samples, n_draws * n_outputs), n_draws and n_outputs."""
    n_outputs = graph.model.n_outputs
    parameters = graph.drawn_parameters()
    return graph.raw(parameters), len(parameters.intercept) // n_outputs, n_outputs


def _averaged(graph: Graph) -> tuple[Any, Any]:
    """Return P(y = 1) and P(y = 0) of each output, averaged over the draws, (n_samples, n_outputs) each."""
    raw, n_draws, n_outputs = drawn(graph)
    average = graph.array(np.tile(np.eye(n_outputs) / n_draws, (n_draws, 1)))
    p, q = (
        graph.op(OnnxMatMul, predicted(graph, signed, graph.model.link), average)
        for signed in (raw, _negative(graph, raw))
    )
    return p, q


def _averaging(graph: Graph, parameters: FMParameters, link: InverseLink) -> Callable[[Any], Any]:
    """Return the function from raw predictions to predictions, averaged over the posterior if there is one."""
    if not graph.model.has_posterior:
        return lambda raw: predicted(graph, raw, link)
    variance = _shared_variance(graph, parameters)
    if link.nodes is not None:
        (z, w), n_outputs = link.nodes, len(parameters.intercept)
        scale, variance = _narrowed(graph, variance, link)
        spread = graph.op(OnnxMatMul, graph.op(OnnxSqrt, variance), graph.array([z * n_outputs]))
        # The raw prediction of each output, repeated for each of the nodes.
        repeat = graph.array(np.kron(np.eye(n_outputs), np.ones((1, len(z)))))
        mean = graph.array(np.kron(np.eye(n_outputs), np.array(w)[:, None]))

        def average(raw: Any) -> Any:
            narrow = graph.op(OnnxDiv, raw, scale)
            nodes = graph.op(OnnxAdd, graph.op(OnnxMatMul, narrow, repeat), spread)
            return graph.op(OnnxMatMul, predicted(graph, nodes, link), mean)

        return average
    if link.variance_factor is None:
        raise inexpressible(graph, link, "averages over a posterior")
    width = _width(graph, variance, link)
    return lambda raw: predicted(graph, graph.op(OnnxDiv, raw, width), link)


def _narrowed(graph: Graph, variance: Any, link: Any) -> tuple[Any, Any]:
    """Return what raw predictions are divided by, and the variance afterwards: see `Sigmoid.narrowed`."""
    c, most = link.logistic_variance, link.max_variance
    ratio = graph.op(OnnxMul, graph.op(OnnxAdd, variance, graph.array([c])), graph.array([1 / (most + c)]))
    return graph.op(OnnxSqrt, graph.at_least(ratio, 1.0)), graph.op(OnnxMin, variance, graph.array([most]))


def _width(graph: Graph, variance: Any, link: InverseLink) -> Any:
    """Return what raw predictions are divided by for an expectation over a Gaussian, (n_samples, 1)."""
    wider = graph.op(OnnxMul, variance, graph.array([link.variance_factor]))
    return graph.op(OnnxSqrt, graph.op(OnnxAdd, wider, graph.array([1.0])))


def _shared_variance(graph: Graph, parameters: FMParameters) -> Any:
    """Return the variance that all outputs of a sample share, (n_samples, 1)."""
    parts = graph.variance(parameters)
    variance = parts[0]
    for part in parts[1:]:
        variance = graph.op(OnnxAdd, variance, part)
    # Rounding can leave a variance of zero slightly negative.
    return graph.at_least(graph.op(OnnxMul, variance, graph.array([1 / len(parts)])), 0.0)


def _normalized(graph: Graph, p: Any, q: Any) -> Any:
    """Return the probabilities of the classes from P(y = 1) and P(y = 0) of each output."""
    n_outputs = graph.model.n_outputs
    if n_outputs == 1:
        return graph.op(OnnxConcat, q, p, axis=1)
    # The outputs are classes, each against the rest.
    total = graph.at_least(graph.op(OnnxMatMul, p, graph.array(np.ones((n_outputs, 1)))), TINY)
    return graph.op(OnnxDiv, p, total)


def _scores_of(graph: Graph, scores: Any) -> Any:
    """Return the scores of the classes from those of the outputs."""
    # A target of two levels has one score, too.
    if len(graph.estimator.classes_) > 2:
        return scores
    return graph.op(OnnxConcat, _negative(graph, scores), scores, axis=1)


def _negative(graph: Graph, node: Any) -> Any:
    """Return the opposite numbers."""
    return graph.op(OnnxSub, graph.array([0.0]), node)


def _logarithm(graph: Graph, p: Any) -> Any:
    """Return the logarithm of probabilities."""
    return graph.op(OnnxLog, graph.at_least(p, TINY))
