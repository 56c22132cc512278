"""A service that sends anything: every answer of every endpoint is read rightly, or is an error of this library."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import socket
import subprocess
import sys
import textwrap
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import voice
from tests.service.peers import OK, Peer, Serve, at_most, http, routing
from valence_integrations import Settings, errors
from valence_integrations._audio import wav
from valence_integrations._service import transport as transport_module
from valence_integrations._service.asynch import AsynchClient
from valence_integrations._service.bounded import BoundedSocket
from valence_integrations._service.discrete import DiscreteClient
from valence_integrations._service.probe import health, rate_limit_status
from valence_integrations._service.transport import MAX_ANSWER_BYTES, Transport

KEY = "sk-live-0123456789abcdef"
WAV = wav.encode(np.zeros(6 * 8_000, np.int16), 8_000)
STATUS = http({"limits": {}})
DONE = {"request_id": "r-1", "status": "completed", "emotions": [{"t": "00:00", "emotion": "sad", "confidence": 0.5}]}

Act = Callable[[Transport, Settings, Path], Any]


def discrete(transport: Transport, settings: Settings, path: Path) -> Any:
    client = DiscreteClient(settings, transport)
    return client.send(client.body(WAV))


def upload(transport: Transport, settings: Settings, path: Path) -> Any:
    return AsynchClient(settings, transport).upload(path)


def poll(transport: Transport, settings: Settings, path: Path) -> Any:
    return AsynchClient(settings, transport).poll("r-1")


def status(transport: Transport, settings: Settings, path: Path) -> Any:
    return rate_limit_status(transport, settings.base_url, settings.require_key())


def healthy(transport: Transport, settings: Settings, path: Path) -> Any:
    return health(transport, settings.base_url)


#: Each call of the library, and the part of a URL of the endpoint that it is about.
ENDPOINTS: dict[str, tuple[Act, str]] = {
    "discrete": (discrete, "/emotionprediction"),
    "status": (status, "/rate-limit/status"),
    "health": (healthy, "/rate-limit/health"),
    "initiate": (upload, "/initiate"),
    "part": (upload, "PUT /storage"),
    "complete": (upload, "/complete"),
    "poll": (poll, "/emotion/status"),
}
every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def call(tmp_path: Path) -> Path:
    path = tmp_path / "call.wav"
    path.write_bytes(wav.encode(np.rint(voice(16.0, 8_000) * 30_000).astype(np.int16), 8_000))
    return path


@contextlib.contextmanager
def service(**routes: bytes | Serve) -> Iterator[tuple[Peer, Transport, Settings]]:
    """A peer that answers uploads as the service does, but for the given routes."""
    by_name = {name: text for name, (_, text) in ENDPOINTS.items()}
    peer = Peer(OK)
    initiated = {
        "request_id": "r-1",
        "upload_id": "u-1",
        "presigned_urls": [{"part_number": 1, "url": f"{peer.url}/storage/1?X-Signature=signed"}],
    }
    ordinary = {
        "/emotionprediction": http({"main_emotion": "sad", "confidence": 0.5}),
        "/rate-limit/": STATUS,
        "/initiate": http(initiated),
        "PUT /storage": http(b"", ETag='"1"'),
        "/complete": OK,
        "/emotion/status": http(DONE),
    }
    changed = {by_name[name]: answer for name, answer in routes.items()}
    peer._serve = routing({**changed, **{text: ordinary[text] for text in ordinary if text not in changed}})
    with peer:
        settings = Settings(base_url=peer.url, api_key=KEY, timeout=(2.0, 5.0))
        transport = Transport(settings, 4)
        yield peer, transport, settings
        transport.close()


def outcome(endpoint: str, answer: bytes | Serve, path: Path) -> Any:
    """Make a call whose endpoint gives this answer; return its result or its exception."""
    with service(**{endpoint: answer}) as (_, transport, settings):
        try:
            return ENDPOINTS[endpoint][0](transport, settings, path)
        except BaseException as error:
            return error


def everything_about(error: BaseException) -> str:
    """All that a traceback can show of an exception: texts, attributes, and the variables of each frame."""
    shown = []
    found: BaseException | None = error
    while found is not None:
        shown += [str(found), repr(found), repr(found.args), repr(vars(found))]
        for frame, _ in traceback.walk_tb(found.__traceback__):
            if "tests" not in frame.f_code.co_filename:
                shown.append(repr(frame.f_locals))
        found = found.__cause__ or found.__context__
    return "\n".join(shown)


def flood(head: bytes, data: bytes) -> Serve:
    def serve(peer: Peer, connection: socket.socket) -> None:
        connection.sendall(head)
        peer.flood(connection, data)

    return serve


class TestSize:
    @every_endpoint
    @pytest.mark.parametrize(
        "answer",
        [
            flood(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", b"a" * 65_536),
            flood(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65_536),
            flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"8000\r\n" + b"a" * 32_768 + b"\r\n"),
            flood(b"HTTP/1.1 503 No\r\n\r\n", b"a" * 65_536),
            http(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"),
        ],
        ids=["1 GB", "without length", "chunks", "of an error", "gzip"],
    )
    def test_too_large(self, endpoint: str, answer: bytes | Serve, call: Path) -> None:
        tracemalloc.start()
        with at_most(5.0):
            got = outcome(endpoint, answer, call)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert type(got) is errors.InvalidResponseError
        assert peak < 4 * MAX_ANSWER_BYTES

    @every_endpoint
    def test_length_that_is_too_long(self, endpoint: str, call: Path) -> None:
        def serve(peer: Peer, connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}")

        assert type(outcome(endpoint, serve, call)) is errors.NetworkError

    @every_endpoint
    @pytest.mark.parametrize("content", [b'{"a":' * 100_000, b"[" * 1_000_000, b"[],".join([b"["] * 500_000)])
    def test_deep_or_broken_json(self, endpoint: str, content: bytes, call: Path) -> None:
        with at_most(5.0):
            got = outcome(endpoint, http(content), call)
        if endpoint in ("part", "complete"):
            assert got == "r-1" or "etag" in str(got), "only the headers count"
        else:
            assert type(got) is errors.InvalidResponseError

    @every_endpoint
    def test_any_json(self, endpoint: str, call: Path) -> None:
        big = 10**400
        for content in (None, [], 3, "x", {"status": [1]}, {"request_id": big, "status": big, "limits": [big]}):
            got = outcome(endpoint, http(content), call)
            assert isinstance(got, errors.ItemError) or not isinstance(got, BaseException)


#: How a service can quote the key.
ECHOES = [KEY.upper(), KEY.replace("-", "%2D"), f"{'a' * 290}{KEY}; {KEY}", "a" * 90 + KEY]


class TestKey:
    """The service quotes the key wherever it can."""

    @every_endpoint
    @pytest.mark.parametrize("echo", ECHOES)
    @pytest.mark.parametrize("code", ["200 OK", "302 Found", "400 Bad", "401 No", "404 No", "429 No", "500 No"])
    def test_nothing_shows_the_key(
        self, endpoint: str, echo: str, code: str, call: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        content: dict[str, Any] = {
            **dict.fromkeys(("error", "detail", "message", "request_id", "model_type", "status", "policy_name"), echo),
            "error_code": echo,
            "main_emotion": echo,
            "confidence": 0.5,
            "all_predictions": {echo: 0.5},
            "limits": {"max_audio_size_mb": echo, echo: 1},
            "emotions": [{"emotion": echo, "confidence": 0.5, "t": "00:00"}],
        }
        if code == "200 OK" and endpoint == "poll":
            content["status"] = "completed"
        answer = http(
            content,
            f"{code} {echo}",
            Location=f"https://x.example/{echo}",
            Content_Type=f"a/{echo}",
            ETag=echo,
            X_A=echo,
        )
        got = outcome(endpoint, answer, call)
        shown = everything_about(got) if isinstance(got, BaseException) else repr(got)
        if isinstance(got, BaseException):
            assert isinstance(got, errors.ValenceError)
        for text in (shown, caplog.text):
            assert KEY.lower() not in text.lower()
            assert KEY.replace("-", "%2d").lower() not in text.lower()
            assert KEY[:-3].lower() not in text.lower(), "cut within the key"

    @pytest.mark.parametrize("endpoint", ["discrete", "status", "initiate", "poll"])
    def test_reply_that_is_not_json(self, endpoint: str, call: Path) -> None:
        got = outcome(endpoint, http(f"<html>{KEY}</html>".encode(), Content_Type=f"text/html; {KEY}"), call)
        assert type(got) is errors.InvalidResponseError
        assert KEY not in everything_about(got)
        assert "text/html; ***" in str(got)

    def test_masked_fields_of_an_answer(self, call: Path) -> None:
        got = outcome("discrete", http({"request_id": f"r-{KEY}", "main_emotion": KEY, "model_type": [KEY]}), call)
        assert got == {"request_id": "r-***", "main_emotion": "***", "model_type": ["***"]}

    def test_key_that_changes_during_the_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VALENCE_API_KEY", KEY)

        def serve(peer: Peer, connection: socket.socket) -> None:
            peer.read(connection)
            monkeypatch.setenv("VALENCE_API_KEY", "another-key-123")
            connection.sendall(http({"error": f"{KEY} another-key-123"}, "400 Bad"))

        with Peer(serve) as peer:
            settings = Settings(base_url=peer.url)
            with pytest.raises(errors.BadRequestError, match=r"HTTP 400: \*\*\* \*\*\*\)"):
                discrete(Transport(settings, 1), settings, Path())

    def test_quoted_beginning_cut_within_the_key(self, call: Path) -> None:
        for start in range(3_960, 4_000):
            got = outcome("discrete", b"X" * start + KEY.encode() * 3 + b"\r\n\r\n", call)
            assert type(got) is errors.InvalidResponseError
        got = outcome("discrete", (KEY * 1_000).encode() + b"\r\n\r\n", call)
        assert "sk-" not in str(got)

    def test_malformed_headers_are_not_logged(self, call: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        head = f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nno colon {KEY}\r\nX: {KEY}\r\n\r\n{{}}"
        assert not isinstance(outcome("discrete", head.encode(), call), BaseException)
        assert KEY not in caplog.text

    @every_endpoint
    def test_debug_output(self, endpoint: str, call: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        monkeypatch.setattr(HTTPConnection, "debuglevel", 1)
        got = outcome(endpoint, http({"error": KEY}, "400 Bad"), call)
        assert isinstance(got, errors.BadRequestError)
        assert capsys.readouterr() == ("", "")

    @every_endpoint
    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, MemoryError])
    def test_interruption_shows_no_variables(
        self, endpoint: str, interruption: type[BaseException], call: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(self: Any, *args: Any) -> Any:
            raise interruption

        with service() as (_, transport, settings):
            monkeypatch.setattr(BoundedSocket, "recv_into", interrupted)
            with pytest.raises((interruption, errors.InvalidResponseError)) as got:
                ENDPOINTS[endpoint][0](transport, settings, call)
        assert KEY not in everything_about(got.value)
        assert got.value.__traceback__ is not None
        frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(got.value.__traceback__)]
        assert not any("http/client" in name or "urllib3" in name for name in frames)

    def test_pytest_with_local_variables(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        test = """
            from valence_integrations import Settings
            from valence_integrations._service.asynch import AsynchClient
            from valence_integrations._service.discrete import DiscreteClient
            from valence_integrations._service.probe import rate_limit_status
            from valence_integrations._service.transport import Transport
            settings = Settings()
            transport = Transport(settings, 1)
            def test_discrete():
                DiscreteClient(settings, transport).send([b"a"])
            def test_poll():
                AsynchClient(settings, transport).poll("r-1")
            def test_account():
                rate_limit_status(transport, settings.base_url, settings.require_key())
        """
        (tmp_path / "test_it.py").write_text(textwrap.dedent(test))
        monkeypatch.setenv("VALENCE_API_KEY", KEY)
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        with Peer(http({"error": KEY}, "401 No")) as peer:
            monkeypatch.setenv("VALENCE_API_BASE_URL", peer.url)
            command = [sys.executable, "-m", "pytest", "-lvv", "--full-trace", "-p", "no:cacheprovider", "test_it.py"]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert "3 failed" in done.stdout
        assert "'x-api-key': '***'" in done.stdout, "variables are shown"
        assert KEY[:12] not in done.stdout + done.stderr

    @pytest.mark.parametrize("key", ["sk-live\n-0123", "sk-live-é", "sk-live-\x7f", "sk-live-\u2026"])
    def test_key_that_no_header_can_hold(self, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VALENCE_API_KEY", key)
        settings = Settings(base_url="http://127.0.0.1:9")
        with pytest.raises(errors.SettingsError, match="VALENCE_API_KEY is invalid: api_key must be printable") as got:
            discrete(Transport(settings, 1), settings, Path())
        assert "sk-live" not in everything_about(got.value)


class TestUpload:
    """What the service answers to the start of an upload decides where audio is sent."""

    @staticmethod
    def initiate(url: str, call: Path, **changes: Any) -> tuple[Any, list[bytes]]:
        content = {"request_id": "r-1", "upload_id": "u-1", "presigned_urls": [{"part_number": 1, "url": url}]}
        with service(initiate=http({**content, **changes})) as (peer, transport, settings):
            transport._is_service_private = lambda: False  # type: ignore[method-assign]
            try:
                return upload(transport, settings, call), peer.requests
            except Exception as error:
                return error, peer.requests

    @pytest.mark.parametrize(
        "url",
        [
            *("http://8.8.8.8/1", "ftp://8.8.8.8/1", "file:///etc/passwd"),
            *("https://127.0.0.1:{port}/1", "https://169.254.169.254/latest", "https://10.0.0.1/1"),
            *("https://192.168.1.1/1", "https://0.0.0.0/1", "https://[::1]/1", "https://[::ffff:10.0.0.1]/1"),
            *("https://[fc00::1]/1", "https://2852039166/1", "https://0x7f.1/1", "https://localhost:{port}/1"),
            *("https://169.254.169.254./1", "https://user@127.0.0.1/1", "http://127.0.0.1:{other}/1"),
        ],
    )
    def test_refused_addresses(self, url: str, call: Path) -> None:
        with Peer(OK) as other:
            got, requests = self.initiate(url.format(port=other.port, other=other.port), call)
        assert isinstance(got, errors.CallError)
        assert got.code in ("upload_url_refused", "invalid_response")
        assert other.accepted == 0
        assert not any(request.startswith(b"PUT") for request in requests)
        assert b"/complete" not in b"".join(requests)

    def test_refused_url_of_another_part(self, call: Path) -> None:
        call.write_bytes(wav.encode(np.zeros(3 * 2**20, np.int16), 8_000))
        with service() as (peer, transport, settings):
            urls = [f"{peer.url}/storage/1", "https://10.0.0.1/2"]
            parts = [{"part_number": number, "url": url} for number, url in enumerate(urls, 1)]
            answer = http({"request_id": "r-1", "upload_id": "u-1", "presigned_urls": parts})
            peer._serve = routing({"/rate-limit/": STATUS, "/initiate": answer})
            transport._is_service_private = lambda: False  # type: ignore[method-assign]
            with pytest.raises(errors.CallError) as got:
                upload(transport, settings, call)
        assert (got.value.code, got.value.setting) == ("upload_url_refused", "long_audio")
        assert "10.0.0.1" in str(got.value)
        assert len(peer.requests) == 2, "nothing was uploaded"

    @pytest.mark.parametrize(
        ("scheme", "private"),
        [
            *(("https", address) for address in ("10.0.0.1", "169.254.169.254", "::1", "fc00::1", "127.0.0.1")),
            ("http", "8.8.8.8"),
        ],
    )
    def test_name_that_resolves_to_a_refused_address(
        self, scheme: str, private: str, call: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        family = socket.AF_INET6 if ":" in private else socket.AF_INET
        connected: list[object] = []
        resolve = socket.getaddrinfo

        def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
            if host == "storage.example":
                return [(family, socket.SOCK_STREAM, 6, "", (private, port))]
            connected.append(host)
            return resolve(host, port, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        got, _ = self.initiate(f"{scheme}://storage.example/1?X-Signature=signed", call)
        assert (type(got), got.code) == (errors.CallError, "upload_url_refused")
        assert "storage.example" in str(got)
        assert "signed" not in everything_about(got)
        assert set(connected) == {"127.0.0.1"}, "no address but the service's"

    def test_public_address_of_several_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[str] = []

        def create_connection(address: tuple[str, int], *args: Any, **kwargs: Any) -> Any:
            tried.append(address[0])
            raise ConnectionRefusedError

        where = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("10.0.0.1", "8.8.8.8", "127.0.0.1")]
        monkeypatch.setattr("valence_integrations._service.connecting.create_connection", create_connection)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: where)
        settings = Settings(base_url="https://service.example", api_key=KEY)
        transport = Transport(settings, 1)
        monkeypatch.setattr(transport, "_is_service_private", lambda: False)
        with pytest.raises(errors.NetworkError):
            transport.send("PUT", "https://storage.example/1", data=b"a")
        assert tried == ["8.8.8.8"]

    @pytest.mark.parametrize(
        ("base_url", "private"),
        [
            ("http://127.0.0.1:9", True),
            ("http://localhost:9", True),
            ("https://10.0.0.1", True),
            ("https://8.8.8.8", False),
            ("https://service.example", False),
            ("https://inside.example", True),
            ("https://unknown.example", False),
        ],
    )
    def test_private_service(self, base_url: str, private: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
            known = {"service.example": "8.8.8.8", "inside.example": "10.1.1.1"}
            if host not in known:
                raise socket.gaierror
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known[host], port))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        transport = Transport(Settings(base_url=base_url, api_key=KEY), 1)
        if private:
            transport.check_url("https://10.0.0.1/1")
        else:
            with pytest.raises(errors.CallError, match=r"10\.0\.0\.1"):
                transport.check_url("https://10.0.0.1/1")

    def test_proxy_is_not_asked_for_a_private_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Peer(OK) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setattr("valence_integrations._service.connecting.connect", lambda _: pytest.fail("connected"))
            transport = Transport(Settings(base_url="https://8.8.8.8", api_key=KEY), 1)
            for url in ("https://10.0.0.1/1", "https://127.1/1", "http://8.8.8.8/1"):
                with pytest.raises(errors.CallError) as got:
                    transport.send("PUT", url, data=b"a")
                assert got.value.code == "upload_url_refused"
        assert proxy.accepted == 0

    def test_key_is_never_part_of_an_upload_url(self, call: Path) -> None:
        with service() as (peer, transport, settings):
            parts = [{"part_number": 1, "url": f"{peer.url}/storage/1?key={KEY}"}]
            initiated = http({"request_id": "r-1", "upload_id": "u-1", "presigned_urls": parts})
            peer._serve = routing(
                {
                    "/rate-limit/": STATUS,
                    "/initiate": initiated,
                    "PUT /storage": http(b"", ETag="1"),
                    "/complete": OK,
                }
            )
            assert upload(transport, settings, call) == "r-1"
        (put,) = [request for request in peer.requests if request.startswith(b"PUT")]
        assert KEY.encode() not in put

    @pytest.mark.parametrize(
        "changes",
        [
            *(
                {"request_id": value}
                for value in (None, "", [], {}, "a/../b", "a?b", "a b", "é", f"r-{KEY}", "a" * 201)
            ),
            *({"presigned_urls": value} for value in (None, [], {}, 3, "x", [3], [{"part_number": 1}])),
            {"presigned_urls": [{"part_number": 2, "url": "https://storage.example"}]},
            {"presigned_urls": [{"part_number": 1, "url": "https://storage.example"}] * 2},
            {"presigned_urls": [{"part_number": 1, "url": ["https://storage.example"]}]},
        ],
        ids=repr,
    )
    def test_invalid_start_of_an_upload(self, changes: dict[str, Any], call: Path) -> None:
        got, requests = self.initiate("https://storage.example", call, **changes)
        assert type(got) is errors.InvalidResponseError
        assert not any(request.startswith(b"PUT") for request in requests)

    def test_request_id_in_numbers(self, call: Path) -> None:
        with service() as (peer, transport, settings):
            parts = [{"part_number": 1, "url": f"{peer.url}/storage/1"}]
            initiated = http({"request_id": 17, "upload_id": 3, "presigned_urls": parts})
            peer._serve = routing(
                {"/rate-limit/": STATUS, "/initiate": initiated, "PUT /storage": http(b"", ETag="1"), "/complete": OK}
            )
            assert upload(transport, settings, call) == "17"

    @pytest.mark.parametrize("failure", [OSError("gone"), RuntimeError("can't start new thread"), MemoryError()])
    def test_failures_of_the_machine(self, failure: Exception, call: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with service() as (_, transport, settings):
            client = AsynchClient(settings, transport)
            sdk = client._sdk()

            def fails(path: str) -> str:
                raise failure

            monkeypatch.setattr(sdk, "upload", fails)
            with pytest.raises(errors.ValenceError) as got:
                client.upload(call)
            assert got.value.code == ("no_threads" if isinstance(failure, RuntimeError) else "invalid_response")


class TestPoll:
    """What a poll says of a job."""

    @pytest.mark.parametrize("state", ["initiated", "upload_completed", "processing"])
    def test_unfinished(self, state: str, call: Path) -> None:
        assert outcome("poll", http({"status": state}), call) is None

    @pytest.mark.parametrize("content", [b"", b"no", json.dumps({"status": "processing"}).encode()])
    def test_accepted(self, content: bytes, call: Path) -> None:
        assert outcome("poll", http(content, "202 Accepted"), call) is None

    @pytest.mark.parametrize("content", [DONE, {"status": "completed", "results": {"emotions": DONE["emotions"]}}])
    def test_completed(self, content: dict[str, Any], call: Path) -> None:
        assert outcome("poll", http(content), call) == content

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ({"error": "no speech."}, "no speech"),
            ({"error_code": "NO_SPEECH"}, "NO_SPEECH"),
            ({}, "no reason given"),
            ({"error": KEY}, r"\*\*\*"),
        ],
    )
    def test_failed(self, content: dict[str, Any], reason: str, call: Path) -> None:
        got = outcome("poll", http({"status": "failed", **content}), call)
        assert type(got) is errors.AsynchFailedError
        assert (got.code, got.request_id) == ("asynch_failed", "r-1")
        assert str(got).startswith(f"the service could not process it ({reason.replace(chr(92), '')}).")

    @pytest.mark.parametrize(
        "answer",
        [
            http({"error": "Request ID not found", "error_code": "NOT_FOUND"}, "404 Not Found"),
            http({"detail": "Not Found"}, "404 Not Found"),
            http(b"", "404 Not Found"),
            http(b"", "410 Gone"),
            http({"error_code": "NOT_FOUND"}, "400 Bad Request"),
        ],
    )
    def test_unknown(self, answer: bytes, call: Path) -> None:
        got = outcome("poll", answer, call)
        assert (type(got), got.code) == (errors.BadRequestError, "upload_unknown")
        assert "does not know the request r-1" in str(got)

    @pytest.mark.parametrize(
        ("answer", "raised", "code"),
        [
            (http({"error": "failed during processing"}, "400 Bad"), errors.BadRequestError, "bad_request"),
            (http({}, "405 No"), errors.BadRequestError, "endpoint_not_found"),
            (http({}, "401 No"), errors.AuthenticationError, "authentication_failed"),
            (http({}, "403 No"), errors.AuthenticationError, "authentication_failed"),
            (http({}, "429 No", Retry_After="7"), errors.RateLimitError, "rate_limited"),
            (http({}, "500 No"), errors.ServerError, "server_error"),
            (http(b"", "302 Found", Location="/x"), errors.RedirectError, "redirected"),
            *(
                (http(content), errors.InvalidResponseError, "invalid_response")
                for content in (
                    *(b"", b"failed during processing", b"<html>", b"[]", b"null", b'"failed"'),
                    *({}, {"status": None}, {"status": "FAILED?"}, {"status": ["failed"]}, {"status": "queued"}),
                    *({"status": "completed"}, {"status": "completed", "emotions": []}),
                    *({"status": "completed", "emotions": "sad"}, {"status": "completed", "results": {"emotions": {}}}),
                )
            ),
            (http(b"", "204 No Content"), errors.InvalidResponseError, "invalid_response"),
            (http(DONE, "201 Created"), errors.InvalidResponseError, "invalid_response"),
        ],
    )
    def test_anything_else_does_not_say_that_the_job_failed(
        self, answer: bytes, raised: type[Exception], code: str, call: Path
    ) -> None:
        got = outcome("poll", answer, call)
        assert (type(got), got.code) == (raised, code)


def test_texts_name_the_maximum() -> None:
    assert f"{transport_module.MAX_ANSWER_BYTES / 1e6:g} MB" == "4 MB"
