"""Small pictures in HTML for notebooks and the report: a bar, a timeline strip, and their legend.

Styles are inline and inherit the surrounding colours, so that pictures work on light and dark pages.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from valence_integrations._format import clock
from valence_integrations._html.palette import color, ink
from valence_integrations._html.tag import Html, tag

__all__ = [
    "NO_EMOTION",
    "Cell",
    "bar",
    "describe",
    "downsample",
    "emotion_text",
    "legend",
    "merge_segments",
    "paint",
    "strip",
    "swatch",
]

#: Label in pictures and tables for a confidence without an emotion.
NO_EMOTION = "no emotion"

_HATCHED = "background:repeating-linear-gradient(45deg,#8888 0 3px,transparent 3px 7px)"

#: Outline of coloured areas, with a contrast of at least 3 on white and on black [WCAG 2.2, 1.4.11].
_OUTLINE = "box-shadow:0 0 0 1px #7d848f;print-color-adjust:exact;forced-color-adjust:none"

#: Smallest share of a strip for which a piece shows the name of its emotion.
_MIN_LABEL_SHARE = 0.14

_TEXT_STYLE = "overflow:hidden;text-overflow:ellipsis;padding:.25em 0;text-align:center;white-space:nowrap;"

#: Maximum number of emotions in the text description of a timeline.
_MAX_DESCRIBED = 5


@dataclass(frozen=True)
class Cell:
    """A piece of a timeline strip: adjacent segments with the same emotion.

    Attributes
    ----------
    start, end : float
        Seconds.
    emotion : str or None
        None for a gap, and for an emotion that was dropped.
    confidence : float
        Duration-weighted mean over the piece; NaN for a gap.
    """

    start: float
    end: float
    emotion: str | None
    confidence: float

    @property
    def label(self) -> str:
        """Label of the piece."""
        return "nothing" if math.isnan(self.confidence) else self.emotion or NO_EMOTION

    def __str__(self) -> str:
        return f"{clock(self.start)} to {clock(self.end)}: {emotion_text(self.label, self.confidence)}"


def merge_segments(segments: Sequence[Any]) -> list[Cell]:
    """Merge adjacent segments with the same emotion.

    Parameters
    ----------
    segments : sequence of EmotionSegment
        Segments ordered by time.
    """
    return _merge_neighbours(_fill_gaps(segments))


def downsample(pieces: list[Cell], most: int) -> list[Cell]:
    """Reduce pieces to at most `most`.

    If there are more, the time is divided into `most` equal pieces, each with its most frequent emotion by duration.
    """
    if len(pieces) <= most:
        return pieces
    starts = [piece.start for piece in pieces]
    times = [pieces[-1].end * number / most for number in range(most + 1)]
    return _merge_neighbours(
        _longest(pieces[bisect_right(starts, start) - 1 : bisect_left(starts, end)], start, end)
        for start, end in pairwise(times)
    )


def _fill_gaps(segments: Sequence[Any]) -> Iterable[Cell]:
    end = 0.0
    for segment in segments:
        start = max(segment.start, end)
        if start > end:
            yield Cell(end, start, None, math.nan)
        if segment.end > start:
            yield Cell(start, segment.end, segment.emotion, segment.confidence)
            end = segment.end
        else:
            end = start


def _merge_neighbours(pieces: Iterable[Cell]) -> list[Cell]:
    found: list[Cell] = []
    for piece in pieces:
        if found and found[-1].label == piece.label:
            last = found.pop()
            before, now = last.end - last.start, piece.end - piece.start
            mean = (last.confidence * before + piece.confidence * now) / (before + now)
            found.append(Cell(last.start, piece.end, piece.emotion, mean))
        else:
            found.append(piece)
    return found


def _longest(pieces: Sequence[Cell], start: float, end: float) -> Cell:
    """Return one piece with the emotion that lasts longest between two times."""
    heard: dict[str, float] = {}
    weighted: dict[str, float] = {}
    for piece in pieces:
        seconds = min(piece.end, end) - max(piece.start, start)
        heard[piece.label] = heard.get(piece.label, 0.0) + seconds
        weighted[piece.label] = weighted.get(piece.label, 0.0) + piece.confidence * seconds
    longest = max(heard, key=heard.__getitem__)
    emotion = next(piece.emotion for piece in pieces if piece.label == longest)
    return Cell(start, end, emotion, weighted[longest] / heard[longest])


def strip(pieces: Sequence[Cell], what: str) -> Html:
    """Draw a timeline strip; each piece has a tooltip with its times, emotion and confidence.

    Parameters
    ----------
    pieces : sequence of Cell
        At least one.
    what : str
        Name of the item, for screen readers.
    """
    end = pieces[-1].end
    return tag(
        "div",
        (_piece(cell, end) for cell in pieces),
        role="img",
        aria_label=f"Timeline of {what}: {describe(pieces)}.",
        style="display:flex;height:1.9em;margin:.3em 1px;border-radius:2px;overflow:hidden;font-size:.85em;" + _OUTLINE,
    )


def _piece(cell: Cell, end: float) -> Html:
    share = (cell.end - cell.start) / end
    empty = math.isnan(cell.confidence)
    return tag(
        "span",
        cell.label if share >= _MIN_LABEL_SHARE and not empty else None,
        title=str(cell),
        style=f"flex:{cell.end - cell.start:.6g} 0 0;" + _TEXT_STYLE + ("" if empty else paint(cell.emotion)),
    )


def describe(pieces: Sequence[Cell]) -> str:
    """Describe a strip in text."""
    seconds: dict[str, float] = {}
    for piece in pieces:
        seconds[piece.label] = seconds.get(piece.label, 0.0) + piece.end - piece.start
    total = sum(seconds.values())
    ranked = sorted(seconds, key=seconds.__getitem__, reverse=True)
    shares = [f"{label} {seconds[label] / total:.0%}" for label in ranked[:_MAX_DESCRIBED]]
    if others := ranked[_MAX_DESCRIBED:]:
        shares.append(f"others {sum(seconds[label] for label in others) / total:.0%}")
    return f"{', '.join(shares)} of {clock(total)}"


def emotion_text(emotion: str | None, confidence: float) -> str:
    """Name of an emotion, with its confidence if known."""
    number = "" if math.isnan(confidence) else f" {confidence:.2f}"
    return (emotion or NO_EMOTION) + number


def bar(share: float, emotion: str | None) -> Html:
    """Draw a bar in an emotion's colour with width `share`; hidden from screen readers, as the number is beside it."""
    style = f"display:block;height:1em;border-radius:2px;width:{max(min(share, 1.0), 0.0):.1%};"
    return tag("span", aria_hidden="true", style=f"{style}{paint(emotion)};{_OUTLINE}")


def swatch(emotion: str | None) -> Html:
    """Draw a swatch in an emotion's colour with its name."""
    style = "display:inline-block;width:.85em;height:.85em;border-radius:2px;margin:0 .5em 0 1px;vertical-align:-.06em;"
    patch = tag("span", style=f"{style}{paint(emotion)};{_OUTLINE}")
    return tag("span", patch, emotion or NO_EMOTION, style="white-space:nowrap")


def legend(emotions: Iterable[str | None]) -> Html:
    """Draw the legend of emotions and colours."""
    style = "display:flex;flex-wrap:wrap;gap:.2em 1.1em;font-size:.9em"
    return tag("div", (swatch(emotion) for emotion in emotions), style=style)


def paint(emotion: str | None) -> str:
    """CSS for an emotion: background and text colour."""
    if emotion is None:
        return _HATCHED
    background = color(emotion)
    return f"background:{background};color:{ink(background)}"
