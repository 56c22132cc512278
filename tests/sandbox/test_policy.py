from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests

from valence_integrations.sandbox import Policy, Sandbox
from valence_integrations.sandbox._errors import ApiError
from valence_integrations.sandbox._policy import Meter

STANDARD = {
    "requests_per_second": 10,
    "requests_per_minute": 100,
    "requests_per_hour": 1000,
    "requests_per_day": 10000,
    "burst_limit": 20,
    "max_audio_size_mb": 50,
    "max_audio_duration_seconds": 300,
    "max_concurrent_requests": 5,
}


def status_of(sandbox: Sandbox) -> dict:
    headers = {"x-api-key": sandbox.api_key}
    return requests.get(sandbox.url + "/v1/rate-limit/status", headers=headers, timeout=5).json()


def admitted(meter: Meter, times) -> list[float]:
    passed = []
    for now in times:
        try:
            meter.admit(now, 0)
        except ApiError:
            continue
        else:
            meter.release()
            passed.append(now)
    return passed


@pytest.mark.parametrize(
    ("name", "window"),
    [
        ("burst_limit", 0.1),
        ("requests_per_second", 1),
        ("requests_per_minute", 60),
        ("requests_per_hour", 3600),
        ("requests_per_day", 86400),
    ],
)
def test_windows_are_exact(name, window):
    times = np.cumsum(np.random.default_rng(0).exponential(window / 40, 1000))
    passed = admitted(Meter(Policy(**{name: 10})), times)
    for now in times:
        inside = [time for time in passed if now - window < time <= now]
        assert len(inside) <= 10
        assert (len(inside) == 10) or now in passed
    assert len(passed) == pytest.approx(times[-1] / window * 10, rel=0.1)


def test_request_is_admitted_exactly_when_window_has_passed():
    meter = Meter(Policy(requests_per_second=2))
    assert admitted(meter, [0.0, 0.5, 0.999, 1.0, 1.4999, 1.5]) == [0.0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        (Policy(requests_per_second=1), 1),
        (Policy(requests_per_minute=1), 60),
        (Policy(requests_per_hour=1, requests_per_second=1), 3600),
        (Policy(burst_limit=1), 1),
        (Policy(max_concurrent_requests=1), 1),
    ],
)
def test_retry_after_header(policy, seconds):
    meter = Meter(policy)
    meter.admit(100.0, 0)
    with pytest.raises(ApiError) as error:
        meter.admit(100.05, 0)
    assert error.value.status == 429
    assert error.value.headers == {"Retry-After": str(seconds)}


def test_usage_per_window():
    meter = Meter(Policy(requests_per_second=2))
    for now in (0.0, 4000.0, 4070.0, 4070.1):
        meter.admit(now, 100)
    with pytest.raises(ApiError):
        meter.admit(4070.2, 100)
    usage = meter.status(4070.3)["current_usage"]
    assert usage == {
        "requests_per_second": 2,
        "rejected_per_second": 1,
        "total_audio_size_bytes_per_second": 200,
        "requests_per_minute": 2,
        "rejected_per_minute": 1,
        "total_audio_size_bytes_per_minute": 200,
        "requests_per_hour": 3,
        "rejected_per_hour": 1,
        "total_audio_size_bytes_per_hour": 300,
        "requests_per_day": 4,
        "rejected_per_day": 1,
        "total_audio_size_bytes_per_day": 400,
    }
    meter.admit(100_000.0, 100)
    assert meter.status(100_000.0)["current_usage"]["requests_per_day"] == 1


def test_no_policy_enforces_nothing_and_shows_high_limits(post, clip):
    with Sandbox() as sandbox:
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: post(sandbox, clip), range(30)))
        assert {answer.status_code for answer in answers} == {200}
        content = status_of(sandbox)
    assert content["policy_name"] == "sandbox_unlimited"
    assert content["limits"].keys() == STANDARD.keys()
    assert content["limits"]["requests_per_minute"] == 60_000_000
    assert content["current_usage"]["requests_per_minute"] == 30
    assert content["current_usage"]["total_audio_size_bytes_per_minute"] > 30 * len(clip)


def test_policy_can_be_changed_while_running(post, clip):
    with Sandbox(policy=Policy(requests_per_hour=5)) as sandbox:
        assert [post(sandbox, clip).status_code for _ in range(3)] == [200] * 3
        sandbox.change_policy(Policy(requests_per_hour=3))
        assert post(sandbox, clip).status_code == 429
        assert status_of(sandbox)["limits"] == {"requests_per_hour": 3}
        sandbox.change_policy(None)
        assert post(sandbox, clip).status_code == 200


def test_standard_policy_is_enforced(post, clip):
    with Sandbox(policy=Policy.standard()) as sandbox:
        answers = [post(sandbox, clip) for _ in range(14)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) >= 14 - 10 * (1 + int(sandbox.requests[-1].time - sandbox.requests[0].time))
        for answer in refused:
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error_code"] == "RATE_LIMIT_EXCEEDED"
        usage = status_of(sandbox)["current_usage"]
    assert usage["requests_per_minute"] == 14 - len(refused)
    assert usage["rejected_per_minute"] == len(refused)


def test_every_window_stays_within_limit(post, clip):
    with Sandbox(policy=Policy(requests_per_second=10)) as sandbox, ThreadPoolExecutor(4) as pool:
        until = time.monotonic() + 2.2

        def hammer(_):
            while time.monotonic() < until:
                post(sandbox, clip)
                time.sleep(0.01)

        list(pool.map(hammer, range(4)))
        times = [record.time for record in sandbox.requests if record.status == 200]
    assert 20 <= len(times) <= 30
    assert min(later - earlier for earlier, later in zip(times, times[10:], strict=False)) >= 1.0


def test_concurrency_limit(post, clip):
    with Sandbox(latency=0.3, policy=Policy(max_concurrent_requests=3)) as sandbox:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: post(sandbox, clip), range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 5
        with requests.Session() as session, ThreadPoolExecutor(3) as pool:
            session.headers["x-api-key"] = sandbox.api_key

            def three(_):
                files = {"file": clip}
                return [session.post(sandbox.url + "/emotionprediction", files=files, timeout=5) for _ in range(3)]

            answers = [answer for found in pool.map(three, range(3)) for answer in found]
        assert {answer.status_code for answer in answers} == {200}
        assert status_of(sandbox)["limits"] == {"max_concurrent_requests": 3}


def test_polls_and_status_are_not_counted(post, clip):
    with Sandbox(policy=Policy(requests_per_minute=1)) as sandbox:
        headers = {"x-api-key": sandbox.api_key}
        for _ in range(3):
            status_of(sandbox)
            poll = requests.get(sandbox.url + "/v1/asynch/emotion/status/none", headers=headers, timeout=5)
            assert poll.status_code == 404
        initiate = sandbox.url + "/v1/asynch/emotion/upload/initiate?file_name=a.wav&part_count=1"
        assert requests.post(initiate, headers=headers, timeout=5).status_code == 200
        assert requests.post(initiate, headers=headers, timeout=5).status_code == 429
        assert post(sandbox, clip).status_code == 429


def test_health_needs_no_key_and_status_does():
    with Sandbox() as sandbox:
        health = requests.get(sandbox.url + "/v1/rate-limit/health", timeout=5).json()
        assert health["status"] == "healthy"
        assert health["timestamp"] == pytest.approx(time.time(), abs=5)
        assert requests.get(sandbox.url + "/v1/rate-limit/status", timeout=5).status_code == 401


def test_empty_policy_enforces_and_shows_no_limits():
    with Sandbox(policy=Policy()) as sandbox:
        content = status_of(sandbox)
    assert content["policy_name"] == "sandbox_policy"
    assert content["limits"] == {}


def test_limits_must_be_positive():
    with pytest.raises(ValueError, match="requests_per_second must be positive"):
        Policy(requests_per_second=0)
