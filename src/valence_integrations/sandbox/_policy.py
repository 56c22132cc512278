"""Rate limits: a policy, and the exact sliding windows that enforce it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, fields

from ._errors import ApiError

WINDOWS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
BURST_WINDOW = 0.1
"""Window of ``burst_limit`` in seconds. The documents do not define it; the sandbox uses a tenth of a second."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The limits of a rate-limit policy; None means no limit.

    Discrete predictions and initiated uploads count. Polls, parts, completions, status and health requests do not, and
    neither do requests refused with 429. Each window is exact: the last 1, 60, 3600 or 86 400 seconds never contain
    more admitted requests than the limit.

    Parameters
    ----------
    requests_per_second, requests_per_minute, requests_per_hour, requests_per_day : int, optional
        Maximum number of requests in any window of that length.
    burst_limit : int, optional
        Maximum number of requests in any tenth of a second (our interpretation: the documents give only the name).
    max_audio_size_mb : float, optional
        Maximum size of an audio file.
    max_audio_duration_seconds : float, optional
        Maximum duration of an audio file.
    max_concurrent_requests : int, optional
        Maximum number of simultaneous requests.
    policy_name : str
        Name of the policy in the status answer.

    Examples
    --------
    >>> Policy(requests_per_second=5).limits()
    {'requests_per_second': 5}
    >>> Policy.standard().limits()["max_concurrent_requests"]
    5
    """

    requests_per_second: int | None = None
    requests_per_minute: int | None = None
    requests_per_hour: int | None = None
    requests_per_day: int | None = None
    burst_limit: int | None = None
    max_audio_size_mb: float | None = None
    max_audio_duration_seconds: float | None = None
    max_concurrent_requests: int | None = None
    policy_name: str = "sandbox_policy"

    def __post_init__(self) -> None:
        for name, value in self.limits().items():
            if value <= 0:
                raise ValueError(f"{name} must be positive, or None for no limit, not {value}")

    @classmethod
    def standard(cls) -> Policy:
        """Return the policy of the vendor's documents."""
        return cls(
            requests_per_second=10,
            requests_per_minute=100,
            requests_per_hour=1000,
            requests_per_day=10000,
            burst_limit=20,
            max_audio_size_mb=50,
            max_audio_duration_seconds=300,
            max_concurrent_requests=5,
            policy_name="standard_policy",
        )

    @classmethod
    def unlimited(cls) -> Policy:
        """Return the policy shown when none is enforced: all documented limits, out of reach."""
        return cls(
            requests_per_second=1_000_000,
            requests_per_minute=60_000_000,
            requests_per_hour=3_600_000_000,
            requests_per_day=86_400_000_000,
            burst_limit=1_000_000,
            max_audio_size_mb=1024,
            max_audio_duration_seconds=86_400,
            max_concurrent_requests=5,
            policy_name="sandbox_unlimited",
        )

    def limits(self) -> dict[str, float]:
        """Return the limits that are set, by their documented names."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "policy_name"}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class _Admitted:
    time: float
    size: int


class Meter:
    """Count requests in sliding windows, and refuse those above the limits.

    Only the server's event loop calls it, so it needs no lock. Times come from the server's monotonic clock and never
    decrease.
    """

    def __init__(self, policy: Policy | None) -> None:
        self.change_policy(policy)
        self._admitted: deque[_Admitted] = deque()
        self._rejected: deque[float] = deque()
        self._active = 0

    def change_policy(self, policy: Policy | None) -> None:
        """Enforce another policy from now on; requests admitted before count under it too."""
        self.policy = policy or Policy.unlimited()
        self._enforced = policy is not None

    def admit(self, now: float, size: int) -> None:
        """Count a request of `size` bytes, or refuse it with a 429. Call `release` for each admitted request."""
        wait = self._wait(now) if self._enforced else None
        if wait is not None:
            self._rejected.append(now)
            seconds = max(1, math.ceil(wait))
            raise ApiError(
                429, "RATE_LIMIT_EXCEEDED", f"Too many requests, try again in {seconds} s", retry_after=seconds
            )
        self._admitted.append(_Admitted(now, size))
        self._active += 1
        self._forget(now - WINDOWS["day"])

    def release(self) -> None:
        """Mark an admitted request as answered."""
        self._active -= 1

    def status(self, now: float) -> dict[str, object]:
        """Return the answer to ``GET /v1/rate-limit/status``."""
        usage: dict[str, int] = {}
        for name, length in WINDOWS.items():
            recent = [request for request in self._admitted if request.time > now - length]
            usage[f"requests_per_{name}"] = len(recent)
            usage[f"rejected_per_{name}"] = sum(time > now - length for time in self._rejected)
            usage[f"total_audio_size_bytes_per_{name}"] = sum(request.size for request in recent)
        return {"policy_name": self.policy.policy_name, "limits": self.policy.limits(), "current_usage": usage}

    def _forget(self, before: float) -> None:
        while self._admitted and self._admitted[0].time <= before:
            self._admitted.popleft()
        while self._rejected and self._rejected[0] <= before:
            self._rejected.popleft()

    def _wait(self, now: float) -> float | None:
        """Return the seconds until the request would be admitted, or None if it is admitted now."""
        policy = self.policy
        limits = [(getattr(policy, f"requests_per_{name}"), length) for name, length in WINDOWS.items()]
        waits = []
        for limit, length in [(policy.burst_limit, BURST_WINDOW), *limits]:
            if limit is not None and len(self._admitted) >= limit:
                expires = self._admitted[-limit].time + length
                if expires > now:
                    waits.append(expires - now)
        if policy.max_concurrent_requests is not None and self._active >= policy.max_concurrent_requests:
            waits.append(0.0)
        return max(waits, default=None)
