from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from urllib3.util import wait_for_read

from valence_integrations import Settings, errors
from valence_integrations._service.connections import Answer, ConnectError, Connections
from valence_integrations._service.transport import Transport
from valence_integrations.sandbox import Sandbox

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"x" * 200_000
NO_BUNDLE = Path("unused")

#: What a connection is answered, request by request.
Answers = list[bytes]


def receive(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(BODY):
        piece = connection.recv(65_536)
        if not piece:
            return b""
        received += piece
    return received


@contextlib.contextmanager
def serving(
    *connections: Answers, wrap: Callable[[socket.socket], socket.socket] = lambda plain: plain
) -> Iterator[tuple[str, list[bytes]]]:
    """Serve so many connections with what is given; each is closed after its last answer."""
    requests: list[bytes] = []

    def serve() -> None:
        for answers in connections:
            plain, _ = listener.accept()
            with contextlib.suppress(OSError), wrap(plain) as connection:
                for answer in answers:
                    requests.append(receive(connection))
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield f"//127.0.0.1:{listener.getsockname()[1]}", requests
        server.join(10)
    assert not server.is_alive()


def post(connections: Connections) -> Answer:
    return connections.post("/path?model=a", [BODY], {"x-api-key": "k"})


@contextlib.contextmanager
def connected(url: str, bundle: Path = NO_BUNDLE) -> Iterator[Connections]:
    connections = Connections(url, (2.0, 2.0), bundle)
    yield connections
    connections.close()


def test_what_is_sent_and_what_is_read() -> None:
    answer = b"HTTP/1.1 429 Slow Down\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\n[]"
    with serving([answer]) as (url, requests), connected("http:" + url) as connections:
        got = post(connections)
    assert (got.status, got.reason, got.headers["retry-after"], got.body) == (429, "Slow Down", "3", b"[]")
    head = requests[0].split(b"\r\n\r\n")[0].decode()
    assert head.startswith("POST /path?model=a HTTP/1.1\r\n")
    assert {"x-api-key: k", "Content-Length: 200000", "Accept-Encoding: identity"} <= set(head.split("\r\n"))


def test_an_answer_in_chunks() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3\r\nabc\r\n80\r\n" + b"d" * 128 + b"\r\n0\r\n\r\n"
    )
    with serving([answer, answer]) as (url, _), connected("http:" + url) as connections:
        assert [post(connections).body for _ in range(2)] == [b"abc" + b"d" * 128] * 2


def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    with serving([OK], [OK]) as (url, requests), connected("http:" + url) as connections:
        assert post(connections).status == 200
        assert wait_for_read(connections._idle[0].sock, timeout=10), "the end has arrived"
        assert post(connections).status == 200
    assert len(requests) == 2


def test_a_connection_that_the_server_is_going_to_close_is_not_used_again() -> None:
    last = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with serving([last], [OK]) as (url, _), connected("http:" + url) as connections:
        assert [post(connections).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("answer", [b"", OK[:-1], CHUNKED + b"3\r\nab"])
def test_an_answer_that_ends_too_soon(answer: bytes) -> None:
    with serving([answer]) as (url, _):
        made = Settings(base_url="http:" + url, api_key="k", timeout=(2, 2))
        with pytest.raises(errors.NetworkError, match="broke before the answer was whole") as caught:
            Transport(made, 1).post(f"http:{url}/", [BODY], {})
    assert caught.value.sent


def test_who_refuses_before_the_body_is_whole_is_heard() -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1_000)
            connection.sendall(refusal)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while connection.recv(2**20):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        with connected(f"http://127.0.0.1:{listener.getsockname()[1]}") as connections:
            assert connections.post("/", [b"x" * 5_000_000], {}).status == 413
        server.join(10)


@pytest.mark.parametrize("host", ["127.0.0.1", "a..b", "no-such-host.invalid"])
def test_no_connection(host: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with connected(f"http://{host}:{port}") as connections, pytest.raises(ConnectError):
        post(connections)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class TestTls:
    @pytest.fixture
    def bundle(self, authority: trustme.CA, tmp_path: Path) -> Path:
        path = tmp_path / "authority.pem"
        authority.cert_pem.write_to_path(str(path))
        return path

    @staticmethod
    def wrapping(authority: trustme.CA, name: str = "127.0.0.1") -> Callable[[socket.socket], socket.socket]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(context)
        return lambda plain: context.wrap_socket(plain, server_side=True)

    def test_the_bundle_of_the_environment(
        self, authority: trustme.CA, bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        with serving([OK, OK], wrap=self.wrapping(authority)) as (url, requests):
            transport = Transport(Settings(base_url="https:" + url, api_key="k"), 1)
            assert [transport.post(f"https:{url}/", [BODY], {}).status for _ in range(2)] == [200, 200]
            transport.close()
        assert len(requests) == 2

    @pytest.mark.parametrize("known", [False, True], ids=["an authority that nobody knows", "another host's name"])
    def test_who_is_not_who_was_called(self, authority: trustme.CA, bundle: Path, known: bool) -> None:
        issuer = authority if known else trustme.CA()
        with serving([OK], wrap=self.wrapping(issuer, "elsewhere.example")) as (url, requests):
            with connected("https:" + url, bundle) as connections, pytest.raises(ConnectError) as caught:
                post(connections)
            assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert requests == [], "the key was not sent"

    def test_the_error_says_so(self, authority: trustme.CA) -> None:
        with serving([OK], wrap=self.wrapping(authority)) as (url, _):
            transport = Transport(Settings(base_url="https:" + url, api_key="k"), 1)
            with pytest.raises(errors.NetworkError, match=r"no secure connection.*certificate") as caught:
                transport.post(f"https:{url}/", [BODY], {})
        assert not caught.value.sent


def test_through_a_proxy(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving([OK]) as (url, requests):
        monkeypatch.setenv("HTTP_PROXY", "http:" + url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        transport = Transport(Settings(base_url=sandbox.url, api_key="k"), 1)
        assert transport.post(f"{sandbox.url}/emotionprediction?model=a", [BODY], {"x-api-key": "k"}).body == b"{}"
        transport.close()
    assert requests[0].startswith(f"POST {sandbox.url}/emotionprediction?model=a HTTP/1.1\r\n".encode())
    assert sandbox.calls == 0
