"""HTTP to the service: one session for all calls, bounds on each, and no key to other hosts."""

from __future__ import annotations

import http.client
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.utils
import urllib3.exceptions

from valence_integrations import errors
from valence_integrations._service.adapter import BoundedAdapter, host_of
from valence_integrations._service.bounded import Call, CallTimeoutError, UnusableAnswerError
from valence_integrations._service.refusals import masked, raise_for_refusal
from valence_integrations._version import __version__
from valence_integrations.settings import Settings

__all__ = ["Transport"]

#: Maximum size of an answer in bytes, headers included.
MAX_ANSWER_BYTES = 4 * 2**20

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

    def send(self, method: str, url: str, **kwargs: Any) -> requests.Response:
        """Send one request and read the complete answer.

        The whole call, connecting included, takes no longer than the sum of both timeouts. Connecting takes no longer
        than the connect timeout, however many addresses the host has. Two steps are not bounded as a whole: resolving
        the host's name, which Python cannot interrupt, and the handshake with a SOCKS proxy, whose timeout holds for
        each step.

        Parameters
        ----------
        method, url : str
            HTTP method and URL.
        **kwargs
            `headers`, `params`, and `data` or `json`, as `requests.Request` takes them.

        Raises
        ------
        CallError
            If there is no usable answer.
        AudioError
            If the service rejects the audio.
        JobError
            If the service rejects the key or redirects, or if a proxy or the CA bundle cannot be used.
        """
        kwargs.pop("timeout", None)  # the timeouts of the settings apply to every call
        request, address, host = _prepared(method, url, **kwargs)
        proxies = self._proxies_for(address)
        with Call(sum(self._settings.timeout), MAX_ANSWER_BYTES) as call:
            try:
                response = self._session.send(
                    request, timeout=self._settings.timeout, allow_redirects=False, stream=True, proxies=proxies
                )
            except errors.ValenceError:
                raise
            except (CallTimeoutError, UnusableAnswerError, urllib3.exceptions.HTTPError, ValueError) as error:
                proxy = requests.utils.select_proxy(address, proxies)
                peer = f"{host} through the proxy {host_of(proxy)}" if proxy else host
                failure = self._failure(error, peer, call)
            else:
                raise_for_refusal(response, host, self._settings.api_key)
                return response
        # Raised outside the except block to have no context, which would show the URL and keep the socket open.
        raise failure

    def close(self) -> None:
        """Close all idle connections."""
        self._session.close()

    def _proxies_for(self, url: str) -> dict[str, str]:
        """Return the proxies for a URL, which are determined once for each host."""
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc)
        if key not in self._proxies:
            self._proxies[key] = requests.utils.get_environ_proxies(url)
        return self._proxies[key]

    def _failure(self, error: Exception, peer: str, call: Call) -> errors.CallError:
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
                    f"no secure connection to {peer}: {error}.",
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
            return self._unusable(peer, str(error), call)
        if _is_invalid_http(error):
            return self._unusable(peer, "is not valid HTTP", call)
        return errors.NetworkError(
            f"the connection to {peer} broke before the answer was complete.", code="connection_broken"
        )

    def _unusable(self, peer: str, reason: str, call: Call) -> errors.InvalidResponseError:
        beginning = masked(call.beginning.decode("latin-1"), self._settings.api_key, 200)
        return errors.InvalidResponseError(
            f"the answer from {peer} {reason}; it begins with {beginning!r}.", remedy="Check base_url and the proxies."
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
    request.prepare_headers(headers)
    request.prepare_body(data, None, json)
    request.headers.update(_HEADERS)
    return request, address, host
