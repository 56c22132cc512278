"""Small pictures in HTML, for notebooks and the report: a bar, a timeline strip, and their legend.

Their styles are inline and take the colours of what is around them, so that they look right on light and dark pages.
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

#: What pictures and tables call it when there is a confidence, but no emotion.
NO_EMOTION = "no emotion"

_HATCHED = "background:repeating-linear-gradient(45deg,#8888 0 3px,transparent 3px 7px)"

#: A line around what is coloured: its contrast is at least 3 on white and on black [WCAG 2.2, 1.4.11].
_OUTLINE = "box-shadow:0 0 0 1px #7d848f;print-color-adjust:exact;forced-color-adjust:none"

#: A piece of a strip shows its emotion's name from this share of the strip on.
_MIN_LABEL_SHARE = 0.14

_TEXT_STYLE = "overflow:hidden;text-overflow:ellipsis;padding:.25em 0;text-align:center;white-space:nowrap;"

#: In words, a timeline has so many emotions at most.
_MAX_DESCRIBED = 5


@dataclass(frozen=True)
class Cell:
    """A piece of a timeline strip: neighbours with the same emotion together.

    Attributes
    ----------
    start, end : float
        Seconds.
    emotion : str or None
        None for a stretch whose emotion was dropped, and for a gap.
    confidence : float
        Mean over the stretch, weighted by duration; NaN for a gap.
    """

    start: float
    end: float
    emotion: str | None
    confidence: float

    @property
    def label(self) -> str:
        """What it is called."""
        return "nothing" if math.isnan(self.confidence) else self.emotion or NO_EMOTION

    def __str__(self) -> str:
        return f"{clock(self.start)} to {clock(self.end)}: {emotion_text(self.label, self.confidence)}"


def merge_segments(segments: Sequence[Any]) -> list[Cell]:
    """Draw together neighbouring segments with the same emotion.

    Parameters
    ----------
    segments : sequence of EmotionSegment
        In order of time.
    """
    return _merge_neighbours(_fill_gaps(segments))


def downsample(pieces: list[Cell], most: int) -> list[Cell]:
    """Draw pieces together until there are not more than `most`.

    If there are more, the time is cut into so many equal pieces, each with the emotion heard longest in it.
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
    """Between two times, the emotion that is heard longest."""
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
    """Draw a timeline strip; each piece tells its times, emotion and confidence when it is pointed at.

    Parameters
    ----------
    pieces : sequence of Cell
        At least one.
    what : str
        Whose timeline it is, for those who do not see it.
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
    """Say in words what a strip shows."""
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
    """Name an emotion, with its confidence if there is one."""
    number = "" if math.isnan(confidence) else f" {confidence:.2f}"
    return (emotion or NO_EMOTION) + number


def bar(share: float, emotion: str | None) -> Html:
    """Draw a bar in an emotion's colour, `share` of its room long. The number stands beside it, so it is silent."""
    style = f"display:block;height:1em;border-radius:2px;width:{max(min(share, 1.0), 0.0):.1%};"
    return tag("span", aria_hidden="true", style=f"{style}{paint(emotion)};{_OUTLINE}")


def swatch(emotion: str | None) -> Html:
    """Draw a patch in an emotion's colour, and say its name."""
    style = "display:inline-block;width:.85em;height:.85em;border-radius:2px;margin:0 .5em 0 1px;vertical-align:-.06em;"
    patch = tag("span", style=f"{style}{paint(emotion)};{_OUTLINE}")
    return tag("span", patch, emotion or NO_EMOTION, style="white-space:nowrap")


def legend(emotions: Iterable[str | None]) -> Html:
    """Say which colour is which emotion."""
    style = "display:flex;flex-wrap:wrap;gap:.2em 1.1em;font-size:.9em"
    return tag("div", (swatch(emotion) for emotion in emotions), style=style)


def paint(emotion: str | None) -> str:
    """Style of what stands for an emotion: its colour, and that of letters on it."""
    if emotion is None:
        return _HATCHED
    background = color(emotion)
    return f"background:{background};color:{ink(background)}"
