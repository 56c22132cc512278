"""Faulty responses: dropped, truncated, endless, slow, or of the wrong type."""

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

_SLOW_PIECES = 20


async def faulty_response(
    kind: str, answer: Callable[[], Awaitable[Response]], slow_seconds: float, redirect_base: str
) -> Response:
    """Return the response with the fault `kind`; `answer` is called if part of the correct response is needed."""
    if kind in {"drop", "reset", "hang"}:
        return _IncompleteResponse(kind, b"")
    if kind == "redirect":
        return Response(status_code=307, headers={"Location": f"{redirect_base}/redirected"})
    if kind == "html":
        return HTMLResponse(
            "<!doctype html><title>Welcome</title><p>This is not the page that you are looking for.</p>"
        )
    response = await answer()
    body = bytes(response.body)
    if kind == "truncate":
        return Response(body[: len(body) // 2], media_type=response.media_type)
    if kind == "slow":
        length = {"content-length": str(len(body))}
        return StreamingResponse(_slow_body(body, slow_seconds), media_type=response.media_type, headers=length)
    return _IncompleteResponse(kind, body)


async def _slow_body(body: bytes, seconds: float) -> AsyncIterator[bytes]:
    step = max(1, -(-len(body) // _SLOW_PIECES))
    for start in range(0, len(body), step):
        await asyncio.sleep(seconds / _SLOW_PIECES)
        yield body[start : start + step]


class _IncompleteResponse(Response):
    """An incomplete response: ``drop``, ``reset`` and ``hang`` send nothing, ``cut`` and ``stall`` half of the body."""

    def __init__(self, kind: str, body: bytes) -> None:
        super().__init__()
        self._kind = kind
        self._full_body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport: asyncio.Transport = scope["state"]["transport"]
        if self._full_body:
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(self._full_body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            half = self._full_body[: len(self._full_body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
        if self._kind == "reset":
            _reset(transport)
        elif self._kind in {"drop", "cut"}:
            transport.close()
        while (await receive())["type"] != "http.disconnect":
            pass


def _reset(transport: asyncio.Transport) -> None:
    """Close the connection with a TCP reset: with a linger time of 0, the kernel sends RST instead of FIN."""
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
