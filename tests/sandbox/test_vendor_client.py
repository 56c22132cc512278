"""Run the vendor's own client, unchanged, against the sandbox."""

from __future__ import annotations

import logging
import time

import pytest

from valence_integrations.sandbox import Policy, Sandbox
from valence_integrations.sandbox._acoustics import EMOTIONS


@pytest.fixture(scope="module")
def valenceai():
    """Import the SDK, and restore the root logger, which the SDK reconfigures."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    import valenceai

    root.handlers[:], root.level = handlers, level
    return valenceai


@pytest.fixture
def sandbox():
    with Sandbox(asynch_pickup=0.05, asynch_seconds_per_minute=0.1) as running:
        yield running


@pytest.fixture
def client(valenceai, sandbox):
    return valenceai.ValenceClient(
        api_key=sandbox.api_key,
        base_url=sandbox.url,
        show_progress=False,
        part_size=100_000,
        comprehensive_output=True,
    )


@pytest.fixture
def path(tmp_path, voice, wav):
    import numpy as np

    samples = np.concatenate([voice(10, pitch=220, level=0.3, tilt=-2), voice(7, pitch=80, level=0.005, tilt=-10)])
    path = tmp_path / "call.wav"
    path.write_bytes(wav(samples))
    return str(path)


def test_asynch(client, sandbox, path, monkeypatch):
    request_id = client.asynch.upload(path)
    result = client.asynch.emotions(request_id, max_attempts=100, interval_seconds=0.05)
    assert result["status"] == "completed"
    monkeypatch.setattr("valenceai.client.time.sleep", lambda _: None)
    timeline = client.asynch.get_timeline(request_id)
    assert timeline == result["emotions"]
    assert [piece["end_time"] for piece in timeline] == [5.0, 10.0, 15.0, 17.0]
    assert all(tuple(piece["all_predictions"]) == EMOTIONS["4emotions"] for piece in timeline)
    assert client.asynch.get_emotion_at_time(request_id, 12.0) == timeline[2]
    assert client.asynch.get_emotion_at_time(request_id, 17.0) is None
    counts = client.asynch.emotion_counts(request_id)
    assert counts == {"angry": 2, "sad": 2}
    assert client.asynch.get_dominant_emotion(request_id) == "angry"
    assert sandbox.uploads == 1
    assert sandbox.key_leaks == 0
    assert sum(record.method == "PUT" for record in sandbox.requests) == 6


def test_failed_asynch_job(valenceai, client, tmp_path):
    path = tmp_path / "no.wav"
    path.write_bytes(b"no audio")
    request_id = client.asynch.upload(str(path))
    with pytest.raises(valenceai.PredictionError, match="failed during processing"):
        client.asynch.emotions(request_id, max_attempts=100, interval_seconds=0.05)


def test_unknown_asynch_job(valenceai, client):
    with pytest.raises(valenceai.PredictionError, match="after retries"):
        client.asynch.emotions("unknown", max_attempts=1, interval_seconds=0)


def test_upload_checks_policy_size_limit(valenceai, path):
    with Sandbox(policy=Policy(max_audio_size_mb=0.1)) as sandbox:
        client = valenceai.ValenceClient(api_key=sandbox.api_key, base_url=sandbox.url, show_progress=False)
        with pytest.raises(valenceai.FileSizeLimitExceededError):
            client.asynch.upload(path)
        assert sandbox.uploads == 0


@pytest.mark.parametrize("model", EMOTIONS)
def test_discrete_by_file(client, sandbox, tmp_path, clip, model):
    path = tmp_path / "clip.wav"
    path.write_bytes(clip)
    answer = client.discrete.emotions(file_path=str(path), model=model)
    assert tuple(answer["all_predictions"]) == EMOTIONS[model]
    assert sandbox.requests[-1].path == "/v1/discrete/emotion"


def test_discrete_by_array(client, sandbox, voice):
    answer = client.discrete.emotions(audio_array=voice(4.5, rate=44100).tolist())
    assert answer["main_emotion"] in EMOTIONS["4emotions"]
    assert sandbox.requests[-1].content_type == "application/json"


def test_discrete_errors(valenceai, client, tmp_path, wav):
    import numpy as np

    path = tmp_path / "clip.wav"
    path.write_bytes(wav(np.zeros(48_000)))
    with pytest.raises(valenceai.AudioTooShortError) as short:
        client.discrete.emotions(file_path=str(path))
    assert (short.value.min_duration, short.value.actual_duration) == (4.5, 2.5)
    path.write_bytes(wav(np.zeros(320_000), rate=16000))
    with pytest.raises(valenceai.AudioTooLongError) as long:
        client.discrete.emotions(file_path=str(path))
    assert (long.value.max_duration, long.value.actual_duration) == (15.0, 20.0)


def test_rate_limit(client):
    status = client.rate_limit.get_status()
    assert status["limits"]["max_concurrent_requests"] == 5
    assert status["current_usage"]["requests_per_day"] == 0
    health = client.rate_limit.get_health()
    assert health["status"] == "healthy"
    assert health["timestamp"] == pytest.approx(time.time(), abs=5)
