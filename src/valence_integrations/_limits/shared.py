"""An account's ledger that goes on when its file fails: in another place, or in memory, and back again."""

from __future__ import annotations

import logging
import sqlite3
import threading
import warnings
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from valence_integrations._limits.ledger import MAX_UNUSED, Ledger
from valence_integrations._limits.permits import Hold
from valence_integrations._limits.place import Place
from valence_integrations._limits.policy import Window
from valence_integrations._store.files import Identity, identity
from valence_integrations._store.machine import machine_clock
from valence_integrations._store.renewals import HELD_SECONDS, RENEW_SECONDS, Renewals
from valence_integrations._store.sqlite import LEASE_SECONDS, is_damage

__all__ = ["SharedLedger"]

_log = logging.getLogger("valence_integrations")

T = TypeVar("T")

#: A better place is tried again, and the name of the file is determined again, at this interval.
_RETRY_SECONDS = 30.0

_FAULTS = (sqlite3.Error, OSError)


class SharedLedger:
    """The ledger of an account, shared with other processes as far as possible.

    It never raises. It remembers what this process did, and puts it into each file that it changes to: so a process
    never exceeds the policy by itself, whatever becomes of the files.

    Parameters
    ----------
    account : str
        Name of the account.
    places : sequence of Place
        Where the file may be, best first. If none can be used, the ledger is in memory.
    clock : callable, optional
        See `Ledger`.
    remote : bool, default=False
        See `Ledger`.

    Warns
    -----
    UserWarning
        Once, if the file in the first place cannot be used or was lost.
    """

    def __init__(
        self,
        account: str = "",
        places: Sequence[Place] = (),
        clock: Callable[[], float] = machine_clock,
        *,
        remote: bool = False,
    ) -> None:
        self.clock = clock
        self._account = account
        self._places = places
        self._remote = remote
        self._lease = LEASE_SECONDS if remote else HELD_SECONDS
        self._lock = threading.RLock()
        self._starts = array("d")
        self._permits: dict[int, float] = {}
        self._held: Hold = (0.0, 0.0)
        # Permits given back while the first place could not be used; those of long ago have expired there.
        self._returned: deque[int] = deque(maxlen=MAX_UNUSED)
        self._renewals = Renewals(self.renew, RENEW_SECONDS)
        self._has_warned = False
        self._path: Path | None = None
        self._identity: Identity | None = None
        self._retry_at = 0.0
        self._number = len(places)
        self._ledger = Ledger(None, clock, remote=remote)
        if places:
            self._move(0)

    @property
    def held(self) -> Hold:
        """Begin and end of the last hold."""
        return self._held

    def take(
        self, windows: tuple[Window, ...], concurrency: int, lengthen: Callable[[float], float]
    ) -> tuple[int, float]:
        """Take a permit if one can start soon; see `Ledger.take`."""
        with self._lock:
            self._check()
            permit, when = self._run(lambda ledger: ledger.take(windows, concurrency, lengthen))
            if not permit:
                return permit, when
            self._permits[permit] = when + self._lease
            if windows:
                self._starts.append(when)
                kept = max(window.count for window in windows) + MAX_UNUSED
                if len(self._starts) > 2 * kept:
                    del self._starts[:-kept]
            if self._remote and len(self._permits) > MAX_UNUSED:
                now = self.clock()
                self._permits = {permit: until for permit, until in self._permits.items() if until > now}
        if not self._remote:
            self._renewals.add(permit)
        return permit, when

    def confirm(self, permit: int) -> bool:
        """Return whether a permit may be used now; see `Ledger.confirm`."""
        with self._lock:
            return self._run(lambda ledger: ledger.confirm(permit))

    def give_back(self, permit: int, unused: float | None = None) -> None:
        """Release a permit; see `Ledger.give_back`."""
        self._renewals.discard(permit)
        with self._lock:
            known = self._permits.pop(permit, None)
            if known is not None and unused is not None and unused in self._starts[-MAX_UNUSED:]:
                last = len(self._starts) - 1
                del self._starts[next(n for n in range(last, -1, -1) if self._starts[n] == unused)]
            self._run(lambda ledger: ledger.give_back(permit, unused))
            if self._number > 0:
                self._returned.append(permit)

    def renew(self, permits: Iterable[int]) -> None:
        """Extend the leases of permits in use."""
        permits = list(permits)
        with self._lock:
            until = self.clock() + self._lease
            self._permits.update((permit, until) for permit in permits if permit in self._permits)
            self._run(lambda ledger: ledger.renew(permits))

    def hold(self, seconds: float, sent: float) -> bool:
        """Grant no permits for some seconds; see `Ledger.hold`."""
        with self._lock:
            return self._run(lambda ledger: ledger.hold(seconds, sent))

    def started(self, seconds: float) -> int:
        """Count the permits that started in the last `seconds`."""
        with self._lock:
            return self._run(lambda ledger: ledger.started(seconds))

    def close(self) -> None:
        """End the thread that renews permits; the ledger can still be used."""
        self._renewals.close()

    def _run(self, use: Callable[[Ledger], T]) -> T:
        """Use the ledger; if its file fails, another one."""
        try:
            result = use(self._ledger)
        except _FAULTS as error:
            is_damaged = is_damage(error)
            self._move(self._number if is_damaged else self._number + 1, error, remake=is_damaged)
            try:
                result = use(self._ledger)
            except _FAULTS as again:
                self._move(len(self._places), again)
                result = use(self._ledger)
        self._held = self._ledger.held
        return result

    def _check(self) -> None:
        """Notice that the file was deleted or replaced, or that a better place can be used again."""
        if self._path is not None and identity(self._path) != self._identity:
            self._move(0, FileNotFoundError("it was deleted or replaced"))
        elif self._places and self.clock() >= self._retry_at:
            self._retry_at = self.clock() + _RETRY_SECONDS
            if self._number > 0:
                self._move(0, before=self._number)
            elif _path(self._places[0], self._account) != self._path:
                self._move(0, FileNotFoundError("the file `salt` beside it was deleted or replaced"))

    def _move(
        self, first: int, fault: Exception | None = None, *, before: int | None = None, remake: bool = False
    ) -> None:
        """Change to the first place that can be used.

        Parameters
        ----------
        first : int
            Number of the first place to try.
        fault : Exception, optional
            What happened to the present ledger.
        before : int, optional
            Try only places before this one, and stay if none can be used; by default, the last resort is memory.
        remake : bool, default=False
            Whether the present file is damaged, so that it is replaced if it is still there.
        """
        damaged = self._identity if remake else None
        for number in range(first, len(self._places) if before is None else before):
            try:
                ledger, path, damage = self._open(self._places[number], damaged)
                fault = fault or damage
                break
            except _FAULTS as error:
                fault = fault or error
        else:
            if before is not None:
                return
            number, path = len(self._places), None
            ledger = Ledger(None, self.clock, remote=self._remote)
            ledger.add(self._starts, self._permits, self._held)
        self._ledger.close()
        self._ledger, self._number, self._path = ledger, number, path
        self._identity = identity(path) if path is not None else None
        self._retry_at = self.clock() + _RETRY_SECONDS
        if number == 0:
            self._returned.clear()
        if fault is not None:
            self._warn(fault)
        elif self._has_warned:
            _log.info("the account's rate limits are in %s again", path)

    def _open(self, place: Place, damaged: Identity | None) -> tuple[Ledger, Path, sqlite3.DatabaseError | None]:
        """Open the file in a place; replace it if it is damaged, and return the damage too."""
        with place.opening(self._account) as path:
            if damaged is not None and identity(path) == damaged:
                place.remake(path)
            try:
                return self._open_file(place, path), path, None
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                damage = error
            place.remake(path)
            return self._open_file(place, path), path, damage

    def _open_file(self, place: Place, path: Path) -> Ledger:
        ledger = Ledger(path, self.clock, processes=place.processes, remote=self._remote)
        try:
            ledger.add(self._starts, self._permits, self._held, self._returned)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def _warn(self, fault: Exception) -> None:
        place = self._places[0].directory
        if self._number == 0:
            message = (
                f"The file of the account's rate limits in {place} was made anew ({fault}): the calls of processes "
            )
            message += "that have ended no longer count, so that the limits can be exceeded."
        else:
            message = f"The file of the account's rate limits in {place} cannot be used ({fault}): until it can, "
            message += "other processes do not see the calls of this one, " + (
                f"but for those that use {self._path.parent} too, " if self._path is not None else ""
            )
            message += (
                "and together they can exceed the limits. Set VALENCE_STATE_DIR to a directory that all can write."
            )
        _log.warning("%s", message)
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(message, stacklevel=2)


def _path(place: Place, account: str) -> Path | None:
    try:
        return place.path(account)
    except OSError:
        return None
