"""Export predictions to pandas, Praat TextGrid and RTTM."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from valence_integrations.errors import MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd

    from valence_integrations.results import EmotionPrediction, EmotionSegment

__all__ = ["rttm", "textgrid", "to_frame"]

#: Interval of a tier: start and end in seconds, and its text.
Interval = tuple[float, float, str]


def to_frame(predictions: Iterable[tuple[str | os.PathLike[str], EmotionPrediction]]) -> pd.DataFrame:
    """Return the segments of many items as one table in the format of audformat and audinterface.

    Parameters
    ----------
    predictions : iterable of (str or path, EmotionPrediction)
        Pairs of name and prediction, such as ``zip(paths, predictions)``.

    Returns
    -------
    pandas.DataFrame
        One row per segment, with the columns ``emotion``, ``confidence`` and one score column per emotion (NaN if a
        segment has no score for it). The index is ``file``, ``start`` and ``end``, with times as timedeltas, as in
        ``audformat.segmented_index``. An item without segments has one empty row for the whole item, whose end is NaT
        if its duration is unknown.

    Raises
    ------
    MissingDependencyError
        If pandas is not installed; the extra ``report`` includes it.

    Examples
    --------
    >>> from valence_integrations import EmotionPrediction, EmotionSegment
    >>> from valence_integrations.results import to_frame
    >>> happy = EmotionPrediction.from_segments([EmotionSegment(0.0, 6.0, "happy", 0.78, {"happy": 0.78, "sad": 0.1})])
    >>> table = to_frame([("a.wav", happy), ("missing.wav", EmotionPrediction())])
    >>> table.index.names, table.columns.to_list()
    (FrozenList(['file', 'start', 'end']), ['emotion', 'confidence', 'happy', 'sad'])
    >>> table["confidence"].to_list()
    [0.78, nan]
    """
    try:
        import pandas as pd
    except ImportError:
        raise MissingDependencyError.of("to_frame()", "report") from None
    index: list[tuple[str, float, float]] = []
    rows: list[dict[str, object]] = []
    for file, prediction in predictions:
        name = os.fsdecode(file)
        for segment in prediction.segments:
            index.append((name, segment.start, segment.end))
            rows.append({"emotion": segment.emotion, "confidence": segment.confidence, **segment.scores})
        if not prediction.segments:
            index.append((name, 0.0, prediction.duration))
            rows.append({"emotion": prediction.emotion, "confidence": prediction.confidence, **prediction.scores})
    emotions = dict.fromkeys(name for row in rows for name in row if name not in ("emotion", "confidence"))
    files, starts, ends = ([row[at] for row in index] for at in range(3))
    return pd.DataFrame(
        rows,
        columns=["emotion", "confidence", *emotions],
        index=pd.MultiIndex.from_arrays(
            [
                pd.Index(files, dtype="string", name="file"),
                pd.to_timedelta(pd.Series(starts, dtype="float64"), unit="s").astype("timedelta64[ns]"),
                pd.to_timedelta(pd.Series(ends, dtype="float64"), unit="s").astype("timedelta64[ns]"),
            ],
            names=["file", "start", "end"],
        ),
    ).astype(dict.fromkeys(["confidence", *emotions], "float64"))


def textgrid(prediction: EmotionPrediction) -> str:
    """Format a prediction as a Praat TextGrid in the long text format [Praat manual, "TextGrid file formats"]."""
    ends = [segment.end for segment in prediction.segments]
    end = max([*ends, prediction.duration] if math.isfinite(prediction.duration) else ends, default=0.0)
    if end <= 0.0:
        raise ValueError("There is nothing to write: the item has neither segments nor a duration.")
    tiers = {
        "emotion": [(s.start, s.end, s.emotion or "") for s in prediction.segments],
        "confidence": [(s.start, s.end, f"{s.confidence:.3f}" if s.emotion else "") for s in prediction.segments],
    }
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end!r}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, intervals) in enumerate(tiers.items(), 1):
        lines += [f"    item [{number}]:", *_tier(name, list(_fill_gaps(intervals, end)), end)]
    return "\n".join(lines) + "\n"


def _tier(name: str, intervals: list[Interval], end: float) -> Iterator[str]:
    yield '        class = "IntervalTier"'
    yield f"        name = {_quote(name)}"
    yield "        xmin = 0"
    yield f"        xmax = {end!r}"
    yield f"        intervals: size = {len(intervals)}"
    for number, (start, stop, text) in enumerate(intervals, 1):
        yield f"        intervals [{number}]:"
        yield f"            xmin = {start!r}"
        yield f"            xmax = {stop!r}"
        yield f"            text = {_quote(text)}"


def _fill_gaps(intervals: Iterable[Interval], end: float) -> Iterator[Interval]:
    """Fill gaps with empty intervals and cut overlaps, as Praat requires."""
    reached = 0.0
    for start, stop, text in [*intervals, (end, end, "")]:
        start = max(start, reached)
        if start > reached:
            yield reached, start, ""
        if stop > start:
            yield start, stop, text
        reached = max(start, stop)


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def rttm(prediction: EmotionPrediction, file: str | os.PathLike[str]) -> str:
    """Format a prediction as SPEAKER lines: type, file, channel, start, duration, -, -, name, confidence, -."""
    name = _word(os.fsdecode(file).strip())
    if not name:
        raise ValueError("file must be the recording's name, and not empty: RTTM tells recordings apart by it.")
    return "".join(
        f"SPEAKER {name} 1 {segment.start:.3f} {segment.end - segment.start:.3f} "
        f"<NA> <NA> {_word(segment.emotion)} {segment.confidence:.3f} <NA>\n"
        for segment in _with_emotion(prediction)
    )


def _with_emotion(prediction: EmotionPrediction) -> Iterator[EmotionSegment]:
    return (segment for segment in prediction.segments if segment.emotion is not None)


def _word(text: str | None) -> str:
    return re.sub(r"\s+", "_", text or "")
