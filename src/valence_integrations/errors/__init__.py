"""The exception classes of this library.

::

    ValenceError
    ├── ItemError                     belongs to one item; the job continues
    │   ├── AudioError                the audio itself
    │   │   ├── UnreadableAudioError      not audio, damaged, or of an unknown format; also a ValueError
    │   │   │   └── AudioNotFoundError        no such file; also a FileNotFoundError
    │   │   ├── AudioTooShortError        min_duration, actual_duration
    │   │   ├── AudioTooLongError         max_duration, actual_duration
    │   │   └── FileTooLargeError         max_size_mb, actual_size_mb
    │   ├── CallError                 a call that failed for good
    │   │   ├── BadRequestError           any other 4xx; status_code, error_code
    │   │   ├── RateLimitError            429, after every attempt; retry_after
    │   │   ├── ServerError               5xx, after every attempt
    │   │   ├── NetworkError              no connection, or a broken one
    │   │   ├── ReadTimeoutError          no answer within the timeout
    │   │   └── InvalidResponseError      an answer that cannot be parsed
    │   └── AsynchError               a long item; request_id
    │       ├── AsynchFailedError         the service reports the job as failed
    │       ├── AsynchExpiredError        the service no longer knows the job
    │       └── AsynchTimeoutError        not finished by its deadline
    ├── JobError                      stops the job at once
    │   ├── SettingsError             also a ValueError
    │   ├── MissingKeyError
    │   ├── AuthenticationError       401 or 403
    │   ├── RedirectError             the service redirects to another address
    │   ├── BudgetExceededError       max_calls or max_audio_seconds is spent
    │   └── ServiceUnavailableError   too many calls in a row have failed
    ├── BatchError                    some items of a job failed; errors, predictions
    └── MissingDependencyError        an extra is not installed; also an ImportError

    PartialFailureWarning             a UserWarning: some items failed under on_error="null"; errors, total

Each exception has a stable `code`, a `message`, a `remedy` and, where one exists, the `setting` that fixes it. Use
these in programs; ``str(error)`` is for people. Every exception can be pickled, and none contains the API key.
"""

from __future__ import annotations

from typing import get_args

from valence_integrations.errors._base import ValenceError
from valence_integrations.errors._codes import Code as Code
from valence_integrations.errors._item import (
    AsynchError,
    AsynchExpiredError,
    AsynchFailedError,
    AsynchTimeoutError,
    AudioError,
    AudioNotFoundError,
    AudioTooLongError,
    AudioTooShortError,
    BadRequestError,
    CallError,
    FileTooLargeError,
    InvalidResponseError,
    ItemError,
    NetworkError,
    RateLimitError,
    ReadTimeoutError,
    ServerError,
    UnreadableAudioError,
)
from valence_integrations.errors._job import (
    AuthenticationError,
    BatchError,
    BudgetExceededError,
    JobError,
    MissingDependencyError,
    MissingKeyError,
    PartialFailureWarning,
    RedirectError,
    ServiceUnavailableError,
    SettingsError,
)

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
    "PartialFailureWarning",
    "RateLimitError",
    "ReadTimeoutError",
    "RedirectError",
    "ServerError",
    "ServiceUnavailableError",
    "SettingsError",
    "UnreadableAudioError",
    "ValenceError",
]

#: All error codes; they are stable.
CODES: tuple[str, ...] = get_args(Code)

for _name in __all__:
    globals()[_name].__module__ = __name__
