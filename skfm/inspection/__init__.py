"""Inspection of fitted factorization machines: explanations of predictions, interaction strengths and plots."""

from ._embedding_display import EmbeddingDisplay
from ._explain import Explanation, explain
from ._history_display import HistoryDisplay
from ._interaction_display import InteractionDisplay
from ._interval_display import IntervalDisplay
from ._strength import interaction_strength

__all__ = [
    "EmbeddingDisplay",
    "Explanation",
    "HistoryDisplay",
    "InteractionDisplay",
    "IntervalDisplay",
    "explain",
    "interaction_strength",
]
