"""The computations of a factorization machine as ONNX operators."""

from __future__ import annotations

from typing import Any

import numpy as np
from skl2onnx.algebra.onnx_ops import (
    OnnxAdd,
    OnnxCast,
    OnnxDiv,
    OnnxErf,
    OnnxExp,
    OnnxMatMul,
    OnnxMax,
    OnnxMul,
    OnnxSub,
)
from skl2onnx.common.data_types import FloatTensorType, guess_proto_type

from ..core.matrix.parameters import FMParameters
from ..data.frames import frame_encoder, stored_encoder
from ..fitted.cache import predictor
from ..fitted.located import EXACT, standardized
from ._operators import Operators, number_type
from ._rows import Rows


class Graph(Operators):
    """Builds the nodes of one estimator, in the dtype of its inputs.

    Parameters are in the units of the solver, and so are the columns. That keeps float32 exact enough: in the user's
    units, predictions of centered columns are small differences of large numbers.

    Parameters
    ----------
    operator : skl2onnx operator
    container : skl2onnx container
    """

    def __init__(self, operator: Any, container: Any) -> None:
        super().__init__(container.target_opset, number_type(operator.inputs))
        self.estimator = operator.raw_operator
        self.model = predictor(self.estimator).model
        self.units = self.model.scaling
        encoder = frame_encoder(self.estimator)
        names = getattr(self.estimator, "feature_names_in_", None) if encoder is None else encoder.names
        conditioning = self.units.conditioning
        center, scale = (t.numpy(force=True) for t in (conditioning.center, conditioning.scale))
        stored = stored_encoder(self.estimator)
        means = None if stored is None else stored.means
        self.rows = Rows(self, operator.inputs, names, encoder, means, center, scale)

    def product(self, table: np.ndarray, power: int = 1) -> Any:
        """Return the ``power`` of the columns times a table of shape (n_features, width)."""
        return self.rows.product(table, power)

    @property
    def cut_points(self) -> np.ndarray | None:
        """The cut-points of all draws of an ordered target, (n_draws, n_levels - 1); None for other targets."""
        draws = self.model.draws
        return None if draws is None else draws.cut_points

    @property
    def is_ordered(self) -> bool:
        """Whether the target is ordered."""
        return self.cut_points is not None

    def mean_parameters(self) -> FMParameters:
        """Return the parameters in the units of the solver; of a sampler those that predict the mean over the draws."""
        return standardized(self.estimator)

    def drawn_parameters(self) -> FMParameters:
        """Return the parameters of all draws, n_draws * n_outputs of them, in the units of the solver."""
        return standardized(self.estimator, of_draws=True)

    def raw(self, parameters: FMParameters) -> Any:
        """Return raw predictions, (n_samples, n_outputs), in the units of the user.

        Parameters
        ----------
        parameters : FMParameters
            In the units of the solver.
        """
        units = self.units.repeated(len(parameters.intercept) // len(self.units.shift))
        w0, w, V = (t.numpy() for t in units.to_columns(parameters))
        n_outputs, _, n_factors = V.shape
        raw = self.op(OnnxAdd, self.product(w.T), self.array(w0))
        if not n_factors:
            return raw
        sums = self.product(V.transpose(1, 0, 2).reshape(-1, n_outputs * n_factors))
        pool = np.kron(np.eye(n_outputs), np.full((n_factors, 1), 0.5))
        squares = self.op(OnnxMatMul, self.op(OnnxMul, sums, sums), self.array(pool))
        own = self.product(np.square(V).sum(2).T / 2, power=2)
        return self.op(OnnxAdd, raw, self.op(OnnxSub, squares, own))

    def variance(self, parameters: FMParameters) -> list[Any]:
        """Return the variance of each output's raw prediction, (n_samples, 1): see `skfm.core.bayes.variance`.

        Parameters
        ----------
        parameters : FMParameters
            Means, in the units of the solver.
        """
        posterior = self.model.posterior(EXACT)
        parts = (t.numpy() for t in (parameters.factors, *posterior[:2], self.units.scale))
        found = []
        for m, S, own, scale in zip(*parts, strict=True):
            variance = self.op(OnnxAdd, self._variance_of_sums(m, S), self.array([[own]]))
            found.append(self.op(OnnxMul, variance, self.array([[scale**2]])))
        return found

    def _variance_of_sums(self, m: np.ndarray, S: np.ndarray) -> Any:
        n_factors = m.shape[1]
        if S.ndim == 3:
            S_vv, cross, S_ww = S[:, 1:, 1:], S[:, 0, 1:], S[:, 0, 0]
            S_m, width = np.einsum("pij,pj->pi", S_vv, m), n_factors**2
            left, right = np.repeat(np.eye(n_factors), n_factors, 1), np.tile(np.eye(n_factors), n_factors)
        else:
            S_vv, cross, S_ww = S[:, 1:], np.zeros_like(m), S[:, 0]
            S_m, width = S_vv * m, n_factors
            left = right = np.eye(n_factors)
        S_vv = S_vv.reshape(len(S), width)
        quadratic = (S_m * m).sum(1) - np.square(S_vv).sum(1) / 2
        rest = self.op(
            OnnxAdd,
            self.product(S_ww[:, None], 2),
            self.op(
                OnnxSub,
                self.product(quadratic[:, None], 4),
                self.product(2 * (cross * m).sum(1)[:, None], 3),
            ),
        )
        if not n_factors:
            return self.at_least(rest, 0.0)
        s, T = self.product(m), self.product(S_vv, 2)
        h = self.op(OnnxSub, self.product(S_m, 3), self.product(cross, 2))
        pairs = self.op(
            OnnxMul,
            self.op(OnnxMatMul, s, self.array(left)),
            self.op(OnnxMatMul, s, self.array(right)),
        )
        # s' T s + |T|^2 / 2 - 2 s' h
        inner = self.op(OnnxMul, T, self.op(OnnxAdd, pairs, self.op(OnnxMul, T, self.array([0.5]))))
        quadratic_form = self.op(OnnxMatMul, inner, self.array(np.ones((width, 1))))
        mixed = self.op(OnnxMatMul, self.op(OnnxMul, s, h), self.array(np.full((n_factors, 1), 2.0)))
        total = self.op(OnnxAdd, self.op(OnnxSub, quadratic_form, mixed), rest)
        return self.at_least(total, 0.0)

    def at_least(self, node: Any, least: float) -> Any:
        """Return the larger of a node and a number."""
        return self.op(OnnxMax, node, self.array([least]))

    def exp(self, node: Any) -> Any:
        """Return the exponential."""
        return self.op(OnnxExp, node)

    def normal_cdf(self, node: Any) -> Any:
        """Return the distribution function of the standard normal distribution."""
        scaled = self.op(OnnxDiv, node, self.array([np.sqrt(2)]))
        # onnxruntime computes the error function of float only.
        is_double = self.tensor_type is not FloatTensorType
        if is_double:
            scaled = self.op(OnnxCast, scaled, to=guess_proto_type(FloatTensorType()))
        erf = self.op(OnnxErf, scaled)
        if is_double:
            erf = self.op(OnnxCast, erf, to=guess_proto_type(self.tensor_type()))
        return self.op(OnnxMul, self.op(OnnxAdd, erf, self.array([1.0])), self.array([0.5]))
