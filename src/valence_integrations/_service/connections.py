"""Connections of urllib3 whose sockets are bounded, and that are reused only after exactly one answer."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from typing import Any

import urllib3
import urllib3.connection
from urllib3.util.ssltransport import SSLTransport

from valence_integrations._service.bounded import BoundedSocket, Call
from valence_integrations._service.connecting import connect

__all__ = ["use_bounded_connections"]


class _Response(http.client.HTTPResponse):
    _call: Call | None = None

    def begin(self) -> None:
        super().begin()
        self._call = Call.current()
        # urllib3 would log malformed header lines, in which the service may quote the key.
        self.msg.defects.clear()
        self.msg.set_payload("")

    # Not public: `begin` skips no interim answer but "100 Continue". After "101 Switching Protocols" comes no other.
    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        while 101 < status < 200:
            http.client.parse_headers(self.fp)
            version, status, reason = super()._read_status()  # type: ignore[misc]
        return version, status, reason

    # Not public: called once the answer was read. What the reader holds beyond it would be lost, and an answer after it
    # taken for the answer to the next request. A response that is only collected later belongs to no call of now.
    def _close_conn(self) -> None:
        call = self._call
        if call is not None and call.is_current:
            call.answered = True
            call.surplus = bool(self.fp.peek(1))
        super()._close_conn()  # type: ignore[misc]


class _BoundedConnection(urllib3.connection.HTTPConnection):
    response_class = _Response
    #: Set on http.client's class, it prints all headers, the key included.
    debuglevel = 0

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
        bounded = BoundedSocket(plain.family, plain.type, plain.proto, plain.detach())
        bounded.settimeout(timeout)
        return bounded


def _has_unread(sock: Any) -> bool:
    """Return whether TLS, or TLS within TLS, holds bytes that were received and not read."""
    if isinstance(sock, SSLTransport):
        return sock.sslobj.pending() > 0 or sock.incoming.pending > 0 or _has_unread(sock.socket)
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


class _BoundedPool(urllib3.HTTPConnectionPool):
    # Not public: urllib3 looks for unread bytes at the socket, where those that TLS or a reader has taken are not seen.
    def _put_conn(self, conn: Any) -> None:
        if conn is not None and (Call.current().surplus or _has_unread(conn.sock)):
            conn.close()
        super()._put_conn(conn)


def _bounded_pool(pool: type[urllib3.HTTPConnectionPool]) -> type[urllib3.HTTPConnectionPool]:
    connection = type("BoundedConnection", (_BoundedConnection, pool.ConnectionCls), {})
    return type("BoundedPool", (_BoundedPool, pool), {"ConnectionCls": connection})


def use_bounded_connections(manager: urllib3.PoolManager) -> None:
    """Make a pool manager, with or without a proxy, create bounded connections only."""
    classes: Mapping[str, type[urllib3.HTTPConnectionPool]] = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _bounded_pool(pool) for scheme, pool in classes.items()}
