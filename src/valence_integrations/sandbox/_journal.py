"""What arrived at the sandbox: counters, a bounded list of requests, and the ASGI layer that fills them."""

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

_KEPT = 10_000


@dataclass
class RequestRecord:
    """One request as it arrived, and what became of it.

    Attributes
    ----------
    method, path : str
        Of the request line, without the query.
    time : float
        ``time.monotonic()`` when its headers had arrived.
    status : int or None
        Status of the answer; None as long as there is none, and if the connection was dropped.
    sha256 : str or None
        Of the audio as received: the file of a multipart body, the whole JSON body, the part of an upload.
    duration : float or None
        Seconds of audio in a discrete prediction, as far as it could be read.
    content_type : str
        As sent, empty if it was not.
    has_key : bool
        Whether an ``x-api-key`` header was there, right or wrong.
    remote_port : int
        The client's port: the same port is the same connection.
    fault : str or None
        The fault that it drew.
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
    """The numbers of a sandbox's record."""

    calls: int = 0
    answered: int = 0
    uploads: int = 0
    polls: int = 0
    connections: int = 0
    bytes_received: int = 0
    max_in_flight: int = 0
    key_leaks: int = 0


class Journal:
    """A record that the server's thread writes and any thread may read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters = Counters()
        self._records: deque[RequestRecord] = deque(maxlen=_KEPT)
        self._in_flight = 0

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            setattr(self._counters, name, getattr(self._counters, name) + amount)

    def arrived(self, record: RequestRecord) -> None:
        """Keep the record of a request."""
        with self._lock:
            self._records.append(record)

    def call_begins(self) -> None:
        """Count a discrete prediction that arrived."""
        with self._lock:
            self._counters.calls += 1
            self._in_flight += 1
            self._counters.max_in_flight = max(self._counters.max_in_flight, self._in_flight)

    def call_ends(self) -> None:
        """Say that a discrete prediction has been answered, or never will be."""
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
        """Begin anew; requests still being answered count as in flight."""
        with self._lock:
            self._counters = Counters(max_in_flight=self._in_flight)
            self._records.clear()


class Recorder:
    """ASGI layer around the app: records each request, and lets it be answered only when its body has arrived.

    It puts two things into the request's state: `record`, and `closing`, an ExitStack that is closed just before the
    last byte of the answer is sent. So a client that has its answer is no longer in flight.
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
        self._journal.arrived(record)
        with contextlib.suppress(asyncio.CancelledError), contextlib.ExitStack() as closing:
            if record.method == "POST" and record.path in DISCRETE_PATHS:
                self._journal.call_begins()
                closing.callback(self._journal.call_ends)
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
