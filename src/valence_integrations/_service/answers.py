"""Parse the service's answers, in every known form, into segments."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from valence_integrations.errors import InvalidResponseError
from valence_integrations.results import EmotionSegment

__all__ = ["read_discrete", "read_timeline"]

#: The AsynchAPI returns one emotion for each 5 s of audio [SDK].
_STEP_SECONDS = 5.0

_CLOCK = re.compile(r"(?:(\d{1,6}):)?(\d{1,6}):(\d{1,6}(?:\.\d{1,9})?)")

#: Limits of an answer that makes sense: known models have up to 11 emotions, with names of one word.
_MAX_EMOTIONS, _MAX_NAME = 100, 100

#: A window of the timeline may end this many seconds after the item.
_MAX_OVERRUN = 60.0

#: Scores may exceed 1 by the rounding of 32-bit numbers.
_MAX_SCORE = 1.000001

_quoted = reprlib.Repr()
_quoted.maxlevel, _quoted.maxstring, _quoted.maxother, _quoted.maxlong = 3, 60, 60, 60


def read_discrete(answer: object, start: float, end: float) -> EmotionSegment:
    """Parse the answer to one DiscreteAPI call, for the interval from `start` to `end`.

    Raises
    ------
    InvalidResponseError
        If the answer names no emotion, or a score is not a number from 0 to 1.
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
        If the answer has no timeline, or a time is negative, long after the end of the item, or before its start.
    """
    results = answer.get("results", answer) if isinstance(answer, Mapping) else None
    rows = results.get("emotions") if isinstance(results, Mapping) else None
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not rows:
        raise _invalid(answer)
    latest = duration + _MAX_OVERRUN
    starts = [_start(row, latest) for row in rows]
    # The older format has one time per row; if none is 0, they are end times.
    offset = _STEP_SECONDS if min(starts) > 0 and all("t" in row for row in rows) else 0.0
    segments = [_timeline_segment(row, start - offset, duration) for row, start in zip(rows, starts, strict=True)]
    return tuple(sorted(segments, key=lambda segment: segment.start))


def _start(row: object, latest: float) -> float:
    if isinstance(row, Mapping):
        for key in ("start_time", "timestamp", "t"):
            if row.get(key) is not None:
                return _seconds(row[key], latest)
    raise _invalid(row)


def _timeline_segment(row: Mapping[str, Any], start: float, duration: float) -> EmotionSegment:
    start = max(start, 0.0)
    end = row.get("end_time")
    if end is None:
        end = max(start, min(start + _STEP_SECONDS, duration))
    elif (end := _seconds(end, duration + _MAX_OVERRUN)) < start:
        raise _invalid(row)
    return _segment(start, end, row.get("emotion"), row.get("confidence"), row.get("all_predictions"))


def _segment(start: float, end: float, named: object, confidence: object, scores: object) -> EmotionSegment:
    numbers = _scores(scores)
    if named is None or named == "":
        if not numbers:
            raise _invalid(scores)
        named = max(numbers, key=numbers.__getitem__)
    name = _name(named)
    certainty = _number(confidence if confidence is not None else numbers.get(name), _MAX_SCORE)
    return EmotionSegment(start, end, name, certainty, numbers or {name: certainty})


def _scores(scores: object) -> dict[str, float]:
    """Parse ``{emotion: confidence}``, or a list of ``{"emotion", "confidence"}``."""
    if scores is None:
        return {}
    if not isinstance(scores, (Mapping, Sequence)) or len(scores) > _MAX_EMOTIONS:
        raise _invalid(scores)
    if isinstance(scores, Mapping):
        return {_name(name): _number(score, _MAX_SCORE) for name, score in scores.items()}
    if all(isinstance(row, Mapping) and "emotion" in row for row in scores):
        return {_name(row["emotion"]): _number(row.get("confidence"), _MAX_SCORE) for row in scores}
    raise _invalid(scores)


def _name(value: object) -> str:
    if isinstance(value, str) and 0 < len(value) <= _MAX_NAME:
        return value
    raise _invalid(value)


def _number(value: object, highest: float) -> float:
    """Parse a number from 0 to `highest`."""
    # Compared before it is converted: an integer of 400 digits has no float. NaN compares false.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= highest:
        return float(value)
    raise _invalid(value)


def _seconds(value: Any, latest: float) -> float:
    """Parse seconds, given as a number or as ``"minutes:seconds"``."""
    if isinstance(value, str) and len(value) <= _MAX_NAME and (clock := _CLOCK.fullmatch(value.strip())):
        hours, minutes, seconds = clock.groups(default="0")
        value = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return _number(value, latest)


def _invalid(part: object) -> InvalidResponseError:
    try:
        quoted = _quoted.repr(part)
    except ValueError:  # an integer of more than 4,300 digits, which JSON cannot hold
        quoted = type(part).__name__
    return InvalidResponseError(
        f"cannot parse the service's answer (at {quoted[:200]}).",
        remedy="Check base_url and model; if they are correct, report this. An answer for a clip is kept, and a later "
        "version may read it; 'valence cache clear' forgets it.",
    )
