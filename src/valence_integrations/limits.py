"""Limits: when the next call may start, and how many may be under way; for all processes with the same account.

Every window of the account's policy (second, minute, hour, day, burst) holds at once and exactly: a permit has a start
time, and the permit of `count` before it started at least `seconds` earlier. The start times of the last permits, the
permits that are out, and a hold after a 429 stand in one SQLite file for each key and host.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import sqlite3
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from valence_integrations._sqlite import ELSEWHERE, LEASE_SECONDS, close_in, connect, is_alive
from valence_integrations.settings import DEFAULT_CONCURRENCY, RateLimits

__all__ = ["Ledger", "Limiter", "Permits", "Policy", "StoppedError", "Window", "ledger_path"]

_log = logging.getLogger("valence_integrations")

#: A Retry-After above this is not waited for.
MAX_HOLD_SECONDS = 120.0

#: Each window is longer than the policy's by this, and by twice the jitter seen: calls reach the service later than
#: they start, and not all by the same. Exact windows drew 16 % of 429s, lengthened ones 0 to 0.9 % (measured).
_MARGIN_SECONDS = 0.05
_FIRST_JITTER_SECONDS, _MAX_JITTER_SECONDS = 0.05, 0.25

#: A permit is given this long before its start, so that its thread can sleep until then exactly.
_AHEAD_SECONDS = 0.5

#: Waits end after this to look whether the job was stopped; and those for another process's permit after that.
_LOOK_AGAIN_SECONDS = 0.5
_OTHERS_SECONDS = 0.01

#: A permit that is out for longer belonged to a process that hangs, or whose number another process has now.
_HUNG_SECONDS = 600.0

#: More permits than this are not out at once, of which each may come back unused: so many starts are kept beyond those
#: that the windows look back on.
_MAX_UNUSED = 1_000

#: Nobody calls faster from one machine, so a limit above this rate, in calls a second, is none.
_UNLIMITED_RATE = 1_000.0

#: After a 429 the windows of up to a minute are longer by this factor, until a hundred calls went without one.
_STRETCH, _MAX_STRETCH, _CALM_CALLS = 1.2, 4.0, 100
_STRETCHED_UP_TO_SECONDS = 60.0

_APPLICATION_ID = 0x56414C4C
_TABLES = """
CREATE TABLE IF NOT EXISTS starts (number INTEGER PRIMARY KEY, at REAL);
CREATE TABLE IF NOT EXISTS leases (id INTEGER PRIMARY KEY, pid INTEGER, until REAL);
CREATE TABLE IF NOT EXISTS holds (until REAL)
"""
_STATE = """
SELECT (SELECT coalesce(max(until), 0) FROM holds), (SELECT count(*) FROM leases), coalesce(max(number), 0),
       coalesce((SELECT at FROM starts ORDER BY number DESC LIMIT 1), 0) FROM starts
"""


class StoppedError(Exception):
    """The job was stopped while a call waited for its turn."""


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
    def of(cls, limits: RateLimits, usage: Mapping[str, Any] | None = None, now: float = 0.0) -> Policy:
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
    def of_status(cls, status: object, own: Callable[[float], int], now: float) -> Policy:
        """Read the service's answer to a status request.

        Parameters
        ----------
        status : dict
            With ``limits`` and, perhaps, ``current_usage``.
        own : callable
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
        policy = cls.of(
            RateLimits(**{spec.name: _count(stated.get(spec.name)) for spec in fields(RateLimits)}),
            used if isinstance(used, Mapping) else {},
            now,
        )
        windows = tuple(
            Window(w.count, w.seconds, max(w.others - own(w.seconds), 0), w.others_until) for w in policy.windows
        )
        return cls(windows, policy.concurrency)


class Ledger:
    """What all processes with the same key and host share: starts, permits that are out, and a hold.

    Parameters
    ----------
    path : Path or None
        The file; None for one that no other process sees.
    clock : callable, optional
        Seconds that all processes, and a process after a restart, agree on.
    elsewhere : bool, default=False
        Whether the permits are for other machines. Whether a holder there is alive, nobody here can see: a permit
        lasts for `LEASE_SECONDS`, unless it is renewed.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time, *, elsewhere: bool = False) -> None:
        self.clock = clock
        self._holder = ELSEWHERE if elsewhere else os.getpid()
        self._lock = threading.Lock()
        self._connection = self._opened(path)
        weakref.finalize(self, close_in, os.getpid(), self._connection)
        if elsewhere:
            # Its predecessor may be gone for a while, and its holders could not renew anything.
            self._connection.execute(
                "UPDATE leases SET until = max(until, ?) WHERE pid = ?", (clock() + LEASE_SECONDS, ELSEWHERE)
            )

    def take(
        self, windows: tuple[Window, ...], concurrency: int, longer: Callable[[float], float]
    ) -> tuple[int, float]:
        """Take a permit, if one can start soon.

        Parameters
        ----------
        windows : tuple of Window
            The policy.
        concurrency : int
            Permits out at once.
        longer : callable
            The length that a window is given, for its length by the policy.

        Returns
        -------
        (int, float)
            Number of the permit and when it starts; or 0, and seconds after which to ask again.
        """
        with self._transaction() as run:
            now = self.clock()
            held, out, number, last = run(_STATE).fetchone()
            if held > now:
                return 0, min(held - now, MAX_HOLD_SECONDS)
            if out >= concurrency and (wait := self._reclaim(run, concurrency, now)):
                return 0, wait
            if last > now + 2 * _AHEAD_SECONDS:  # the clock went back
                run("UPDATE starts SET at = ? WHERE at > ?", (now, now))
                last = now
            start = max(now, last)
            for window in windows:
                start = max(start, self._earliest(run, window, number, now, longer(window.seconds)))
            if start - now > _AHEAD_SECONDS:
                return 0, start - now - _AHEAD_SECONDS
            if windows:
                run("INSERT INTO starts VALUES (?, ?)", (number + 1, start))
                kept = max(window.count for window in windows) + _MAX_UNUSED
                run("DELETE FROM starts WHERE number <= ?", (number + 1 - kept,))
            # A number never comes back, so that to say twice that a permit is given back does no harm.
            permit = 1 + secrets.randbits(62)
            lasts = LEASE_SECONDS if self._holder == ELSEWHERE else _HUNG_SECONDS
            run("INSERT INTO leases (id, pid, until) VALUES (?, ?, ?)", (permit, self._holder, start + lasts))
            return permit, start

    def give_back(self, permit: int, unused: float | None = None) -> None:
        """Say that a permit's call has ended or, with the permit's start, that it was not made: another then may."""
        with self._lock:
            was_out = self._connection.execute("DELETE FROM leases WHERE id = ?", (permit,)).rowcount
        if not was_out or unused is None:
            return
        with self._transaction() as run:
            (number,) = run("SELECT max(number) FROM starts WHERE at = ?", (unused,)).fetchone()
            if number is not None:
                # The others keep their times, which are no closer to each other without this one.
                run("DELETE FROM starts WHERE number = ?", (number,))
                run("UPDATE starts SET number = number - 1 WHERE number > ?", (number,))

    def renew(self, permits: Iterable[int]) -> None:
        """Say that permits are still in use elsewhere."""
        until = self.clock() + LEASE_SECONDS
        with self._transaction() as run:
            for permit in permits:
                run("UPDATE leases SET until = ? WHERE id = ?", (until, permit))

    def hold(self, seconds: float) -> bool:
        """Give out no permit for a while; return whether nobody had said so before."""
        now = self.clock()
        with self._transaction() as run:
            (held,) = run("SELECT coalesce(max(until), 0) FROM holds").fetchone()
            if now + seconds > held:
                run("DELETE FROM holds")
                run("INSERT INTO holds VALUES (?)", (now + seconds,))
            return bool(held <= now)

    def started(self, seconds: float) -> int:
        """Count the permits that started in the last so many seconds."""
        with self._transaction() as run:
            (count,) = run("SELECT count(*) FROM starts WHERE at > ?", (self.clock() - seconds,)).fetchone()
            return int(count)

    @staticmethod
    def _earliest(run: Callable[..., sqlite3.Cursor], window: Window, number: int, now: float, seconds: float) -> float:
        count = window.count - (window.others if now < window.others_until else 0)
        if count <= 0:
            return window.others_until
        row = run("SELECT at FROM starts WHERE number = ?", (number + 1 - count,)).fetchone()
        return float(row[0]) + seconds if row else 0.0

    def _reclaim(self, run: Callable[..., sqlite3.Cursor], concurrency: int, now: float) -> float:
        """Take back the permits of processes that are gone; return 0 if one is free now, else when to look again."""
        run("DELETE FROM leases WHERE until < ?", (now,))
        pids = {pid for (pid,) in run("SELECT DISTINCT pid FROM leases")} - {self._holder}
        for pid in pids:
            if not is_alive(pid):
                run("DELETE FROM leases WHERE pid = ?", (pid,))
        (left,) = run("SELECT count(*) FROM leases").fetchone()
        if left < concurrency:
            return 0.0
        # Only those whom this process gives permits to tell when they give one back.
        return _OTHERS_SECONDS if pids else _LOOK_AGAIN_SECONDS

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
            finally:
                self._connection.execute("COMMIT")

    def _opened(self, path: Path | None) -> sqlite3.Connection:
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            return connect(path, _APPLICATION_ID, _TABLES, "OFF")
        except (sqlite3.Error, OSError) as error:
            warnings.warn(
                f"{path} cannot be used ({error}): other processes do not see the calls of this one, and together "
                "they can exceed the account's limits. Set VALENCE_CACHE_DIR to a directory that can be written.",
                stacklevel=2,
            )
            return connect(None, _APPLICATION_ID, _TABLES, "OFF")


class Permits(Protocol):
    """A `Ledger`, wherever it is."""

    @property
    def clock(self) -> Callable[[], float]: ...  # noqa: D102

    def take(  # noqa: D102
        self, windows: tuple[Window, ...], concurrency: int, longer: Callable[[float], float]
    ) -> tuple[int, float]: ...

    def give_back(self, permit: int, unused: float | None = None) -> None: ...  # noqa: D102

    def hold(self, seconds: float) -> bool: ...  # noqa: D102

    def started(self, seconds: float) -> int: ...  # noqa: D102


class Limiter:
    """Gives out permits, one a call, first come first served.

    Parameters
    ----------
    ledger : Permits
        What other processes know too.
    policy : Policy
        Windows and concurrency.
    concurrency : int, optional
        Permits out at once, if not by the policy.
    refresh : callable, optional
        Asks for the policy anew, after a 429; None if it cannot be told.

    Attributes
    ----------
    concurrency : int
        Permits out at once.
    windows : tuple of Window
        The policy, as it is known.
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
        self._out = 0
        self._jitter = _FIRST_JITTER_SECONDS
        self._stretch = 1.0
        self._calm = 0

    @property
    def waiting(self) -> int:
        """Threads of this process that wait for a permit."""
        return len(self._queue)

    @contextmanager
    def permit(self, stopped: Callable[[], bool]) -> Iterator[float]:
        """Wait for a permit, and hold it for one call; gives the seconds that were waited.

        Raises
        ------
        StoppedError
            If `stopped` says so before the permit starts.
        """
        begun = self.clock()
        permit, start = self._in_turn(stopped)
        unused: float | None = start
        try:
            while (wait := start - self.clock()) > 0:
                if stopped():
                    raise StoppedError
                time.sleep(min(wait, _LOOK_AGAIN_SECONDS))
            self._saw(self.clock() - start)
            unused = None
            yield self.clock() - begun
        finally:
            self._ledger.give_back(permit, unused)
            with self._lock:
                self._out -= 1
            self._call_next()

    def hold(self, seconds: float) -> float:
        """Give out no permit for a while, after the service has asked for it; return how long, in seconds."""
        seconds = min(seconds, MAX_HOLD_SECONDS)
        if not self._ledger.hold(seconds):
            return seconds
        _log.warning("the service answered 429: all calls wait for %.1f s", seconds)
        if self.windows:
            self._stretch, self._calm = min(self._stretch * _STRETCH, _MAX_STRETCH), 0
            policy = self._refresh()
            if policy is not None:
                self.windows = policy.windows
        return seconds

    def _in_turn(self, stopped: Callable[[], bool]) -> tuple[int, float]:
        """Wait behind those who came before, then for the ledger."""
        called = threading.Event()
        permit = 0
        with self._lock:
            self._queue.append(called)
            is_first = self._queue[0] is called
        try:
            if not is_first:
                called.wait()
            while not stopped():
                called.clear()
                when = _LOOK_AGAIN_SECONDS
                if self._out < self.concurrency:
                    permit, when = self._ledger.take(self.windows, self.concurrency, self.length_of)
                    if permit:
                        self._out += 1
                        return permit, when
                called.wait(min(when, _LOOK_AGAIN_SECONDS))
            raise StoppedError
        finally:
            with self._lock:
                self._queue.popleft()
            self._call_next(anyway=not permit)

    def _call_next(self, *, anyway: bool = False) -> None:
        """Let the first in the queue look again, if there can be a permit; it alone, as waking a thread is not free."""
        with self._lock:
            if self._queue and (anyway or self._out < self.concurrency):
                self._queue[0].set()

    def length_of(self, seconds: float) -> float:
        """Length in seconds that a window of the policy is given."""
        stretch = self._stretch if seconds <= _STRETCHED_UP_TO_SECONDS else 1.0
        return seconds * stretch + _MARGIN_SECONDS + 2 * self._jitter

    def _saw(self, lateness: float) -> None:
        """Learn how exactly calls start."""
        self._jitter = min(0.9 * self._jitter + 0.1 * max(lateness, 0.0), _MAX_JITTER_SECONDS)
        self._calm += 1
        if self._calm >= _CALM_CALLS and self._stretch > 1.0:
            self._stretch, self._calm = max(self._stretch / _STRETCH, 1.0), 0


def _count(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def ledger_path(directory: Path, base_url: str, api_key: str) -> Path:
    """File of an account; its name tells neither key nor host."""
    account = hashlib.blake2b(f"{base_url}\n{api_key}".encode(), digest_size=8).hexdigest()
    return directory / f"limits-{account}.sqlite3"
