from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
import requests

from valence_integrations.sandbox import Faults, Sandbox
from valence_integrations.sandbox._faults import SHARES

STATUSES = ["400", "401", "404", "418", "429", "500", "501", "502", "503", "504", "599"]


def test_script_sets_statuses_in_order(post, clip):
    with Sandbox(faults=Faults(script=STATUSES, retry_after=7)) as sandbox:
        answers = [post(sandbox, clip) for _ in range(len(STATUSES) + 2)]
    assert [str(answer.status_code) for answer in answers] == [*STATUSES, "200", "200"]
    assert [answer.headers.get("retry-after") for answer in answers] == [
        "7" if status in {"429", "503"} else None for status in [*STATUSES, "200", "200"]
    ]
    assert all("error_code" in answer.json() for answer in answers[:-2])
    assert [record.fault for record in sandbox.requests] == [*STATUSES, None, None]
    assert (sandbox.calls, sandbox.answered) == (len(STATUSES) + 2, 2)


@pytest.mark.parametrize(("kind", "message"), [("drop", "RemoteDisconnected"), ("reset", "Connection reset by peer")])
def test_dropped_connections(post, clip, kind, message):
    with Sandbox(faults=Faults(script=[kind])) as sandbox:
        with pytest.raises(requests.ConnectionError, match=message):
            post(sandbox, clip)
        assert post(sandbox, clip).status_code == 200
        dropped, whole = sandbox.requests
    assert (dropped.status, dropped.fault) == (None, kind)
    assert dropped.sha256 == whole.sha256
    assert (sandbox.calls, sandbox.answered) == (2, 1)


def test_truncated_json_with_matching_content_length(post, clip):
    with Sandbox(faults=Faults(script=["truncate"])) as sandbox:
        answer = post(sandbox, clip)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.content.startswith(b'{"main_emotion"')
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


def test_body_shorter_than_content_length(post, clip):
    with Sandbox(faults=Faults(script=["cut"])) as sandbox, pytest.raises(requests.exceptions.ChunkedEncodingError):
        post(sandbox, clip)


def test_hanging_request_times_out(post, clip):
    with Sandbox(faults=Faults(script=["hang"])) as sandbox:
        with pytest.raises(requests.ReadTimeout):
            post(sandbox, clip, timeout=0.3)
        assert post(sandbox, clip).status_code == 200


def test_stalled_body_times_out(post, clip):
    with Sandbox(faults=Faults(script=["stall"])) as sandbox:
        answer = post(sandbox, clip, timeout=0.3, stream=True)
        assert answer.status_code == 200
        with pytest.raises(requests.ConnectionError, match="timed out"):
            answer.json()


@pytest.mark.parametrize("kind", ["hang", "stall"])
def test_stop_ends_hanging_requests(post, clip, kind):
    errors = []

    def call(sandbox):
        try:
            post(sandbox, clip, timeout=20)
        except requests.RequestException as error:
            errors.append(error)

    with Sandbox(faults=Faults(hang=1.0)) as sandbox:
        threads = [threading.Thread(target=call, args=(sandbox,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(sandbox.requests) < 4 or any(record.sha256 is None for record in sandbox.requests):
            time.sleep(0.01)
        time.sleep(0.1)
        started = time.monotonic()
    assert time.monotonic() - started < 1
    for thread in threads:
        thread.join(5)
    assert len(errors) == 4


def test_slow_answer_is_complete(post, clip):
    with Sandbox(faults=Faults(script=["slow"], slow_seconds=0.4)) as sandbox:
        started = time.monotonic()
        answer = post(sandbox, clip, stream=True)
        assert time.monotonic() - started < 0.3
        slow = answer.json()
        assert 0.4 <= time.monotonic() - started < 2
        assert slow["all_predictions"] == post(sandbox, clip).json()["all_predictions"]


@pytest.mark.parametrize("follow", [False, True])
def test_redirect_to_another_host(post, clip, follow):
    with Sandbox(faults=Faults(script=["redirect"])) as sandbox:
        answer = post(sandbox, clip, allow_redirects=follow)
        if follow:
            assert answer.json()["error_code"] == "REDIRECTED"
            assert sandbox.key_leaks == 1
        else:
            assert answer.status_code == 307
            assert answer.headers["location"].startswith("http://localhost:")
            assert sandbox.key_leaks == 0


def test_html_page_instead_of_json(post, clip):
    with Sandbox(faults=Faults(script=["html"])) as sandbox:
        answer = post(sandbox, clip)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "<!doctype html>" in answer.text
    assert sandbox.answered == 0


def test_refused_requests_get_no_fault(post, clip):
    with Sandbox(faults=Faults(script=["500"])) as sandbox:
        assert post(sandbox, clip, headers={}).status_code == 401
        assert [post(sandbox, clip).status_code for _ in range(2)] == [500, 200]


def test_invalid_audio_is_refused_despite_slow_fault(post):
    with Sandbox(faults=Faults(script=["slow"], slow_seconds=0.1)) as sandbox:
        assert post(sandbox, b"not audio").json()["error_code"] == "INVALID_AUDIO"


def test_shares_are_deterministic_and_match_settings():
    faults = Faults(server_error=0.1, unavailable=0.1, drop=0.1, truncate=0.1, hang=0.1, slow=0.1, seed=3)
    kinds = [faults.kind(number) for number in range(3000)]
    assert kinds == [faults.kind(number) for number in range(3000)]
    assert kinds != [Faults(**dict.fromkeys(SHARES, 0.1), seed=4).kind(number) for number in range(3000)]
    counts = Counter(kinds)
    assert counts["ok"] == pytest.approx(1200, abs=120)
    for names in (["500", "502", "504"], ["503"], ["drop", "reset"], ["truncate", "cut"], ["hang", "stall"], ["slow"]):
        assert sum(counts[name] for name in names) == pytest.approx(300, abs=60)
        assert all(counts[name] for name in names)


def test_same_seed_gives_same_faults(post, clip):
    faults = Faults(server_error=0.3, unavailable=0.2, seed=1)
    runs = []
    for _ in range(2):
        with Sandbox(faults=faults) as sandbox:
            runs.append([post(sandbox, clip).status_code for _ in range(15)])
    assert runs[0] == runs[1]
    assert runs[0] == [int(kind) if (kind := faults.kind(number)) != "ok" else 200 for number in range(15)]
    assert len(set(runs[0])) > 2


@pytest.mark.parametrize(
    "values", [{"drop": -0.1}, {"drop": 0.6, "hang": 0.6}, {"script": ["nonsense"]}, {"script": ["200"]}]
)
def test_invalid_faults(values):
    with pytest.raises(ValueError, match=r"faults|unknown fault"):
        Faults(**values)


def test_faults_compare_and_hash_by_value():
    assert Faults(script=["500"]) == Faults(script=("500",))
    assert len({Faults(script=["500"]), Faults(script=["500"]), Faults()}) == 2


def test_script_must_not_be_a_string():
    with pytest.raises(TypeError, match="sequence"):
        Faults(script="500")
