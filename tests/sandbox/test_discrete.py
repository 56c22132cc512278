from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests

from valence_integrations.sandbox import Sandbox
from valence_integrations.sandbox._acoustics import EMOTIONS, scores

PATHS = ["/emotionprediction", "/v1/discrete/emotion"]


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.mark.parametrize("path", PATHS)
def test_live_answer_on_both_urls(sandbox, post, voice, wav, path):
    samples = voice()
    answer = post(sandbox, wav(samples), path)
    assert answer.status_code == 200
    content = answer.json()
    assert sorted(content) == [
        "all_predictions",
        "confidence",
        "main_emotion",
        "model_type",
        "processing_time_ms",
        "request_id",
    ]
    decoded = (samples[8000:] * 32767).astype("<i2") / np.float32(32768)
    assert content["all_predictions"] == pytest.approx(scores(decoded, 16000, "4emotions"), abs=1e-5)
    assert content["main_emotion"] == max(content["all_predictions"], key=content["all_predictions"].get)
    assert content["confidence"] == content["all_predictions"][content["main_emotion"]]
    assert content["model_type"] == "sandbox-acoustic-rule (not an emotion model)"


@pytest.mark.parametrize("model", EMOTIONS)
def test_model_parameter(sandbox, post, clip, model):
    assert tuple(post(sandbox, clip, params={"model": model}).json()["all_predictions"]) == EMOTIONS[model]


def test_unknown_model(sandbox, post, clip):
    answer = post(sandbox, clip, params={"model": "9emotions"})
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_MODEL"
    assert "9emotions" in answer.json()["error"]


@pytest.mark.parametrize("twice", [False, True])
def test_json_body(sandbox, voice, twice):
    samples = voice(seconds=4.5, rate=44100)
    content = {"payload": [samples.tolist()]}
    answer = requests.post(
        sandbox.url + "/emotionprediction",
        json=json.dumps(content) if twice else content,
        headers={"x-api-key": sandbox.api_key},
        timeout=10,
    )
    assert answer.status_code == 200
    assert answer.json()["all_predictions"] == scores(samples.astype(np.float32), 44100, "4emotions")
    assert sandbox.requests[-1].duration == 4.5


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"{", "INVALID_REQUEST", "JSON"),
        (b"[]", "INVALID_REQUEST", "payload"),
        (b'{"payload": 3}', "INVALID_REQUEST", "list"),
        (b'{"payload": [1.0, 2.0]}', "INVALID_REQUEST", "list"),
        (b'{"payload": [["a"]]}', "INVALID_REQUEST", "finite"),
        (b'{"payload": [[1.0], [2.0]]}', "INVALID_REQUEST", "one list"),
        (b'{"payload": [[1.0, NaN]]}', "INVALID_REQUEST", "finite"),
        (b'"{"', "INVALID_REQUEST", "JSON"),
        (json.dumps({"payload": [[0.0] * 198449]}).encode(), "AUDIO_TOO_SHORT", "4.5"),
        (json.dumps({"payload": [[0.0] * 661501]}).encode(), "AUDIO_TOO_LONG", "15"),
    ],
)
def test_invalid_json_body(sandbox, body, code, message):
    headers = {"x-api-key": sandbox.api_key, "content-type": "application/json"}
    answer = requests.post(sandbox.url + "/emotionprediction", data=body, headers=headers, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == code
    assert message in answer.json()["error"]


@pytest.mark.parametrize("key", [None, "", "wrong", "sandbox-key2"])
@pytest.mark.parametrize("path", PATHS)
def test_missing_or_wrong_key_is_unauthorized(sandbox, post, clip, key, path):
    answer = post(sandbox, clip, path, headers={} if key is None else {"x-api-key": key})
    assert answer.status_code == 401
    assert answer.json()["error_code"] == "UNAUTHORIZED"
    assert "key" in answer.json()["error"]


@pytest.mark.parametrize(
    ("frames", "status", "reported"),
    [(48_000, 400, 2.5), (79_999, 400, 4.5), (80_000, 200, None), (240_000, 200, None), (4_000, 400, 0.0)],
)
def test_reported_duration_excludes_skipped_half_second(sandbox, post, wav, frames, status, reported):
    answer = post(sandbox, wav(np.zeros(frames)))
    assert answer.status_code == status
    if reported is not None:
        content = answer.json()
        assert content["error_code"] == "AUDIO_TOO_SHORT"
        assert content["min_duration_seconds"] == 4.5
        assert content["actual_duration_seconds"] == pytest.approx(reported, abs=1e-3)
        assert "error" in content


def test_too_long_file(sandbox, post, wav):
    content = post(sandbox, wav(np.zeros(240_001 + 160))).json()
    assert content["error_code"] == "AUDIO_TOO_LONG"
    assert content["max_duration_seconds"] == 15.0
    assert content["actual_duration_seconds"] == 15.01
    assert post(sandbox, wav(np.zeros(240_001))).status_code == 400


def test_first_half_second_is_ignored(sandbox, post, voice, wav):
    samples = voice()
    noisy = samples.copy()
    noisy[:8000] = 0.9
    first, second = (post(sandbox, wav(s)).json()["all_predictions"] for s in (samples, noisy))
    assert first == second


def test_too_large_file(sandbox, post, wav):
    whole = wav(np.zeros(15 * 192_000), rate=192_000)
    just = whole + bytes(6 * 1024**2 - len(whole))
    assert post(sandbox, just).status_code == 200
    content = post(sandbox, just + b"\0").json()
    assert content["error_code"] == "FILE_TOO_LARGE"
    assert content["max_file_size_bytes"] == 6 * 1024**2
    assert content["actual_file_size_bytes"] == 6 * 1024**2 + 1
    assert post(sandbox, bytes(9 * 1024**2)).json()["error_code"] == "FILE_TOO_LARGE"


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"RIFFnonsense", "INVALID_AUDIO"), (b"", "INVALID_AUDIO"), (b"ID3" + bytes(999), "INVALID_AUDIO")],
)
def test_not_audio(sandbox, post, data, code):
    answer = post(sandbox, data)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == code


def test_stereo_and_low_sampling_rates_are_refused(sandbox, post, wav):
    assert post(sandbox, wav(np.zeros(160_000), channels=2)).json()["error_code"] == "UNSUPPORTED_AUDIO"
    assert post(sandbox, wav(np.zeros(48_000), rate=7350)).json()["error_code"] == "UNSUPPORTED_AUDIO"
    assert post(sandbox, wav(np.zeros(48_000), rate=8000)).status_code == 200


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"files": {"audio": b"x"}}, "MISSING_FILE"),
        ({"files": {"other": b"x"}, "data": {"file": "text"}}, "MISSING_FILE"),
        ({"data": b"x"}, "INVALID_REQUEST"),
        ({"data": b"x", "headers": {"content-type": "multipart/form-data"}}, "INVALID_REQUEST"),
    ],
)
def test_invalid_request_bodies(sandbox, request_, code):
    headers = {"x-api-key": sandbox.api_key} | request_.pop("headers", {})
    answer = requests.post(sandbox.url + "/emotionprediction", headers=headers, timeout=5, **request_)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == code


def test_chunked_body(sandbox, clip):
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + clip + b"\r\n--b--\r\n"
    headers = {"x-api-key": sandbox.api_key, "content-type": "multipart/form-data; boundary=b"}
    chunks = (body[i : i + 9999] for i in range(0, len(body), 9999))
    assert requests.post(sandbox.url + "/emotionprediction", data=chunks, headers=headers, timeout=5).status_code == 200


@pytest.mark.parametrize(
    ("answers", "keys"),
    [
        ("readme", ["emotions", "main_emotion"]),
        ("dominant", ["all_predictions", "confidence", "dominant_emotion"]),
        ("list", ["confidence", "emotions", "main_emotion"]),
    ],
)
def test_other_answer_shapes(sandbox, post, clip, answers, keys):
    live = post(sandbox, clip).json()
    with Sandbox(answers=answers) as other:
        content = post(other, clip).json()
    assert sorted(content) == keys
    main = content.get("main_emotion") or content["dominant_emotion"]
    assert main == live["main_emotion"]
    listed = content.get("emotions") or content["all_predictions"]
    if answers == "list":
        listed = {entry["emotion"]: entry["confidence"] for entry in listed}
    assert listed == live["all_predictions"]


def test_concurrent_requests_get_their_own_answers(sandbox, post, voice, wav):
    clips = [wav(voice(pitch=90 + 8 * i, level=0.02 + 0.01 * i)) for i in range(16)]
    alone = [post(sandbox, data).json()["all_predictions"] for data in clips]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: post(sandbox, data).json()["all_predictions"], reversed(clips)))
    assert together[::-1] == alone
    assert len({tuple(found.values()) for found in alone}) == 16


def test_unknown_path_returns_json_error(sandbox):
    answer = requests.get(sandbox.url + "/nowhere", timeout=5)
    assert answer.status_code == 404
    assert answer.json()["error_code"] == "NOT_FOUND"
    assert requests.get(sandbox.url + "/emotionprediction", timeout=5).status_code == 405


def test_request_record(sandbox, post, clip):
    sandbox.reset()
    post(sandbox, clip)
    (record,) = sandbox.requests
    assert (record.method, record.path, record.status) == ("POST", "/emotionprediction", 200)
    assert record.sha256 == hashlib.sha256(clip).hexdigest()
    assert record.duration == 6.0
    assert record.content_type.startswith("multipart/form-data")
    assert record.has_key
    assert record.fault is None
    assert (sandbox.calls, sandbox.answered, sandbox.connections, sandbox.max_in_flight) == (1, 1, 1, 1)
    assert len(clip) < sandbox.bytes_received < len(clip) + 1000
    post(sandbox, b"", headers={})
    assert (sandbox.calls, sandbox.answered) == (2, 1)
    assert not sandbox.requests[-1].has_key
    assert sandbox.requests[-1].status == 401
    sandbox.reset()
    assert (sandbox.calls, sandbox.bytes_received, sandbox.requests) == (0, 0, [])
