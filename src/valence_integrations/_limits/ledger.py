"""The file of an account: start times, permits in use, and the hold after a 429."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import time as wall_clock

from valence_integrations._limits.permits import Hold
from valence_integrations._limits.policy import Window
from valence_integrations._store.forks import hold_at_fork
from valence_integrations._store.machine import Incarnations, boot, machine_clock
from valence_integrations._store.renewals import HELD_SECONDS
from valence_integrations._store.sqlite import LEASE_SECONDS, REMOTE, close_in_process, connect

__all__ = ["MAX_HOLD_SECONDS", "MAX_UNUSED", "POLL_SECONDS", "Ledger"]

#: Longest hold; a longer Retry-After is cut to this.
MAX_HOLD_SECONDS = 120.0

#: A permit is granted at most this long before its start, so that its thread can sleep until exactly then.
_AHEAD_SECONDS = 0.5

#: Waits are interrupted this often to check whether the job was stopped, and whether another process returned a permit.
POLL_SECONDS = 0.5
_SHARED_POLL_SECONDS = 0.01

#: Start times kept beyond those that the windows need: the most permits in use at once, each of which may come back
#: unused.
MAX_UNUSED = 1_000

#: Maximum wait for another process's transaction, which takes a tenth of a millisecond.
_BUSY_SECONDS = 3.0

#: The holder of all permits of a ledger in memory.
_ONLY = 1

_APPLICATION_ID = 0x56414C4C
_TABLES = (
    "CREATE TABLE IF NOT EXISTS starts (number INTEGER PRIMARY KEY, at REAL, holder INTEGER)",
    "CREATE TABLE IF NOT EXISTS leases (id INTEGER PRIMARY KEY, holder INTEGER, until REAL)",
    "CREATE TABLE IF NOT EXISTS holds (begun REAL, until REAL)",
    "CREATE TABLE IF NOT EXISTS machine (boot TEXT, behind REAL)",
)
_HOLD = "SELECT coalesce(max(begun), 0), coalesce(max(until), 0) FROM holds"
_STATE = """
SELECT begun, until, (SELECT count(*) FROM leases), coalesce((SELECT max(number) FROM starts), 0),
       coalesce((SELECT at FROM starts ORDER BY number DESC LIMIT 1), 0)
FROM (SELECT coalesce(max(begun), 0) AS begun, coalesce(max(until), 0) AS until FROM holds)
"""


class Ledger:
    """Start times, permits in use and the hold of an account, in a file that processes share.

    Parameters
    ----------
    path : Path or None
        Path of the file; None for a ledger in memory.
    clock : callable, optional
        Returns seconds, the same in all processes of the machine.
    processes : Path, optional
        File of the `Incarnations` that hold permits; by default beside the file.
    remote : bool, default=False
        Whether permits are held by other machines. Their processes cannot be checked from here, so a permit expires
        after `LEASE_SECONDS`, instead of `HELD_SECONDS`, unless it is renewed.

    Attributes
    ----------
    held : (float, float)
        The last hold, as of the last permit taken.

    Raises
    ------
    sqlite3.Error, OSError
        If the file cannot be used; so do all methods.
    """

    def __init__(
        self,
        path: Path | None,
        clock: Callable[[], float] = machine_clock,
        *,
        processes: Path | None = None,
        remote: bool = False,
    ) -> None:
        self.clock = clock
        self.held: Hold = (0.0, 0.0)
        self._lease = LEASE_SECONDS if remote else HELD_SECONDS
        self._lock = hold_at_fork(threading.Lock())
        with self._lock:
            self._connection = _open(path)
        self._close = weakref.finalize(self, close_in_process, os.getpid(), self._connection)
        # At the end of the process, threads may still use it.
        self._close.atexit = False
        others = None if path is None else Incarnations(processes or path.with_name("processes.lock"), 0o666)
        self._is_alive: Callable[[int], bool] = others.is_alive if others else bool
        self._own: Callable[[], int] = others.own if others and not remote else lambda: REMOTE if remote else _ONLY
        if path is not None:
            self._adopt_times()
        if remote:
            # While no server was running, holders could not renew their leases.
            with self._transaction() as run:
                until = clock() + LEASE_SECONDS
                run("UPDATE leases SET until = max(until, ?) WHERE holder = ?", (until, REMOTE))

    def take(
        self, windows: tuple[Window, ...], concurrency: int, lengthen: Callable[[float], float]
    ) -> tuple[int, float]:
        """Take a permit if one can start soon.

        Parameters
        ----------
        windows : tuple of Window
            Windows of the policy.
        concurrency : int
            Maximum number of permits in use.
        lengthen : callable
            Maps a window's length in the policy to the length to enforce.

        Returns
        -------
        (int, float)
            Id and start time of the permit; or 0, and seconds after which to ask again.
        """
        own = self._own()
        with self._transaction() as run:
            now = self.clock()
            begun, until, out, number, last = run(_STATE).fetchone()
            self.held = begun, until
            if until > now:
                return 0, min(until - now, MAX_HOLD_SECONDS)
            if out >= concurrency and (wait := self._reclaim(run, concurrency, now, own)):
                return 0, wait
            start = max(now, last)
            for window in windows:
                start = max(start, self._earliest_start(run, window, number, now, lengthen(window.seconds)))
            if start - now > _AHEAD_SECONDS:
                return 0, start - now - _AHEAD_SECONDS
            if windows:
                run("INSERT INTO starts VALUES (?, ?, ?)", (number + 1, start, own))
                kept = max(window.count for window in windows) + MAX_UNUSED
                run("DELETE FROM starts WHERE number <= ?", (number + 1 - kept,))
            # Ids are never reused, so giving a permit back twice is harmless.
            permit = 1 + secrets.randbits(62)
            run("INSERT INTO leases VALUES (?, ?, ?)", (permit, own, start + self._lease))
            return permit, start

    def confirm(self, permit: int) -> bool:
        """Return whether a permit may be used now: it has not expired, and no hold has begun since it was taken."""
        with self._lock:
            (until,) = self._connection.execute("SELECT (SELECT until FROM leases WHERE id = ?)", (permit,)).fetchone()
            self.held = self._connection.execute(_HOLD).fetchone()
        return until is not None and self.held[1] <= self.clock() < until

    def give_back(self, permit: int, unused: float | None = None) -> None:
        """Release a permit. Pass its start time as `unused` if no call was made: another call can then use it."""
        with self._lock:
            was_out = self._connection.execute("DELETE FROM leases WHERE id = ?", (permit,)).rowcount
        if not was_out or unused is None:
            return
        own = self._own()
        with self._transaction() as run:
            found = run(
                "SELECT number FROM starts WHERE at = ? AND holder = ? ORDER BY number DESC LIMIT 1", (unused, own)
            ).fetchone()
            if found is not None:
                # The remaining start times stay valid: without this one, gaps between them only grow.
                run("DELETE FROM starts WHERE number = ?", found)
                run("UPDATE starts SET number = number - 1 WHERE number > ?", found)

    def renew(self, permits: Iterable[int]) -> None:
        """Extend the leases of permits in use."""
        until = self.clock() + self._lease
        with self._transaction() as run:
            for permit in permits:
                run("UPDATE leases SET until = ? WHERE id = ?", (until, permit))

    def hold(self, seconds: float, sent: float) -> bool:
        """Grant no permits for some seconds, because a call was refused.

        Parameters
        ----------
        seconds : float
            Duration from now; a hold that ends later stays.
        sent : float
            Start time of the call's permit.

        Returns
        -------
        bool
            Whether this is a new hold. It is not for a call that was under way when the last hold began.
        """
        now = self.clock()
        with self._transaction() as run:
            begun, until = run(_HOLD).fetchone()
            is_new = sent >= until
            self.held = (now if is_new else begun), max(until, now + seconds)
            run("DELETE FROM holds")
            run("INSERT INTO holds VALUES (?, ?)", self.held)
            return bool(is_new)

    def started(self, seconds: float) -> int:
        """Count the permits that started in the last `seconds`."""
        with self._lock:
            (count,) = self._connection.execute(
                "SELECT count(*) FROM starts WHERE at > ?", (self.clock() - seconds,)
            ).fetchone()
        return int(count)

    def add(
        self, starts: Iterable[float], permits: Mapping[int, float], held: Hold, returned: Iterable[int] = ()
    ) -> None:
        """Add what a process knows and the file does not.

        Parameters
        ----------
        starts : iterable of float
            Start times of its permits.
        permits : mapping of int to float
            Ends of the leases of its permits in use.
        held : (float, float)
            The last hold that it knows of.
        returned : iterable of int
            Permits that are no longer in use.
        """
        own = self._own()
        with self._transaction() as run:
            kept = run("SELECT at, holder FROM starts").fetchall()
            missing = Counter(starts) - Counter(at for at, holder in kept if holder == own)
            if missing:
                run("DELETE FROM starts")
                rows = sorted([*kept, *((at, own) for at in missing.elements())])
                for number, (at, holder) in enumerate(rows, 1):
                    run("INSERT INTO starts VALUES (?, ?, ?)", (number, at, holder))
            for permit, until in permits.items():
                run("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (permit, own, until))
            for permit in returned:
                run("DELETE FROM leases WHERE id = ?", (permit,))
            self.held = run(_HOLD).fetchone()
            if held[1] > self.held[1]:
                self.held = held
                run("DELETE FROM holds")
                run("INSERT INTO holds VALUES (?, ?)", held)

    def close(self) -> None:
        """Close the file; the ledger cannot be used any more."""
        with self._lock:
            self._close()

    @staticmethod
    def _earliest_start(
        run: Callable[..., sqlite3.Cursor], window: Window, number: int, now: float, seconds: float
    ) -> float:
        count = window.count - (window.others if now < window.others_until else 0)
        if count <= 0:
            return window.others_until
        row = run("SELECT at FROM starts WHERE number = ?", (number + 1 - count,)).fetchone()
        return float(row[0]) + seconds if row else 0.0

    def _reclaim(self, run: Callable[..., sqlite3.Cursor], concurrency: int, now: float, own: int) -> float:
        """Reclaim permits of dead processes; return 0 if a permit is free, else seconds after which to check again."""
        run("DELETE FROM leases WHERE until < ?", (now,))
        others = {holder for (holder,) in run("SELECT DISTINCT holder FROM leases")} - {own}
        for holder in others - {REMOTE}:
            if not self._is_alive(holder):
                run("DELETE FROM leases WHERE holder = ?", (holder,))
        (left,) = run("SELECT count(*) FROM leases").fetchone()
        if left < concurrency:
            return 0.0
        # Permits returned in this process wake its threads; those of other processes must be polled.
        return _SHARED_POLL_SECONDS if others else POLL_SECONDS

    def _adopt_times(self) -> None:
        """Convert times of another boot, whose clock began at another time, by means of the wall clock."""
        now = self.clock()
        behind = wall_clock() - now
        with self._transaction() as run:
            then = run("SELECT boot, behind FROM machine").fetchone()
            (last,) = run("SELECT coalesce(max(at), 0) FROM starts").fetchone()
            # Systems without a name of the boot show one by their clock.
            if then is not None and (then[0] != boot() or last > now + 2 * _AHEAD_SECONDS):
                shift = then[1] - behind
                run("UPDATE starts SET at = min(at + ?, ?)", (shift, now))
                run("UPDATE leases SET until = min(until + ?, ?)", (shift, now + self._lease))
                run(
                    "UPDATE holds SET begun = min(begun + ?, ?), until = min(until + ?, ?)",
                    (shift, now, shift, now + MAX_HOLD_SECONDS),
                )
            run("DELETE FROM machine")
            run("INSERT INTO machine VALUES (?, ?)", (boot(), behind))

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        with self._lock:
            run = self._connection.execute
            run("BEGIN IMMEDIATE")
            try:
                yield run
                run("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    run("ROLLBACK")
                raise


def _open(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        connection = connect(path, _APPLICATION_ID, _TABLES, "OFF", _BUSY_SECONDS)
        # Another user may have written the file.
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection
    # In memory, also if the disk is full; a connection's own temporary file is not.
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    for statement in _TABLES:
        connection.execute(statement)
    return connection
