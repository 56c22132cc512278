from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


HUGE = 10**400


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize("score", [HUGE, -HUGE, 1e308, 78, 1.01, -0.01, math.inf, -math.inf, math.nan, True])
def test_score_outside_0_to_1(score: object) -> None:
    for answer in (
        {"main_emotion": "happy", "confidence": score},
        {"main_emotion": "happy", "all_predictions": {"happy": score}},
        {"emotions": [{"emotion": "happy", "confidence": score}]},
    ):
        with pytest.raises(InvalidResponseError, match="cannot parse"):
            read_discrete(answer, 0, 5)
    with pytest.raises(InvalidResponseError, match="cannot parse"):
        read_timeline({"emotions": [{"t": 0, "emotion": "sad", "confidence": score}]}, 10.0)


@pytest.mark.parametrize("score", [0, 1, 0.0, 1.0, 1.0000001])
def test_limits_of_scores(score: float) -> None:
    assert read_discrete({"main_emotion": "sad", "confidence": score}, 0, 5).confidence == score


@pytest.mark.parametrize(
    "time", [HUGE, 1e308, -1, -0.5, math.inf, math.nan, True, "9" * 5_000 + ":00", "1:2:3:4", "-1:00", 71]
)
@pytest.mark.parametrize("key", ["start_time", "timestamp", "t", "end_time"])
def test_invalid_time(key: str, time: object) -> None:
    row = (
        {"start_time": 0.0, "emotion": "sad", "confidence": 0.5}
        if key == "end_time"
        else {"emotion": "sad", "confidence": 0.5}
    )
    with pytest.raises(InvalidResponseError, match="cannot parse"):
        read_timeline({"emotions": [{**row, key: time}]}, 10.0)


def test_segment_that_ends_before_its_start() -> None:
    row = {"start_time": 5.0, "end_time": 3.0, "emotion": "sad", "confidence": 0.5}
    with pytest.raises(InvalidResponseError, match="cannot parse"):
        read_timeline({"emotions": [row]}, 10.0)


@pytest.mark.parametrize(
    "scores",
    [
        {f"e{number}": 0.5 for number in range(101)},
        {f"e{number}": 0.5 for number in range(1_000_000)},
        [{"emotion": "sad", "confidence": 0.5}] * 1_000_000,
        {"a" * 101: 0.5},
        {"a" * 1_000_000: 0.5},
        {"": 0.5},
        [{"emotion": 5, "confidence": 0.5}],
    ],
    ids=["101", "million", "rows", "long name", "1 MB name", "no name", "number"],
)
def test_too_many_emotions_or_no_names(scores: object) -> None:
    for answer in ({"all_predictions": scores}, {"main_emotion": "sad", "confidence": 0.5, "emotions": scores}):
        with pytest.raises(InvalidResponseError, match="cannot parse") as got:
            read_discrete(answer, 0, 5)
        assert len(str(got.value)) < 400


@pytest.mark.parametrize("name", [5, ["sad"], {"a": 1}, "a" * 101, True])
def test_emotion_that_is_not_a_name(name: object) -> None:
    with pytest.raises(InvalidResponseError):
        read_discrete({"main_emotion": name, "confidence": 0.5, "all_predictions": {"sad": 0.5}}, 0, 5)


@pytest.mark.parametrize("depth", [100, 10_000])
def test_deeply_nested_answer(depth: int) -> None:
    deep = nested(depth)
    for answer in (deep, [deep], {"main_emotion": deep}, {"main_emotion": "a", "confidence": deep}, {"emotions": deep}):
        with pytest.raises(InvalidResponseError):
            read_discrete(answer, 0, 5)
        with pytest.raises(InvalidResponseError):
            read_timeline(answer, 10.0)
    with pytest.raises(InvalidResponseError):
        read_timeline({"emotions": [deep]}, 10.0)


def test_long_unsorted_and_overlapping_timeline() -> None:
    rows = [
        {"start_time": float(start), "end_time": start + 7.0, "emotion": "sad", "confidence": 0.5}
        for start in reversed(range(50_000))
    ]
    segments = read_timeline({"emotions": rows}, 50_000.0)
    assert [segment.start for segment in segments] == list(range(50_000))
    assert segments[1].end == 8.0


def test_integer_that_python_does_not_convert_to_text() -> None:
    with pytest.raises(InvalidResponseError, match=r"\(at int\)"):
        read_discrete({"main_emotion": "sad", "confidence": 10**5_000}, 0, 5)


def test_million_invalid_rows() -> None:
    with pytest.raises(InvalidResponseError):
        read_timeline({"emotions": [0] * 1_000_000}, 10.0)


KEYS = ["main_emotion", "dominant_emotion", "confidence", "all_predictions", "emotions", "start_time", "end_time", "t"]
NUMBERS = st.integers() | st.just(HUGE) | st.floats() | st.floats(0, 1) | st.booleans()
VALUES = st.recursive(
    NUMBERS | st.none() | st.text() | st.sampled_from(["sad", "happy", "00:05", "1:02:03"]),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from([*KEYS, "emotion", "timestamp"]) | st.text(), inner)
    ),
    max_leaves=20,
)
SCORE_ROWS = st.lists(st.fixed_dictionaries({"emotion": st.sampled_from(["a", "b"]), "confidence": st.floats(0, 1)}))
ANSWERS = VALUES | st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, VALUES | SCORE_ROWS))


@given(ANSWERS)
def test_any_discrete_answer(answer: object) -> None:
    try:
        segment = read_discrete(answer, 1.0, 6.0)
    except InvalidResponseError:
        return
    assert (segment.start, segment.end) == (1.0, 6.0)
    assert isinstance(segment.emotion, str)
    assert 0 <= segment.confidence <= 1.000001
    assert segment.scores
    assert all(0 <= score <= 1.000001 for score in segment.scores.values())
    json.dumps(vars(segment), allow_nan=False)


ROWS = st.fixed_dictionaries(
    {"emotion": st.sampled_from(["sad", "happy"]), "confidence": st.floats(0, 1)},
    optional={key: NUMBERS | st.floats(0, 50) | st.sampled_from(["00:05", "00:10"]) for key in KEYS[5:]},
)


@given(ANSWERS | st.fixed_dictionaries({"emotions": st.lists(ROWS | VALUES)}), st.floats(0, 1e5))
def test_any_timeline(answer: object, duration: float) -> None:
    try:
        segments = read_timeline(answer, duration)
    except InvalidResponseError:
        return
    assert segments
    assert [segment.start for segment in segments] == sorted(segment.start for segment in segments)
    for segment in segments:
        assert 0 <= segment.start <= segment.end <= duration + 60
        json.dumps(vars(segment), allow_nan=False)
