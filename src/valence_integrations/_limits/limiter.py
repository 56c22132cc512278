"""Rate limiter of one process: queues threads for permits, and adapts the window lengths."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from valence_integrations._limits.ledger import MAX_HOLD_SECONDS, POLL_SECONDS
from valence_integrations._limits.permits import Permits
from valence_integrations._limits.policy import Policy
from valence_integrations.errors import RateLimitError
from valence_integrations.settings import DEFAULT_CONCURRENCY

__all__ = ["Limiter", "StoppedError"]

_log = logging.getLogger("valence_integrations")

#: Each window is lengthened by this margin and twice the observed jitter, because calls reach the service with varying
#: delay. Exact windows drew 16 % of 429s, lengthened ones 0 to 0.9 % (measured).
_MARGIN_SECONDS = 0.05
_FIRST_JITTER_SECONDS, _MAX_JITTER_SECONDS = 0.05, 0.25

#: After a 429, windows of up to a minute are lengthened by this factor, until a hundred calls pass without a 429.
_STRETCH, _MAX_STRETCH, _RECOVERY_CALLS = 1.2, 4.0, 100
_STRETCHED_UP_TO_SECONDS = 60.0

#: Without a Retry-After, a 429 holds all calls for this long.
_DEFAULT_HOLD_SECONDS = 1.0


class StoppedError(Exception):
    """The job was stopped while a call waited for a permit."""


class Limiter:
    """Grant permits, one per call, first come, first served.

    Parameters
    ----------
    ledger : Permits
        State shared with other processes.
    policy : Policy
        Rate-limit windows and concurrency.
    concurrency : int, optional
        Maximum number of permits in use; by default the policy's.
    refresh : callable, optional
        Called after a 429; returns the current policy, or None if unavailable.

    Attributes
    ----------
    concurrency : int
        Maximum number of permits in use.
    windows : tuple of Window
        Windows of the current policy.
    """

    def __init__(
        self,
        ledger: Permits,
        policy: Policy,
        concurrency: int | None = None,
        refresh: Callable[[], Policy | None] = lambda: None,
    ) -> None:
        self.concurrency = concurrency or policy.concurrency or DEFAULT_CONCURRENCY
        self.clock = ledger.clock
        self.windows = policy.windows
        self._ledger = ledger
        self._refresh = refresh
        self._queue: deque[threading.Event] = deque()
        self._lock = threading.Lock()
        self._in_use = 0
        self._jitter = _FIRST_JITTER_SECONDS
        self._stretch = 1.0
        self._calls_since_429 = 0
        self._last_429 = self.clock()

    @property
    def waiting(self) -> int:
        """Number of threads of this process that wait for a permit."""
        return len(self._queue)

    @contextmanager
    def permit(self, stopped: Callable[[], bool]) -> Iterator[float]:
        """Hold a permit for one call; yield the seconds waited for it.

        A `RateLimitError` of the call holds all calls of the account, before any other gets this permit.

        Raises
        ------
        StoppedError
            If `stopped` returns true before the permit starts.
        """
        begun = self.clock()
        while True:
            permit, start = self._acquire(stopped)
            unused: float | None = start
            try:
                if not self._wait_until(start, permit, stopped):
                    continue
                unused = None
                yield self.clock() - begun
            except RateLimitError as error:
                self._hold(error.retry_after, start)
                raise
            finally:
                self._ledger.give_back(permit, unused)
                with self._lock:
                    self._in_use -= 1
                self._wake_next()
            return

    def close(self) -> None:
        """Release what the ledger keeps running."""
        self._ledger.close()

    def _wait_until(self, start: float, permit: int, stopped: Callable[[], bool]) -> bool:
        """Wait for the start of a permit; return whether it may still be used then."""
        waited = False
        while (wait := start - self.clock()) > 0:
            if stopped():
                raise StoppedError
            time.sleep(min(wait, POLL_SECONDS))
            waited = True
        lateness = self.clock() - start
        allowed = self.window_length(0.0)
        self._record_lateness(lateness)
        # A process that was suspended is later than the windows were lengthened by. While it waited, a hold may have
        # begun, or the permit expired.
        return lateness <= allowed and (not waited or self._ledger.confirm(permit))

    def _hold(self, seconds: float | None, sent: float) -> None:
        """Grant no permits for some seconds after a 429."""
        seconds = min(_DEFAULT_HOLD_SECONDS if seconds is None else seconds, MAX_HOLD_SECONDS)
        if self._ledger.hold(seconds, sent):
            _log.warning("the service answered 429: all calls wait for %.1f s", seconds)

    def _adapt(self, last_429: float) -> None:
        """Ask for the policy, which may have changed, and stretch the windows, after a 429 to any process."""
        self._last_429 = last_429
        if self.windows:
            self._stretch, self._calls_since_429 = min(self._stretch * _STRETCH, _MAX_STRETCH), 0
            policy = self._refresh()
            if policy is not None:
                self.windows = policy.windows

    def _acquire(self, stopped: Callable[[], bool]) -> tuple[int, float]:
        """Wait in the queue, then for a permit from the ledger; return its id and start time."""
        turn = threading.Event()
        permit = 0
        with self._lock:
            self._queue.append(turn)
            is_first = self._queue[0] is turn
        try:
            if not is_first:
                turn.wait()
            while not stopped():
                turn.clear()
                when = POLL_SECONDS
                if self._in_use < self.concurrency:
                    permit, when = self._ledger.take(self.windows, self.concurrency, self.window_length)
                    if self._ledger.held[0] > self._last_429:
                        if permit:
                            self._ledger.give_back(permit, when)
                            permit = 0
                        self._adapt(self._ledger.held[0])
                        continue
                    if permit:
                        self._in_use += 1
                        return permit, when
                turn.wait(min(when, POLL_SECONDS))
            raise StoppedError
        finally:
            with self._lock:
                self._queue.popleft()
            self._wake_next(force=not permit)

    def _wake_next(self, *, force: bool = False) -> None:
        """Wake the first thread in the queue if a permit may be free; only the first, as waking threads costs time."""
        with self._lock:
            if self._queue and (force or self._in_use < self.concurrency):
                self._queue[0].set()

    def window_length(self, seconds: float) -> float:
        """Length in seconds to enforce for a window of the policy."""
        stretch = self._stretch if seconds <= _STRETCHED_UP_TO_SECONDS else 1.0
        return seconds * stretch + _MARGIN_SECONDS + 2 * self._jitter

    def _record_lateness(self, lateness: float) -> None:
        """Update the jitter with how late a call started, and shorten stretched windows after enough calls."""
        self._jitter = 0.9 * self._jitter + 0.1 * min(max(lateness, 0.0), _MAX_JITTER_SECONDS)
        self._calls_since_429 += 1
        if self._calls_since_429 >= _RECOVERY_CALLS and self._stretch > 1.0:
            self._stretch, self._calls_since_429 = max(self._stretch / _STRETCH, 1.0), 0
