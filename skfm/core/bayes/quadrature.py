"""Expectations over normal variables by Gauss-Hermite quadrature [1]_.

References
----------
.. [1] M. Abramowitz and I. A. Stegun, "Handbook of Mathematical Functions", section 25.4.46, 1964.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

#: Rows that are computed at a time, so that the values at all nodes stay in the cache.
TILE = 4096


class Nodes(NamedTuple):
    """Nodes z and weights w such that ``E[g(z)]``, z standard normal, is about ``sum_k w_k g(z_k)``."""

    z: tuple[float, ...]
    w: tuple[float, ...]


def normal_nodes(n_nodes: int) -> Nodes:
    """Return the nodes and weights that are exact for polynomials up to the degree ``2 n_nodes - 1``."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    return Nodes(tuple(nodes.tolist()), tuple((weights / weights.sum()).tolist()))


#: Nodes of the quadrature of a likelihood in every sweep, with errors below 1e-3 up to a standard deviation of three.
NODES = normal_nodes(15)
#: Smallest precision of a row, so that no working target is far from all others.
SMALLEST = 1e-6


def normal_expectations(
    functions: Callable[[Tensor], tuple[Tensor, ...]], mean: Tensor, variance: Tensor, nodes: Nodes
) -> tuple[Tensor, ...]:
    """Return expectations of some functions of normal variables, elementwise.

    Parameters
    ----------
    functions : callable
        Takes a tensor and returns a tuple of elementwise functions of it.
    mean : Tensor
    variance : Tensor
        Broadcast to the shape of the means.
    nodes : Nodes

    Returns
    -------
    tuple of Tensor, of the shape of the means
    """
    z, w = (torch.tensor(part, dtype=mean.dtype, device=mean.device) for part in nodes)
    # At zero the square root has no derivative, and rounding can leave a variance slightly negative.
    std = variance.clamp(min=torch.finfo(mean.dtype).tiny).sqrt().expand_as(mean)
    # The number of tiles must not become part of a compiled or exported graph.
    both = mean.flatten(), std.flatten()
    rows = [both] if torch.compiler.is_compiling() else zip(*(t.split(TILE) for t in both), strict=True)
    tiles = [[w @ values for values in functions(m + z[:, None] * s)] for m, s in rows]
    return tuple(torch.cat(parts).view_as(mean) for parts in zip(*tiles, strict=True))
