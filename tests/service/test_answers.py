from __future__ import annotations

import pytest

from valence_integrations import EmotionSegment
from valence_integrations._service.answers import read_discrete, read_timeline
from valence_integrations.errors import InvalidResponseError

SCORES = {"angry": 0.12, "happy": 0.78}


@pytest.mark.parametrize(
    "answer",
    [
        {"main_emotion": "happy", "confidence": 0.78, "all_predictions": SCORES, "model_type": "x", "request_id": "r"},
        {"main_emotion": "happy", "emotions": SCORES},
        {"dominant_emotion": "happy", "confidence": 0.78, "emotions": SCORES},
        {"emotions": [{"emotion": "angry", "confidence": 0.12}, {"emotion": "happy", "confidence": 0.78}]},
    ],
    ids=["live", "sdk readme", "dominant", "list"],
)
def test_every_known_form_of_discrete_answer(answer: object) -> None:
    assert read_discrete(answer, 1.0, 7.0) == EmotionSegment(1.0, 7.0, "happy", 0.78, SCORES)


def test_answer_with_single_score() -> None:
    assert read_discrete({"main_emotion": "sad", "confidence": 0.4}, 0, 5).scores == {"sad": 0.4}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "happy",
        {},
        {"main_emotion": "happy"},
        {"main_emotion": "happy", "confidence": "high"},
        {"main_emotion": "happy", "confidence": float("nan")},
        {"main_emotion": "happy", "confidence": True},
        {"emotions": [1, 2]},
        {"emotions": 3},
        {"all_predictions": {"happy": None}},
        {"error": "no"},
    ],
)
def test_invalid_discrete_answer_raises(answer: object) -> None:
    with pytest.raises(InvalidResponseError, match="cannot parse"):
        read_discrete(answer, 0, 5)


def test_timeline() -> None:
    rows = [
        {
            "timestamp": 5.0,
            "start_time": 5.0,
            "end_time": 8.0,
            "emotion": "happy",
            "confidence": 0.78,
            "all_predictions": SCORES,
        },
        {"timestamp": 0.0, "start_time": 0.0, "end_time": 5.0, "emotion": "angry", "confidence": 0.5},
    ]
    assert read_timeline({"emotions": rows}, 8.0) == (
        EmotionSegment(0.0, 5.0, "angry", 0.5, {"angry": 0.5}),
        EmotionSegment(5.0, 8.0, "happy", 0.78, SCORES),
    )


@pytest.mark.parametrize(("clock", "seconds"), [("00:05", 5.0), ("01:02:03", 3723.0), ("2:00.5", 120.5), (7, 7.0)])
def test_older_timeline_format(clock: object, seconds: float) -> None:
    rows = [{"t": "00:00", "emotion": "happy", "confidence": 0.5}, {"t": clock, "emotion": "sad", "confidence": 0.9}]
    segment = read_timeline({"emotions": rows}, 9_999.0)[1]
    assert (segment.start, segment.end, segment.emotion, segment.scores) == (seconds, seconds + 5, "sad", {"sad": 0.9})


def test_older_timeline_without_zero_has_end_times() -> None:
    rows = [{"t": f"00:{t:02}", "emotion": "sad", "confidence": 0.9} for t in (5, 10, 15, 20)]
    assert [(s.start, s.end) for s in read_timeline({"emotions": rows}, 18.5)] == [
        (0, 5),
        (5, 10),
        (10, 15),
        (15, 18.5),
    ]


@pytest.mark.parametrize(
    "answer", [{}, {"emotions": []}, {"emotions": "sad"}, {"emotions": [{"emotion": "sad"}]}, {"emotions": [3]}, 5]
)
def test_invalid_timeline_raises(answer: object) -> None:
    with pytest.raises(InvalidResponseError):
        read_timeline(answer, 10.0)
