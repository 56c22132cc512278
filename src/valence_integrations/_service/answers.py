"""Parse the service's answers, in every known form, into segments."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from valence_integrations.errors import InvalidResponseError
from valence_integrations.results import EmotionSegment

__all__ = ["read_discrete", "read_timeline"]

#: The AsynchAPI returns one emotion for each 5 s of audio [SDK].
_STEP_SECONDS = 5.0

_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")


def read_discrete(answer: object, start: float, end: float) -> EmotionSegment:
    """Parse the answer to one DiscreteAPI call, for the interval from `start` to `end`.

    Raises
    ------
    InvalidResponseError
        If the answer names no emotion, or a score is not a number.
    """
    if not isinstance(answer, Mapping):
        raise _invalid(answer)
    named = answer.get("main_emotion") or answer.get("dominant_emotion")
    return _segment(
        start, end, named, answer.get("confidence"), answer.get("all_predictions") or answer.get("emotions")
    )


def read_timeline(answer: object, duration: float) -> tuple[EmotionSegment, ...]:
    """Parse the answer to a completed AsynchAPI job for an item of `duration` seconds.

    Raises
    ------
    InvalidResponseError
        If the answer has no timeline.
    """
    rows = answer.get("emotions") if isinstance(answer, Mapping) else None
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not rows:
        raise _invalid(answer)
    starts = [_start(row) for row in rows]
    # The older format has one time per row; if none is 0, they are end times.
    offset = _STEP_SECONDS if min(starts) > 0 and all("t" in row for row in rows) else 0.0
    segments = [_timeline_segment(row, start - offset, duration) for row, start in zip(rows, starts, strict=True)]
    return tuple(sorted(segments, key=lambda segment: segment.start))


def _start(row: object) -> float:
    if isinstance(row, Mapping):
        for key in ("start_time", "timestamp", "t"):
            if row.get(key) is not None:
                return _seconds(row[key])
    raise _invalid(row)


def _timeline_segment(row: Mapping[str, Any], start: float, duration: float) -> EmotionSegment:
    start = max(start, 0.0)
    end = row.get("end_time")
    end = _seconds(end) if end is not None else max(start, min(start + _STEP_SECONDS, duration))
    return _segment(start, end, row.get("emotion"), row.get("confidence"), row.get("all_predictions"))


def _segment(start: float, end: float, named: object, confidence: object, scores: object) -> EmotionSegment:
    numbers = _scores(scores)
    if not isinstance(named, str):
        if not numbers:
            raise _invalid(scores)
        named = max(numbers, key=numbers.__getitem__)
    certainty = _number(confidence if confidence is not None else numbers.get(named))
    return EmotionSegment(start, end, named, certainty, numbers or {named: certainty})


def _scores(scores: object) -> dict[str, float]:
    """Parse ``{emotion: confidence}``, or a list of ``{"emotion", "confidence"}``."""
    if scores is None:
        return {}
    if isinstance(scores, Mapping):
        return {str(name): _number(score) for name, score in scores.items()}
    if isinstance(scores, Sequence) and all(isinstance(row, Mapping) and "emotion" in row for row in scores):
        return {str(row["emotion"]): _number(row.get("confidence")) for row in scores}
    raise _invalid(scores)


def _number(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise _invalid(value)


def _seconds(value: Any) -> float:
    """Parse seconds, given as a number or as ``"minutes:seconds"``."""
    if isinstance(value, str) and (clock := _CLOCK.fullmatch(value.strip())):
        hours, minutes, seconds = clock.groups(default="0")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return _number(value)


def _invalid(part: object) -> InvalidResponseError:
    return InvalidResponseError(
        f"cannot parse the service's answer (at {str(part)[:120]!r}).",
        remedy="Check base_url and model; if they are correct, report this.",
    )
