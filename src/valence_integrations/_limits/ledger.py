"""The file shared by all processes with the same account: start times, permits in use, and a hold after a 429."""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from valence_integrations._limits.policy import Window
from valence_integrations._store.sqlite import LEASE_SECONDS, REMOTE, close_in_process, connect, is_alive

__all__ = ["MAX_HOLD_SECONDS", "POLL_SECONDS", "Ledger", "Permits", "ledger_path"]

#: Longest hold; a longer Retry-After is cut to this.
MAX_HOLD_SECONDS = 120.0

#: A permit is granted at most this long before its start, so that its thread can sleep until exactly then.
_AHEAD_SECONDS = 0.5

#: Waits are interrupted this often to check whether the job was stopped, and whether another process returned a permit.
POLL_SECONDS = 0.5
_SHARED_POLL_SECONDS = 0.01

#: Longest use of a permit; after that its process hangs, or its process id was reused.
_LOCAL_LEASE_SECONDS = 600.0

#: Start times kept beyond those that the windows need: the most permits in use at once, each of which may come back
#: unused.
_MAX_UNUSED = 1_000

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


class Ledger:
    """State shared by all processes with the same key and host: start times, permits in use, and a hold.

    Parameters
    ----------
    path : Path or None
        Path of the file; None for a temporary file of this process.
    clock : callable, optional
        Returns seconds, consistent across processes and restarts.
    elsewhere : bool, default=False
        Whether permits are held by other machines. Their processes cannot be checked from here, so a permit expires
        after `LEASE_SECONDS` unless it is renewed.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time, *, remote: bool = False) -> None:
        self.clock = clock
        self._holder = REMOTE if remote else os.getpid()
        self._lock = threading.Lock()
        self._connection = self._open(path)
        weakref.finalize(self, close_in_process, os.getpid(), self._connection)
        if remote:
            # While no server was running, holders could not renew their leases.
            self._connection.execute(
                "UPDATE leases SET until = max(until, ?) WHERE pid = ?", (clock() + LEASE_SECONDS, REMOTE)
            )

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
        with self._transaction() as run:
            now = self.clock()
            held, out, number, last = run(_STATE).fetchone()
            if held > now:
                return 0, min(held - now, MAX_HOLD_SECONDS)
            if out >= concurrency and (wait := self._reclaim(run, concurrency, now)):
                return 0, wait
            if last > now + 2 * _AHEAD_SECONDS:  # the clock was set back
                run("UPDATE starts SET at = ? WHERE at > ?", (now, now))
                last = now
            start = max(now, last)
            for window in windows:
                start = max(start, self._earliest_start(run, window, number, now, lengthen(window.seconds)))
            if start - now > _AHEAD_SECONDS:
                return 0, start - now - _AHEAD_SECONDS
            if windows:
                run("INSERT INTO starts VALUES (?, ?)", (number + 1, start))
                kept = max(window.count for window in windows) + _MAX_UNUSED
                run("DELETE FROM starts WHERE number <= ?", (number + 1 - kept,))
            # Ids are never reused, so giving a permit back twice is harmless.
            permit = 1 + secrets.randbits(62)
            lasts = LEASE_SECONDS if self._holder == REMOTE else _LOCAL_LEASE_SECONDS
            run("INSERT INTO leases (id, pid, until) VALUES (?, ?, ?)", (permit, self._holder, start + lasts))
            return permit, start

    def give_back(self, permit: int, unused: float | None = None) -> None:
        """Release a permit. Pass its start time as `unused` if no call was made: another call can then use it."""
        with self._lock:
            was_out = self._connection.execute("DELETE FROM leases WHERE id = ?", (permit,)).rowcount
        if not was_out or unused is None:
            return
        with self._transaction() as run:
            (number,) = run("SELECT max(number) FROM starts WHERE at = ?", (unused,)).fetchone()
            if number is not None:
                # The remaining start times stay valid: without this one, gaps between them only grow.
                run("DELETE FROM starts WHERE number = ?", (number,))
                run("UPDATE starts SET number = number - 1 WHERE number > ?", (number,))

    def renew(self, permits: Iterable[int]) -> None:
        """Extend the leases of permits in use on other machines."""
        until = self.clock() + LEASE_SECONDS
        with self._transaction() as run:
            for permit in permits:
                run("UPDATE leases SET until = ? WHERE id = ?", (until, permit))

    def hold(self, seconds: float) -> bool:
        """Grant no permits for some seconds; return whether no hold was active before."""
        now = self.clock()
        with self._transaction() as run:
            (held,) = run("SELECT coalesce(max(until), 0) FROM holds").fetchone()
            if now + seconds > held:
                run("DELETE FROM holds")
                run("INSERT INTO holds VALUES (?)", (now + seconds,))
            return bool(held <= now)

    def started(self, seconds: float) -> int:
        """Count the permits that started in the last `seconds`."""
        with self._transaction() as run:
            (count,) = run("SELECT count(*) FROM starts WHERE at > ?", (self.clock() - seconds,)).fetchone()
            return int(count)

    @staticmethod
    def _earliest_start(
        run: Callable[..., sqlite3.Cursor], window: Window, number: int, now: float, seconds: float
    ) -> float:
        count = window.count - (window.others if now < window.others_until else 0)
        if count <= 0:
            return window.others_until
        row = run("SELECT at FROM starts WHERE number = ?", (number + 1 - count,)).fetchone()
        return float(row[0]) + seconds if row else 0.0

    def _reclaim(self, run: Callable[..., sqlite3.Cursor], concurrency: int, now: float) -> float:
        """Reclaim permits of dead processes; return 0 if a permit is free, else seconds after which to check again."""
        run("DELETE FROM leases WHERE until < ?", (now,))
        pids = {pid for (pid,) in run("SELECT DISTINCT pid FROM leases")} - {self._holder}
        for pid in pids:
            if not is_alive(pid):
                run("DELETE FROM leases WHERE pid = ?", (pid,))
        (left,) = run("SELECT count(*) FROM leases").fetchone()
        if left < concurrency:
            return 0.0
        # Permits returned in this process wake its threads; those of other processes must be polled.
        return _SHARED_POLL_SECONDS if pids else POLL_SECONDS

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
            finally:
                self._connection.execute("COMMIT")

    def _open(self, path: Path | None) -> sqlite3.Connection:
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
    """Interface of a local or remote `Ledger`."""

    @property
    def clock(self) -> Callable[[], float]: ...

    def take(
        self, windows: tuple[Window, ...], concurrency: int, lengthen: Callable[[float], float]
    ) -> tuple[int, float]: ...

    def give_back(self, permit: int, unused: float | None = None) -> None: ...

    def hold(self, seconds: float) -> bool: ...

    def started(self, seconds: float) -> int: ...


def ledger_path(directory: Path, base_url: str, api_key: str) -> Path:
    """Path of an account's file; the name reveals neither key nor host."""
    account = hashlib.blake2b(f"{base_url}\n{api_key}".encode(), digest_size=8).hexdigest()
    return directory / f"limits-{account}.sqlite3"
