"""Summary of a job, collected in one pass and in constant memory."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from valence_integrations.errors import ValenceError
from valence_integrations.report._causes import OTHER, Cause, cause_of
from valence_integrations.results import EmotionPrediction

__all__ = ["BINS", "MAX_LISTED", "MAX_STRIPS", "Emotion", "Failures", "Route", "Summary"]

#: Bins of the histogram of confidences, each 0.05 wide.
BINS = 20

#: Maximum number of items in a list, and of timelines.
MAX_LISTED, MAX_STRIPS = 20, 100

#: Maximum number of separate causes; a result file may contain any number of codes.
_MAX_CAUSES = 30

#: Minimum difference, in seconds, between the duration of a truncated item and of the audio sent.
_CUT_SECONDS = 0.05

Named = tuple[str, EmotionPrediction]


@dataclass
class Emotion:
    """Items with one emotion.

    Attributes
    ----------
    bins : list of int
        Number of items by confidence: 0 to 0.05, and so on.
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
class Route:
    """Items that took one route."""

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
        if len(self.first) < MAX_LISTED:
            self.first.append((name, prediction))


@dataclass
class Failures:
    """Items that failed of one cause: number, codes, and names and messages of the first ones."""

    items: int = 0
    codes: dict[str, None] = field(default_factory=dict)
    first: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Summary:
    """Summary of the predictions of a job.

    Attributes
    ----------
    emotions : dict of str or None to Emotion
        Items with a confidence, by emotion; None for dropped emotions.
    routes : dict of str to Route
        All items by route: a key of the table of routes in the report.
    strips : list of (str, EmotionPrediction)
        The first long items; `long_items` is the number of all.
    """

    items: int = 0
    seconds: float = 0.0
    failed: int = 0
    long_items: int = 0
    emotions: dict[str | None, Emotion] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    failures: dict[Cause, Failures] = field(default_factory=dict)
    strips: list[Named] = field(default_factory=list)
    _least_certain: list[tuple[float, int, Named]] = field(default_factory=list)

    def add(self, name: str, prediction: EmotionPrediction) -> None:
        """Add an item."""
        self.items += 1
        self.seconds += _seconds(prediction)
        self.routes.setdefault(route_of(prediction), Route()).add(name, prediction)
        if prediction.error is not None:
            self._add_failure(name, prediction.error)
            return
        if not math.isnan(prediction.confidence):
            self.emotions.setdefault(prediction.emotion, Emotion()).add(prediction)
            entry = (-prediction.confidence, -self.items, (name, prediction))
            keep = heapq.heappush if len(self._least_certain) < MAX_LISTED else heapq.heappushpop
            keep(self._least_certain, entry)
        if len(prediction.segments) > 1:
            self.long_items += 1
            if len(self.strips) < MAX_STRIPS:
                self.strips.append((name, prediction))

    def _add_failure(self, name: str, error: ValenceError) -> None:
        self.failed += 1
        message = f"{error.message} {error.remedy}".strip()
        cause = cause_of(error)
        if cause not in self.failures and len(self.failures) >= _MAX_CAUSES:
            cause = OTHER
        failures = self.failures.setdefault(cause, Failures())
        failures.items += 1
        if len(failures.codes) < MAX_LISTED:
            failures.codes.setdefault(error.code)
        if len(failures.first) < MAX_LISTED:
            failures.first.append((name, message))

    @property
    def annotated(self) -> int:
        """Number of items with an emotion."""
        return sum(found.items for emotion, found in self.emotions.items() if emotion is not None)

    @property
    def least_certain(self) -> list[Named]:
        """Items with the lowest confidence, in ascending order."""
        return [named for _, _, named in sorted(self._least_certain, reverse=True)]

    @property
    def ranked(self) -> Mapping[str | None, Emotion]:
        """Emotions by descending frequency; dropped ones last."""
        order = sorted(
            self.emotions, key=lambda emotion: (emotion is None, -self.emotions[emotion].items, str(emotion))
        )
        return {emotion: self.emotions[emotion] for emotion in order}


def route_of(prediction: EmotionPrediction) -> str:
    """Return the route of an item."""
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
