"""Rate-limit windows and concurrency of an account, from settings or from the service."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from valence_integrations.settings import RateLimits

__all__ = ["Policy", "Window", "minimum_seconds"]

#: A limit above this rate, in calls per second, counts as unlimited: one machine cannot call faster.
_UNLIMITED_RATE = 1_000.0


@dataclass(frozen=True)
class Window:
    """At most `count` starts in any `seconds`; until `others_until`, `others` fewer, used by other clients."""

    count: int
    seconds: float
    others: int = 0
    others_until: float = 0.0


@dataclass(frozen=True)
class Policy:
    """Rate-limit windows and concurrency of an account."""

    windows: tuple[Window, ...] = ()
    concurrency: int | None = None

    @classmethod
    def from_limits(cls, limits: RateLimits, usage: Mapping[str, Any] | None = None, now: float = 0.0) -> Policy:
        """Create a policy from limits; `usage` is how much of each limit other clients have used."""
        rates = {
            "requests_per_second": 1.0,
            "requests_per_minute": 60.0,
            "requests_per_hour": 3_600.0,
            "requests_per_day": 86_400.0,
        }
        windows = []
        for name, seconds in rates.items():
            count, used = getattr(limits, name), (usage or {}).get(name, 0)
            if count is not None and count <= _UNLIMITED_RATE * seconds:
                others = used if isinstance(used, int) else 0
                windows.append(Window(count, seconds, others, now + seconds))
        if limits.burst_limit is not None and limits.burst_limit <= _UNLIMITED_RATE:
            # The documents give only the name; this reading keeps the rate per second possible.
            windows.append(
                Window(limits.burst_limit, limits.burst_limit / (limits.requests_per_second or limits.burst_limit))
            )
        return cls(tuple(windows), limits.max_concurrent_requests)

    @classmethod
    def from_status(cls, status: object, count_own: Callable[[float], int], now: float) -> Policy:
        """Create a policy from the service's answer to a status request.

        Parameters
        ----------
        status : dict
            Has ``limits`` and optionally ``current_usage``.
        count_own : callable
            Returns how many of our own permits started in the last given seconds.
        now : float
            Time of the answer.

        Raises
        ------
        TypeError, ValueError
            If it contains no valid limits.
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
    """Minimum seconds from the first to the last of a number of calls within all windows.

    In each window, a call starts at least `seconds` after the call `count` before it. So the last call is determined
    by the longest path back to the first call. As the window lengths divide one another, that path uses the longest
    windows first.

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
            # A longer window admits no more calls than the shorter ones within it.
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
