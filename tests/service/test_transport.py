from __future__ import annotations

import base64
import contextlib
import gc
import gzip
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from tests.service.peers import (
    OK,
    Peer,
    Serve,
    answering,
    at_most,
    context_for,
    dribbling,
    flooding,
    free_port,
    tunnelling,
    unanswered,
)
from valence_integrations import Settings, errors
from valence_integrations._service import connections
from valence_integrations._service.bounded import Call
from valence_integrations._service.discrete import DiscreteClient
from valence_integrations._service.transport import MAX_ANSWER_BYTES, Transport

#: Short timeouts, and the maximum time of a whole call: their sum plus one second.
TIMEOUT = (0.3, 0.6)
PROMISED = sum(TIMEOUT) + 1.0

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
BODY = b"x" * 200_000
LARGE = bytes(20_000_000)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    return path


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The addresses of host names; all other names are resolved as ever."""
    names: dict[str, list[str]] = {}
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host not in names:
            return resolve(host, port, *args, **kwargs)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in names[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names


@contextlib.contextmanager
def transport_to(url: str, timeout: tuple[float, float] = (2.0, 5.0), api_key: str = "k-1") -> Iterator[Transport]:
    made = Transport(Settings(base_url=url, api_key=api_key, timeout=timeout), 8)
    yield made
    made.close()


def post(transport: Transport, url: str, data: Any = BODY) -> requests.Response:
    return transport.send("POST", f"{url}/path?model=a", data=data, headers={"x-api-key": "k-1"})


def call(url: str, timeout: tuple[float, float] = (2.0, 5.0), data: Any = BODY) -> requests.Response:
    with transport_to(url, timeout) as transport:
        return post(transport, url, data)


def ending_with(answer: bytes) -> Serve:
    """Answer one request, and close the connection."""

    def serve(peer: Peer, connection: socket.socket) -> None:
        peer.read(connection)
        connection.sendall(answer)

    return serve


def in_turn(*answers: bytes) -> Serve:
    """Answer all requests of the n-th connection with the n-th answer."""
    turn = iter(answers)
    return lambda peer, connection: answering(next(turn))(peer, connection)


class TestAnswers:
    def test_request_and_response(self) -> None:
        with Peer(b"HTTP/1.1 201 Made\r\nX-Id: 3\r\nContent-Length: 7\r\n\r\n[1, 2] ") as peer:
            response = call(peer.url)
        assert (response.status_code, response.reason, response.headers["x-id"]) == (201, "Made", "3")
        assert (response.content, response.json()) == (b"[1, 2] ", [1, 2])
        head, _, body = peer.requests[0].partition(b"\r\n\r\n")
        first, *headers = head.decode().split("\r\n")
        assert first == "POST /path?model=a HTTP/1.1"
        assert body == BODY
        names = {line.split(":")[0] for line in headers}
        assert names == {"Host", "User-Agent", "Accept-Encoding", "x-api-key", "Content-Length"}
        assert {"x-api-key: k-1", "Content-Length: 200000", "Accept-Encoding: identity"} <= set(headers)

    def test_parameters_and_json(self) -> None:
        with Peer(OK) as peer, transport_to(peer.url) as transport:
            transport.send("POST", f"{peer.url}/a", params={"part_count": 2}, json={"b": [1]})
            transport.send("GET", f"{peer.url}/c", timeout=None)
        assert peer.requests[0].startswith(b"POST /a?part_count=2 HTTP/1.1\r\n")
        assert peer.requests[0].endswith(b'\r\n\r\n{"b": [1]}')
        assert b"Content-Type: application/json\r\n" in peer.requests[0]
        assert peer.requests[1].startswith(b"GET /c HTTP/1.1\r\n")

    def test_clip_is_sent_in_pieces_without_copy(self) -> None:
        clip = bytes(8_000_000)
        received = [0]

        def serve(peer: Peer, connection: socket.socket) -> None:
            buffer = bytearray(65_536)
            while received[0] < len(clip):
                received[0] += connection.recv_into(buffer)
            connection.sendall(OK)

        with Peer(serve) as peer, transport_to(peer.url) as transport:
            client = DiscreteClient(Settings(base_url=peer.url, api_key="k-1"), transport)
            tracemalloc.start()
            assert client.send(client.body(clip)) == {}
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < len(clip) / 4
        assert received[0] > len(clip)

    @pytest.mark.parametrize(
        ("answer", "content"),
        [
            (CHUNKED + b"3\r\nabc\r\n80\r\n" + b"d" * 128 + b"\r\n0\r\n\r\n", b"abc" + b"d" * 128),
            (CHUNKED + b"3;name=value\r\nabc\r\n0\r\nX-Trailer: a\r\n\r\n", b"abc"),
            (CONTINUE * 3 + OK, b"{}"),
            ((EARLY_HINTS + CONTINUE) * 2 + b"HTTP/1.1 102 Processing\r\n\r\n" + OK, b"{}"),
            (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        ],
        ids=["chunks", "extension and trailer", "100 Continue", "interim answers", "204"],
    )
    def test_forms_of_answers(self, answer: bytes, content: bytes) -> None:
        with Peer(answer) as peer, transport_to(peer.url) as transport:
            assert [post(transport, peer.url).content for _ in range(2)] == [content] * 2
        assert peer.accepted == 1

    def test_answer_without_content_length(self) -> None:
        with Peer(ending_with(b"HTTP/1.1 200 OK\r\n\r\nall")) as peer, transport_to(peer.url) as transport:
            assert [post(transport, peer.url).content for _ in range(2)] == [b"all", b"all"]
        assert peer.accepted == 2

    @pytest.mark.parametrize("answer", [b"", OK[:-1], CHUNKED + b"3\r\nab", CHUNKED + b"3\r\nabc\r\n"])
    def test_truncated_answer(self, answer: bytes) -> None:
        with (
            Peer(ending_with(answer)) as peer,
            pytest.raises(errors.NetworkError, match="broke before the answer was complete") as got,
        ):
            call(peer.url)
        assert got.value.sent
        assert f"127.0.0.1:{peer.port}" in str(got.value)

    @pytest.mark.parametrize(
        "answer",
        [
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200 + b"\r\n",
            CHUNKED + b"-5\r\nabc\r\n0\r\n\r\n",
        ],
        ids=["not HTTP", "too many headers", "negative chunk"],
    )
    def test_invalid_http(self, answer: bytes) -> None:
        with Peer(answer) as peer, pytest.raises(errors.InvalidResponseError, match="is not valid HTTP") as got:
            call(peer.url)
        assert repr(answer[:15].decode())[1:-1] in str(got.value), "what came is quoted"

    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    def test_conflicting_content_lengths(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab"
        with Peer(answer) as peer, pytest.raises(errors.InvalidResponseError, match="is not valid HTTP"):
            call(peer.url)
        gc.collect()  # urllib3 leaves the answer open


class TestTime:
    @pytest.mark.parametrize(
        "serve",
        [
            dribbling(b"HTTP/1.1 200 OK"),
            dribbling(b"a", b"HTTP/1.1 200 OK\r\nX-Header: "),
            dribbling(b"X: y\r\n" * 99, b"HTTP/1.1 200 OK\r\n"),
            dribbling(b"{", HEAD),
            dribbling(b"{", b"HTTP/1.1 200 OK\r\n\r\n"),
            dribbling(b"0", CHUNKED),
            dribbling(b"a", CHUNKED + b"3;"),
            dribbling(b"a", CHUNKED + b"fff\r\n"),
            dribbling(b"a", CHUNKED + b"3\r\nabc\r\n0\r\n"),
            dribbling(b"X: y\r\n" * 99, CHUNKED + b"3\r\nabc\r\n0\r\n"),
            dribbling(CONTINUE * 99),
            dribbling(EARLY_HINTS * 99),
            dribbling(b"", b""),
        ],
        ids=[
            *("status line", "header line", "header lines", "body", "body without a length", "chunk size"),
            *("chunk extension", "chunk", "trailer line", "trailer lines", "100 Continue", "103", "nothing"),
        ],
    )
    def test_slow_answer_times_out(self, serve: Serve) -> None:
        with Peer(serve) as peer, transport_to(peer.url, TIMEOUT) as transport, at_most(PROMISED):
            with pytest.raises(errors.ReadTimeoutError, match=rf"127\.0\.0\.1:{peer.port} within 0\.[69] s") as got:
                post(transport, peer.url)
            assert got.value.sent

    @pytest.mark.parametrize("interim", [CONTINUE, EARLY_HINTS])
    def test_endless_interim_answers(self, interim: bytes) -> None:
        with (
            Peer(flooding(interim * 100)) as peer,
            at_most(PROMISED),
            pytest.raises((errors.ReadTimeoutError, errors.InvalidResponseError)),
        ):
            call(peer.url, TIMEOUT)

    @pytest.mark.parametrize("tls", [False, True])
    def test_slow_reader_times_out(self, bundle: Path, authority: trustme.CA, tls: bool) -> None:
        def serve(peer: Peer, connection: socket.socket) -> None:
            while connection.recv(1) and not peer.stopped.wait(0.1):
                pass

        with (
            Peer(serve, context_for(authority) if tls else None) as peer,
            at_most(PROMISED),
            pytest.raises(errors.ReadTimeoutError, match=r"within 0\.9 s") as got,
        ):
            call(peer.url, TIMEOUT, LARGE)
        assert got.value.sent

    def test_slow_answer_over_tls_times_out(self, bundle: Path, authority: trustme.CA) -> None:
        with (
            Peer(dribbling(b"a", b"HTTP/1.1 200 OK\r\nX-Header: "), context_for(authority)) as peer,
            at_most(PROMISED),
            pytest.raises(errors.ReadTimeoutError),
        ):
            call(peer.url, TIMEOUT)

    def test_silent_tls_handshake_times_out(self, bundle: Path) -> None:
        with Peer(lambda peer, connection: peer.stopped.wait(10) and None) as peer, at_most(PROMISED):
            secure = peer.url.replace("http:", "https:")
            with pytest.raises(errors.NetworkError, match="cannot be reached") as got:
                call(secure, TIMEOUT)
        assert not got.value.sent

    def test_slow_proxy_times_out(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with Peer(dribbling(b"a", b"HTTP/1.1 200 OK\r\nX-Header: ")) as proxy, at_most(PROMISED):
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            with pytest.raises(errors.ReadTimeoutError, match=f"proxy 127.0.0.1:{proxy.port}") as got:
                call("https://service.example", TIMEOUT)
        assert not got.value.sent

    @pytest.mark.parametrize(
        ("timeout", "expected"), [((0.9, 0.1), errors.ReadTimeoutError), ((0.1, 0.9), errors.NetworkError)]
    )
    def test_a_proxy_that_is_slow_and_then_silent_in_the_handshake(
        self,
        bundle: Path,
        monkeypatch: pytest.MonkeyPatch,
        timeout: tuple[float, float],
        expected: type[errors.CallError],
    ) -> None:
        def serve(peer: Peer, connection: socket.socket) -> None:
            peer.read(connection)
            for at in range(16):
                connection.sendall(b"HTTP/1.1 200 OK\r"[at : at + 1])
                peer.stopped.wait(0.04)
            connection.sendall(b"\n\r\n")
            peer.stopped.wait(10)

        with Peer(serve) as proxy, at_most(sum(timeout) + 0.4):
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            with pytest.raises(expected) as got:
                call("https://service.example", timeout)
        assert not got.value.sent

    @pytest.mark.parametrize("proxy", [False, True])
    def test_the_connect_timeout_is_that_of_all_addresses(
        self, monkeypatch: pytest.MonkeyPatch, bundle: Path, resolved: dict[str, list[str]], proxy: bool
    ) -> None:
        resolved["many.example"] = [f"127.0.0.{number}" for number in range(11, 19)]
        with unanswered() as port, at_most(0.6):
            if proxy:
                monkeypatch.setenv("HTTPS_PROXY", f"http://many.example:{port}")
            url = "https://service.example" if proxy else f"http://many.example:{port}"
            with (
                transport_to("http://127.0.0.1", (0.3, 5.0)) as transport,
                pytest.raises(errors.NetworkError, match=r"many\.example:\d+ cannot be reached") as got,
            ):
                post(transport, url)
        assert not got.value.sent


class TestSize:
    @pytest.mark.parametrize(
        "serve",
        [
            flooding(b"a" * 65_536, b"HTTP/1.1 200 OK\r\n\r\n"),
            flooding(b"a" * 65_536, b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n"),
            flooding(b"a" * 65_536, b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"),
            flooding(b"a" * 65_536, b"HTTP/1.1 200 OK\r\nX-Header: "),
            flooding(b"X: " + b"y" * 60_000 + b"\r\n", b"HTTP/1.1 200 OK\r\n"),
            flooding(b"a" * 65_536, CHUNKED + b"3;"),
            flooding(b"a" * 65_536, CHUNKED + b"ffffffffffffffffff\r\n"),
            flooding(b"10000\r\n" + b"a" * 65_536 + b"\r\n", CHUNKED),
            flooding(b"1;" + b"a" * 60_000 + b"\r\nb\r\n", CHUNKED),
            flooding(b"X: " + b"y" * 60_000 + b"\r\n", CHUNKED + b"3\r\nabc\r\n0\r\n"),
        ],
        ids=[
            *("no length", "length", "huge length", "header line", "header lines", "chunk extension", "huge chunk"),
            *("chunks", "chunk extensions", "trailer lines"),
        ],
    )
    def test_too_large_answer_is_not_held_in_memory(self, serve: Serve) -> None:
        peaks = []
        for _ in range(3):  # threads of other tests that end meanwhile are measured, too
            tracemalloc.start()
            with (
                Peer(serve) as peer,
                pytest.raises(errors.InvalidResponseError, match=r"begins with 'HTTP/1\.1 200 OK") as got,
            ):
                call(peer.url)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert len(str(got.value)) < 600
        assert min(peaks) < 2.5 * MAX_ANSWER_BYTES

    def test_answer_of_maximum_size(self) -> None:
        body = b"a" * (MAX_ANSWER_BYTES - 100)
        with Peer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as peer:
            assert call(peer.url).content == body

    def test_too_large_answer_error_names_maximum(self) -> None:
        peer = Peer(flooding(b"a" * 65_536, b"HTTP/1.1 200 OK\r\n\r\n"))
        with peer, pytest.raises(errors.InvalidResponseError, match="is larger than 4 MB; it begins with"):
            call(peer.url)
        assert MAX_ANSWER_BYTES == 4_000_000

    @pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
    def test_compressed_answer(self, encoding: str) -> None:
        body = gzip.compress(bytes(10_000_000))
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (encoding.encode(), len(body))
        with Peer(head + body) as peer, pytest.raises(errors.InvalidResponseError, match=rf"compressed \({encoding}\)"):
            call(peer.url)

    @pytest.mark.parametrize("encoding", [b"Identity", b" IDENTITY ", b""])
    def test_identity_encoding_is_accepted(self, encoding: bytes) -> None:
        with Peer(OK.replace(b"\r\n\r\n", b"\r\nContent-Encoding: %s\r\n\r\n" % encoding)) as peer:
            assert call(peer.url).content == b"{}"

    def test_compressed_error_answer_keeps_its_status(self) -> None:
        body = gzip.compress(b"<html>")
        head = b"HTTP/1.1 503 Busy\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
        with Peer(head + body) as peer, pytest.raises(errors.ServerError, match="503: Busy") as got:
            call(peer.url)
        assert got.value.status_code == 503


class TestConnections:
    def test_sequential_calls_share_a_connection(self) -> None:
        with Peer(OK) as peer, transport_to(peer.url) as transport:
            for _ in range(5):
                assert post(transport, peer.url).content == b"{}"
        assert (peer.accepted, len(peer.requests)) == (1, 5)

    def test_one_connection_per_simultaneous_call(self) -> None:
        together = threading.Barrier(4)

        def serve(peer: Peer, connection: socket.socket) -> None:
            while peer.read(connection):
                together.wait(5)
                connection.sendall(OK)

        with Peer(serve) as peer, transport_to(peer.url) as transport, ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: post(transport, peer.url).content, range(20)))
        assert (done, peer.accepted) == ([b"{}"] * 20, 4)

    def test_closed_connection_is_not_reused(self) -> None:
        closed = threading.Event()

        def serve(peer: Peer, connection: socket.socket) -> None:
            peer.read(connection)
            connection.sendall(OK)
            connection.shutdown(socket.SHUT_RDWR)
            closed.set()

        with Peer(serve) as peer, transport_to(peer.url) as transport:
            for _ in range(3):
                assert post(transport, peer.url).content == b"{}"
                assert closed.wait(5)
                closed.clear()
        assert (peer.accepted, len(peer.requests)) == (3, 3)

    def test_closing_connection_is_not_reused(self) -> None:
        with (
            Peer(OK[:-4] + b"Connection: close\r\n\r\n{}") as peer,
            transport_to(peer.url) as transport,
        ):
            assert [post(transport, peer.url).status_code for _ in range(2)] == [200, 200]
        assert peer.accepted == 2

    def test_protocol_switch_is_not_the_answer(self) -> None:
        interim = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
        stale = OK.replace(b"{}", b"no")
        with (
            Peer(in_turn(interim + stale, OK)) as peer,
            transport_to(peer.url) as transport,
        ):
            with pytest.raises(errors.InvalidResponseError, match="not final"):
                post(transport, peer.url)
            assert post(transport, peer.url).content == b"{}", "of another connection"
        assert peer.accepted == 2

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"a" * 50_000,
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 50000\r\n\r\n" + b"a" * 50_000,
            CHUNKED + b"-5\r\n" + b"a" * 50_000,
        ],
        ids=["too large", "compressed", "not HTTP"],
    )
    def test_connection_with_unread_answer_is_not_reused(self, answer: bytes) -> None:
        with (
            Peer(in_turn(answer, OK)) as peer,
            transport_to(peer.url) as transport,
        ):
            with pytest.raises(errors.InvalidResponseError):
                post(transport, peer.url)
            assert post(transport, peer.url).content == b"{}"
        assert peer.accepted == 2

    @pytest.mark.parametrize("tls", [False, True])
    def test_extra_bytes_after_answer(self, bundle: Path, authority: trustme.CA, tls: bool) -> None:
        # One TLS record: bytes that http.client has not read stay in the TLS library, invisible at the socket.
        surplus = OK + b"\r\n" * 4_500 + OK.replace(b"{}", b"no")
        with (
            Peer(in_turn(surplus, OK), context_for(authority) if tls else None) as peer,
            transport_to(peer.url) as transport,
        ):
            assert [post(transport, peer.url).content for _ in range(2)] == [b"{}", b"{}"]
        assert peer.accepted == 2

    @pytest.mark.parametrize("tls", [False, True])
    @pytest.mark.parametrize(
        "answer",
        [OK, CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n", CONTINUE + OK],
        ids=["length", "chunks", "204", "interim"],
    )
    def test_second_answer_in_the_same_bytes_is_not_the_next_one(
        self, bundle: Path, authority: trustme.CA, tls: bool, answer: bytes
    ) -> None:
        # http.client takes all of it at once into its buffer, and would drop the surplus with the buffer.
        with (
            Peer(in_turn(answer + OK.replace(b"{}", b"no"), OK), context_for(authority) if tls else None) as peer,
            transport_to(peer.url) as transport,
        ):
            assert post(transport, peer.url).content in (b"{}", b"")
            assert post(transport, peer.url).content == b"{}"
        assert peer.accepted == 2, "the connection was closed"

    def test_response_collected_later_does_not_end_another_call(self) -> None:
        kept: list[Any] = []

        class Kept(connections._Response):
            def begin(self) -> None:
                super().begin()
                kept.append(self)
                self._call = Call(1.0, 1)

        with pytest.MonkeyPatch.context() as patch, Peer(OK) as peer, transport_to(peer.url) as transport:
            patch.setattr(connections._BoundedConnection, "response_class", Kept)
            for _ in range(3):
                assert post(transport, peer.url).content == b"{}"
        assert (peer.accepted, len(kept)) == (1, 3)

    def test_more_than_the_answer_through_a_proxy_over_tls(
        self, bundle: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The answer fills what http.client reads at once; the surplus of the same TLS record is in no socket.
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Filler: "
        answer = head + b"a" * (8_192 - len(head) - 6) + b"\r\n\r\n{}"
        peer = Peer(in_turn(answer + OK.replace(b"{}", b"no"), OK), context_for(authority, "service.example"))
        with peer, Peer(tunnelling(peer.port), context_for(authority, "localhost")) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"https://localhost:{proxy.port}")
            with transport_to("https://service.example") as transport:
                assert [post(transport, "https://service.example").content for _ in range(2)] == [b"{}", b"{}"]
        assert peer.accepted == 2

    def test_error_answer_before_body_is_read(self) -> None:
        def serve(peer: Peer, connection: socket.socket) -> None:
            connection.recv(1_000)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(2**20):
                pass

        with Peer(serve) as peer, pytest.raises(errors.FileTooLargeError, match="Too Large"):
            call(peer.url, data=LARGE)

    def test_error_answer_from_server_that_stops_reading(self) -> None:
        def serve(peer: Peer, connection: socket.socket) -> None:
            connection.recv(1_000)
            connection.sendall(b'HTTP/1.1 400 Bad\r\nContent-Length: 17\r\n\r\n{"error": "no."}\n')
            connection.shutdown(socket.SHUT_RD)

        with Peer(serve) as peer, pytest.raises(errors.BadRequestError, match=r"HTTP 400: no\."):
            call(peer.url, data=LARGE)

    def test_transport_works_after_close(self) -> None:
        with Peer(OK) as peer, transport_to(peer.url) as transport:
            post(transport, peer.url)
            transport.close()
            assert post(transport, peer.url).content == b"{}"
        assert peer.accepted == 2

    def test_many_hosts(self) -> None:
        with Peer(OK) as peer, transport_to(peer.url) as transport:
            post(transport, peer.url)
            for number in range(1, 20):
                with pytest.raises(errors.NetworkError):
                    transport.send("GET", f"http://127.0.{number}.1:{peer.port}")
            post(transport, peer.url)
        assert (peer.accepted, len(peer.requests)) == (1, 2)


class TestUnreachable:
    def test_the_next_address_is_tried_after_one_that_refuses(self, resolved: dict[str, list[str]]) -> None:
        resolved["two.example"] = ["127.0.0.11", "127.0.0.1"]
        with Peer(OK) as peer, transport_to("http://127.0.0.1") as transport:
            assert post(transport, f"http://two.example:{peer.port}").content == b"{}"

    def test_the_next_address_is_tried_after_one_that_is_silent(self, resolved: dict[str, list[str]]) -> None:
        resolved["two.example"] = ["127.0.0.11", "127.0.0.1"]
        with (
            unanswered("127.0.0.11") as port,
            Peer(OK, port=port) as peer,
            transport_to("http://127.0.0.1", (0.4, 5.0)) as transport,
        ):
            assert post(transport, f"http://two.example:{port}").content == b"{}"
        assert peer.accepted == 1

    @pytest.mark.parametrize("host", ["127.0.0.1", "a..b", "no-such-host.invalid"])
    def test_no_connection(self, host: str) -> None:
        url = f"http://{host}:{free_port()}"
        with transport_to("http://127.0.0.1") as transport, pytest.raises(errors.NetworkError) as got:
            transport.send("PUT", f"{url}/file?X-Signature=secret", data=BODY)
        assert str(got.value).startswith(f"{url[7:]} cannot be reached")
        assert not got.value.sent
        assert "secret" not in str(got.value)

    @pytest.mark.parametrize(
        "url",
        ["https://[/x?secret", "ftp://host/x?secret", "x?secret", "http://host:99999/?secret", "https:///x?secret"],
    )
    def test_invalid_url(self, url: str) -> None:
        with transport_to("http://127.0.0.1") as transport, pytest.raises(errors.InvalidResponseError) as got:
            transport.send("PUT", url, data=BODY)
        assert "secret" not in str(got.value)

    def test_broken_connection_error_names_host(self) -> None:
        with (
            Peer(lambda peer, connection: None) as storage,
            transport_to("http://127.0.0.1") as transport,
            pytest.raises(errors.NetworkError, match=f"127.0.0.1:{storage.port} broke") as got,
        ):
            transport.send("PUT", f"{storage.url}/file?X-Signature=secret", data=BODY)
        assert got.value.sent
        assert "secret" not in str(got.value)


class TestTls:
    @pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
    def test_ca_bundle_from_environment(
        self, authority: trustme.CA, bundle: Path, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        monkeypatch.setenv(variable, str(bundle))
        with Peer(OK, context_for(authority)) as peer, transport_to(peer.url) as transport:
            assert [post(transport, peer.url).content for _ in range(3)] == [b"{}"] * 3
        assert (peer.accepted, len(peer.requests[0].partition(b"\r\n\r\n")[2])) == (1, len(BODY))

    def test_ca_directory(self, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
        with (
            Peer(OK, context_for(authority)) as peer,
            pytest.raises(errors.NetworkError, match="no secure connection"),
        ):
            call(peer.url)

    @pytest.mark.parametrize("known", [False, True], ids=["an authority that nobody knows", "another host's name"])
    def test_wrong_certificate(self, authority: trustme.CA, bundle: Path, known: bool) -> None:
        issuer = authority if known else trustme.CA()
        peer = Peer(OK, context_for(issuer, "elsewhere.example"))
        with (
            peer,
            pytest.raises(
                errors.NetworkError, match=r"no secure connection to 127.*(certificate|doesn't match)"
            ) as got,
        ):
            call(peer.url)
        assert not got.value.sent
        assert peer.requests == [], "the key was not sent"

    def test_unknown_authority(self, authority: trustme.CA) -> None:
        with Peer(OK, context_for(authority)) as peer, pytest.raises(errors.NetworkError, match="certificate"):
            call(peer.url)

    def test_server_without_tls(self, bundle: Path) -> None:
        with Peer(lambda peer, connection: connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n")) as peer:
            secure = peer.url.replace("http:", "https:")
            with pytest.raises(errors.NetworkError, match="no secure connection") as got:
                call(secure)
        assert not got.value.sent

    def test_missing_ca_bundle(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
        with pytest.raises(errors.SettingsError, match=r"none\.pem.*REQUESTS_CA_BUNDLE"):
            call("https://127.0.0.1:9")


class TestProxies:
    def test_proxy_for_plain_http(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Peer(OK) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://user:pass%20word@127.0.0.1:{proxy.port}")
            assert call("http://localhost:9").content == b"{}"
        assert proxy.requests[0].startswith(b"POST http://localhost:9/path?model=a HTTP/1.1\r\n")
        credentials = base64.b64encode(b"user:pass word")
        assert b"Proxy-Authorization: Basic " + credentials in proxy.requests[0]

    def test_proxy_tunnel(self, authority: trustme.CA, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        context = context_for(authority, "service.example")
        with Peer(OK, context) as peer, Peer(tunnelling(peer.port)) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
            with transport_to("https://service.example") as transport:
                assert [post(transport, "https://service.example").content for _ in range(3)] == [b"{}"] * 3
        assert (proxy.accepted, peer.accepted, len(peer.requests)) == (1, 1, 3)
        assert proxy.requests[0].startswith(b"CONNECT service.example:443 HTTP/1.")
        assert b"k-1" not in proxy.requests[0]

    def test_proxy_tunnel_over_tls(self, authority: trustme.CA, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        peer = Peer(OK, context_for(authority, "service.example"))
        with peer, Peer(tunnelling(peer.port), context_for(authority, "localhost")) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"https://localhost:{proxy.port}")
            assert call("https://service.example").content == b"{}"
        assert (proxy.accepted, len(peer.requests)) == (1, 1)

    def test_proxy_with_wrong_certificate(
        self, authority: trustme.CA, bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Peer(OK, context_for(authority, "elsewhere.example")) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"https://localhost:{proxy.port}")
            with pytest.raises(errors.NetworkError, match=f"proxy localhost:{proxy.port}") as got:
                call("https://service.example")
        assert not got.value.sent
        assert proxy.requests == []

    def test_each_host_has_its_own_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Peer(OK) as peer, Peer(OK) as proxy, transport_to(peer.url) as transport:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            post(transport, peer.url)
            transport.send("PUT", f"http://localhost:{peer.port}/file", data=b"a")
        assert [request.split(b" ")[:2] for request in peer.requests] == [[b"POST", b"/path?model=a"]]
        assert [request.split(b" ")[1] for request in proxy.requests] == [b"http://localhost:%d/file" % peer.port]

    def test_service_uses_proxy_and_storage_does_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Peer(OK) as storage, Peer(OK) as proxy, transport_to("http://localhost:9") as transport:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            post(transport, "http://localhost:9")
            transport.send("PUT", f"{storage.url}/file", data=b"a")
        assert (len(proxy.requests), len(storage.requests)) == (1, 1)

    def test_proxy_decision_is_cached_per_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Peer(OK) as peer, transport_to(peer.url) as transport:
            post(transport, peer.url)
            monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
            post(transport, peer.url)
        assert len(peer.requests) == 2

    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    def test_proxy_that_rejects_the_tunnel(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with Peer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{proxy.port}")
            with pytest.raises(errors.NetworkError) as got:
                call("https://service.example")
        assert f"service.example through the proxy 127.0.0.1:{proxy.port} cannot be reached" in str(got.value)
        assert not got.value.sent
        assert "secret" not in str(got.value)
        gc.collect()  # http.client of Python 3.10 leaves the answer of the proxy open

    def test_too_large_proxy_answer(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with Peer(flooding(b"X: " + b"y" * 60_000 + b"\r\n", b"HTTP/1.1 200 OK\r\n")) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            with pytest.raises(errors.NetworkError, match=f"proxy 127.0.0.1:{proxy.port} cannot be reached") as got:
                call("https://service.example")
        assert not got.value.sent

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_unreachable_proxy(self, bundle: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
        port = free_port()
        monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(errors.NetworkError, match=f"the proxy 127.0.0.1:{port} cannot be reached") as got:
            call(f"{scheme}://localhost")
        assert not got.value.sent

    def test_broken_proxy_may_have_sent_the_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Peer(lambda peer, connection: peer.read(connection) and None) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            with pytest.raises(errors.NetworkError, match="broke") as got:
                call("http://localhost:9")
        assert got.value.sent

    @pytest.mark.parametrize("proxy", ["ftp://user:secret@host:1", "http://:80", "http://user:secret@[x"])
    def test_invalid_proxy(self, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        with pytest.raises(errors.SettingsError, match=r"cannot use a proxy.*HTTPS_PROXY") as got:
            call("http://localhost:9")
        assert "secret" not in str(got.value)


class TestSecrets:
    def test_netrc_is_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\ndefault login a password b\n")
        (tmp_path / ".netrc").chmod(0o600)
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        monkeypatch.setenv("HOME", str(tmp_path))
        with Peer(OK) as peer:
            call(peer.url)
        assert b"authorization" not in peer.requests[0].lower()

    def test_cookies_are_not_kept(self) -> None:
        with Peer(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n")) as peer, transport_to(peer.url) as transport:
            post(transport, peer.url)
            post(transport, peer.url)
        assert b"cookie" not in peer.requests[1].lower()

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_key_is_not_sent_to_redirects(self, status: int) -> None:
        other = Peer(OK)
        location = f"{other.url}/?X-Signature=secret&key=k-1".encode()
        peer = Peer(b"HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, location))
        with other, peer, pytest.raises(errors.RedirectError, match=f"redirects to '{other.url}/'") as got:
            call(peer.url)
        assert (peer.accepted, other.accepted) == (1, 0)
        assert "secret" not in str(got.value)

    def test_redirect_to_invalid_url(self) -> None:
        peer = Peer(b"HTTP/1.1 302 Moved\r\nLocation: http://[\xff\r\nContent-Length: 0\r\n\r\n")
        with peer, pytest.raises(errors.RedirectError):
            call(peer.url)

    def test_echoed_key_is_masked_in_quoted_answer(self) -> None:
        with (
            Peer(b"garbage k-secret-1" * 12 + b"\r\n\r\n") as peer,
            transport_to(peer.url, api_key="k-secret-1") as transport,
            pytest.raises(errors.InvalidResponseError, match=r"garbage \*\*\*") as got,
        ):
            post(transport, peer.url)
        assert "k-secret" not in str(got.value)

    def test_errors_have_no_context(self) -> None:
        """A traceback with causes would show the URL, with the query of a presigned one."""
        with transport_to("http://127.0.0.1") as transport, pytest.raises(errors.NetworkError) as got:
            transport.send("PUT", f"http://127.0.0.1:{free_port()}/?X-Signature=secret", data=b"a")
        assert got.value.__cause__ is got.value.__context__ is None
