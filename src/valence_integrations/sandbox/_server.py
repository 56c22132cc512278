"""Run uvicorn in a thread, without signal handlers or log lines, and stop without waiting for clients."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ._journal import Journal

_log = logging.getLogger("valence_integrations.sandbox")
_log.setLevel(logging.ERROR)

_KEEP_ALIVE_SECONDS = 75
_STOP_SECONDS = 10

#: Iterations of the event loop from accepting a connection to creating its protocol, with a margin.
_ACCEPT_ITERATIONS = 8


class Server:
    """A server of one app: binds its sockets when constructed, and serves from `start` to `stop`."""

    def __init__(self, host: str, port: int) -> None:
        self._sockets = _bind(host, port)
        self.port: int = self._sockets[0].getsockname()[1]
        self._ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    def start(self, app: ASGIApp, journal: Journal) -> None:
        """Serve in a daemon thread; return once connections are accepted."""
        config = uvicorn.Config(
            app,
            http=H11Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        config.load()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._serve(config, journal),), name="valence-sandbox", daemon=True
        )
        self._thread.start()
        self._ready.result()

    def stop(self) -> None:
        """Close every connection, and return when the thread has ended."""
        loop, stopping = self._ready.result()
        loop.call_soon_threadsafe(stopping.set)
        self._thread.join(_STOP_SECONDS)

    async def _serve(self, config: uvicorn.Config, journal: Journal) -> None:
        state = ServerState()
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()

        def protocol() -> _Protocol:
            return _Protocol(config, state, journal)

        try:
            servers = [await loop.create_server(protocol, sock=sock, backlog=config.backlog) for sock in self._sockets]
        except BaseException as error:
            self._ready.set_exception(error)
            raise
        self._ready.set_result((loop, stopping))
        await stopping.wait()
        # asyncio loses a connection if it closes the server between accepting it and creating its transport.
        for sock in self._sockets:
            loop.remove_reader(sock)
        await asyncio.sleep(0)
        for server in servers:
            server.close()
        for _ in range(_ACCEPT_ITERATIONS):
            for connection in list(state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)


class _Protocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol; adds the transport to the request's state, and counts connections and bytes."""

    def __init__(self, config: uvicorn.Config, state: ServerState, journal: Journal) -> None:
        super().__init__(config, state, {})
        self.logger = _log
        self.access_log = False
        self._journal = journal

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {"transport": transport}
        self._journal.count("connections")

    def data_received(self, data: bytes) -> None:
        self._journal.count("bytes_received", len(data))
        super().data_received(data)


def _bind(host: str, port: int) -> list[socket.socket]:
    """Bind the host. For the IPv4 loopback, also bind the IPv6 one if possible: ``localhost`` may mean either."""
    first = _bind_socket(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port)
    sockets = [first]
    if host == "127.0.0.1":
        with contextlib.suppress(OSError):
            sockets.append(_bind_socket(socket.AF_INET6, "::1", first.getsockname()[1]))
    return sockets


def _bind_socket(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
