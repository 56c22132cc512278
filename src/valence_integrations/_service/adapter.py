"""An adapter for requests: bounded connections, one TLS context, no retries."""

from __future__ import annotations

import io
import ssl
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters
import requests.utils
import urllib3
import urllib3.exceptions
import urllib3.util.ssl_

from valence_integrations import errors
from valence_integrations._service.bounded import BoundedTLSSocket, Call, UnusableAnswerError
from valence_integrations._service.connections import use_bounded_connections

__all__ = ["BoundedAdapter", "host_of"]

#: Bytes of an answer read at a time.
_PIECE = 65_536

_NO_RETRIES = urllib3.Retry(False)


def host_of(url: str) -> str:
    """Return the host and port of a URL, without credentials; raise ValueError if there is no host."""
    parts = urlsplit(url if "//" in url else f"//{url}")
    if not parts.hostname:
        raise ValueError("no host")
    return parts.netloc.rpartition("@")[2]


class BoundedAdapter(requests.adapters.HTTPAdapter):
    """Sends requests through bounded connections and reads each answer completely; needs a current `Call`.

    It does not retry, and raises urllib3's exceptions besides its own.

    Parameters
    ----------
    ca_bundle : Path
        File or directory with the certificates to trust.
    connections : int
        Maximum number of idle connections per host.
    """

    def __init__(self, ca_bundle: Path, connections: int) -> None:
        self._ca_bundle = ca_bundle
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._pools: dict[tuple[str, str, str | None], urllib3.HTTPConnectionPool] = {}
        super().__init__(pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        use_bounded_connections(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return the pools of connections through a proxy."""
        with self._lock:
            if proxy not in self.proxy_manager:
                if proxy.lower().startswith("https:"):
                    kwargs["proxy_ssl_context"] = self._new_context()
                use_bounded_connections(super().proxy_manager_for(proxy, **kwargs))
            return self.proxy_manager[proxy]

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        """Send a request and read the complete answer."""
        url = str(request.url)
        proxy = requests.utils.select_proxy(url, options["proxies"])
        connect, read = options["timeout"]
        raw = self._pool(url, proxy).urlopen(
            str(request.method),
            self.request_url(request, options["proxies"]) if proxy else request.path_url,
            body=request.body,
            headers=request.headers,
            retries=_NO_RETRIES,
            redirect=False,
            assert_same_host=False,
            timeout=urllib3.Timeout(connect=connect, read=read),
            preload_content=False,
            decode_content=False,
            enforce_content_length=True,
        )
        try:
            body = _read(raw, Call.current())
        except BaseException:
            raw.close()
            raise
        finally:
            raw.release_conn()
        response = self.build_response(request, raw)
        response.raw = io.BytesIO(body)
        return response

    def close(self) -> None:
        """Close all idle connections."""
        self._pools.clear()
        super().close()

    def _pool(self, url: str, proxy: str | None) -> urllib3.HTTPConnectionPool:
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc, proxy)
        pool = self._pools.get(key)
        if pool is None:
            manager = self._manager_for(proxy) if proxy else self.poolmanager
            tls = parts.scheme == "https" or (proxy or "").lower().startswith("https:")
            secure = {"ssl_context": self._tls()} if tls else None
            pool = manager.connection_from_url(url, secure)
            self._pools[key] = pool
        return pool

    def _manager_for(self, proxy: str) -> urllib3.PoolManager:
        try:
            manager: urllib3.PoolManager = self.proxy_manager_for(
                requests.utils.prepend_scheme_if_needed(proxy, "http")  # type: ignore[no-untyped-call]
            )
            host_of(proxy)
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError):
            # Neither the proxy nor the exception is quoted: they may contain a password.
            raise errors.SettingsError(
                "cannot use a proxy from the environment.",
                code="invalid_environment",
                remedy="Correct HTTPS_PROXY, HTTP_PROXY or ALL_PROXY; for SOCKS: pip install 'requests[socks]'",
            ) from None
        return manager

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = self._new_context()
            return self._context

    def _new_context(self) -> ssl.SSLContext:
        file, directory = (None, self._ca_bundle) if self._ca_bundle.is_dir() else (self._ca_bundle, None)
        context: ssl.SSLContext = urllib3.util.ssl_.create_urllib3_context()
        try:
            context.load_verify_locations(file, directory)
        except OSError as error:
            raise errors.SettingsError(
                f"cannot read the CA bundle {self._ca_bundle}: {error}.",
                code="invalid_environment",
                remedy="Correct REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE.",
            ) from None
        context.sslsocket_class = BoundedTLSSocket
        return context


def _read(raw: Any, call: Call) -> bytes:
    """Read a complete answer; raise UnusableAnswerError if it must not be used."""
    if raw.status < 200:
        # "101 Switching Protocols", which was not asked for: what follows is not HTTP.
        raise UnusableAnswerError("is not final")
    encoding = raw.headers.get("Content-Encoding", "").strip()
    if raw.status < 300 and encoding.lower() not in ("", "identity"):
        raise UnusableAnswerError(f"is compressed ({encoding[:50]}), which was not requested")
    call.check(raw.length_remaining or 0)
    pieces = []
    while piece := raw.read(_PIECE, decode_content=False):
        pieces.append(piece)
    return b"".join(pieces)
