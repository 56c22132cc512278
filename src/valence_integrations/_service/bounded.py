"""HTTP calls with bounds on their total time and on the bytes received.

The sockets enforce both bounds, so they apply to everything that http.client and urllib3 read or write: header lines,
interim answers, chunk extensions, trailers, a proxy's answer to CONNECT, and a request body that the peer reads
slowly. No additional thread is needed.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["BoundedSocket", "BoundedTLSSocket", "Call", "CallTimeoutError", "UnusableAnswerError"]

#: Bytes of an answer that are kept for error messages.
_QUOTED = 4_000

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
    allows : callable, optional
        Returns whether to connect directly to an IP address; by default to all.

    Attributes
    ----------
    connected : bool
        Whether there was a connection. Without one, no part of the request was sent.
    beginning : bytearray
        The first bytes received.
    answered : bool
        Whether the answer is complete, so that nothing more is received.
    surplus : bool
        Whether bytes followed the complete answer.
    """

    def __init__(self, seconds: float, size: int, allows: Callable[[str], bool] | None = None) -> None:
        self.connected = False
        self.beginning = bytearray()
        self.answered = False
        self.surplus = False
        self.allows = allows
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._size = size
        self._received = 0

    @staticmethod
    def current() -> Call:
        """Return the call of this thread."""
        call: Call = _local.call
        return call

    @property
    def is_current(self) -> bool:
        """Whether this is the call of this thread."""
        return getattr(_local, "call", None) is self

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
            raise UnusableAnswerError(f"is larger than {self._size / 1e6:g} MB")

    @property
    def is_beginning_cut(self) -> bool:
        """Whether more was received than is kept in `beginning`."""
        return self._received > len(self.beginning)


class BoundedSocket(socket.socket):
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
        if call.answered:
            # As from a socket without data, so that a reader returns only what it holds.
            raise BlockingIOError(errno.EAGAIN, "the answer is complete")
        left = call.seconds_left()
        super().settimeout(min(left, self._read_timeout))
        try:
            return receive(*args)
        except TimeoutError:
            raise (call.timed_out() if left <= self._read_timeout else CallTimeoutError(self._read_timeout)) from None


class BoundedTLSSocket(BoundedSocket, ssl.SSLSocket):
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
