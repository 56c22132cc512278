"""Minimal servers and proxies that send exactly the bytes a test specifies."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import trustme

#: Seconds between two bytes of a slow sender: less than the timeouts of the tests.
DRIBBLE = 0.2

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

Serve = Callable[["Peer", socket.socket], None]


class Peer:
    """Runs `serve` for each connection; a context manager that ends all its threads.

    Parameters
    ----------
    serve : callable or bytes
        What is done with a connection; bytes are the answer to every request.
    context : ssl.SSLContext, optional
        To serve TLS.
    port : int, optional
        Where to listen.

    Attributes
    ----------
    requests : list of bytes
        Each request that was read, head and body.
    accepted : int
        Connections.
    """

    def __init__(self, serve: Serve | bytes, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._serve: Serve = answering(serve) if isinstance(serve, bytes) else serve
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", port))
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.stopped = threading.Event()
        self.requests: list[bytes] = []
        self.accepted = 0

    @property
    def url(self) -> str:
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.port}"

    def __enter__(self) -> Peer:
        self._threads[0].start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
        self._threads[0].join(5)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        assert not any(thread.is_alive() for thread in self._threads)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self.stopped.is_set():
                connection.close()
                return
            self.accepted += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._work, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _work(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._context is None:
                self._serve(self, connection)
            else:
                with self._context.wrap_socket(connection, server_side=True) as secure:
                    self._open.append(secure)
                    self._serve(self, secure)

    def read(self, connection: socket.socket) -> bytes:
        """Read one request; empty at the end of the connection."""
        received = b""
        while b"\r\n\r\n" not in received:
            piece = connection.recv(65_536)
            if not piece:
                return b""
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        pieces, missing = [received], int(lines.get(b"content-length", 0)) - len(body)
        while missing > 0 and (piece := connection.recv(65_536)):
            pieces.append(piece)
            missing -= len(piece)
        self.requests.append(b"".join(pieces))
        return self.requests[-1]

    def dribble(self, connection: socket.socket, data: bytes) -> None:
        """Send bytes one by one, and repeat the last one forever."""
        for at in range(10_000):
            connection.sendall(data[at : at + 1] or data[-1:])
            if self.stopped.wait(DRIBBLE):
                return

    def flood(self, connection: socket.socket, data: bytes) -> None:
        """Send the same bytes forever, as fast as possible."""
        while not self.stopped.is_set():
            connection.sendall(data)


def answering(*answers: bytes) -> Serve:
    """Answer the requests of a connection in turn and repeat the last answer; close after an empty one."""

    def serve(peer: Peer, connection: socket.socket) -> None:
        turn = iter(answers)
        answer = b""
        while peer.read(connection):
            answer = next(turn, answer)
            if not answer:
                return
            connection.sendall(answer)

    return serve


def routing(routes: Mapping[str, bytes | Serve]) -> Serve:
    """Answer each request by the first text that its first line contains; the connection ends after a callable."""

    def serve(peer: Peer, connection: socket.socket) -> None:
        while request := peer.read(connection):
            line = request.partition(b"\r\n")[0].decode()
            answer = next(routes[text] for text in routes if text in line)
            if not isinstance(answer, bytes):
                answer(peer, connection)
                return
            connection.sendall(answer)

    return serve


def http(content: bytes | object, status: str = "200 OK", **headers: str) -> bytes:
    """Return an answer; content other than bytes is JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


def dribbling(data: bytes, before: bytes = b"") -> Serve:
    """Answer a request with some bytes at once, then send bytes one by one."""

    def serve(peer: Peer, connection: socket.socket) -> None:
        peer.read(connection)
        connection.sendall(before)
        peer.dribble(connection, data)

    return serve


def flooding(data: bytes, before: bytes = b"") -> Serve:
    """Answer a request with some bytes, then with endless others."""

    def serve(peer: Peer, connection: socket.socket) -> None:
        peer.read(connection)
        connection.sendall(before)
        peer.flood(connection, data)

    return serve


def tunnelling(port: int) -> Serve:
    """Act as a proxy that connects to a local port, whatever host is requested."""

    def serve(peer: Peer, connection: socket.socket) -> None:
        peer.read(connection)
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as there:
            back = threading.Thread(target=_pass_on, args=(there, connection))
            back.start()
            _pass_on(connection, there)
            back.join(5)

    return serve


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65_536):
            target.sendall(piece)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def context_for(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    """Create the TLS context of a server."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextlib.contextmanager
def unanswered(address: str = "0.0.0.0") -> Iterator[int]:
    """Listen, at all local addresses or one, at a port whose queue is full: attempts to connect stay unanswered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1" if address == "0.0.0.0" else address, port))
        time.sleep(0.05)
        yield port


@contextlib.contextmanager
def at_most(seconds: float) -> Any:
    """Assert that the block takes at most this long."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun <= seconds
