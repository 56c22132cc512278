"""What a report tells, gathered in one pass: a job of a million items takes no more memory than one of a thousand."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from valence_integrations.errors import ValenceError
from valence_integrations.report._causes import OTHER, Cause, cause_of
from valence_integrations.results import EmotionPrediction

__all__ = ["BINS", "MOST_LISTED", "MOST_STRIPS", "Emotion", "Failures", "Summary", "Way"]

#: Bars of the distribution of confidences, each 0.05 wide.
BINS = 20

#: What is listed by name is listed up to this many; timelines are drawn up to that many.
MOST_LISTED, MOST_STRIPS = 20, 100

#: Causes that are told apart; a result file may hold any number of codes.
_MOST_CAUSES = 30

#: Seconds by which a truncated item is longer than what was sent of it, at the least.
_CUT_SECONDS = 0.05

Named = tuple[str, EmotionPrediction]


@dataclass
class Emotion:
    """Items with one emotion.

    Attributes
    ----------
    bins : list of int
        How many of them have a confidence of 0 to 0.05, and so on.
    """

    items: int = 0
    seconds: float = 0.0
    confidence: float = 0.0
    bins: list[int] = field(default_factory=lambda: [0] * BINS)

    def add(self, prediction: EmotionPrediction) -> None:
        """Count an item."""
        self.items += 1
        self.seconds += _seconds(prediction)
        self.confidence += prediction.confidence
        self.bins[min(max(int(prediction.confidence * BINS + 1e-9), 0), BINS - 1)] += 1


@dataclass
class Way:
    """Items that were sent, or not sent, in one way."""

    items: int = 0
    seconds: float = 0.0
    segments: int = 0
    cached: int = 0
    first: list[Named] = field(default_factory=list)

    def add(self, name: str, prediction: EmotionPrediction) -> None:
        """Count an item."""
        self.items += 1
        self.seconds += _seconds(prediction)
        self.segments += len(prediction.segments)
        self.cached += prediction.cached
        if len(self.first) < MOST_LISTED:
            self.first.append((name, prediction))


@dataclass
class Failures:
    """Items that failed of one cause, with which codes; name and message of the first ones."""

    items: int = 0
    codes: dict[str, None] = field(default_factory=dict)
    first: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Summary:
    """What the items of a job came to.

    Attributes
    ----------
    emotions : dict of str or None to Emotion
        Items with a confidence, by emotion; None for those whose emotion was dropped.
    ways : dict of str to Way
        All items, by the way they took: a key of the report's table of ways.
    strips : list of (str, EmotionPrediction)
        The first long items; `long_items` counts them all.
    """

    items: int = 0
    seconds: float = 0.0
    failed: int = 0
    long_items: int = 0
    emotions: dict[str | None, Emotion] = field(default_factory=dict)
    ways: dict[str, Way] = field(default_factory=dict)
    failures: dict[Cause, Failures] = field(default_factory=dict)
    strips: list[Named] = field(default_factory=list)
    _doubtful: list[tuple[float, int, Named]] = field(default_factory=list)

    def add(self, name: str, prediction: EmotionPrediction) -> None:
        """Take an item in."""
        self.items += 1
        self.seconds += _seconds(prediction)
        self.ways.setdefault(way_of(prediction), Way()).add(name, prediction)
        if prediction.error is not None:
            self._add_failure(name, prediction.error)
            return
        if not math.isnan(prediction.confidence):
            self.emotions.setdefault(prediction.emotion, Emotion()).add(prediction)
            doubt = (-prediction.confidence, -self.items, (name, prediction))
            keep = heapq.heappush if len(self._doubtful) < MOST_LISTED else heapq.heappushpop
            keep(self._doubtful, doubt)
        if len(prediction.segments) > 1:
            self.long_items += 1
            if len(self.strips) < MOST_STRIPS:
                self.strips.append((name, prediction))

    def _add_failure(self, name: str, error: ValenceError) -> None:
        self.failed += 1
        message = f"{error.message} {error.remedy}".strip()
        cause = cause_of(error)
        if cause not in self.failures and len(self.failures) >= _MOST_CAUSES:
            cause = OTHER
        failures = self.failures.setdefault(cause, Failures())
        failures.items += 1
        if len(failures.codes) < MOST_LISTED:
            failures.codes.setdefault(error.code)
        if len(failures.first) < MOST_LISTED:
            failures.first.append((name, message))

    @property
    def annotated(self) -> int:
        """Items with an emotion."""
        return sum(found.items for emotion, found in self.emotions.items() if emotion is not None)

    @property
    def least_certain(self) -> list[Named]:
        """Items with the lowest confidences, the lowest first."""
        return [named for _, _, named in sorted(self._doubtful, reverse=True)]

    @property
    def ranked(self) -> Mapping[str | None, Emotion]:
        """Emotions, the most frequent first, those that were dropped last."""
        order = sorted(
            self.emotions, key=lambda emotion: (emotion is None, -self.emotions[emotion].items, str(emotion))
        )
        return {emotion: self.emotions[emotion] for emotion in order}


def way_of(prediction: EmotionPrediction) -> str:
    """Name the way that an item took."""
    if prediction.error is not None:
        return "failed"
    if prediction.source is None and not math.isnan(prediction.confidence):
        return "unknown"
    if prediction.source is None:
        return "missing" if math.isnan(prediction.duration) else "skipped"
    if prediction.source != "discrete":
        return prediction.source
    if prediction.padded:
        return "padded"
    ends = [segment.end for segment in prediction.segments]
    return "truncated" if ends and prediction.duration > ends[-1] + _CUT_SECONDS else "discrete"


def _seconds(prediction: EmotionPrediction) -> float:
    return 0.0 if math.isnan(prediction.duration) else prediction.duration
