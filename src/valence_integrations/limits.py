"""Limits: how many calls are under way at once, and when the next may start."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Limiter", "StoppedError"]

#: Concurrent calls if the account's policy cannot be read: that of the service's documented standard policy.
DEFAULT_CONCURRENCY = 5

#: A Retry-After above this is not waited for.
MAX_HOLD_SECONDS = 120.0

_LOOK_AGAIN_SECONDS = 0.5


class StoppedError(Exception):
    """The job was stopped while a call waited for its turn."""


class Limiter:
    """Gives out permits, one a call.

    Parameters
    ----------
    concurrency : int
        Permits out at once.
    clock : callable, optional
        Monotonic seconds.
    """

    def __init__(self, concurrency: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.concurrency = concurrency
        self._clock = clock
        self._free = concurrency
        self._held_until = 0.0
        self._changed = threading.Condition()

    @contextmanager
    def permit(self, stopped: Callable[[], bool]) -> Iterator[None]:
        """Wait for a permit, and hold it for one call.

        Raises
        ------
        StoppedError
            If `stopped` says so before the permit is there.
        """
        with self._changed:
            while (wait := self._wait()) > 0:
                if stopped():
                    raise StoppedError
                self._changed.wait(min(wait, _LOOK_AGAIN_SECONDS))
            if stopped():
                raise StoppedError
            self._free -= 1
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify()

    def hold(self, seconds: float) -> float:
        """Give out no permit for a while, after the service has asked for it; returns how long, in seconds."""
        seconds = min(seconds, MAX_HOLD_SECONDS)
        with self._changed:
            self._held_until = max(self._held_until, self._clock() + seconds)
        return seconds

    def _wait(self) -> float:
        if self._free <= 0:
            return _LOOK_AGAIN_SECONDS
        return self._held_until - self._clock()
