"""Records of received requests: counters, a bounded list, and the ASGI middleware that fills them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

DISCRETE_PATHS = frozenset({"/emotionprediction", "/v1/discrete/emotion"})

_MAX_RECORDS = 10_000


@dataclass
class RequestRecord:
    """One received request and its outcome.

    Attributes
    ----------
    method, path : str
        Method and path of the request, without the query string.
    time : float
        ``time.monotonic()`` when its headers arrived.
    status : int or None
        Status of the answer; None before there is one, and if the connection was dropped.
    sha256 : str or None
        Hash of the audio as received: the file of a multipart body, the whole JSON body, or the part of an upload.
    duration : float or None
        Seconds of audio in a discrete prediction; None if it was not decoded.
    content_type : str
        The Content-Type header; empty if there was none.
    has_key : bool
        Whether the request had an ``x-api-key`` header, valid or not.
    remote_port : int
        The client's port; requests with the same port used the same connection.
    fault : str or None
        The injected fault, if any.
    """

    method: str
    path: str
    time: float
    status: int | None = None
    sha256: str | None = None
    duration: float | None = None
    content_type: str = ""
    has_key: bool = False
    remote_port: int = 0
    fault: str | None = None


@dataclass
class Counters:
    """The counters of a sandbox."""

    calls: int = 0
    answered: int = 0
    uploads: int = 0
    polls: int = 0
    connections: int = 0
    bytes_received: int = 0
    max_in_flight: int = 0
    key_leaks: int = 0


class Journal:
    """A record of requests: the server's thread writes it, and any thread may read it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters = Counters()
        self._records: deque[RequestRecord] = deque(maxlen=_MAX_RECORDS)
        self._in_flight = 0

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            setattr(self._counters, name, getattr(self._counters, name) + amount)

    def add(self, record: RequestRecord) -> None:
        """Add the record of a request."""
        with self._lock:
            self._records.append(record)

    def start_call(self) -> None:
        """Count a received discrete prediction as in flight."""
        with self._lock:
            self._counters.calls += 1
            self._in_flight += 1
            self._counters.max_in_flight = max(self._counters.max_in_flight, self._in_flight)

    def end_call(self) -> None:
        """Stop counting a discrete prediction as in flight, answered or not."""
        with self._lock:
            self._in_flight -= 1

    def counters(self) -> Counters:
        """Return a copy of the counters."""
        with self._lock:
            return replace(self._counters)

    def requests(self) -> list[RequestRecord]:
        """Return copies of the last 10 000 records, oldest first."""
        with self._lock:
            return [replace(record) for record in self._records]

    def reset(self) -> None:
        """Clear the record; requests in progress still count as in flight."""
        with self._lock:
            self._counters = Counters(max_in_flight=self._in_flight)
            self._records.clear()


class Recorder:
    """ASGI middleware: record each request, and send the answer only after the whole body has arrived.

    It adds two values to the request's state: `record`, and `closing`, an ExitStack that is closed just before the
    last byte of the answer is sent. A client that has its answer is therefore no longer in flight.
    """

    def __init__(self, app: ASGIApp, journal: Journal) -> None:
        self._app = app
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        record = RequestRecord(
            method=scope["method"],
            path=scope["path"],
            time=time.monotonic(),
            content_type=headers.get("content-type", ""),
            has_key="x-api-key" in headers,
            remote_port=scope["client"][1],
        )
        self._journal.add(record)
        with contextlib.suppress(asyncio.CancelledError), contextlib.ExitStack() as closing:
            if record.method == "POST" and record.path in DISCRETE_PATHS:
                self._journal.start_call()
                closing.callback(self._journal.end_call)
            scope["state"].update(record=record, closing=closing)
            exchange = _Exchange(record, closing, receive, send)
            await self._app(scope, exchange.receive, exchange.send)


class _Exchange:
    def __init__(self, record: RequestRecord, closing: contextlib.ExitStack, receive: Receive, send: Send) -> None:
        self._record = record
        self._closing = closing
        self._receive = receive
        self._send = send
        self._body_arrived = False

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._body_arrived = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            while not self._body_arrived:
                await self.receive()
            self._record.status = message["status"]
        elif not message.get("more_body", False):
            self._closing.close()
        await self._send(message)
