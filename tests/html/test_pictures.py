from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest

from valence_integrations import EmotionSegment
from valence_integrations._format import clock
from valence_integrations._html.palette import contrast
from valence_integrations._html.pictures import Cell, bar, describe, downsample, merge_segments, strip
from valence_integrations._html.tag import tag


def segments(*rows: tuple[float, float, str | None, float]) -> list[EmotionSegment]:
    return [EmotionSegment(*row) for row in rows]


def test_adjacent_segments_with_the_same_emotion_are_merged() -> None:
    pieces = merge_segments(segments((0, 5, "sad", 0.5), (5, 20, "sad", 0.9), (20, 25, "happy", 0.7)))
    assert pieces == [Cell(0, 20, "sad", pytest.approx(0.8)), Cell(20, 25, "happy", 0.7)]


def test_gap_is_a_piece_without_confidence() -> None:
    first, gap, last = merge_segments(segments((2, 5, "sad", 0.5), (8, 10, "sad", 0.9)))[0:3]
    assert (first.start, first.end, first.label) == (0, 2, "nothing")
    assert (gap.start, gap.end, gap.emotion) == (2, 5, "sad")
    assert (last.start, last.end, last.label) == (5, 8, "nothing")
    assert math.isnan(last.confidence)


def test_dropped_emotion_is_not_a_gap() -> None:
    assert [piece.label for piece in merge_segments(segments((0, 5, None, 0.2), (5, 10, "sad", 0.9)))] == [
        "no emotion",
        "sad",
    ]


def test_overlapping_segments_are_cut() -> None:
    pieces = merge_segments(
        segments((0, 6, "sad", 0.5), (4, 5, "calm", 0.5), (5, 9, "happy", 0.5), (9, 9, "calm", 0.1))
    )
    assert [(piece.start, piece.end, piece.emotion) for piece in pieces] == [(0, 6, "sad"), (6, 9, "happy")]


def test_downsample_keeps_the_longest_emotion() -> None:
    turns = (
        [(10 * i, 10 * i + 7, "sad", 0.6) for i in range(100)],
        [(10 * i + 7, 10 * i + 10, "calm", 0.9) for i in range(100)],
    )
    pieces = merge_segments(segments(*sorted(turns[0] + turns[1])))
    assert len(pieces) == 200
    assert downsample(pieces, 200) is pieces
    assert downsample(pieces, 10) == [Cell(0, 1000, "sad", pytest.approx(0.6))]


def test_downsampled_pieces_cover_the_whole_time() -> None:
    pieces = merge_segments(
        segments(*((5 * i, 5 * i + 5, ("sad", "calm", "happy")[i // 17 % 3 if i % 2 else 0], 0.5) for i in range(720)))
    )
    few = downsample(pieces, 50)
    assert 1 < len(few) <= 50
    assert (few[0].start, few[-1].end) == (0, 3600)
    assert all(one.end == other.start for one, other in pairwise(few))


def test_strip_has_a_text_description() -> None:
    pieces = merge_segments(segments((0, 15, "sad", 0.5), (15, 20, "happy", 0.7)))
    drawn = strip(pieces, 'a "call"')
    assert 'role="img"' in drawn
    assert 'aria-label="Timeline of a &quot;call&quot;: sad 75%, happy 25% of 0:20."' in drawn
    assert 'title="0:15 to 0:20: happy 0.70"' in drawn
    assert 'style="flex:5 0 0;' in drawn


def test_description_names_the_five_longest_emotions() -> None:
    pieces = [Cell(10 * i, 10 * i + 9 - i, name, 0.5) for i, name in enumerate("abcdefg")]
    assert describe(pieces) == "a 21%, b 19%, c 17%, d 14%, e 12%, others 17% of 0:42"


def test_outline_is_visible_on_every_background() -> None:
    (line,) = set(re.findall(r"0 0 0 1px (#[0-9a-f]{6})", bar(0.5, "happy")))
    assert min(contrast(line, page) for page in ("#ffffff", "#f5f6f8", "#14171c", "#000000")) >= 3


@pytest.mark.parametrize(("share", "width"), [(0.5, "50.0%"), (1.7, "100.0%"), (-0.2, "0.0%")])
def test_bar_width_is_clipped(share: float, width: str) -> None:
    assert f"width:{width};" in bar(share, "happy")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (5, "0:05"), (59.96, "1:00"), (65.25, "1:05.2"), (3599.99, "1:00:00"), (36_605, "10:10:05")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a' onclick='x"])
def test_text_and_attributes_are_escaped(hostile: str) -> None:
    made = tag("p", hostile, [hostile], title=hostile)
    inner = made.removeprefix('<p title="').removesuffix("</p>")
    assert "<" not in inner.replace('">', "", 1)
    assert "'" not in inner
    assert inner.count('"') == 1
