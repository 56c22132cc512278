"""Predictions and their segments, and their export to other tools."""

from __future__ import annotations

from valence_integrations.errors import ValenceError as ValenceError  # the annotations of EmotionPrediction name it
from valence_integrations.results._export import to_frame
from valence_integrations.results._prediction import EmotionPrediction, EmotionSegment

__all__ = ["EmotionPrediction", "EmotionSegment", "to_frame"]

for _public in (EmotionPrediction, EmotionSegment, to_frame):
    _public.__module__ = __name__
