from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import voice
from valence_integrations import Settings, errors
from valence_integrations._audio import wav
from valence_integrations._audio.clip import Clip
from valence_integrations._audio.open import open_clip
from valence_integrations._audio.routing import LEAST_SECONDS, Part, Route, decide, measured, needs_samples, prepare
from valence_integrations.sandbox import Sandbox


def clip_of(seconds: float, rate: int = 16_000) -> Clip:
    pcm = np.rint(voice(seconds, rate) * 30_000).astype(np.int16)
    clip = open_clip(wav.encode(pcm, rate))
    assert clip is not None
    return clip


def routed(clip: Clip, settings: Settings) -> tuple[Route, tuple[Part, ...]]:
    _, route, parts = prepare(clip, settings)
    return route, parts


def sent(parts: tuple[Part, ...]) -> list[np.ndarray]:
    return [soundfile.read(io.BytesIO(part.wav), dtype="int16")[0] for part in parts]


@pytest.mark.parametrize("seconds", [5.0, 6.0, 15.0])
def test_audio_in_range_is_one_call_with_unchanged_file(seconds: float) -> None:
    clip = clip_of(seconds)
    route, parts = routed(clip, Settings(short_audio="error", long_audio="error"))
    assert route == Route("discrete", seconds)
    assert [(part.start, part.end) for part in parts] == [(0.0, seconds)]
    assert parts[0].wav == clip.wav()


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100])
@pytest.mark.parametrize("seconds", [0.11, 1.0, 4.4, 4.99])
def test_pad_adds_silence_in_skipped_part_first(seconds: float, rate: int) -> None:
    clip = clip_of(seconds, rate)
    route, parts = routed(clip, Settings())
    (pcm,) = sent(parts)
    assert route == Route("discrete", clip.duration, "pad")
    assert route.padded
    assert len(pcm) == 5 * rate
    front = min(-(-rate // 2), 5 * rate - clip.frames)
    assert not pcm[:front].any()
    assert np.array_equal(pcm[front : front + clip.frames], clip.pcm())
    assert not pcm[front + clip.frames :].any()
    assert (parts[0].start, parts[0].end) == (0.0, clip.duration)


@pytest.mark.parametrize("seconds", [0.1, 1.0, 3.0, 4.99])
def test_repeat_tiles_whole_item(seconds: float) -> None:
    clip = clip_of(seconds)
    route, parts = routed(clip, Settings(short_audio="repeat"))
    (pcm,) = sent(parts)
    assert route == Route("discrete", seconds, "repeat")
    assert route.padded
    assert 5.0 <= len(pcm) / 16_000 < 10.0
    assert np.array_equal(pcm.reshape(-1, clip.frames), np.tile(clip.pcm(), (len(pcm) // clip.frames, 1)))


def test_skip() -> None:
    assert routed(clip_of(4.0), Settings(short_audio="skip")) == (Route(None, 4.0), ())
    assert routed(clip_of(16.0), Settings(long_audio="skip")) == (Route(None, 16.0), ())


def test_error_has_lengths_and_remedy() -> None:
    with pytest.raises(errors.AudioTooShortError, match=r'4\.99 s is too short.*short_audio="pad"') as short:
        decide(4.99, Settings(short_audio="error"))
    assert (short.value.min_duration, short.value.actual_duration) == (5.0, 4.99)
    with pytest.raises(errors.AudioTooLongError, match=r'15\.01 s is too long.*long_audio="asynch"') as long:
        decide(15.01, Settings(long_audio="error"))
    assert (long.value.max_duration, long.value.actual_duration) == (15.0, 15.01)


def test_asynch_has_no_parts() -> None:
    clip = clip_of(15.01)
    route, parts = routed(clip, Settings())
    assert (route, parts) == (Route("asynch", 15.01), ())


def test_truncate_keeps_the_first_15_seconds() -> None:
    clip = clip_of(20.0)
    route, parts = routed(clip, Settings(long_audio="truncate"))
    (pcm,) = sent(parts)
    assert np.array_equal(pcm, clip.pcm()[: 15 * 16_000])
    assert route == Route("discrete", 20.0, "truncate")
    assert (parts[0].start, parts[0].end) == (0.0, 15.0)


def test_chunks_are_5_to_15_seconds_and_cover_everything() -> None:
    clip = clip_of(47.3)
    route, parts = routed(clip, Settings(long_audio="chunk"))
    pieces = sent(parts)
    assert route == Route("chunk", 47.3)
    assert np.array_equal(np.concatenate(pieces), clip.pcm())
    assert all(5.0 <= len(piece) / 16_000 <= 15.0 for piece in pieces)
    assert parts[0].start == 0.0
    assert parts[-1].end == pytest.approx(47.3)
    assert all(one.end == other.start for one, other in pairwise(parts))


def test_ready_file_over_size_limit_is_reencoded() -> None:
    body = (
        wav.encode(np.zeros(6 * 16_000, np.int16), 16_000)[12:]
        + b"LIST"
        + (6_400_000).to_bytes(4, "little")
        + bytes(6_400_000)
    )
    clip = open_clip(b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WAVE" + body)
    assert clip is not None
    assert clip.ready
    assert len(routed(clip, Settings())[1][0].wav) == 44 + 6 * 32_000


def test_compressed_file_is_routed_by_decoded_length(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp3"
    soundfile.write(path, voice(9.0), 16_000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    clip = open_clip(path)
    assert clip is not None
    route, _ = routed(clip, Settings())
    assert route.padded
    assert route.duration < 4.0


@pytest.mark.parametrize(
    ("duration", "settings", "calls"),
    [
        (3.0, {}, [(3.0, 5.0)]),
        (3.0, {"short_audio": "repeat"}, [(3.0, 6.0)]),
        (3.0, {"short_audio": "skip"}, []),
        (6.0, {}, [(6.0, 6.0)]),
        (60.0, {}, [(60.0, 60.0)]),
        (60.0, {"long_audio": "truncate"}, [(15.0, 15.0)]),
        (60.0, {"long_audio": "chunk"}, [(12.0, 12.0)] * 5),
        (15.5, {"long_audio": "chunk"}, [(7.75, 7.75)] * 2),
    ],
)
def test_number_of_calls_follows_from_length(
    duration: float, settings: dict[str, str], calls: list[tuple[float, float]]
) -> None:
    assert decide(duration, Settings(**settings)).calls == calls


@pytest.mark.parametrize("rate", [4_000, 7_999, 48_001, 88_200, 96_000, 192_000])
@pytest.mark.parametrize("seconds", [5, 15])
@pytest.mark.parametrize("extra", [-2, -1, 0, 1, 2, 3])
def test_duration_is_that_of_the_resampled_audio(rate: int, seconds: int, extra: int) -> None:
    pcm = np.ones(seconds * rate + extra, dtype=np.int16)
    clip = open_clip((pcm, rate))
    assert clip is not None
    assert clip.duration == clip.decoded().duration
    clip = open_clip(wav.encode(pcm, rate))
    assert clip is not None
    assert clip.duration == clip.decoded().duration


@pytest.mark.parametrize(
    ("seconds", "long_audio", "needed"),
    [(15.0, "chunk", False), (15.1, "chunk", True), (15.1, "truncate", True), (15.1, "asynch", False)],
)
def test_samples_are_needed_to_cut_and_to_truncate(seconds: float, long_audio: Any, needed: bool) -> None:
    assert needs_samples(clip_of(seconds, 8_000), Settings(long_audio=long_audio)) is needed


def test_a_long_compressed_file_is_decoded_only_if_its_samples_are_needed() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.tile(voice(10.0, 8_000), 7), 8_000, format="FLAC")
    clip = open_clip(file.getvalue())
    assert clip is not None
    assert measured(clip, Settings()) is clip
    assert isinstance(measured(clip, Settings(long_audio="chunk")).source, np.ndarray)


@pytest.mark.parametrize("short_audio", ["pad", "repeat", "skip", "error"])
def test_less_than_a_tenth_of_a_second_is_never_sent(short_audio: Any, make_engine: Any, sandbox: Sandbox) -> None:
    engine = make_engine(short_audio=short_audio)
    items = [np.zeros(1_599), (np.ones((2, 799), np.int16), 8_000), np.ones(16)]
    found = engine.predict_many(items, on_error="null")
    assert [prediction.error.code for prediction in found] == ["audio_too_short"] * 3
    error = found[0].error
    assert isinstance(error, errors.AudioTooShortError)
    assert (error.min_duration, error.actual_duration) == (LEAST_SECONDS, 1_599 / 16_000)
    assert error.message == "0.0999 s is too short for speech: at least 0.1 s is needed."
    assert error.remedy == "Drop it; if it is a waveform, check its sampling_rate."
    assert list(engine.estimate(items).unreadable) == [0, 1, 2]
    assert sandbox.calls == 0


def test_a_tenth_of_a_second_is_sent() -> None:
    assert decide(LEAST_SECONDS, Settings()).change == "pad"
