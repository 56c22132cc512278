"""Client of the cluster's `ClusterServer`, used in place of the local ledger and cache files."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from valence_integrations._cluster.server import local_directory
from valence_integrations._limits.permits import Hold
from valence_integrations._limits.policy import Window
from valence_integrations._store.cache import ResultCache
from valence_integrations.settings import Settings

__all__ = ["ClusterCache", "ClusterClient", "ClusterLedger"]

_log = logging.getLogger("valence_integrations")

#: Maximum number of permits per request: other processes cannot use prefetched permits.
_BATCH = 8

#: A permit later than this is given back instead of used: the lengthened windows cover only smaller delays.
_LATE_SECONDS = 0.05

#: Leases are renewed at this interval, five times within `LEASE_SECONDS`.
_RENEW_SECONDS = 2.0

#: The clock offset is taken from the fastest of this many answers.
_ANSWERS_FOR_CLOCK = 50


class ClusterClient:
    """Client for permits and answers shared with engines on other machines.

    Parameters
    ----------
    ask : callable
        Calls a method of the server: ``ask("take", ...)`` returns its result or raises its exception.
    tell : callable
        Calls a method of the server without waiting for the result.
    shares_answers : bool
        Whether the server stores the answers; otherwise each machine stores its own.
    """

    def __init__(self, ask: Callable[..., Any], tell: Callable[..., object], *, shares_answers: bool) -> None:
        self._ask = ask
        self._tell = tell
        self._shares_answers = shares_answers
        self._leases = _Leases(tell)

    def ledger(self, waiting: Callable[[], int]) -> ClusterLedger:
        """Create the ledger of this process; `waiting` returns how many threads wait for a permit."""
        return ClusterLedger(self._ask, self._tell, self._leases, waiting)

    def cache(self, settings: Settings) -> ResultCache | ClusterCache | None:
        """Create the cache: the server's, this machine's, or none."""
        if settings.cache is False:
            return None
        if self._shares_answers:
            return ClusterCache(self._ask, self._tell, self._leases)
        return ResultCache(local_directory(settings))


class ClusterLedger:
    """Client of a `Ledger` on another machine.

    Permits are prefetched in small batches, one per waiting thread. Times refer to the server's clock.

    Attributes
    ----------
    held : (float, float)
        Begin and end of the last hold that this process knows of.
    """

    def __init__(
        self, ask: Callable[..., Any], tell: Callable[..., object], leases: _Leases, waiting: Callable[[], int]
    ) -> None:
        self._ask = ask
        self._tell = tell
        self._leases = leases
        self._waiting = waiting
        self.held: Hold = (0.0, 0.0)
        self._prefetched: deque[tuple[int, float]] = deque()
        self._differences: deque[float] = deque(maxlen=_ANSWERS_FOR_CLOCK)
        self._update_clock(ask("now"))

    def clock(self) -> float:
        """Return the time of the server's clock."""
        return time.monotonic() + max(self._differences)

    def take(
        self, windows: tuple[Window, ...], concurrency: int, lengthen: Callable[[float], float]
    ) -> tuple[int, float]:
        """Take a permit if one can start soon; see `Ledger.take`. Call it from one thread at a time."""
        while (kept := self._pop_prefetched()) is not None:
            permit, start = kept
            if self.held[1] <= start > self.clock() - _LATE_SECONDS:
                return permit, start
            self._return(permit, start)
        longest = tuple(replace(window, seconds=lengthen(window.seconds)) for window in windows)
        granted, now, self.held = self._ask(
            "take", longest, concurrency, min(max(self._waiting(), 1), concurrency, _BATCH)
        )
        self._update_clock(now)
        for permit, _ in granted:
            self._leases.permits.add(permit)
        self._leases.start_renewing()
        self._prefetched.extend(granted)
        return self._prefetched.popleft() if granted else (0, 0.0)

    def confirm(self, permit: int) -> bool:
        """Return whether a permit may be used now: this process knows of no hold that began since it was taken."""
        return permit in self._leases.permits and self.held[1] <= self.clock()

    def give_back(self, permit: int, unused: float | None = None) -> None:
        """Release a permit. Pass its start time as `unused` if no call was made."""
        self._return(permit, unused)
        # Give back the prefetched permits if no thread waits for them.
        while not self._waiting() and (kept := self._pop_prefetched()) is not None:
            self._return(*kept)

    def hold(self, seconds: float, sent: float) -> bool:
        """Grant no permits for some seconds; see `Ledger.hold`."""
        is_new, self.held = self._ask("hold", seconds, sent)
        return bool(is_new)

    def started(self, seconds: float) -> int:
        """Count the permits that started in the last `seconds`."""
        return int(self._ask("started", seconds))

    def close(self) -> None:
        """Do nothing: the server's ledger is shared."""

    def _return(self, permit: int, unused: float | None) -> None:
        self._leases.permits.discard(permit)
        self._tell("give_back", permit, unused)

    def _pop_prefetched(self) -> tuple[int, float] | None:
        with contextlib.suppress(IndexError):
            return self._prefetched.popleft()
        return None

    def _update_clock(self, now: float) -> None:
        """Update the clock offset; a slow answer makes the server's clock appear further behind."""
        self._differences.append(now - time.monotonic())


class ClusterCache:
    """Client of a `ResultCache` on another machine."""

    is_persistent = True

    def __init__(self, ask: Callable[..., Any], tell: Callable[..., object], leases: _Leases) -> None:
        self._ask = ask
        self._tell = tell
        self._leases = leases

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the value of a key, or None."""
        value: dict[str, Any] | None = self._ask("get", key)
        return value

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Store a value immediately and durably."""
        self._ask("put", key, value)
        self._leases.claims.discard(key)

    def recipe(self, key: str) -> dict[str, Any] | None:
        """Return the recipe of a file, or None."""
        value: dict[str, Any] | None = self._ask("recipe", key)
        return value

    def put_recipe(self, key: str, value: dict[str, Any]) -> None:
        """Store the recipe of a file."""
        self._tell("put_recipe", key, value)

    def remove(self, key: str) -> None:
        """Remove a key."""
        self._ask("remove", key)

    def claim(self, key: str) -> bool:
        """Claim a key before computing its value; return False if another process claimed or stored it."""
        is_ours = bool(self._ask("claim", key))
        if is_ours:
            self._leases.claims.add(key)
            self._leases.start_renewing()
        return is_ours

    def release(self, key: str) -> None:
        """Release a claim without storing a value."""
        self._leases.claims.discard(key)
        self._ask("release", key)

    def close(self) -> None:
        """Do nothing: the server's cache is shared."""


class _Leases:
    """Permits and claims that this process holds at the server, renewed by a thread while there are any."""

    def __init__(self, tell: Callable[..., object]) -> None:
        self.permits: set[int] = set()
        self.claims: set[str] = set()
        self._tell = tell
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start_renewing(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="valence-leases", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(_RENEW_SECONDS)
            with self._lock:
                # Copying a set is atomic, so other threads may change it meanwhile.
                permits, claims = list(self.permits), list(self.claims)
                if not permits and not claims:
                    self._thread = None
                    return
            try:
                self._tell("renew", permits, claims)
            except Exception as error:
                # The connection is closed, as after ray.shutdown(), so nothing more can be requested.
                _log.info("what is held in the cluster is renewed no more: %s", error)
                with self._lock:
                    self._thread = None
                return
