"""The way of one process to the `ClusterServer` of its cluster, in the place of this machine's own files."""

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
from valence_integrations._limits.policy import Window
from valence_integrations._store.cache import ResultCache
from valence_integrations.settings import Settings

__all__ = ["ClusterCache", "ClusterClient", "ClusterLedger"]

_log = logging.getLogger("valence_integrations")

#: Permits asked for in one go, at most: what one process holds, the others cannot use.
_BATCH = 8

#: A permit that is this late is not used any more, but given back: the windows are lengthened for less.
_LATE_SECONDS = 0.05

#: What is held is renewed this often, five times within `LEASE_SECONDS`.
_RENEW_SECONDS = 2.0

#: The difference of two clocks is that of the fastest of so many answers.
_ANSWERS_FOR_CLOCK = 50


class ClusterClient:
    """What an engine shares with those of other machines, asked for over a wire.

    Parameters
    ----------
    ask : callable
        Calls a method of the office: ``ask("take", ...)`` returns what it returns, and raises what it raises.
    tell : callable
        The same, without waiting for an answer.
    shares_answers : bool
        Whether the office keeps the answers; else each machine does.
    """

    def __init__(self, ask: Callable[..., Any], tell: Callable[..., object], *, shares_answers: bool) -> None:
        self._ask = ask
        self._tell = tell
        self._shares_answers = shares_answers
        self._leases = _Leases(tell)

    def ledger(self, waiting: Callable[[], int]) -> ClusterLedger:
        """Make the ledger of this process, whose threads `waiting` counts while they wait for a permit."""
        return ClusterLedger(self._ask, self._tell, self._leases, waiting)

    def cache(self, settings: Settings) -> ResultCache | ClusterCache | None:
        """Make the cache: the office's, this machine's, or none."""
        if settings.cache is False:
            return None
        if self._shares_answers:
            return ClusterCache(self._ask, self._tell, self._leases)
        return ResultCache(local_directory(settings))


class ClusterLedger:
    """A `Ledger` on another machine.

    Permits come in small batches, one for each thread that waits. Times are by the clock of that machine.
    """

    def __init__(
        self, ask: Callable[..., Any], tell: Callable[..., object], leases: _Leases, waiting: Callable[[], int]
    ) -> None:
        self._ask = ask
        self._tell = tell
        self._leases = leases
        self._waiting = waiting
        self._prefetched: deque[tuple[int, float]] = deque()
        self._differences: deque[float] = deque(maxlen=_ANSWERS_FOR_CLOCK)
        self._update_clock(ask("now"))

    def clock(self) -> float:
        """Tell the time there."""
        return time.monotonic() + max(self._differences)

    def take(
        self, windows: tuple[Window, ...], concurrency: int, lengthen: Callable[[float], float]
    ) -> tuple[int, float]:
        """Take a permit, if one can start soon; see `Ledger.take`. One thread at a time asks."""
        while (kept := self._pop_prefetched()) is not None:
            permit, start = kept
            if start > self.clock() - _LATE_SECONDS:
                return permit, start
            self._return(permit, start)
        longest = tuple(replace(window, seconds=lengthen(window.seconds)) for window in windows)
        granted, now = self._ask("take", longest, concurrency, min(max(self._waiting(), 1), concurrency, _BATCH))
        self._update_clock(now)
        for permit, _ in granted:
            self._leases.permits.add(permit)
        self._leases.start_renewing()
        self._prefetched.extend(granted)
        return self._prefetched.popleft() if granted else (0, 0.0)

    def give_back(self, permit: int, unused: float | None = None) -> None:
        """Say that a permit's call has ended or, with the permit's start, that it was not made."""
        self._return(permit, unused)
        # If nobody is left who would use the others, they go back, too.
        while not self._waiting() and (kept := self._pop_prefetched()) is not None:
            self._return(*kept)

    def hold(self, seconds: float) -> bool:
        """Give out no permit for a while; return whether nobody had said so before."""
        return bool(self._ask("hold", seconds))

    def started(self, seconds: float) -> int:
        """Count the permits that started in the last so many seconds."""
        return int(self._ask("started", seconds))

    def _return(self, permit: int, unused: float | None) -> None:
        self._leases.permits.discard(permit)
        self._tell("give_back", permit, unused)

    def _pop_prefetched(self) -> tuple[int, float] | None:
        with contextlib.suppress(IndexError):
            return self._prefetched.popleft()
        return None

    def _update_clock(self, now: float) -> None:
        """Compare the clocks: an answer that took longer makes the other's look further behind."""
        self._differences.append(now - time.monotonic())


class ClusterCache:
    """A `ResultCache` on another machine."""

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
        """Keep a value, at once and for good."""
        self._ask("put", key, value)
        self._leases.claims.discard(key)

    def recipe(self, key: str) -> dict[str, Any] | None:
        """Return how a file was sent, or None."""
        value: dict[str, Any] | None = self._ask("recipe", key)
        return value

    def put_recipe(self, key: str, value: dict[str, Any]) -> None:
        """Keep how a file was sent."""
        self._tell("put_recipe", key, value)

    def remove(self, key: str) -> None:
        """Forget a key."""
        self._ask("remove", key)

    def claim(self, key: str) -> bool:
        """Say that this process is about to find out the value of a key; False if another is at it, or has done so."""
        is_ours = bool(self._ask("claim", key))
        if is_ours:
            self._leases.claims.add(key)
            self._leases.start_renewing()
        return is_ours

    def release(self, key: str) -> None:
        """Give up a claim without a value."""
        self._leases.claims.discard(key)
        self._ask("release", key)

    def close(self) -> None:
        """Do nothing: others use it."""


class _Leases:
    """What this process holds at the office, renewed by a thread that lives while there is anything."""

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
                # A set is copied in one step, in which no other thread changes it.
                permits, claims = list(self.permits), list(self.claims)
                if not permits and not claims:
                    self._thread = None
                    return
            try:
                self._tell("renew", permits, claims)
            except Exception as error:
                # The wire is gone, as after ray.shutdown(): with it went whoever could ask for more.
                _log.info("what is held in the cluster is renewed no more: %s", error)
                with self._lock:
                    self._thread = None
                return
