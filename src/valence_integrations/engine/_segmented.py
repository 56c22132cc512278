"""Segmented audio: an item of which each segment is annotated by itself, from one decoding."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from valence_integrations._audio.clip import Clip
from valence_integrations._audio.routing import MIN_SECONDS, SKIPPED_SECONDS
from valence_integrations.errors import AudioError, ItemError, ValenceError
from valence_integrations.results import EmotionPrediction, EmotionSegment
from valence_integrations.settings import ShortSegments, check_choice

__all__ = ["Excerpts", "Segmented", "combine_segments", "excerpts"]

#: Seconds by which a segment may reach out of the audio: tools round, and see their last window filled up.
_SLACK_SECONDS = 0.5

_FORM = 'a segment is {"start", "end"} or {"timestamp": (start, end)}, in seconds'
_MAX_LISTED = 3


@dataclass(frozen=True, eq=False)
class Segmented:
    """An item of which each segment is annotated by itself, such as the turns of a call.

    It is an item like any other, for `Engine.predict`, `predict_many` and `iter_predict`. Its prediction has these
    segments, in this order and with these times, one emotion for each. The audio is decoded once.

    Parameters
    ----------
    audio : object
        Audio in any form that an item may have.
    segments : sequence of dict
        ``{"start", "end"}``, as diarizers and voice activity detectors give them, or ``{"timestamp": (start, end)}``,
        as Whisper does, in seconds; other keys do not matter, and an end of None is that of the audio. Segments may
        overlap and have any order. A dict of lists, ``{"start": [...], "end": [...]}``, is taken too. None, and no
        segments, make the item a missing one.
    short : {"pad", "widen"}, default="pad"
        What to do with segments under 5.0 s: lengthen each by itself, as ``short_audio`` says, with silence by default;
        or take in as much of its surroundings as is needed, where others may be speaking.

    Notes
    -----
    Everything else is as for an item of that length: a segment over 15 s goes the way of ``long_audio``, and has one
    emotion all the same. One that cannot be (it ends before it begins, or lies outside of the audio by more than
    0.5 s) or that fails has None for its emotion, and the prediction an error that names it; the others are annotated.

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
    """The segments of an item: their times as they were given, and what is sent for each, or why nothing can be."""

    times: list[tuple[float, float]]
    audio: list[Clip | ItemError]
    duration: float


def excerpts(item: Segmented, clip: Clip) -> Excerpts:
    """Cut the segments of an item out of its opened audio.

    Raises
    ------
    AudioError
        If the audio cannot be decoded, or the segments are no list.
    """
    segments = _as_list(item.segments)
    if not segments:
        return Excerpts([], [], clip.duration)
    pcm = clip.pcm()
    cut = [_excerpt(pcm, clip, number, segment, item.short) for number, segment in enumerate(segments)]
    return Excerpts([times for times, _ in cut], [audio for _, audio in cut], len(pcm) / clip.rate)


def combine_segments(
    times: Sequence[tuple[float, float]], predictions: Sequence[EmotionPrediction], duration: float, model: str
) -> EmotionPrediction:
    """Make one prediction of those for the segments.

    Its scores are the mean over the segments that have an answer, weighted by duration.
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
        # The way that is furthest from a single call: "asynch" says that audio was stored.
        source=next((source for source in ("asynch", "chunk", "discrete") if source in sources), None),
        duration=duration,
        padded=any(own.padded for own in answered),
        cached=bool(answered) and all(own.cached for own in answered),
        request_id=answered[-1].request_id if answered else None,
        model=model,
        error=_combine_errors([own.error for own in predictions if own.error is not None], len(times)),
    )
    return replace(whole, segments=tuple(timeline))


def _as_list(segments: Any) -> list[Any]:
    if segments is None or (isinstance(segments, float) and math.isnan(segments)):
        return []
    if isinstance(segments, Mapping):
        columns = [list(column) for column in segments.values()]
        if len({len(column) for column in columns}) > 1:
            raise AudioError(f"the lists of its segments have different lengths; {_FORM}.")
        return [dict(zip(segments, values, strict=True)) for values in zip(*columns, strict=True)]
    if isinstance(segments, (str, bytes)) or not isinstance(segments, Iterable):
        raise AudioError(f"its segments must be a list, not {type(segments).__name__}; {_FORM}.")
    return list(segments)


def _excerpt(
    pcm: npt.NDArray[np.int16], clip: Clip, number: int, segment: Any, short: ShortSegments
) -> tuple[tuple[float, float], Clip | ItemError]:
    start = end = math.nan
    try:
        start, end = _times(segment, len(pcm) / clip.rate)
        first, last = _frames(start, end, len(pcm), clip.rate)
        if short == "widen":
            first, last = _widen(first, last, len(pcm), clip.rate)
    except AudioError as error:
        return (start, end), error.named(f"{clip.name}, segment {number}")
    name = f"{clip.name}, segment {number} ({start:g} to {end:g} s)"
    return (start, end), Clip(name, clip.rate, 1, last - first, False, pcm[first:last])


def _times(segment: Any, duration: float) -> tuple[float, float]:
    if not isinstance(segment, Mapping):
        raise AudioError(f"{_FORM}, not {segment!r}.")
    try:
        start, end = segment["timestamp"] if "timestamp" in segment else (segment["start"], segment["end"])
    except (KeyError, TypeError, ValueError):
        raise AudioError(f"{_FORM}, not {segment!r}.") from None
    return _seconds("start", start), duration if end is None else _seconds("end", end)


def _seconds(name: str, value: Any) -> float:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise AudioError(f"its {name} must be a number of seconds, not {value!r}.")
    return float(value)


def _frames(start: float, end: float, frames: int, rate: int) -> tuple[int, int]:
    """Frames of a segment, first and after the last, within the audio."""
    duration = frames / rate
    if end <= start:
        raise AudioError(f"it ends at {end:g} s, and begins at {start:g} s.")
    if start < -_SLACK_SECONDS or end > duration + _SLACK_SECONDS:
        raise AudioError(
            f"{start:g} to {end:g} s lies outside of the audio, which has {duration:.2f} s; times are in seconds, not "
            "milliseconds or frames."
        )
    first, last = max(round(start * rate), 0), min(round(end * rate), frames)
    if last <= first:
        raise AudioError(f"from {start:g} to {end:g} s there is no audio.")
    return first, last


def _widen(first: int, last: int, frames: int, rate: int) -> tuple[int, int]:
    """Take in the surroundings: first in front, where the service skips, then on both sides alike."""
    least = math.ceil(MIN_SECONDS * rate)
    missing = least - (last - first)
    if missing <= 0:
        return first, last
    skipped = min(missing, math.ceil(SKIPPED_SECONDS * rate))
    first = max(min(first - skipped - (missing - skipped) // 2, frames - least), 0)
    return first, min(first + least, frames)


def _combine_errors(failures: Sequence[ValenceError], number: int) -> ValenceError | None:
    if len(failures) <= 1:
        return failures[0] if failures else None
    told = "; ".join(str(failure) for failure in failures[:_MAX_LISTED])
    more = f"; and {len(failures) - _MAX_LISTED} more" if len(failures) > _MAX_LISTED else ""
    return ItemError(f"{len(failures)} of {number} segments failed: {told}{more}")
