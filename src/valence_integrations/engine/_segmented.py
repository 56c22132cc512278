"""Segmented audio: annotate each segment of an item separately and decode the audio once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from numbers import Real
from typing import Any, NamedTuple, TypeVar, get_args

from valence_integrations._audio.clip import Clip
from valence_integrations._audio.failures import item_errors, shown
from valence_integrations._audio.missing import is_missing
from valence_integrations._audio.routing import MIN_SECONDS, SKIPPED_SECONDS
from valence_integrations._audio.spool import Samples, interval
from valence_integrations.errors import AudioError, ItemError, ValenceError
from valence_integrations.results import EmotionPrediction, EmotionSegment
from valence_integrations.settings import ShortSegments, check_choice

__all__ = ["Excerpts", "Segmented", "combine_errors", "combine_segments", "excerpts"]

ErrorT = TypeVar("ErrorT", bound=ValenceError)

#: Seconds by which a segment may exceed the audio: tools round times and pad their last window.
_SLACK_SECONDS = 0.5

_FORM = 'A segment is {"start", "end"} or {"timestamp": (start, end)}, in seconds.'
_MAX_LISTED = 3

#: Segments of an item: 11 days of one a second. More come from an iterator that has no end.
_MAX_SEGMENTS = 1_000_000


@dataclass(frozen=True, eq=False)
class Segmented:
    """Audio with segments to annotate separately, such as the turns of a call.

    Pass it as an item to `Engine.predict`, `predict_many` or `iter_predict`. Its prediction has the same segments, in
    the same order and with the same times, with one emotion each. The audio is decoded once.

    Parameters
    ----------
    audio : object
        Audio in any form supported for an item.
    segments : sequence of dict
        ``{"start", "end"}``, as from diarizers and voice activity detectors, or ``{"timestamp": (start, end)}``, as
        from Whisper, in seconds. Other keys are ignored. If end is None, the segment ends with the audio. Segments may
        overlap and have any order. A dict of lists, ``{"start": [...], "end": [...]}``, is also accepted. With None or
        no segments, the item counts as missing.
    short : {"pad", "widen"}, default="pad"
        How to handle segments under 5.0 s: ``"pad"`` follows ``short_audio``, which adds silence by default;
        ``"widen"`` includes as much of the surrounding audio as needed, which may contain other speakers.

    Notes
    -----
    Each segment is processed like an item of its length. A segment over 15 s follows ``long_audio``, and still gets one
    emotion. A segment that fails or is invalid (it ends before it starts, or exceeds the audio by more than 0.5 s) has
    the emotion None, and the prediction has an error that names it. The other segments are annotated.

    Examples
    --------
    >>> import numpy as np
    >>> from valence_integrations import Engine, Settings
    >>> from valence_integrations.engine import Segmented
    >>> from valence_integrations.sandbox import Sandbox
    >>> call = np.sin(np.arange(20 * 16_000) * 0.08)
    >>> turns = [{"start": 0.4, "end": 9.0}, {"start": 9.2, "end": 11.5}]
    >>> with Sandbox() as sandbox:
    ...     with Engine(Settings(base_url=sandbox.url, api_key=sandbox.api_key, cache=False)) as engine:
    ...         prediction = engine.predict(Segmented(call, turns))
    >>> [(segment.start, segment.end) for segment in prediction.segments]
    [(0.4, 9.0), (9.2, 11.5)]
    """

    audio: Any
    segments: Any
    short: ShortSegments = "pad"

    def __post_init__(self) -> None:
        check_choice("short", self.short, get_args(ShortSegments))


class Excerpts(NamedTuple):
    """Segments of an item: times as given, clips to send or errors, and the duration of the audio."""

    times: list[tuple[float, float]]
    audio: list[Clip | ItemError]
    duration: float


def excerpts(item: Segmented, clip: Clip) -> Excerpts:
    """Cut the segments of an item out of its opened audio.

    Raises
    ------
    AudioError
        If the audio cannot be decoded, or the segments are not a list.
    """
    with item_errors(clip.name):
        segments = _as_list(item.segments)
    if not segments:
        return Excerpts([], [], clip.duration)
    samples = clip.samples()
    cut = [_excerpt(samples, clip, number, segment, item.short) for number, segment in enumerate(segments)]
    return Excerpts([times for times, _ in cut], [audio for _, audio in cut], len(samples) / clip.rate)


def combine_segments(
    times: Sequence[tuple[float, float]], predictions: Sequence[EmotionPrediction], duration: float, model: str
) -> EmotionPrediction:
    """Combine the predictions of the segments into one.

    Scores are the duration-weighted mean over the segments that have an answer.
    """
    timeline = [
        EmotionSegment(*span, own.emotion, own.confidence, own.scores)
        for span, own in zip(times, predictions, strict=True)
    ]
    answered = [own for own in predictions if own.source is not None]
    heard = [segment for segment, own in zip(timeline, predictions, strict=True) if own.source is not None]
    sources = {own.source for own in answered}
    whole = EmotionPrediction.from_segments(
        heard,
        # "asynch" takes precedence: it tells that audio was stored at the vendor.
        source=next((source for source in ("asynch", "chunk", "discrete") if source in sources), None),
        duration=duration,
        padded=any(own.padded for own in answered),
        cached=bool(answered) and all(own.cached for own in answered),
        request_id=answered[-1].request_id if answered else None,
        model=model,
        error=combine_errors([own.error for own in predictions if own.error is not None], len(times)),
    )
    return replace(whole, segments=tuple(timeline))


def _as_list(segments: Any) -> list[Any]:
    if is_missing(segments):
        return []
    if isinstance(segments, Mapping):
        columns = [list(column) for column in segments.values()]
        if len({len(column) for column in columns}) > 1:
            raise _invalid("the lists of its segments have different lengths.", _FORM)
        return [dict(zip(segments, values, strict=True)) for values in zip(*columns, strict=True)]
    if isinstance(segments, (str, bytes)) or not isinstance(segments, Iterable):
        raise _invalid(f"its segments must be a list, not {type(segments).__name__}.", _FORM)
    listed = list(islice(segments, _MAX_SEGMENTS + 1))
    if len(listed) > _MAX_SEGMENTS:
        raise _invalid(f"it has more than {_MAX_SEGMENTS} segments.", _FORM)
    return listed


def _excerpt(
    samples: Samples, clip: Clip, number: int, segment: Any, short: ShortSegments
) -> tuple[tuple[float, float], Clip | ItemError]:
    start = end = math.nan
    try:
        with item_errors(f"{clip.name}, segment {number}"):
            start, end = _times(segment, len(samples) / clip.rate)
            first, last = _frames(start, end, len(samples), clip.rate)
            if short == "widen":
                first, last = _widen(first, last, len(samples), clip.rate)
    except ItemError as error:
        return (start, end), error
    name = f"{clip.name}, segment {number} ({start:g} to {end:g} s)"
    return (start, end), Clip(name, clip.rate, 1, last - first, False, interval(samples, first, last))


def _times(segment: Any, duration: float) -> tuple[float, float]:
    if not isinstance(segment, Mapping):
        raise _invalid(f"{shown(segment)} is not a segment.", _FORM)
    try:
        start, end = segment["timestamp"] if "timestamp" in segment else (segment["start"], segment["end"])
    except (KeyError, TypeError, ValueError):
        raise _invalid(f"{shown(segment)} is not a segment.", _FORM) from None
    return _seconds("start", start), duration if end is None else _seconds("end", end)


def _seconds(name: str, value: Any) -> float:
    if hasattr(value, "item"):
        value = value.item()
    try:
        if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an integer that no float can hold
        pass
    raise _invalid(f"its {name} must be a number of seconds, not {shown(value)}.")


def _frames(start: float, end: float, frames: int, rate: int) -> tuple[int, int]:
    """First frame of a segment and the frame after its last, clipped to the audio."""
    duration = frames / rate
    if end <= start:
        raise _invalid(f"it ends at {end:g} s, and begins at {start:g} s.")
    if start < -_SLACK_SECONDS or end > duration + _SLACK_SECONDS:
        raise AudioError(
            f"{start:g} to {end:g} s lies outside of the audio, which has {duration:.2f} s.",
            code="segment_outside_audio",
            remedy="Times are in seconds, not milliseconds or frames.",
        )
    first, last = max(round(start * rate), 0), min(round(end * rate), frames)
    if last <= first:
        raise AudioError(f"from {start:g} to {end:g} s there is no audio.", code="segment_outside_audio")
    return first, last


def _widen(first: int, last: int, frames: int, rate: int) -> tuple[int, int]:
    """Extend a segment to the minimum: first at the start, which the service skips, then equally on both sides."""
    least = math.ceil(MIN_SECONDS * rate)
    missing = least - (last - first)
    if missing <= 0:
        return first, last
    skipped = min(missing, math.ceil(SKIPPED_SECONDS * rate))
    first = max(min(first - skipped - (missing - skipped) // 2, frames - least), 0)
    return first, min(first + least, frames)


def combine_errors(failures: Sequence[ErrorT], number: int) -> ErrorT | ItemError | None:
    """Combine the errors of an item's segments, of which there are `number`, into the item's error."""
    if len(failures) <= 1:
        return failures[0] if failures else None
    told = "; ".join(failure.headline for failure in failures[:_MAX_LISTED])
    more = f"; and {len(failures) - _MAX_LISTED} more" if len(failures) > _MAX_LISTED else ""
    remedies = dict.fromkeys(failure.remedy for failure in failures if failure.remedy)
    message = f"{len(failures)} of {number} segments failed: {told}{more}"
    return ItemError(message, code="segments_failed", remedy=" ".join(remedies))


def _invalid(message: str, remedy: str = "") -> AudioError:
    return AudioError(message, code="segments_invalid", remedy=remedy)
