"""Convert HTTP error statuses to exceptions of this library."""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping
from typing import Any

import requests

from valence_integrations import errors
from valence_integrations.settings import revealed

__all__ = ["masked", "raise_for_refusal"]


def masked(text: str, api_key: str | None, length: int = 300) -> str:
    """Return the beginning of a text from the service, with the key masked."""
    return (text.replace(revealed(api_key), "***") if api_key else text)[:length]


def raise_for_refusal(response: requests.Response, host: str, api_key: str | None) -> None:
    """Raise the exception for a status of 300 or more.

    Parameters
    ----------
    response : requests.Response
        The answer.
    host : str
        Host that answered, for messages.
    api_key : str or None
        The key to mask in messages.
    """
    status = response.status_code
    if status < 300:
        return
    if status < 400:
        address = masked(response.headers.get("Location", "another address").partition("?")[0], api_key)
        raise errors.RedirectError(
            f"{host} redirects to {address!r}; the key is not sent to any other address than the service's.",
            remedy="If the service has moved, set base_url to its new address.",
        )
    body = _json(response)
    code = str(body["error_code"]) if body.get("error_code") else None
    message = masked(str(body.get("error") or body.get("detail") or response.reason or "no reason given"), api_key)
    if status in (401, 403) and "x-api-key" in response.request.headers:
        raise errors.AuthenticationError(
            f"the service refuses the API key (HTTP {status}: {message}).", remedy="Check VALENCE_API_KEY or api_key."
        )
    if status == 429:
        raise errors.RateLimitError(
            f"too many calls for this account ({message}).",
            remedy="Lower concurrency, or wait for the quota.",
            status_code=status,
            error_code=code,
            retry_after=_retry_after(response),
        )
    if status >= 500:
        raise errors.ServerError(
            f"the service failed (HTTP {status}: {message}).",
            remedy="Try again later.",
            status_code=status,
            error_code=code,
            retry_after=_retry_after(response),
        )
    raise _rejected(status, code, message, body)


def _rejected(status: int, code: str | None, message: str, body: Mapping[str, Any]) -> errors.ItemError:
    actual = _seconds(body, "actual_duration_seconds")
    if code == "AUDIO_TOO_SHORT":
        return errors.AudioTooShortError(
            f"the service rejects it as too short ({message}).",
            remedy='Use short_audio="pad", or drop it.',
            min_duration=_seconds(body, "min_duration_seconds"),
            actual_duration=actual,
        )
    if code == "AUDIO_TOO_LONG":
        return errors.AudioTooLongError(
            f"the service rejects it as too long ({message}).",
            remedy='Use long_audio="chunk", or cut it.',
            max_duration=_seconds(body, "max_duration_seconds"),
            actual_duration=actual,
        )
    if code == "FILE_TOO_LARGE" or status == 413:
        return errors.FileTooLargeError(
            f"the service rejects the file as too large ({message}).", remedy='Use long_audio="chunk".'
        )
    headline = f"the service refuses the request (HTTP {status}: {message})."
    if status in (404, 405):
        return errors.BadRequestError(
            headline,
            status_code=status,
            error_code=code,
            code="endpoint_not_found",
            setting="discrete_path",
            remedy="Check base_url and discrete_path.",
        )
    return errors.BadRequestError(
        headline, status_code=status, error_code=code, remedy="Check the audio and the model."
    )


def _json(response: requests.Response) -> Mapping[str, Any]:
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _seconds(body: Mapping[str, Any], key: str) -> float | None:
    value = body.get(key)
    return float(value) if isinstance(value, (int, float)) else None


def _retry_after(response: requests.Response) -> float | None:
    """Seconds to wait, from a ``Retry-After`` header with a number or a date."""
    value = response.headers.get("Retry-After")
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
