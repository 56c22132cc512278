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

Each has a stable `code`, the `setting` that mends it if there is one, a `message` and a `remedy`: programs read these,
people read ``str(error)``. Every exception survives pickling, and none carries the API key.
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
    "RateLimitError",
    "ReadTimeoutError",
    "RedirectError",
    "ServerError",
    "ServiceUnavailableError",
    "SettingsError",
    "UnreadableAudioError",
    "ValenceError",
]

#: Every code that an exception may have; they are stable.
CODES: tuple[str, ...] = get_args(Code)

for _name in __all__:
    globals()[_name].__module__ = __name__
