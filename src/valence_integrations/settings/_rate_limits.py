"""An account's limits."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from valence_integrations.errors import SettingsError
from valence_integrations.settings._checks import check_count

__all__ = ["DEFAULT_CONCURRENCY", "RateLimits", "validate_limits"]

#: Concurrent calls if the account's policy sets no limit: the service's documented standard policy.
DEFAULT_CONCURRENCY = 5


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """An account's limits; None means no limit.

    The defaults are the service's documented standard policy.

    Parameters
    ----------
    requests_per_second, requests_per_minute, requests_per_hour, requests_per_day : int or None
        Maximum number of calls that start in each such period.
    burst_limit : int or None
        Maximum number of calls that start at once; the vendor documents only the name.
    max_concurrent_requests : int or None
        Maximum number of simultaneous calls.

    Examples
    --------
    >>> from valence_integrations import Settings
    >>> from valence_integrations.settings import RateLimits
    >>> settings = Settings(limits=RateLimits(requests_per_second=50, requests_per_day=None))
    """

    requests_per_second: int | None = 10
    requests_per_minute: int | None = 100
    requests_per_hour: int | None = 1_000
    requests_per_day: int | None = 10_000
    burst_limit: int | None = 20
    max_concurrent_requests: int | None = DEFAULT_CONCURRENCY

    def __post_init__(self) -> None:
        for spec in fields(self):
            object.__setattr__(self, spec.name, check_count(spec.name, getattr(self, spec.name), optional=True))


def validate_limits(limits: object) -> RateLimits | Literal["auto"] | None:
    if limits is None or isinstance(limits, RateLimits):
        return limits
    if isinstance(limits, str) and limits == "auto":
        return "auto"
    raise SettingsError(f'must be "auto", a RateLimits or None, not {limits!r}.', setting="limits")
