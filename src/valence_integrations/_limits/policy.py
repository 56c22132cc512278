"""The windows and the concurrency of an account, as settings or the service state them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from valence_integrations.settings import RateLimits

__all__ = ["Policy", "Window", "minimum_seconds"]

#: Nobody calls faster from one machine, so a limit above this rate, in calls a second, is none.
_UNLIMITED_RATE = 1_000.0


@dataclass(frozen=True)
class Window:
    """At most `count` starts in any `seconds`; fewer by `others` until `others_until`, as others use the account."""

    count: int
    seconds: float
    others: int = 0
    others_until: float = 0.0


@dataclass(frozen=True)
class Policy:
    """Windows and concurrency of an account."""

    windows: tuple[Window, ...] = ()
    concurrency: int | None = None

    @classmethod
    def from_limits(cls, limits: RateLimits, usage: Mapping[str, Any] | None = None, now: float = 0.0) -> Policy:
        """Make the windows of limits; `usage` is how much of each was used by others."""
        rates = {
            "requests_per_second": 1.0,
            "requests_per_minute": 60.0,
            "requests_per_hour": 3_600.0,
            "requests_per_day": 86_400.0,
        }
        windows = []
        for name, seconds in rates.items():
            count, used = getattr(limits, name), (usage or {}).get(name, 0)
            if count is not None and count / seconds <= _UNLIMITED_RATE:
                others = used if isinstance(used, int) else 0
                windows.append(Window(count, seconds, others, now + seconds))
        if limits.burst_limit is not None and limits.burst_limit <= _UNLIMITED_RATE:
            # The documents give the name only; read so that the rate for a second stays possible.
            windows.append(
                Window(limits.burst_limit, limits.burst_limit / (limits.requests_per_second or limits.burst_limit))
            )
        return cls(tuple(windows), limits.max_concurrent_requests)

    @classmethod
    def from_status(cls, status: object, count_own: Callable[[float], int], now: float) -> Policy:
        """Read the service's answer to a status request.

        Parameters
        ----------
        status : dict
            With ``limits`` and, perhaps, ``current_usage``.
        count_own : callable
            How many of our own permits started in the last so many seconds.
        now : float
            When it was read.

        Raises
        ------
        TypeError, ValueError
            If it holds no limits.
        """
        stated = status.get("limits") if isinstance(status, Mapping) else None
        used = status.get("current_usage") if isinstance(status, Mapping) else None
        if not isinstance(stated, Mapping):
            raise TypeError(f"this is no rate-limit status: {str(status)[:100]}")
        policy = cls.from_limits(
            RateLimits(**{spec.name: _count(stated.get(spec.name)) for spec in fields(RateLimits)}),
            used if isinstance(used, Mapping) else {},
            now,
        )
        windows = tuple(
            Window(w.count, w.seconds, max(w.others - count_own(w.seconds), 0), w.others_until) for w in policy.windows
        )
        return cls(windows, policy.concurrency)


def minimum_seconds(calls: int, windows: Iterable[Window]) -> float:
    """Seconds from the first to the last of so many calls, if all windows are used as well as possible.

    Each window says that a call is its length later, at least, than the one that is its count before. So the last
    call is as late as the longest way back to the first; as the lengths divide one another, that way takes the
    longest windows first.

    Examples
    --------
    >>> from valence_integrations._format import span
    >>> from valence_integrations._limits.policy import Policy, minimum_seconds
    >>> from valence_integrations.settings import RateLimits
    >>> span(minimum_seconds(100_000, Policy.from_limits(RateLimits()).windows))
    '9 d 9 h 9 min 9 s'
    """
    steps: list[tuple[int, float]] = []
    for window in sorted(windows, key=lambda window: window.seconds):
        count = window.count
        if steps:
            # No more fit into a longer window than the shorter ones let through.
            fewer, shorter = steps[-1]
            count = min(count, fewer * math.ceil(window.seconds / shorter))
        steps.append((count, window.seconds))
    seconds, before = 0.0, max(calls - 1, 0)
    for count, length in reversed(steps):
        seconds += before // count * length
        before %= count
    return seconds


def _count(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
