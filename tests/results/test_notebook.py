from __future__ import annotations

from valence_integrations import EmotionPrediction, EmotionSegment, errors
from valence_integrations._html.palette import COLORS

SHORT = EmotionPrediction(
    "happy", 0.78, {"angry": 0.1, "happy": 0.78}, source="discrete", duration=3.2, padded=True, cached=True
)


def test_short_item_shows_a_bar_per_score_in_descending_order() -> None:
    shown = SHORT._repr_html_()
    assert "happy 0.78" in shown
    assert " · 0:03.2 · discrete · padded · from the cache" in shown
    assert shown.index(">happy</th>") < shown.index(">angry</th>")
    assert f"width:78.0%;background:{COLORS['happy']}" in shown
    assert f"width:10.0%;background:{COLORS['angry']}" in shown


def test_long_item_shows_a_strip_with_a_legend() -> None:
    segments = [EmotionSegment(5.0 * i, 5.0 * i + 5, ("sad", "calm")[i // 10 % 2], 0.5) for i in range(30)]
    shown = EmotionPrediction.from_segments(segments, duration=150.0, source="asynch")._repr_html_()
    assert shown.count("title=") == 3
    assert 'title="0:50 to 1:40: calm 0.50"' in shown
    assert 'aria-label="Timeline of the item: sad 67%, calm 33% of 2:30."' in shown
    assert "<table" not in shown


def test_html_of_a_day_of_audio_is_small() -> None:
    segments = [EmotionSegment(5.0 * i, 5.0 * i + 5, ("sad", "calm")[i % 2], 0.5) for i in range(17_280)]
    assert len(EmotionPrediction.from_segments(segments)._repr_html_()) < 30_000


def test_failed_item_shows_its_escaped_error() -> None:
    error = errors.UnreadableAudioError("the file is empty.").named("<script>.wav")
    shown = EmotionPrediction(error=error)._repr_html_()
    assert "UnreadableAudioError" in shown
    assert "&lt;script&gt;.wav: the file is empty." in shown
    assert "<script>" not in shown


def test_item_not_sent_has_no_emotion() -> None:
    shown = EmotionPrediction(duration=2.0)._repr_html_()
    assert "no emotion" in shown
    assert " · 0:02 · not sent" in shown


def test_emotion_names_are_escaped() -> None:
    shown = EmotionPrediction("<b>", 0.5, {"<b>": 0.5})._repr_html_()
    assert "<b>" not in shown
    assert "&lt;b&gt; 0.50" in shown
