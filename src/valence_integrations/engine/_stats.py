"""Counters of an engine."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields


@dataclass
class Stats:
    """Counters of an engine in one process; thread-safe.

    Attributes
    ----------
    calls : int
        Calls made to the service for predictions: discrete calls and uploads, retries included.
    retries : int
        Repeated calls.
    rate_limited : int
        Responses with status 429.
    cache_hits : int
        Answers from the cache or from a call already in flight.
    failures : int
        Items that failed for good.
    possibly_double_billed : int
        Failed calls that the service may have billed and that were repeated.
    bytes_sent : int
        Bytes in the bodies of the calls.
    audio_seconds : float
        Seconds of audio sent.
    seconds_waited : float
        Seconds that calls waited for a permit, summed over all threads.
    """

    calls: int = 0
    retries: int = 0
    rate_limited: int = 0
    cache_hits: int = 0
    failures: int = 0
    possibly_double_billed: int = 0
    bytes_sent: int = 0
    audio_seconds: float = 0.0
    seconds_waited: float = 0.0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def add(self, **counts: float) -> None:
        """Add to counters."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def as_dict(self) -> dict[str, float]:
        """Return a consistent snapshot of all counters."""
        with self._lock:
            return {spec.name: getattr(self, spec.name) for spec in fields(self)}
