"""Answers that go wrong on the wire: dropped, cut, never-ending, dribbling, or of the wrong kind."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

from fastapi import Response
from fastapi.responses import HTMLResponse, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.types import Receive, Scope, Send

_DRIBBLES = 20


async def misbehaviour(
    kind: str, answer: Callable[[], Awaitable[Response]], slow_seconds: float, elsewhere: str
) -> Response:
    """Return the response that misbehaves as `kind` says; `answer` is called if part of the right one is needed."""
    if kind in {"drop", "reset", "hang"}:
        return _Broken(kind, b"")
    if kind == "redirect":
        return Response(status_code=307, headers={"Location": f"{elsewhere}/redirected"})
    if kind == "html":
        return HTMLResponse(
            "<!doctype html><title>Welcome</title><p>This is not the page that you are looking for.</p>"
        )
    right = await answer()
    body = bytes(right.body)
    if kind == "truncate":
        return Response(body[: len(body) // 2], media_type=right.media_type)
    if kind == "slow":
        length = {"content-length": str(len(body))}
        return StreamingResponse(_dribble(body, slow_seconds), media_type=right.media_type, headers=length)
    return _Broken(kind, body)


async def _dribble(body: bytes, seconds: float) -> AsyncIterator[bytes]:
    step = max(1, -(-len(body) // _DRIBBLES))
    for start in range(0, len(body), step):
        await asyncio.sleep(seconds / _DRIBBLES)
        yield body[start : start + step]


class _Broken(Response):
    """No whole answer: ``drop``, ``reset`` and ``hang`` send nothing, ``cut`` and ``stall`` half of a body."""

    def __init__(self, kind: str, body: bytes) -> None:
        super().__init__()
        self._kind = kind
        self._promised = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport: asyncio.Transport = scope["state"]["transport"]
        if self._promised:
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(self._promised)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            half = self._promised[: len(self._promised) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
        if self._kind == "reset":
            _reset(transport)
        elif self._kind in {"drop", "cut"}:
            transport.close()
        while (await receive())["type"] != "http.disconnect":
            pass


def _reset(transport: asyncio.Transport) -> None:
    """Close so that the peer gets a TCP reset: with no time to linger, the kernel sends RST instead of FIN."""
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
