from __future__ import annotations

import time

import numpy as np
import pytest

from valence_integrations.sandbox import _acoustics
from valence_integrations.sandbox._acoustics import EMOTIONS, measure, scores


def winner(samples, model="4emotions", rate=16000):
    found = scores(samples, rate, model)
    return max(found, key=found.__getitem__)


MANNERS = {
    "angry": {"pitch": 210, "level": 0.3, "tilt": -2, "lively": 1.5},
    "happy": {"pitch": 230, "level": 0.15, "tilt": -6, "lively": 4},
    "sad": {"pitch": 85, "level": 0.01, "tilt": -11, "lively": 1},
    "neutral": {"pitch": 130, "level": 0.1, "tilt": -4, "lively": 1.5},
}


@pytest.mark.parametrize("emotion", MANNERS)
def test_manner_of_speaking_determines_emotion(voice, emotion):
    assert winner(voice(**MANNERS[emotion])) == emotion


@pytest.mark.parametrize(
    ("emotion", "manner"),
    [
        ("surprised", {"pitch": 330, "level": 0.1, "tilt": -4, "lively": 6}),
        ("disgusted", {"pitch": 80, "level": 0.12, "tilt": -3, "lively": 1}),
        ("calm", {"pitch": 120, "level": 0.03, "tilt": -9, "lively": 0.2}),
    ],
)
def test_additional_emotions_of_7emotions_model(voice, emotion, manner):
    assert winner(voice(**manner), "7emotions") == emotion


def test_measured_level_pitch_range_and_tilt(voice):
    level, pitch, spread, tilt = measure(voice(pitch=220, lively=0, tilt=-6).astype(np.float32), 16000)
    assert pitch == pytest.approx(57.0, abs=0.2)  # the A below middle C
    assert spread < 0.2
    low, high = (sum(1 / k**2 for k in ks) for ks in (range(1, 5), range(5, 14)))
    assert tilt == pytest.approx(10 * np.log10(high / low), abs=0.5)
    louder, *rest = measure(2 * voice(pitch=220, lively=0, tilt=-6).astype(np.float32), 16000)
    assert louder - level == pytest.approx(6.02, abs=0.05)
    assert rest == pytest.approx([pitch, spread, tilt], abs=0.05)


def test_level_of_full_scale_1_khz_tone():
    tone = np.sin(2 * np.pi * 1000 * np.arange(48000) / 16000).astype(np.float32)
    assert measure(tone, 16000)[0] == pytest.approx(-3.0, abs=0.1)


def test_pauses_do_not_change_measurements(voice):
    speech = voice(seconds=5).astype(np.float32)
    padded = np.concatenate([speech, np.zeros(5 * 16000, np.float32)])
    assert measure(padded, 16000) == pytest.approx(measure(speech, 16000), abs=0.3)


def test_sampling_rate_does_not_change_measurements(voice):
    low, high = (measure(voice(rate=rate).astype(np.float32), rate) for rate in (8000, 44100))
    assert low == pytest.approx(high, abs=0.5)


@pytest.mark.parametrize("model", EMOTIONS)
def test_scores_are_deterministic_and_in_model_order(voice, model):
    first, second = (scores(voice(), 16000, model) for _ in range(2))
    assert first == second
    assert tuple(first) == EMOTIONS[model]
    assert all(0 <= value <= 1 and value == round(value, 6) for value in first.values())


def test_scores_need_not_sum_to_one(voice):
    assert abs(sum(scores(voice(), 16000, "4emotions").values()) - 1) > 0.05


def test_different_clips_have_different_scores(voice):
    vectors = {
        tuple(scores(voice(pitch=pitch, level=level, lively=lively), 16000, "4emotions").values())
        for pitch in (100, 100.5, 101, 150, 220)
        for level in (0.05, 0.0505, 0.2)
        for lively in (0.5, 1, 1.01)
    }
    assert len(vectors) == 5 * 3 * 3


def test_noise_clips_of_equal_level_have_different_scores():
    rng = np.random.default_rng(0)
    clips = [(0.1 * rng.standard_normal(80_000)).astype(np.float32) for _ in range(100)]
    assert len({tuple(scores(clip, 16000, "4emotions").values()) for clip in clips}) == 100


@pytest.mark.parametrize("size", [1, 100, 4000, 80_000])
def test_silence_and_very_short_clips_have_scores(size):
    for samples in (np.zeros(size, np.float32), np.full(size, 0.5, np.float32)):
        found = scores(samples, 16000, "7emotions")
        assert all(np.isfinite(value) for value in found.values())
    assert winner(np.zeros(size, np.float32), "4emotions") == "sad"


def test_scoring_a_clip_takes_milliseconds(voice):
    samples = voice(seconds=10, rate=44100).astype(np.float32)
    _acoustics.warm_up()
    durations = []
    for _ in range(5):
        started = time.perf_counter()
        scores(samples, 44100, "4emotions")
        durations.append(time.perf_counter() - started)
    assert min(durations) < 0.05
