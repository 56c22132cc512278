"""Everything that this library raises, as one tree.

::

    ValenceError
    ├── ItemError                     belongs to one item; the job goes on
    │   ├── AudioError                the audio itself
    │   │   ├── UnreadableAudioError      no audio, damaged, or of an unknown form; also a ValueError
    │   │   │   └── AudioNotFoundError        no such file; also a FileNotFoundError
    │   │   ├── AudioTooShortError        min_duration, actual_duration
    │   │   ├── AudioTooLongError         max_duration, actual_duration
    │   │   └── FileTooLargeError         max_size_mb, actual_size_mb
    │   ├── CallError                 a call that failed for good
    │   │   ├── BadRequestError           any other 4xx; status_code, error_code
    │   │   ├── RateLimitError            429, after every attempt; retry_after
    │   │   ├── ServerError               5xx, after every attempt
    │   │   ├── NetworkError              no connection, or one that broke
    │   │   ├── ReadTimeoutError          the answer did not come in time
    │   │   └── InvalidResponseError      an answer that cannot be understood
    │   └── AsynchError               a long item; request_id
    │       ├── AsynchFailedError         the service gave the job up
    │       ├── AsynchExpiredError        the service no longer knows the job
    │       └── AsynchTimeoutError        not finished within its deadline
    ├── JobError                      stops the job at once
    │   ├── SettingsError             also a ValueError
    │   ├── MissingKeyError
    │   ├── AuthenticationError       401 or 403
    │   ├── RedirectError             the service points elsewhere
    │   ├── BudgetExceededError       max_calls or max_audio_seconds is spent
    │   └── ServiceUnavailableError   too many calls in a row have failed
    ├── BatchError                    some items of a job failed; errors, predictions
    └── MissingDependencyError        an extra is not installed; also an ImportError

Every exception survives pickling, and none carries the API key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

__all__ = [
    "AsynchError",
    "AsynchExpiredError",
    "AsynchFailedError",
    "AsynchTimeoutError",
    "AudioError",
    "AudioNotFoundError",
    "AudioTooLongError",
    "AudioTooShortError",
    "AuthenticationError",
    "BadRequestError",
    "BatchError",
    "BudgetExceededError",
    "CallError",
    "FileTooLargeError",
    "InvalidResponseError",
    "ItemError",
    "JobError",
    "MissingDependencyError",
    "MissingKeyError",
    "NetworkError",
    "RateLimitError",
    "ReadTimeoutError",
    "RedirectError",
    "ServerError",
    "ServiceUnavailableError",
    "SettingsError",
    "UnreadableAudioError",
    "ValenceError",
]

_MAX_LISTED = 10


class ValenceError(Exception):
    """Base of everything that this library raises."""


class ItemError(ValenceError):
    """One item could not be annotated; the others are not affected.

    Attributes
    ----------
    item : str or None
        What the message calls the item: its path, or what it is.
    """

    item: str | None = None

    def named(self, item: str) -> ItemError:
        """Say which item the error belongs to, unless it already does."""
        if self.item is None:
            self.item = item
        return self

    def __str__(self) -> str:
        message = super().__str__()
        return f"{self.item}: {message}" if self.item else message


class AudioError(ItemError):
    """The audio of an item cannot be used."""


class UnreadableAudioError(AudioError, ValueError):
    """The item is no audio, is damaged, or has an unknown form."""


class AudioNotFoundError(UnreadableAudioError, FileNotFoundError):
    """There is no file at the path."""


class AudioTooShortError(AudioError):
    """The audio is shorter than the API accepts.

    Attributes
    ----------
    min_duration, actual_duration : float or None
        Seconds, as the service (or the header) tells them.
    """

    def __init__(
        self, message: str, *, min_duration: float | None = None, actual_duration: float | None = None
    ) -> None:
        super().__init__(message)
        self.min_duration = min_duration
        self.actual_duration = actual_duration


class AudioTooLongError(AudioError):
    """The audio is longer than the API accepts.

    Attributes
    ----------
    max_duration, actual_duration : float or None
        Seconds, as the service (or the header) tells them.
    """

    def __init__(
        self, message: str, *, max_duration: float | None = None, actual_duration: float | None = None
    ) -> None:
        super().__init__(message)
        self.max_duration = max_duration
        self.actual_duration = actual_duration


class FileTooLargeError(AudioError):
    """The file has more bytes than the API accepts.

    Attributes
    ----------
    max_size_mb, actual_size_mb : float or None
        Mebibytes.
    """

    def __init__(self, message: str, *, max_size_mb: float | None = None, actual_size_mb: float | None = None) -> None:
        super().__init__(message)
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

    def __init__(self, message: str, *, status_code: int | None = None, error_code: str | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.error_code = error_code


class BadRequestError(CallError):
    """The service refused the request (4xx)."""


class _AskedToWaitError(CallError):
    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        error_code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status_code=status_code, error_code=error_code)
        self.retry_after = retry_after


class RateLimitError(_AskedToWaitError):
    """The service answered 429: too many calls.

    Attributes
    ----------
    retry_after : float or None
        Seconds that the service asked to wait.
    """


class ServerError(_AskedToWaitError):
    """The service failed (5xx).

    Attributes
    ----------
    retry_after : float or None
        Seconds that the service asked to wait.
    """


class NetworkError(CallError):
    """No connection to the service, or one that broke.

    Attributes
    ----------
    sent : bool
        Whether the request may have reached the service, and so may have been billed.
    """

    def __init__(
        self, message: str, *, status_code: int | None = None, error_code: str | None = None, sent: bool = True
    ) -> None:
        super().__init__(message, status_code=status_code, error_code=error_code)
        self.sent = sent


class ReadTimeoutError(CallError):
    """The answer did not come within the read timeout."""


class InvalidResponseError(CallError):
    """The service's answer cannot be understood."""


class AsynchError(ItemError):
    """A long item did not come back from the AsynchAPI.

    Attributes
    ----------
    request_id : str or None
        The vendor's id of the job.
    """

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class AsynchFailedError(AsynchError):
    """The service reports the job as failed."""


class AsynchExpiredError(AsynchError):
    """The service does not know the request id (any more)."""


class AsynchTimeoutError(AsynchError):
    """The job was not finished within its deadline."""


class JobError(ValenceError):
    """The whole job cannot go on."""


class SettingsError(JobError, ValueError):
    """A setting has a value that cannot be."""


class MissingKeyError(JobError):
    """There is no API key."""


class AuthenticationError(JobError):
    """The service refuses the API key."""


class RedirectError(JobError):
    """The service redirects; the key is sent to no host but ``base_url``'s."""


class BudgetExceededError(JobError):
    """The next call would exceed ``max_calls`` or ``max_audio_seconds``."""


class ServiceUnavailableError(JobError):
    """So many calls in a row have failed that the service must be down."""


class BatchError(ValenceError):
    """Some items of a job failed; all others are finished.

    Attributes
    ----------
    errors : dict of int to ValenceError
        The error of every failed item, by its position in the input.
    predictions : list of EmotionPrediction
        The job's whole result, in order; failed items have their ``error`` set. Empty if they were iterated over.
    """

    def __init__(self, errors: Mapping[int, ValenceError], predictions: Sequence[Any] = ()) -> None:
        super().__init__(dict(errors), list(predictions))
        self.errors = dict(errors)
        self.predictions = list(predictions)

    def __str__(self) -> str:
        total = f" of {len(self.predictions)}" if self.predictions else ""
        lines = [f"{len(self.errors)}{total} items failed; the others are finished and kept."]
        lines += [f"  item {index}: {error}" for index, error in islice(self.errors.items(), _MAX_LISTED)]
        if more := list(self.errors)[_MAX_LISTED:]:
            lines.append(f"  and {len(more)} more: items {', '.join(map(str, more))}")
        lines.append('Mend or drop these items, or pass on_error="null" to get empty rows for them.')
        return "\n".join(lines)


class MissingDependencyError(ValenceError, ImportError):
    """An optional dependency is not installed."""

    @classmethod
    def of(cls, what: str, extra: str) -> MissingDependencyError:
        """Name the pip command that installs `extra`."""
        return cls(f'{what} needs an optional dependency: pip install "valence-integrations[{extra}]"')
