"""Errors of a whole job, and of its requirements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from valence_integrations.errors._base import ValenceError

__all__ = [
    "AuthenticationError",
    "BatchError",
    "BudgetExceededError",
    "JobError",
    "MissingDependencyError",
    "MissingKeyError",
    "PartialFailureWarning",
    "RedirectError",
    "ServiceUnavailableError",
    "SettingsError",
]

_MAX_LISTED = 10


class JobError(ValenceError):
    """The whole job cannot continue."""


class SettingsError(JobError, ValueError):
    """A setting has an invalid value, or settings, columns or files do not fit together.

    With the code ``"invalid_setting"``, `message` describes the invalid value of `setting` without the name of the
    setting; ``str(error)`` starts with that name.
    """

    code = "invalid_setting"

    @property
    def headline(self) -> str:
        """The setting and the message, without the remedy."""
        return f"{self.setting} {self.message}" if self.setting and self.code == "invalid_setting" else self.message


class MissingKeyError(JobError):
    """There is no API key."""

    code = "missing_key"
    setting = "api_key"


class AuthenticationError(JobError):
    """The service refuses the API key."""

    code = "authentication_failed"
    setting = "api_key"


class RedirectError(JobError):
    """The service redirects; the key is sent only to the host of ``base_url``."""

    code = "redirected"
    setting = "base_url"


class BudgetExceededError(JobError):
    """The next call would exceed ``max_calls`` or ``max_audio_seconds``."""

    code = "budget_exceeded"


class ServiceUnavailableError(JobError):
    """Too many calls in a row have failed: the service is probably down."""

    code = "service_unavailable"


class BatchError(ValenceError):
    """Some items of a job failed; all others are finished.

    Attributes
    ----------
    errors : dict of int to ValenceError
        The error of every failed item, by its position in the input.
    predictions : list of EmotionPrediction
        All predictions of the job, in order; failed items have ``error`` set. Empty if the job was iterated over.
    """

    code = "batch_failed"
    setting = "on_error"

    def __init__(self, errors: Mapping[int, ValenceError], predictions: Sequence[Any] = ()) -> None:
        self.errors = dict(errors)
        self.predictions = list(predictions)
        total = f" of {len(self.predictions)}" if self.predictions else ""
        lines = [f"{len(self.errors)}{total} items failed; the others are finished and kept."]
        lines += [f"  item {index}: {error}" for index, error in islice(self.errors.items(), _MAX_LISTED)]
        if more := list(self.errors)[_MAX_LISTED:]:
            lines.append(f"  and {len(more)} more: items {', '.join(map(str, more))}")
        remedy = 'Fix or drop these items, or pass on_error="null" to get empty rows for them.'
        super().__init__("\n".join(lines), remedy=remedy)
        self.args = (self.errors, self.predictions)

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}"

    @property
    def codes(self) -> Counter[str]:
        """Number of failed items by error code."""
        return Counter(error.code for error in self.errors.values())


class PartialFailureWarning(UserWarning):
    """Some items of a job with ``on_error="null"`` failed; their rows are empty.

    Attributes
    ----------
    errors : dict of int to ValenceError
        The error of every failed item, by its position in the input; by (split, row) for a dict of datasets.
    total : int
        Number of items of the job.
    """

    def __init__(self, errors: Mapping[Any, ValenceError], total: int) -> None:
        self.errors = dict(errors)
        self.total = total
        super().__init__(self.errors, total)

    def __str__(self) -> str:
        codes = ", ".join(f"{count} {code}" for code, count in self.codes.most_common())
        first = next(iter(self.errors.values()), None)
        noun = "item" if self.total == 1 else "items"
        return f"{len(self.errors)} of {self.total} {noun} failed: {codes}; first: {first}"

    @property
    def codes(self) -> Counter[str]:
        """Number of failed items by error code."""
        return Counter(error.code for error in self.errors.values())


class MissingDependencyError(ValenceError, ImportError):
    """An optional dependency is not installed."""

    code = "missing_dependency"

    @classmethod
    def of(cls, what: str, extra: str) -> MissingDependencyError:
        """Return an error that names the pip command to install `extra`."""
        return cls(
            f"{what} needs an optional dependency.", remedy=f'Install it: pip install "valence-integrations[{extra}]"'
        )
