"""Kept-alive connections to one host by the standard library, at a third of the processor time that requests takes."""

from __future__ import annotations

import http.client
import ssl
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from requests.structures import CaseInsensitiveDict
from urllib3.util import wait_for_read

__all__ = ["Answer", "ConnectError", "Connections"]

#: Bytes read between two looks at the clock: an answer that dribbles must not hold a call for ever.
READ_STEP = 64


class ConnectError(Exception):
    """No connection came about, so nothing was sent; its cause says why."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    reason: str
    headers: http.client.HTTPMessage | CaseInsensitiveDict[str]
    body: bytes


class Connections:
    """Connections to the host of `url` that are used again, by any thread, one call at a time each.

    Parameters
    ----------
    url : str
        Scheme, host and port are taken from it.
    timeout : tuple of float
        Seconds for the connection, and for the answer.
    ca_bundle : Path
        File or directory with the certificates to trust.
    """

    def __init__(self, url: str, timeout: tuple[float, float], ca_bundle: Path) -> None:
        self._url = urlsplit(url)
        self._timeout = timeout
        self._ca_bundle = ca_bundle
        self._context: ssl.SSLContext | None = None
        self._idle: deque[http.client.HTTPConnection] = deque()
        weakref.finalize(self, _close, self._idle)

    def post(self, target: str, body: Sequence[bytes], headers: Mapping[str, str]) -> Answer:
        """Send one request, whose body comes in pieces, and read its answer whole.

        Raises
        ------
        ConnectError
            If there is no connection.
        TimeoutError
            If there is no whole answer in time.
        OSError, http.client.HTTPException
            If the connection breaks.
        """
        connection = self._connected()
        try:
            # Who refuses a request before it is whole may have said why.
            with suppress(BrokenPipeError):
                size = str(sum(map(len, body)))
                connection.request("POST", target, body, {**headers, "Content-Length": size})
            response = connection.getresponse()
            answer = Answer(response.status, response.reason, response.headers, self._read(response))
        except BaseException:
            connection.close()
            raise
        if connection.sock is not None:
            self._idle.append(connection)
        return answer

    def close(self) -> None:
        """Close every connection that is not in use."""
        _close(self._idle)

    def _connected(self) -> http.client.HTTPConnection:
        """Take an idle connection, or open one."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._open()
            # An idle connection has nothing to say; if there is something to read, the server has closed it.
            if not wait_for_read(connection.sock, timeout=0):
                return connection
            connection.close()

    def _open(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        connection: http.client.HTTPConnection
        connect_timeout, read_timeout = self._timeout
        if self._url.scheme == "https":
            connection = http.client.HTTPSConnection(host, port, timeout=connect_timeout, context=self._tls())
        else:
            connection = http.client.HTTPConnection(host, port, timeout=connect_timeout)
        try:
            connection.connect()
        except (OSError, UnicodeError) as error:
            connection.close()
            raise ConnectError from error
        connection.sock.settimeout(read_timeout)
        return connection

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            file, directory = (None, self._ca_bundle) if self._ca_bundle.is_dir() else (self._ca_bundle, None)
            self._context = ssl.create_default_context(cafile=file, capath=directory)
        return self._context

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        deadline = time.monotonic() + self._timeout[1]
        pieces = []
        while piece := response.read(READ_STEP):
            pieces.append(piece)
            if time.monotonic() > deadline:
                raise TimeoutError
        body = b"".join(pieces)
        if response.length:
            raise http.client.IncompleteRead(body, response.length)
        return body


def _close(connections: deque[http.client.HTTPConnection]) -> None:
    while connections:
        connections.pop().close()
