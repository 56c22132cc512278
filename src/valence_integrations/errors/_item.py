"""Errors of one item."""

from __future__ import annotations

from typing import TYPE_CHECKING

from valence_integrations.errors._base import ErrorDetails, ValenceError

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "AsynchError",
    "AsynchExpiredError",
    "AsynchFailedError",
    "AsynchTimeoutError",
    "AudioError",
    "AudioNotFoundError",
    "AudioTooLongError",
    "AudioTooShortError",
    "BadRequestError",
    "CallError",
    "FileTooLargeError",
    "InvalidResponseError",
    "ItemError",
    "NetworkError",
    "RateLimitError",
    "ReadTimeoutError",
    "ServerError",
    "UnreadableAudioError",
]


class ItemError(ValenceError):
    """One item could not be annotated; the others are not affected.

    Attributes
    ----------
    item : str or None
        Name of the item in the message: its path, or its type.
    """

    item: str | None = None

    def named(self, item: str) -> ItemError:
        """Set the item that the error belongs to, unless it is set already."""
        if self.item is None:
            self.item = item
        return self

    @property
    def headline(self) -> str:
        """The item and the message, without the remedy."""
        return f"{self.item}: {self.message}" if self.item else self.message


class AudioError(ItemError):
    """The audio of an item cannot be used."""


class UnreadableAudioError(AudioError, ValueError):
    """The item is not audio, is damaged, or has an unknown format."""

    code = "audio_unreadable"


class AudioNotFoundError(UnreadableAudioError, FileNotFoundError):
    """There is no file at the path."""

    code = "audio_not_found"


class AudioTooShortError(AudioError):
    """The audio is shorter than the API accepts.

    Attributes
    ----------
    min_duration, actual_duration : float or None
        Seconds, as reported by the service or the file header.
    """

    code = "audio_too_short"
    setting = "short_audio"

    def __init__(
        self,
        message: str = "",
        *,
        min_duration: float | None = None,
        actual_duration: float | None = None,
        **details: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, **details)
        self.min_duration = min_duration
        self.actual_duration = actual_duration


class AudioTooLongError(AudioError):
    """The audio is longer than the API accepts.

    Attributes
    ----------
    max_duration, actual_duration : float or None
        Seconds, as reported by the service or the file header.
    """

    code = "audio_too_long"
    setting = "long_audio"

    def __init__(
        self,
        message: str = "",
        *,
        max_duration: float | None = None,
        actual_duration: float | None = None,
        **details: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, **details)
        self.max_duration = max_duration
        self.actual_duration = actual_duration


class FileTooLargeError(AudioError):
    """The file has more bytes than the API accepts.

    Attributes
    ----------
    max_size_mb, actual_size_mb : float or None
        Mebibytes.
    """

    code = "file_too_large"
    setting = "long_audio"

    def __init__(
        self,
        message: str = "",
        *,
        max_size_mb: float | None = None,
        actual_size_mb: float | None = None,
        **details: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, **details)
        self.max_size_mb = max_size_mb
        self.actual_size_mb = actual_size_mb


class CallError(ItemError):
    """A call to the service failed for good.

    Attributes
    ----------
    status_code : int or None
        HTTP status, if there was an answer.
    error_code : str or None
        The service's own code, if it gave one.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int | None = None,
        error_code: str | None = None,
        **details: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, **details)
        self.status_code = status_code
        self.error_code = error_code


class BadRequestError(CallError):
    """The service refused the request (4xx)."""

    code = "bad_request"


class _RetryAfterError(CallError):
    def __init__(
        self,
        message: str = "",
        *,
        status_code: int | None = None,
        error_code: str | None = None,
        retry_after: float | None = None,
        **details: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, status_code=status_code, error_code=error_code, **details)
        self.retry_after = retry_after


class RateLimitError(_RetryAfterError):
    """The service answered 429: too many calls.

    Attributes
    ----------
    retry_after : float or None
        Seconds that the service asked to wait.
    """

    code = "rate_limited"
    setting = "concurrency"


class ServerError(_RetryAfterError):
    """The service failed (5xx).

    Attributes
    ----------
    retry_after : float or None
        Seconds that the service asked to wait.
    """

    code = "server_error"


class _InterruptedCallError(CallError):
    def __init__(
        self,
        message: str = "",
        *,
        status_code: int | None = None,
        error_code: str | None = None,
        sent: bool = True,
        **details: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, status_code=status_code, error_code=error_code, **details)
        self.sent = sent


class NetworkError(_InterruptedCallError):
    """The service could not be reached, or the connection broke.

    Attributes
    ----------
    sent : bool
        Whether the request may have reached the service, and so may have been billed.
    """

    code = "network_error"


class ReadTimeoutError(_InterruptedCallError):
    """The service did not answer within the timeout.

    Attributes
    ----------
    sent : bool
        Whether the request may have reached the service, and so may have been billed.
    """

    code = "read_timeout"
    setting = "timeout"


class InvalidResponseError(CallError):
    """The service's answer cannot be parsed."""

    code = "invalid_response"
    setting = "base_url"


class AsynchError(ItemError):
    """The AsynchAPI returned no result for a long item.

    Attributes
    ----------
    request_id : str or None
        The vendor's id of the job.
    """

    def __init__(self, message: str = "", *, request_id: str | None = None, **details: Unpack[ErrorDetails]) -> None:
        super().__init__(message, **details)
        self.request_id = request_id


class AsynchFailedError(AsynchError):
    """The service reports the job as failed."""

    code = "asynch_failed"
    setting = "long_audio"


class AsynchExpiredError(AsynchError):
    """The service does not know the request id, or no longer does."""

    code = "asynch_expired"


class AsynchTimeoutError(AsynchError):
    """The job was not finished by its deadline."""

    code = "asynch_timeout"
