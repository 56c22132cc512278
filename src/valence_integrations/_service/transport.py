"""HTTP to the service: one session for all calls, bounds on each, and no key to other hosts."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.utils
import urllib3.exceptions

from valence_integrations import errors
from valence_integrations._service.adapter import BoundedAdapter, host_of
from valence_integrations._service.addresses import AddressRefusedError, is_loopback, is_public, literal_address
from valence_integrations._service.answer import Answer
from valence_integrations._service.bounded import Call, CallTimeoutError, UnusableAnswerError
from valence_integrations._service.masking import Mask
from valence_integrations._service.refusals import raise_for_refusal
from valence_integrations._version import __version__
from valence_integrations.settings import Settings, revealed

__all__ = ["Transport"]

#: Maximum size of an answer in bytes, headers included.
MAX_ANSWER_BYTES = 4_000_000

_HEADERS = {"User-Agent": f"valence-integrations/{__version__}", "Accept-Encoding": "identity"}


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Redirects are not followed, so their target is not parsed."""


class Transport:
    """Sends requests, and converts failures to this library's exceptions.

    Proxies and trusted certificates are taken from the environment, as in requests; ``.netrc`` is not read.

    Parameters
    ----------
    settings : Settings
        `base_url`, the key and the timeouts.
    pool_size : int
        Maximum number of idle connections per host.
    """

    def __init__(self, settings: Settings, pool_size: int) -> None:
        self._settings = settings
        self._mask = Mask(())
        self._proxies: dict[tuple[str, str], dict[str, str]] = {}
        ca_bundle = (
            os.environ.get("REQUESTS_CA_BUNDLE")
            or os.environ.get("CURL_CA_BUNDLE")
            or requests.utils.DEFAULT_CA_BUNDLE_PATH
        )
        adapter = BoundedAdapter(Path(ca_bundle), pool_size)
        self._session = _Session()
        self._session.trust_env = False
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def send(self, method: str, url: str, **kwargs: Any) -> Answer:
        """Send one request and read the complete answer.

        The whole call, connecting included, takes no longer than the sum of both timeouts. Connecting takes no longer
        than the connect timeout, however many addresses the host has. Two steps are not bounded as a whole: resolving
        the host's name, which Python cannot interrupt, and the handshake with a SOCKS proxy, whose timeout holds for
        each step.

        Another host than `base_url`'s, which only the service can have named, must be `https://` and must have a public
        address; see `check_url`.

        Parameters
        ----------
        method, url : str
            HTTP method and URL.
        **kwargs
            `headers`, `params`, and `data` or `json`, as `requests.Request` takes them.

        Raises
        ------
        CallError
            If there is no usable answer, or if the address is refused.
        AudioError
            If the service rejects the audio.
        JobError
            If the service rejects the key or redirects, or if the key, a proxy or the CA bundle cannot be used.
        """
        kwargs.pop("timeout", None)  # the timeouts of the settings apply to every call
        request, address, host = _prepared(method, url, **kwargs)
        key = request.headers.get("x-api-key")
        proxies = self._proxies_for(address)
        allows = None if self._is_service(address) else self._check_of_addresses(address)
        failure: BaseException
        with Call(sum(self._settings.timeout), MAX_ANSWER_BYTES, allows) as call:
            try:
                response = self._session.send(
                    request, timeout=self._settings.timeout, allow_redirects=False, stream=True, proxies=proxies
                )
            except AddressRefusedError:
                failure = _refused(host)
            except (CallTimeoutError, UnusableAnswerError, urllib3.exceptions.HTTPError, ValueError, OSError) as error:
                # Settings errors of the adapter are ValueErrors, too.
                if isinstance(error, errors.ValenceError):
                    failure = error
                else:
                    proxy = self._proxy_for(address)
                    peer = f"{host} through the proxy {host_of(proxy)}" if proxy else host
                    failure = self._failure(error, peer, call, key)
            except (KeyboardInterrupt, SystemExit, MemoryError) as interruption:
                failure = interruption
            else:
                answer = Answer(response, self._mask_for(key))
                raise_for_refusal(answer, host, with_key=key is not None)
                return answer
        # Raised outside the except block and without the traceback: the context would keep the socket open, and the
        # variables of http.client hold the key.
        raise failure.with_traceback(None)

    def check_url(self, url: str) -> None:
        """Check a URL that the service has named, as far as that is possible without connecting.

        Raises
        ------
        CallError
            If it is neither `https://` nor of this machine, or has a private address although `base_url` has none.
            Through a proxy, which resolves names, only addresses in numbers can be checked.
        """
        _, address, host = _prepared("PUT", url)
        if self._is_service(address):
            return
        parts = urlsplit(address)
        literal = literal_address(parts.hostname or "")
        if literal is not None:
            refused = not self._allows(parts.scheme, literal)
        else:
            refused = parts.scheme == "http" and self._proxy_for(address) is not None
        if refused:
            raise _refused(host)

    def close(self) -> None:
        """Close all idle connections."""
        self._session.close()

    def _is_service(self, address: str) -> bool:
        """Return whether a URL is of the same origin as `base_url`."""
        base_url = self._settings.base_url
        return address.startswith(f"{base_url}/") or _origin(address) == _origin(base_url)

    def _check_of_addresses(self, address: str) -> Callable[[str], bool] | None:
        """Return the check of IP addresses to connect to for a URL of another host; None through a proxy."""
        self.check_url(address)
        return None if self._proxy_for(address) else partial(self._allows, urlsplit(address).scheme)

    def _allows(self, scheme: str, address: str) -> bool:
        """Return whether a host that the service has named may have an IP address."""
        if scheme == "http" and not is_loopback(address):
            return False
        return is_public(address) or self._is_service_private()

    def _is_service_private(self) -> bool:
        """Return whether `base_url` has a private address, as the sandbox has."""
        _, host, port = _origin(self._settings.base_url)
        literal = literal_address(host)
        try:
            found = [literal] if literal else [str(where[0]) for *_, where in socket.getaddrinfo(host, port)]
        except (OSError, UnicodeError):
            return False
        return not all(map(is_public, found))

    def _mask_for(self, key: str | None) -> Mask:
        """Return a mask of all keys that were sent, and of the current one, which may be another."""
        known, current = self._mask.keys, self._settings.api_key
        current = current and revealed(current)
        if not {key, current} - {None} <= known:
            self._mask = Mask({*known, *filter(None, (key, current))})
        return self._mask

    def _proxies_for(self, url: str) -> dict[str, str]:
        """Return the proxies for a URL, which are determined once for each host."""
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc)
        if key not in self._proxies:
            self._proxies[key] = requests.utils.get_environ_proxies(url)
        return self._proxies[key]

    def _proxy_for(self, url: str) -> str | None:
        proxy: str | None = requests.utils.select_proxy(url, self._proxies_for(url))
        return proxy

    def _failure(self, error: Exception, peer: str, call: Call, key: str | None) -> errors.CallError:
        """Return the exception for a call without an answer."""
        if isinstance(error, CallTimeoutError):
            return errors.ReadTimeoutError(
                f"no answer from {peer} within {error.seconds:g} s.",
                sent=call.connected,
                remedy="Raise timeout=(connect, read).",
            )
        if not call.connected:
            if isinstance(error, urllib3.exceptions.SSLError):
                return errors.NetworkError(
                    f"no secure connection to {peer}: {self._mask_for(key)(str(error))[:500]}.",
                    sent=False,
                    code="tls_failed",
                    remedy="Check the proxy and REQUESTS_CA_BUNDLE.",
                )
            return errors.NetworkError(
                f"{peer} cannot be reached.",
                sent=False,
                code="network_unreachable",
                setting="base_url",
                remedy="Check the network, base_url and the proxies.",
            )
        if isinstance(error, UnusableAnswerError):
            return self._unusable(peer, str(error), call, key)
        if _is_invalid_http(error):
            return self._unusable(peer, "is not valid HTTP", call, key)
        return errors.NetworkError(
            f"the connection to {peer} broke before the answer was complete.", code="connection_broken"
        )

    def _unusable(self, peer: str, reason: str, call: Call, key: str | None) -> errors.InvalidResponseError:
        mask, beginning = self._mask_for(key), call.beginning.decode("latin-1")
        quoted = (mask.cut if call.is_beginning_cut else mask)(beginning)[:200]
        return errors.InvalidResponseError(
            f"the answer from {peer} {mask(reason)}; it begins with {quoted!r}.",
            remedy="Check base_url and the proxies.",
        )


def _origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port, the same for every spelling."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme.lower(), (parts.hostname or "").rstrip("."), port


def _refused(host: str) -> errors.CallError:
    return errors.CallError(
        f"the service asks to send the upload to {host[:200]}, which is not a public https:// address.",
        code="upload_url_refused",
        setting="long_audio",
        remedy='Nothing was sent there. Report this, or use long_audio="chunk", which uploads nothing.',
    )


def _is_invalid_http(error: Exception) -> bool:
    """Whether the answer is invalid HTTP, and not just cut off."""
    if isinstance(error, urllib3.exceptions.ProtocolError):
        cause = error.args[-1]
        return isinstance(cause, http.client.HTTPException) and not isinstance(
            cause, (http.client.IncompleteRead, http.client.RemoteDisconnected)
        )
    return isinstance(error, (urllib3.exceptions.InvalidHeader, ValueError))


def _prepared(
    method: str, url: str, *, headers: Any = None, params: Any = None, data: Any = None, json: Any = None
) -> tuple[requests.PreparedRequest, str, str]:
    """Return a request, its URL and its host."""
    # Step by step: `prepare` would also look for cookies and a password, which takes twice as long as the rest.
    request = requests.PreparedRequest()
    request.prepare_method(method)
    try:
        request.prepare_url(url, params)
        address = str(request.url)
        host = host_of(address)
    except (requests.RequestException, ValueError):
        address = host = ""
    if not address.startswith(("https:", "http:")):
        # The URL is not quoted, because the query of a presigned URL is a secret.
        raise errors.InvalidResponseError("the service returned an invalid URL.", remedy="Try again.")
    for value in (headers or {}).values():
        if not value.isascii() or not value.isprintable():
            # requests would raise an error that has the key.
            raise errors.SettingsError(
                "VALENCE_API_KEY must be printable ASCII characters.",
                code="invalid_environment",
                setting="api_key",
                remedy="Copy it again.",
            )
    request.prepare_headers(headers)
    request.prepare_body(data, None, json)
    request.headers.update(_HEADERS)
    return request, address, host
