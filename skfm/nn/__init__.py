"""Factorization machines as layers of torch."""

from ._layer import FactorizationMachine
from ._lazy import LazyFactorizationMachine

__all__ = ["FactorizationMachine", "LazyFactorizationMachine"]
