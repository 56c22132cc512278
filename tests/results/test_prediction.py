from __future__ import annotations

import math
import pickle
from dataclasses import FrozenInstanceError

import pytest

from valence_integrations import EmotionPrediction, EmotionSegment

CALM = EmotionSegment(0.0, 12.0, "calm", 0.6, {"calm": 0.6, "angry": 0.2})
ANGRY = EmotionSegment(12.0, 18.0, "angry", 0.9, {"calm": 0.3, "angry": 0.9})


def test_scores_are_the_duration_weighted_mean() -> None:
    prediction = EmotionPrediction.from_segments([CALM, ANGRY], source="chunk")
    assert prediction.scores == pytest.approx({"calm": (0.6 * 12 + 0.3 * 6) / 18, "angry": (0.2 * 12 + 0.9 * 6) / 18})
    assert prediction.emotion == "calm"
    assert prediction.confidence == pytest.approx(0.5)
    assert prediction.segments == (CALM, ANGRY)
    assert prediction.source == "chunk"


def test_emotion_missing_from_a_segment_counts_as_zero() -> None:
    only_happy = EmotionSegment(0.0, 5.0, "happy", 0.8, {"happy": 0.8})
    only_sad = EmotionSegment(5.0, 10.0, "sad", 0.6, {"sad": 0.6})
    assert EmotionPrediction.from_segments([only_happy, only_sad]).scores == pytest.approx({"happy": 0.4, "sad": 0.3})


def test_single_segment_keeps_the_emotion_of_the_service() -> None:
    odd = EmotionSegment(0.0, 6.0, "sad", 0.3, {"happy": 0.5, "sad": 0.3})
    prediction = EmotionPrediction.from_segments([odd])
    assert (prediction.emotion, prediction.confidence) == ("sad", 0.3)


def test_segments_of_zero_length_have_equal_weights() -> None:
    segments = [EmotionSegment(0.0, 0.0, "sad", s, {"sad": s}) for s in (0.2, 0.4)]
    assert EmotionPrediction.from_segments(segments).scores == pytest.approx({"sad": 0.3})


@pytest.mark.parametrize(("least", "emotion"), [(None, "calm"), (0.5, "calm"), (0.51, None)])
def test_min_confidence_drops_the_emotion_and_keeps_the_scores(least: float | None, emotion: str | None) -> None:
    prediction = EmotionPrediction.from_segments([CALM, ANGRY]).with_min_confidence(least)
    assert prediction.emotion == emotion
    assert prediction.confidence == pytest.approx(0.5)
    assert set(prediction.scores) == {"calm", "angry"}
    assert [segment.emotion for segment in prediction.segments] == ["calm", "angry"]


def test_min_confidence_applies_to_each_segment() -> None:
    segments = EmotionPrediction.from_segments([CALM, ANGRY]).with_min_confidence(0.7).segments
    assert [segment.emotion for segment in segments] == [None, "angry"]
    assert segments[0].scores == CALM.scores


def test_empty_prediction() -> None:
    empty = EmotionPrediction()
    assert empty.emotion is None
    assert math.isnan(empty.confidence)
    assert (empty.scores, empty.segments, empty.source, empty.error) == ({}, (), None, None)


def test_frozen_and_picklable() -> None:
    prediction = EmotionPrediction.from_segments([CALM, ANGRY], duration=18.0)
    assert pickle.loads(pickle.dumps(prediction)) == prediction
    with pytest.raises(FrozenInstanceError):
        prediction.emotion = "sad"  # type: ignore[misc]
