"""What comes back: predictions, and their segments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from valence_integrations.errors import ValenceError

__all__ = ["EmotionPrediction", "EmotionSegment"]


@dataclass(frozen=True)
class EmotionSegment:
    """The emotion of one stretch of an item.

    Attributes
    ----------
    start, end : float
        Seconds from the start of the item.
    emotion : str or None
        The largest emotion, or None if it is under ``min_confidence``.
    confidence : float
        The service's confidence in that emotion, 0 to 1.
    scores : dict of str to float
        Confidence of each emotion; they need not sum to 1.
    """

    start: float
    end: float
    emotion: str | None
    confidence: float
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EmotionPrediction:
    """The emotion of one item.

    Attributes
    ----------
    emotion : str or None
        The item's emotion; None for a missing, skipped or failed item, and for one under ``min_confidence``.
    confidence : float
        The service's confidence in that emotion, 0 to 1; NaN if there is none.
    scores : dict of str to float
        Confidence of each emotion; they need not sum to 1. Over several segments: the mean, weighted by duration.
    segments : tuple of EmotionSegment
        The timeline; one segment for a single call.
    source : {"discrete", "chunk", "asynch"} or None
        The way the item took; None if it was not sent.
    duration : float
        Seconds of audio in the item itself, without padding; NaN if unknown.
    padded : bool
        Whether the item was shorter than the API accepts, and was lengthened.
    cached : bool
        Whether the answer was already there, so that nothing was paid.
    request_id : str or None
        The service's id of the call; of the last one, if there were several.
    model : str or None
        The model asked for; the AsynchAPI takes none.
    error : ValenceError or None
        Why there is no emotion, for a failed item.

    Examples
    --------
    >>> from valence_integrations import EmotionPrediction
    >>> prediction = EmotionPrediction(emotion="happy", confidence=0.78, scores={"happy": 0.78, "sad": 0.1})
    >>> prediction.emotion
    'happy'
    """

    emotion: str | None = None
    confidence: float = math.nan
    scores: dict[str, float] = field(default_factory=dict)
    segments: tuple[EmotionSegment, ...] = ()
    source: str | None = None
    duration: float = math.nan
    padded: bool = False
    cached: bool = False
    request_id: str | None = None
    model: str | None = None
    error: ValenceError | None = None

    @classmethod
    def from_segments(cls, segments: Sequence[EmotionSegment], **fields: Any) -> EmotionPrediction:
        """Sum segments up: scores are their mean weighted by duration, the emotion is the largest.

        One segment is taken as it is, so that the service's own choice of emotion stays.
        """
        segments = tuple(segments)
        if len(segments) == 1:
            (only,) = segments
            return cls(only.emotion, only.confidence, dict(only.scores), segments, **fields)
        scores = _weighted_mean(segments)
        emotion = max(scores, key=scores.__getitem__) if scores else None
        confidence = scores[emotion] if emotion is not None else math.nan
        return cls(emotion, confidence, scores, segments, **fields)

    def with_min_confidence(self, min_confidence: float | None) -> EmotionPrediction:
        """Turn emotions under `min_confidence` into None; scores and confidences stay."""
        if min_confidence is None:
            return self
        segments = tuple(
            replace(segment, emotion=None) if segment.confidence < min_confidence else segment
            for segment in self.segments
        )
        emotion = None if self.confidence < min_confidence else self.emotion
        return replace(self, emotion=emotion, segments=segments)


def _weighted_mean(segments: Sequence[EmotionSegment]) -> dict[str, float]:
    """Mean score of each emotion; one that a segment does not name counts as 0 there."""
    weights = [max(segment.end - segment.start, 0.0) for segment in segments]
    total = sum(weights)
    if total <= 0.0:
        weights, total = [1.0] * len(segments), float(len(segments))
    names = dict.fromkeys(name for segment in segments for name in segment.scores)
    return {
        name: sum(weight * segment.scores.get(name, 0.0) for weight, segment in zip(weights, segments, strict=True))
        / total
        for name in names
    }
