from __future__ import annotations

import hashlib
import json
import math
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import voice
from tests.service.peers import Peer, http
from valence_integrations import Settings, errors
from valence_integrations._audio import wav
from valence_integrations._service.discrete import DiscreteClient
from valence_integrations._service.refusals import _retry_after
from valence_integrations._service.transport import Transport
from valence_integrations.sandbox import Faults, Policy, Sandbox

WAV = wav.encode(np.rint(voice(6.0) * 30_000).astype(np.int16), 16_000)
SHORT = wav.encode(np.zeros(3 * 16_000, np.int16), 16_000)
LONG = wav.encode(np.zeros(20 * 8_000, np.int16), 8_000)
LARGE = wav.encode(np.zeros(7 * 2**20, np.int16), 48_000)


def client_for(sandbox: Sandbox, **settings: Any) -> DiscreteClient:
    made = Settings(**{"base_url": sandbox.url, "api_key": sandbox.api_key, **settings})
    return DiscreteClient(made, Transport(made, 4))


def predict(sandbox: Sandbox, audio: bytes = WAV, **settings: Any) -> dict[str, Any]:
    client = client_for(sandbox, **settings)
    return client.send(client.body(audio))


@pytest.mark.parametrize("path", ["/emotionprediction", "/v1/discrete/emotion"])
@pytest.mark.parametrize("model", ["4emotions", "7emotions"])
def test_multipart(sandbox: Sandbox, path: str, model: str) -> None:
    answer = predict(sandbox, discrete_path=path, model=model)
    assert len(answer["all_predictions"]) == int(model[0])
    (request,) = sandbox.requests
    assert (request.path, request.status) == (path, 200)
    assert request.sha256 == hashlib.sha256(WAV).hexdigest(), "the file arrived byte for byte"


@pytest.mark.parametrize("path", ["/emotionprediction", "/v1/discrete/emotion"])
def test_json_sends_what_the_quickstart_sends(sandbox: Sandbox, path: str) -> None:
    client = client_for(sandbox, payload="json", discrete_path=path)
    body = client.body(WAV)
    sent = json.loads(b"".join(body))
    if path == "/emotionprediction":
        assert isinstance(sent, str), "the quickstart encodes twice"
        sent = json.loads(sent)
    (samples,) = sent["payload"]
    assert len(samples) == 198_450
    original = np.frombuffer(WAV[44:], np.int16)[8_000 : 5 * 16_000] / 32_768
    assert np.abs(np.interp(np.arange(72_000) * 2.75625, np.arange(198_450), samples) - original).mean() < 0.01
    assert set(client.send(body)["all_predictions"]) == {"angry", "happy", "neutral", "sad"}


def test_calls_share_a_connection(sandbox: Sandbox) -> None:
    client = client_for(sandbox)
    for _ in range(5):
        client.send(client.body(WAV))
    assert (sandbox.calls, sandbox.connections) == (5, 1)


def test_multipart_overhead_is_small(sandbox: Sandbox) -> None:
    predict(sandbox)
    assert sandbox.bytes_received <= 1.01 * len(WAV)


@pytest.mark.parametrize(
    ("audio", "raised", "carried"),
    [
        (SHORT, errors.AudioTooShortError, {"min_duration": 4.5, "actual_duration": 2.5}),
        (LONG, errors.AudioTooLongError, {"max_duration": 15.0}),
        (LARGE, errors.FileTooLargeError, {}),
        (b"no wav at all", errors.BadRequestError, {"status_code": 400}),
    ],
)
def test_each_rejection_has_its_own_exception(
    sandbox: Sandbox, audio: bytes, raised: type[Exception], carried: dict[str, float]
) -> None:
    with pytest.raises(raised) as caught:
        predict(sandbox, audio)
    assert type(caught.value) is raised
    assert {name: getattr(caught.value, name) for name in carried} == carried


def test_rejected_key(sandbox: Sandbox) -> None:
    with pytest.raises(errors.AuthenticationError, match=r"HTTP 401.*VALENCE_API_KEY") as caught:
        predict(sandbox, api_key="wrong-key")
    assert "wrong-key" not in str(caught.value)


def test_missing_key_sends_nothing(sandbox: Sandbox) -> None:
    with pytest.raises(errors.MissingKeyError):
        predict(sandbox, api_key=None)
    assert sandbox.calls == 0


def test_unknown_path_error_names_settings(sandbox: Sandbox) -> None:
    with pytest.raises(errors.BadRequestError, match=r"404.*discrete_path"):
        predict(sandbox, discrete_path="/v2/emotion")


def test_429_error_has_retry_after() -> None:
    with Sandbox(policy=Policy(requests_per_minute=1)) as sandbox:
        client = client_for(sandbox)
        client.send(client.body(WAV))
        with pytest.raises(errors.RateLimitError) as caught:
            client.send(client.body(WAV))
        assert 0 < (caught.value.retry_after or 0) <= 60


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("nan", None),
        ("1e400", None),
        ("soon", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
    ],
)
def test_every_form_of_retry_after(asked: str, seconds: float | None) -> None:
    response = requests.Response()
    response.headers["retry-after"] = asked
    assert _retry_after(response) == seconds


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ .*") | st.floats().map(str))
def test_any_retry_after(asked: str) -> None:
    response = requests.Response()
    response.headers["retry-after"] = asked
    seconds = _retry_after(response)
    assert seconds is None or 0 <= seconds < math.inf


@pytest.mark.parametrize(
    "value",
    [10**400, -(10**400), 1e308, float("inf"), float("nan"), True, "4.5", None, [], {}],
    ids=lambda v: repr(v)[:9],
)
def test_seconds_in_a_rejection(value: object) -> None:
    content = {"error_code": "AUDIO_TOO_SHORT", "min_duration_seconds": value, "actual_duration_seconds": value}
    with Peer(http(content, "400 Bad")) as peer:
        made = Settings(base_url=peer.url, api_key="k")
        client = DiscreteClient(made, Transport(made, 1))
        with pytest.raises(errors.AudioTooShortError) as caught:
            client.send(client.body(WAV))
    expected = 1e308 if value == 1e308 else None
    assert (caught.value.min_duration, caught.value.actual_duration) == (expected, expected)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"message": "Limit Exceeded"}, "Limit Exceeded"),
        ({"error": "first", "message": "second"}, "first"),
        ({}, "Bad"),
    ],
)
def test_message_of_a_gateway(asked: dict[str, str], text: str) -> None:
    with Peer(http(asked, "400 Bad")) as peer:
        made = Settings(base_url=peer.url, api_key="k")
        client = DiscreteClient(made, Transport(made, 1))
        with pytest.raises(errors.BadRequestError, match=rf"HTTP 400: {text}\)"):
            client.send(client.body(WAV))


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        ("500", errors.ServerError),
        ("503", errors.ServerError),
        ("drop", errors.NetworkError),
        ("reset", errors.NetworkError),
        ("truncate", errors.InvalidResponseError),
        ("html", errors.InvalidResponseError),
        ("hang", errors.ReadTimeoutError),
        ("stall", errors.ReadTimeoutError),
        ("slow", errors.ReadTimeoutError),
        ("418", errors.BadRequestError),
    ],
)
def test_each_failure_has_its_own_exception(fault: str, raised: type[Exception]) -> None:
    with Sandbox(faults=Faults(script=[fault], slow_seconds=30)) as sandbox:
        begun = time.monotonic()
        with pytest.raises(raised) as caught:
            predict(sandbox, timeout=(1.0, 0.5))
        assert type(caught.value) is raised
        assert time.monotonic() - begun < 5, "an answer that dribbles is not waited for"


def test_answer_shorter_than_content_length() -> None:
    with (
        Sandbox(faults=Faults(script=["cut"])) as sandbox,
        pytest.raises((errors.NetworkError, errors.InvalidResponseError)),
    ):
        predict(sandbox)


def test_key_is_not_sent_to_redirects() -> None:
    with Sandbox(faults=Faults(script=["redirect"])) as sandbox:
        with pytest.raises(errors.RedirectError, match="base_url"):
            predict(sandbox)
        assert (sandbox.key_leaks, len(sandbox.requests)) == (0, 1)


def test_connection_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = Settings(base_url=f"http://127.0.0.1:{port}", api_key="k")
    client = DiscreteClient(made, Transport(made, 1))
    with pytest.raises(errors.NetworkError, match="cannot be reached") as caught:
        client.send(client.body(WAV))
    assert caught.value.sent is False


def test_echoed_key_is_masked() -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            received = b""
            while not received.endswith(b"--\r\n"):
                received += connection.recv(65_536)
            body = b'{"error": "key sk-secret-1 is not valid"}'
            connection.sendall(b"HTTP/1.1 401 X\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        made = Settings(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", api_key="sk-secret-1")
        client = DiscreteClient(made, Transport(made, 1))
        with pytest.raises(errors.AuthenticationError, match=r"key \*\*\* is not valid") as caught:
            client.send(client.body(WAV))
        assert "sk-secret-1" not in repr(caught.value)
        server.join(5)


def test_environment_proxies_are_read_once(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, tmp_path: Path) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / ".netrc").write_text("default login a password b")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    assert predict(sandbox)["main_emotion"]
    monkeypatch.delenv("NO_PROXY")
    with pytest.raises(errors.NetworkError, match="cannot be reached"):
        predict(sandbox)
