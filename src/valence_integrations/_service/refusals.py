"""Convert HTTP error statuses to exceptions of this library."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping
from typing import Any

from valence_integrations import errors
from valence_integrations._service.answer import Answer

__all__ = ["raise_for_refusal"]

#: Maximum lengths of texts of the service in errors.
_MESSAGE, _ERROR_CODE = 300, 100


def raise_for_refusal(answer: Answer, host: str, *, with_key: bool) -> None:
    """Raise the exception for a status of 300 or more.

    Parameters
    ----------
    answer : Answer
        The answer.
    host : str
        Host that answered, for messages.
    with_key : bool
        Whether the key was sent, so that 401 and 403 refuse it.
    """
    status = answer.status_code
    if status < 300:
        return
    if status < 400:
        address = answer.headers.get("Location", "another address").partition("?")[0][:_MESSAGE]
        raise errors.RedirectError(
            f"{host} redirects to {address!r}; the key is not sent to any other address than the service's.",
            remedy="If the service has moved, set base_url to its new address.",
        )
    body = _json(answer)
    code = str(body["error_code"])[:_ERROR_CODE] if body.get("error_code") else None
    reasons = (body.get("error"), body.get("detail"), body.get("message"), answer.reason, "no reason given")
    message = str(next(filter(None, reasons)))[:_MESSAGE]
    if status in (401, 403) and with_key:
        raise errors.AuthenticationError(
            f"the service refuses the API key (HTTP {status}: {message}).", remedy="Check VALENCE_API_KEY or api_key."
        )
    if status == 429:
        raise errors.RateLimitError(
            f"too many calls for this account ({message}).",
            remedy="Lower concurrency, or wait for the quota.",
            status_code=status,
            error_code=code,
            retry_after=_retry_after(answer),
        )
    if status >= 500:
        raise errors.ServerError(
            f"the service failed (HTTP {status}: {message}).",
            remedy="Try again later.",
            status_code=status,
            error_code=code,
            retry_after=_retry_after(answer),
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


def _json(answer: Answer) -> Mapping[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _seconds(body: Mapping[str, Any], key: str) -> float | None:
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _time_of(answer: Answer) -> float:
    """Time of an answer by the service's clock, if it says so: the clock of this machine may be wrong."""
    try:
        return email.utils.parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError, OSError):
        return time.time()


def _retry_after(answer: Answer) -> float | None:
    """Seconds to wait, from a ``Retry-After`` header with a number or a date."""
    value = answer.headers.get("Retry-After")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(value).timestamp()
        except (ValueError, OverflowError, TypeError, IndexError, OSError):
            return None
        seconds = until - _time_of(answer)
    return max(seconds, 0.0) if math.isfinite(seconds) else None
