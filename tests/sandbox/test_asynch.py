from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest
import requests

from valence_integrations.sandbox import Faults, Policy, Sandbox
from valence_integrations.sandbox._acoustics import scores

BASE = "/v1/asynch/emotion"


class Client:
    """The HTTP calls of the SDK, as separate methods."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.headers = {"x-api-key": sandbox.api_key}

    def initiate(self, parts=1, **options) -> requests.Response:
        params = {"file_name": "a.wav", "part_count": parts} | options
        return requests.post(
            f"{self.sandbox.url}{BASE}/upload/initiate", params=params, headers=self.headers, timeout=5
        )

    def complete(self, **content) -> requests.Response:
        return requests.post(f"{self.sandbox.url}{BASE}/upload/complete", json=content, headers=self.headers, timeout=5)

    def status(self, request_id, **params) -> requests.Response:
        return requests.get(
            f"{self.sandbox.url}{BASE}/status/{request_id}", params=params, headers=self.headers, timeout=5
        )

    def upload(self, data: bytes, parts=1) -> str:
        opened = self.initiate(parts).json()
        size = -(-len(data) // parts)
        etags = []
        for target in opened["presigned_urls"]:
            number = target["part_number"]
            answer = requests.put(target["url"], data=data[(number - 1) * size : number * size], timeout=5)
            etags.append({"ETag": answer.headers["ETag"], "PartNumber": number})
        answer = self.complete(request_id=opened["request_id"], upload_id=opened["upload_id"], parts=etags)
        assert answer.status_code == 200, answer.text
        return opened["request_id"]

    def wait(self, request_id, **params) -> dict:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            content = self.status(request_id, **params).json()
            if content["status"] in {"completed", "failed"}:
                return content
            time.sleep(0.02)
        raise TimeoutError


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(asynch_pickup=0.0, asynch_seconds_per_minute=0.0) as running:
        yield running


@pytest.fixture
def client(sandbox):
    sandbox.reset()
    return Client(sandbox)


def test_timeline_has_five_second_segments(client, voice, wav):
    samples = np.concatenate([voice(5, pitch=220, level=0.2), voice(5, pitch=80, level=0.01), voice(2.5)])
    request_id = client.upload(wav(samples), parts=3)
    content = client.wait(request_id, comprehensive_output="true")
    assert content["request_id"] == request_id
    assert content["status"] == "completed"
    times = [(piece["start_time"], piece["timestamp"], piece["end_time"]) for piece in content["emotions"]]
    assert times == [(0.0, 2.5, 5.0), (5.0, 7.5, 10.0), (10.0, 11.25, 12.5)]
    decoded = (samples * 32767).astype("<i2") / np.float32(32768)
    for piece in content["emotions"]:
        part = decoded[round(piece["start_time"] * 16000) : round(piece["end_time"] * 16000)]
        assert piece["all_predictions"] == pytest.approx(scores(part, 16000, "4emotions"), abs=1e-5)
        assert piece["emotion"] == max(piece["all_predictions"], key=piece["all_predictions"].get)
        assert piece["confidence"] == piece["all_predictions"][piece["emotion"]]
    assert len({piece["emotion"] for piece in content["emotions"]}) > 1


def test_segment_scores_require_comprehensive_output(client, clip):
    request_id = client.upload(clip)
    plain = client.wait(request_id)["emotions"]
    assert all(sorted(piece) == ["confidence", "emotion", "end_time", "start_time", "timestamp"] for piece in plain)


def test_older_timeline_shape(voice, wav):
    with Sandbox(timeline="t", asynch_pickup=0) as sandbox:
        client = Client(sandbox)
        content = client.wait(client.upload(wav(voice(67))))
    assert [piece["t"] for piece in content["emotions"]][:2] == ["00:00", "00:05"]
    assert content["emotions"][-1]["t"] == "01:05"
    assert sorted(content["emotions"][0]) == ["confidence", "emotion", "t"]


def test_states_advance_with_time(voice, wav):
    with Sandbox(asynch_pickup=0.3, asynch_seconds_per_minute=1.0) as sandbox:
        client = Client(sandbox)
        opened = client.initiate().json()
        assert client.status(opened["request_id"]).json() == {"request_id": opened["request_id"], "status": "initiated"}
        begun = time.monotonic()
        request_id = client.upload(wav(voice(30)))
        seen = {}
        while "completed" not in seen:
            seen.setdefault(client.status(request_id).json()["status"], time.monotonic() - begun)
            time.sleep(0.02)
    assert list(seen) == ["upload_completed", "processing", "completed"]
    assert 0.28 < seen["processing"] < 5, "well under the 10 s of the service"
    assert 0.78 < seen["completed"] < 10


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda wav: b"not a wav", "INVALID_AUDIO"),
        (lambda wav: wav(np.zeros(79_999)), "AUDIO_TOO_SHORT"),
        (lambda wav: wav(np.zeros(320_000), channels=2), "UNSUPPORTED_AUDIO"),
    ],
)
def test_upload_of_invalid_audio_fails(client, wav, make, code):
    content = client.wait(client.upload(make(wav)))
    assert content["status"] == "failed"
    assert content["error_code"] == code
    assert "error" in content
    assert "emotions" not in content


def test_minimum_duration_is_five_seconds(client, wav):
    assert len(client.wait(client.upload(wav(np.zeros(80_000))))["emotions"]) == 1


def test_storage_is_another_host_and_needs_no_key(client, clip):
    target = client.initiate().json()["presigned_urls"][0]
    assert target["part_number"] == 1
    assert target["url"].startswith("http://localhost:")
    assert client.sandbox.url.startswith("http://127.0.0.1:")
    for url in (target["url"], target["url"].replace("localhost", "127.0.0.1")):
        answer = requests.put(url, data=clip, timeout=5)
        assert answer.status_code == 200
        assert answer.headers["etag"] == f'"{hashlib.md5(clip).hexdigest()}"'
    assert client.sandbox.requests[-1].sha256 == hashlib.sha256(clip).hexdigest()
    assert client.sandbox.key_leaks == 0


def test_key_sent_to_storage_is_refused_and_recorded(client, clip):
    url = client.initiate().json()["presigned_urls"][0]["url"]
    answer = requests.put(url, data=clip, headers={"x-api-key": "sandbox-key"}, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "KEY_LEAK"
    assert client.sandbox.key_leaks == 1


def test_invalid_parts_and_signatures_are_refused(client):
    url = client.initiate().json()["presigned_urls"][0]["url"]
    assert requests.put(url + "0", data=b"", timeout=5).status_code == 403
    assert requests.put(url.replace("/1?", "/2?"), data=b"", timeout=5).status_code == 404
    assert requests.put(url.replace("/storage/", "/storage/0"), data=b"", timeout=5).status_code == 404


def test_complete_checks_parts_and_etags(client, clip):
    opened = client.initiate(parts=2).json()
    ids = {"request_id": opened["request_id"], "upload_id": opened["upload_id"]}
    parts = []
    for target in opened["presigned_urls"]:
        etag = requests.put(target["url"], data=clip, timeout=5).headers["etag"]
        parts.append({"ETag": etag, "PartNumber": target["part_number"]})
    wrong = [{"ETag": '"0"', "PartNumber": 1}, parts[1]]
    for bad in (None, [], parts[:1], parts[::-1], wrong, ["x"]):
        answer = client.complete(**ids, parts=bad)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PART")
    assert client.complete(**ids | {"upload_id": "x"}, parts=parts).status_code == 404
    assert client.complete(**ids | {"request_id": "x"}, parts=parts).status_code == 404
    assert client.complete(**ids, parts=parts).json() == {"request_id": ids["request_id"], "status": "upload_completed"}
    assert client.complete(**ids, parts=parts).status_code == 400
    assert requests.put(opened["presigned_urls"][0]["url"], data=clip, timeout=5).status_code == 404


def test_complete_refuses_missing_part(client):
    opened = client.initiate().json()
    parts = [{"ETag": f'"{hashlib.md5(b"").hexdigest()}"', "PartNumber": 1}]
    answer = client.complete(request_id=opened["request_id"], upload_id=opened["upload_id"], parts=parts)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "params", [{"part_count": 0}, {"part_count": 10_001}, {"part_count": "x"}, {"file_name": None}]
)
def test_initiate_refuses_invalid_parameters(client, params):
    answer = client.initiate(**params)
    assert answer.status_code == 400
    assert next(iter(params)) in answer.json()["error"]


def test_unknown_request_id_and_missing_key(client):
    assert client.status("none").status_code == 404
    client.headers = {}
    for answer in (client.status("none"), client.initiate(), client.complete()):
        assert answer.status_code == 401


def test_complete_requires_json_object(client):
    for body in (b"", b"{", b"[]"):
        answer = requests.post(
            f"{client.sandbox.url}{BASE}/upload/complete", data=body, headers=client.headers, timeout=5
        )
        assert answer.status_code == 400


def test_counters(client, clip):
    request_id = client.upload(clip, parts=2)
    client.wait(request_id)
    counts = [record.method for record in client.sandbox.requests]
    assert client.sandbox.uploads == 1
    assert client.sandbox.polls == counts.count("GET") > 0
    assert counts.count("PUT") == 2
    assert client.sandbox.calls == 0


def test_policy_limits_size_and_duration(voice, wav):
    with Sandbox(policy=Policy(max_audio_size_mb=0.25, max_audio_duration_seconds=7), asynch_pickup=0) as sandbox:
        client = Client(sandbox)
        with pytest.raises(AssertionError, match="FILE_TOO_LARGE"):
            client.upload(wav(np.zeros(140_000)))
        content = client.wait(client.upload(wav(np.zeros(113_000))))
        assert (content["status"], content["error_code"]) == ("failed", "AUDIO_TOO_LONG")
        assert content["max_duration_seconds"] == 7
        assert client.wait(client.upload(wav(np.zeros(112_000))))["status"] == "completed"


def test_faults_apply_to_asynch_calls_only_if_enabled(clip):
    with Sandbox(faults=Faults(script=["503"], asynch=True)) as sandbox:
        assert [Client(sandbox).initiate().status_code for _ in range(2)] == [503, 200]
    with Sandbox(faults=Faults(script=["503"])) as sandbox:
        assert Client(sandbox).initiate().status_code == 200
    with Sandbox(faults=Faults(script=["ok", "500", "drop", "ok", "502", "429"], asynch=True)) as sandbox:
        client = Client(sandbox)
        opened = client.initiate().json()
        url = opened["presigned_urls"][0]["url"]
        assert requests.put(url, data=clip, timeout=5).status_code == 500
        with pytest.raises(requests.ConnectionError):
            requests.put(url, data=clip, timeout=5)
        etag = requests.put(url, data=clip, timeout=5).headers["etag"]
        ids = {"request_id": opened["request_id"], "upload_id": opened["upload_id"]}
        parts = [{"ETag": etag, "PartNumber": 1}]
        assert client.complete(**ids, parts=parts).status_code == 502
        assert client.complete(**ids, parts=parts).status_code == 429
        assert client.complete(**ids, parts=parts).status_code == 200


def test_uploaded_data_is_freed_after_processing(client, voice, wav):
    import gc

    data = wav(voice(60))
    client.wait(client.upload(data))
    gc.collect()
    dicts = [found for found in gc.get_objects() if type(found) is dict]
    values = [value for found in dicts for value in list(found.values()) if type(value) is bytes]
    assert not [value for value in values if value == data and value is not data]
