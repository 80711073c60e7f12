"""Factorization machines as PyTorch modules."""

from ._layer import FactorizationMachine
from ._lazy import LazyFactorizationMachine

__all__ = ["FactorizationMachine", "LazyFactorizationMachine"]
