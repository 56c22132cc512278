"""HTTP to the service: kept-alive connections, timeouts on every call, and the key for no other host."""

from __future__ import annotations

import email.utils
import http.client
import json
import math
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters
import requests.utils

from valence_integrations import errors
from valence_integrations._service.connections import READ_STEP, Answer, ConnectError, Connections
from valence_integrations._version import __version__
from valence_integrations.settings import Settings

__all__ = ["Transport"]

_USER_AGENT = f"valence-integrations/{__version__}"


class Transport:
    """Sends requests, and turns what goes wrong into this library's exceptions.

    `send` is for any request to any host; `post` takes less of the processor, and is for the many.

    Parameters
    ----------
    settings : Settings
        `base_url`, the key and the timeouts.
    pool_size : int
        Connections that `send` keeps open.
    """

    def __init__(self, settings: Settings, pool_size: int) -> None:
        self._settings = settings
        self._session = requests.Session()
        self._session.proxies = requests.utils.get_environ_proxies(settings.base_url)
        ca_bundle = (
            os.environ.get("REQUESTS_CA_BUNDLE")
            or os.environ.get("CURL_CA_BUNDLE")
            or requests.utils.DEFAULT_CA_BUNDLE_PATH
        )
        self._session.verify = ca_bundle
        self._session.trust_env = False
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=pool_size)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._direct: Connections | None = None
        if not requests.utils.select_proxy(settings.base_url, self._session.proxies):
            self._direct = Connections(settings.base_url, settings.timeout, Path(ca_bundle))

    def send(self, method: str, url: str, **kwargs: Any) -> requests.Response:
        """Send one request and read its answer whole.

        Raises
        ------
        CallError
            Without a good answer.
        AudioError
            If the service refuses the audio.
        JobError
            If it refuses the key, or points to another place.
        """
        kwargs.pop("timeout", None)
        # Prepared here: a session would merge its own headers, cookies and settings into each request.
        request = requests.Request(method, url, **kwargs).prepare()
        request.headers["User-Agent"] = _USER_AGENT
        try:
            response = self._session.send(request, timeout=self._settings.timeout, allow_redirects=False, stream=True)
            self._read(response)
        except requests.Timeout as error:
            if isinstance(error, requests.ConnectTimeout):
                raise self._unreachable() from None
            raise self._too_slow() from None
        except requests.exceptions.SSLError as error:
            raise self._insecure(error) from None
        except requests.exceptions.RequestException as error:
            if _never_left(error):
                raise self._unreachable() from None
            raise self._broken() from None
        self._check(_answer(response), with_key="x-api-key" in request.headers)
        return response

    def post(self, url: str, body: Sequence[bytes], headers: Mapping[str, str]) -> Answer:
        """Post a body, in pieces, to the service, with the key among the headers, and read the answer whole.

        Raises
        ------
        CallError, AudioError, JobError
            As `send` does.
        """
        if self._direct is None:
            return _answer(self.send("POST", url, data=b"".join(body), headers=headers))
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}"
        try:
            answer = self._direct.post(target, body, {**headers, "User-Agent": _USER_AGENT})
        except ConnectError as error:
            if isinstance(error.__cause__, ssl.SSLError):
                raise self._insecure(error.__cause__) from None
            raise self._unreachable() from None
        except TimeoutError:
            raise self._too_slow() from None
        except (OSError, http.client.HTTPException):
            raise self._broken() from None
        self._check(answer, with_key=True)
        return answer

    def close(self) -> None:
        """Close every connection."""
        self._session.close()
        if self._direct is not None:
            self._direct.close()

    @property
    def _host(self) -> str:
        return self._settings.base_url.split("//", 1)[1]

    def _read(self, response: requests.Response) -> None:
        deadline = time.monotonic() + self._settings.timeout[1]
        pieces = []
        with response:
            try:
                for piece in response.iter_content(READ_STEP):
                    pieces.append(piece)
                    if time.monotonic() > deadline:
                        raise self._too_slow()
            except requests.ConnectionError as error:
                if "timed out" in str(error):
                    raise self._too_slow() from None
                raise
        response._content = b"".join(pieces)

    def _unreachable(self) -> errors.NetworkError:
        return errors.NetworkError(f"{self._host} cannot be reached; check the network and base_url.", sent=False)

    def _insecure(self, reason: Exception) -> errors.NetworkError:
        return errors.NetworkError(f"no secure connection to {self._host}: {reason}.", sent=False)

    def _broken(self) -> errors.NetworkError:
        return errors.NetworkError(f"the connection to {self._host} broke before the answer was whole.")

    def _too_slow(self) -> errors.ReadTimeoutError:
        seconds = self._settings.timeout[1]
        return errors.ReadTimeoutError(
            f"no answer from {self._host} within {seconds:g} s; raise timeout=(connect, read)."
        )

    def _check(self, answer: Answer, *, with_key: bool) -> None:
        status = answer.status
        if status < 300:
            return
        if status < 400:
            raise errors.RedirectError(
                f"{self._host} redirects to {answer.headers.get('Location', 'another address')!r}; the key is sent "
                "to no other address than base_url. If the service has moved, set base_url to its new address."
            )
        body = _json(answer)
        code = str(body["error_code"]) if body.get("error_code") else None
        said = self._said(answer, body)
        if status in (401, 403) and with_key:
            raise errors.AuthenticationError(
                f"the service refuses the API key (HTTP {status}: {said}). Check VALENCE_API_KEY or api_key."
            )
        if status == 429:
            raise errors.RateLimitError(
                f"too many calls for this account ({said}). Lower concurrency, or wait for the quota.",
                status_code=status,
                error_code=code,
                retry_after=_retry_after(answer),
            )
        if status >= 500:
            raise errors.ServerError(
                f"the service failed (HTTP {status}: {said}). Try again later.",
                status_code=status,
                error_code=code,
                retry_after=_retry_after(answer),
            )
        raise _refused(status, code, said, body)

    def _said(self, answer: Answer, body: Mapping[str, Any]) -> str:
        """Quote what the service says; an echo of the key is masked."""
        said = str(body.get("error") or body.get("detail") or answer.reason or "no reason given")
        key = self._settings.api_key
        return (said.replace(key, "***") if key else said)[:300]


def _refused(status: int, code: str | None, said: str, body: Mapping[str, Any]) -> errors.ItemError:
    actual = _seconds(body, "actual_duration_seconds")
    if code == "AUDIO_TOO_SHORT":
        return errors.AudioTooShortError(
            f'the service finds it too short ({said}). Use short_audio="pad", or drop it.',
            min_duration=_seconds(body, "min_duration_seconds"),
            actual_duration=actual,
        )
    if code == "AUDIO_TOO_LONG":
        return errors.AudioTooLongError(
            f'the service finds it too long ({said}). Use long_audio="chunk", or cut it.',
            max_duration=_seconds(body, "max_duration_seconds"),
            actual_duration=actual,
        )
    if code == "FILE_TOO_LARGE" or status == 413:
        return errors.FileTooLargeError(f'the service finds the file too large ({said}). Use long_audio="chunk".')
    remedy = "Check base_url and discrete_path." if status in (404, 405) else "Check the audio and the model."
    return errors.BadRequestError(
        f"the service refuses the request (HTTP {status}: {said}). {remedy}", status_code=status, error_code=code
    )


def _answer(response: requests.Response) -> Answer:
    return Answer(response.status_code, response.reason, response.headers, response.content)


def _json(answer: Answer) -> Mapping[str, Any]:
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _seconds(body: Mapping[str, Any], key: str) -> float | None:
    value = body.get(key)
    return float(value) if isinstance(value, (int, float)) else None


def _retry_after(answer: Answer) -> float | None:
    """Seconds that the service asks to wait, given as such or as a date."""
    value = answer.headers.get("Retry-After")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _never_left(error: requests.RequestException) -> bool:
    """Whether the request cannot have reached the service: no connection came about."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return type(reason).__name__ in ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ProxyError")
