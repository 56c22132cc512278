"""HTTP calls with bounds on their total time and on the bytes received.

The sockets enforce both bounds, so they apply to everything that http.client and urllib3 read or write: header lines,
interim answers, chunk extensions, trailers, a proxy's answer to CONNECT, and a request body that the peer reads
slowly. No additional thread is needed.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import urllib3
import urllib3.connection
from urllib3.util.ssltransport import SSLTransport

from valence_integrations._service.connecting import connect

__all__ = ["BoundedTLSSocket", "Call", "CallTimeoutError", "UnusableAnswerError", "use_bounded_connections"]

#: Bytes of an answer that are kept for error messages.
_QUOTED = 1_000

_local = threading.local()


class CallTimeoutError(Exception):
    """The peer was silent for too long, or the whole call took too long.

    Not an OSError, so that http.client and urllib3 do not convert it.

    Attributes
    ----------
    seconds : float
        The bound that was exceeded.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class UnusableAnswerError(Exception):
    """The answer must not be used; the text completes "the answer …"."""


class Call:
    """The bounds of one call; a context manager that applies them to everything its thread sends and receives.

    Parameters
    ----------
    seconds : float
        Time for the whole call.
    size : int
        Maximum number of bytes to receive.

    Attributes
    ----------
    connected : bool
        Whether there was a connection. Without one, no part of the request was sent.
    beginning : bytearray
        The first bytes received.
    """

    def __init__(self, seconds: float, size: int) -> None:
        self.connected = False
        self.beginning = bytearray()
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._size = size
        self._received = 0

    @staticmethod
    def current() -> Call:
        """Return the call of this thread."""
        call: Call = _local.call
        return call

    def __enter__(self) -> Call:
        _local.call = self
        return self

    def __exit__(self, *exception: object) -> None:
        del _local.call

    def seconds_left(self) -> float:
        """Return the remaining time; raise CallTimeoutError if there is none."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self.timed_out()
        return left

    def timed_out(self) -> CallTimeoutError:
        """Return the exception for a call whose total time is over."""
        return CallTimeoutError(self._seconds)

    def count(self, received: bytes | memoryview) -> None:
        """Count received bytes; raise UnusableAnswerError if they are too many."""
        if len(self.beginning) < _QUOTED:
            self.beginning += received[:_QUOTED]
        self._received += len(received)
        self.check(self._received)

    def check(self, size: int) -> None:
        """Raise UnusableAnswerError if `size` bytes are too many."""
        if size > self._size:
            raise UnusableAnswerError(f"is larger than {self._size / 2**20:g} MB")


class _BoundedSocket(socket.socket):
    """Applies the bounds of the thread's call. The socket's timeout bounds the silence of the peer."""

    _read_timeout = 0.0

    def settimeout(self, value: float | None, /) -> None:
        assert value is not None
        self._read_timeout = value
        super().settimeout(value)

    def gettimeout(self) -> float:
        # What is set for one call of the system is not what was asked for.
        return self._read_timeout

    def send(self, *args: Any) -> int:
        size: int = self._send(super().send, args)
        return size

    def sendall(self, *args: Any) -> None:
        self._send(super().sendall, args)

    def recv(self, *args: Any) -> bytes:
        data: bytes = self._receive(super().recv, args)
        Call.current().count(data)
        return data

    def recv_into(self, buffer: Any, *args: Any) -> int:
        size: int = self._receive(super().recv_into, (buffer, *args))
        Call.current().count(memoryview(buffer)[:size])
        return size

    def _send(self, send: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        call = Call.current()
        super().settimeout(call.seconds_left())
        try:
            return send(*args)
        except TimeoutError:
            raise call.timed_out() from None
        except ConnectionResetError as error:
            # The peer may have answered before it stopped reading: urllib3 still reads an answer after this error.
            raise BrokenPipeError(*error.args) from None

    def _receive(self, receive: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        call = Call.current()
        left = call.seconds_left()
        super().settimeout(min(left, self._read_timeout))
        try:
            return receive(*args)
        except TimeoutError:
            raise (call.timed_out() if left <= self._read_timeout else CallTimeoutError(self._read_timeout)) from None


class BoundedTLSSocket(_BoundedSocket, ssl.SSLSocket):
    """The same over TLS."""

    # Sends through `send`, which is bounded.
    sendall = ssl.SSLSocket.sendall

    def do_handshake(self, block: bool = False) -> None:
        # Silence ends with TimeoutError, as it does while connecting; the end of the call with CallTimeoutError.
        call, patience = Call.current(), self._read_timeout
        try:
            left = call.seconds_left()
            self.settimeout(min(left, patience))
            try:
                super().do_handshake(block)
            except TimeoutError:
                if left <= patience:
                    raise call.timed_out() from None
                raise
        except CallTimeoutError:
            self.close()  # ssl closes it after an OSError only
            raise
        self.settimeout(patience)


class _Response(http.client.HTTPResponse):
    # Not public: `begin` skips no interim answer but "100 Continue". After "101 Switching Protocols" comes no other.
    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        while 101 < status < 200:
            http.client.parse_headers(self.fp)
            version, status, reason = super()._read_status()  # type: ignore[misc]
        return version, status, reason


class _BoundedConnection(urllib3.connection.HTTPConnection):
    response_class = _Response

    def connect(self) -> None:
        super().connect()
        Call.current().connected = True

    def request(self, *args: Any, **kwargs: Any) -> None:
        # Without a socket, http.client connects as soon as there is something to send.
        Call.current().connected = self.sock is not None
        super().request(*args, **kwargs)

    # Not public, but urllib3's own SOCKS connections override it: the socket must be bounded before CONNECT is sent.
    def _new_conn(self) -> socket.socket:
        # A SOCKS connection asks the proxy to connect, and its timeout holds for each step.
        plain = super()._new_conn() if hasattr(self, "_socks_options") else connect(self)
        timeout = plain.gettimeout()
        bounded = _BoundedSocket(plain.family, plain.type, plain.proto, plain.detach())
        bounded.settimeout(timeout)
        return bounded


def _has_unread(sock: Any) -> bool:
    """Return whether TLS, or TLS within TLS, holds bytes that were received and not read."""
    if isinstance(sock, SSLTransport):
        return sock.sslobj.pending() > 0 or sock.incoming.pending > 0 or _has_unread(sock.socket)
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


class _BoundedPool(urllib3.HTTPConnectionPool):
    # Not public: urllib3 looks for unread bytes at the socket, where those that TLS has taken are not seen.
    def _put_conn(self, conn: Any) -> None:
        if conn is not None and _has_unread(conn.sock):
            conn.close()
        super()._put_conn(conn)


def _bounded_pool(pool: type[urllib3.HTTPConnectionPool]) -> type[urllib3.HTTPConnectionPool]:
    connection = type("BoundedConnection", (_BoundedConnection, pool.ConnectionCls), {})
    return type("BoundedPool", (_BoundedPool, pool), {"ConnectionCls": connection})


def use_bounded_connections(manager: urllib3.PoolManager) -> None:
    """Make a pool manager, with or without a proxy, create bounded connections only."""
    classes: Mapping[str, type[urllib3.HTTPConnectionPool]] = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _bounded_pool(pool) for scheme, pool in classes.items()}
