"""Keep answers when the file of the cache is deleted, damaged, locked or full: in memory, until it is usable again."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from valence_integrations._format import counted
from valence_integrations._store.answers import RECEIPT, AnswerFile, Opened, open_answers
from valence_integrations._store.files import Identity
from valence_integrations._store.forks import hold_at_fork
from valence_integrations._store.memory import Memory, Place, Row
from valence_integrations._store.renewals import Renewals
from valence_integrations._store.sqlite import is_damage
from valence_integrations.settings._cache_limits import CacheLimits

__all__ = ["GuardedFile"]

T = TypeVar("T")

_log = logging.getLogger("valence_integrations")

#: Longest wait for another process's transaction, and while the file cannot be used.
_BUSY_SECONDS = 10.0
_FAILING_BUSY_SECONDS = 0.1

#: A file that cannot be used is tried again at this interval.
_RETRY_SECONDS = 2.0

#: Longest wait for a thread that uses the file, when it is closed.
_CLOSE_SECONDS = 1.0

#: Time of a claim that is not in the file.
_NOT_IN_FILE = 0.0


class GuardedFile:
    """A file of answers and what one process remembers of it, for all threads of the process.

    Nothing is raised for a file that is damaged or cannot be used. There is one warning until it is usable again.

    Parameters
    ----------
    path : Path or None
        None for a temporary file.
    remote : bool
        Whether claims are held by other machines.
    limits : CacheLimits
        Limits of the file.
    """

    def __init__(self, path: Path | None, remote: bool, limits: CacheLimits) -> None:
        self.pid = os.getpid()
        self._path = path
        self._remote = remote
        self._limits = limits
        self._lock = hold_at_fork(threading.Lock())
        self._memory = Memory()
        #: Claims of this object by key, with the time of their renewal.
        self._claims: dict[str, float | None] = {}
        self._renewals = Renewals(self.renew)
        self._file: AnswerFile | None = None
        self._generation = 0
        self._failing = False
        self._retry_at = self._lost_at = float("-inf")
        #: Why the last file was given up, and which it is if it has to be moved aside.
        self._reason: object = None
        self._damaged: Identity | None = None
        self._warned = False
        self._messages: list[str] = []

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        messages, self._messages = self._messages, []
        self._lock.release()
        for message in messages:
            warnings.warn(message, stacklevel=4)

    def is_persistent(self) -> bool:
        """Return whether all that was stored is in a file that lasts, and the file can be used now."""
        with self:
            self._flush()
            return self._path is not None and self._usable() is not None and not self._failing

    def get(self, table: str, key: str) -> dict[str, Any] | None:
        """Return a value, or None."""
        with self:
            if (table, key) not in self._memory.unsaved:
                found = self._try(lambda file: file.get(table, key), None)
                if found is not None:
                    return found
            row = self._memory.find(table, key)
        return None if row is None or row.value is None else dict(json.loads(row.value))

    def store(self, table: str, key: str, value: str | None) -> None:
        """Store a value, or remove it if it is None."""
        with self:
            if table == "answers" and value is not None:  # which ends a claim in the file, too
                self._claims.pop(key, None)
                self._renewals.discard(key)
            self._memory.unsaved[table, key] = Row(value, time.time())
            self._flush()

    def claim(self, key: str) -> bool:
        """Claim a key; return False if this or another process claimed or stored it."""
        with self:
            since: float | None = _NOT_IN_FILE
            if self._path is not None:
                since = self._try(lambda file: file.claim(key), since, changes=True)
            if since is None:
                return False
            if since == _NOT_IN_FILE and (key in self._claims or self._memory.find("answers", key)):
                return False
            if not self._remote:
                self._claims[key] = since
                self._renewals.add(key)
            return True

    def renew(self, keys: Iterable[str]) -> None:
        """Renew claims."""
        with self:
            if self._remote:
                claims: dict[str, float | None] = dict.fromkeys(keys)
            else:
                claims = {key: self._claims[key] for key in keys if key in self._claims}
            if self._path is not None and claims:
                self._keep_claims(claims, self._try(lambda file: file.renew(claims), claims, changes=True))

    def release(self, key: str) -> None:
        """Release a claim of this object without storing a value."""
        with self:
            since = self._claims.pop(key, None)
            self._renewals.discard(key)
            if self._path is not None and (since or self._remote):
                self._memory.unsaved["claims", key] = Row(None, since)
                self._flush()

    def run(self, work: Callable[[AnswerFile], T], otherwise: T) -> T:
        """Return the result of reading the file by `work`, or `otherwise` if the file cannot be used."""
        with self:
            self._flush()
            return self._try(work, otherwise)

    def clear(self, older_than: float) -> int:
        """Remove answers and recipes older than `older_than` seconds; return the number of answers in the file."""
        with self:
            self._flush()
            self._memory.forget(
                lambda place, row: (
                    place[0] != "claims"
                    and not place[1].startswith(RECEIPT)
                    and (row.time or 0.0) <= time.time() - older_than
                )
            )
            return self._try(lambda file: file.clear(older_than), 0, changes=True)

    def unsaved(self) -> dict[Place, Row]:
        """Return the rows that could not be written yet."""
        with self:
            return dict(self._memory.unsaved)

    def close(self, *, by_collector: bool = False) -> None:
        """Write what is not written yet, and close the file, unless a thread uses it; it is reopened when needed.

        The garbage collector may call it while this thread opens the same file for another object.
        """
        if self.pid != os.getpid():
            if self._file is not None:
                self._file.close()
            return
        self._renewals.close()
        if self._lock.acquire(timeout=_CLOSE_SECONDS):
            try:
                if self._memory.unsaved and self._path is not None:
                    self._recover()
                self._close_file()
                if not by_collector:
                    self._check_closed_file()
                unsaved = sum(row.value is not None for row in self._memory.unsaved.values())
                if unsaved and self._path is not None:  # as the warning has said
                    _log.warning("%s not written to %s: paid for again", counted(unsaved, "answer"), self._path)
            finally:
                self.__exit__()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _check_closed_file(self) -> None:
        """Find damage that did not show while the file was open, since SQLite has pages in memory, and mend it.

        A directory that was deleted is not made again.
        """
        latest = self._memory.latest()
        if self._path is not None and self._path.parent.exists() and latest is not None and not self._failing:
            self._try(lambda file: file.get(*latest), None)
            self._close_file()

    def _flush(self) -> None:
        """Write what is not written yet."""

        def write(file: AnswerFile) -> bool:
            file.write(self._memory.unsaved)
            return True

        if self._memory.unsaved:
            written = self._try(write, False, changes=True)
            if written:
                self._memory.saved()

    def _try(self, work: Callable[[AnswerFile], T], otherwise: T, *, changes: bool = False) -> T:
        """Return the result of `work` on the file, opened or replaced if necessary, else `otherwise`."""
        for _ in range(2):
            file = self._usable()
            # A file that cannot be changed may still be read.
            if file is None or (changes and self._failing):
                break
            try:
                return work(file)
            except (sqlite3.Error, OSError) as error:
                self._failed(file, error)
        return otherwise

    def _usable(self) -> AnswerFile | None:
        if self._file is not None and self._file.is_moved():
            self._give_up(self._file, "it was deleted or replaced while it was in use")
        if (self._file is None or self._failing) and time.monotonic() >= self._retry_at:
            self._recover()
        return self._file

    def _failed(self, file: AnswerFile, error: Exception) -> None:
        if file.is_moved():
            self._give_up(file, "it was deleted or replaced while it was in use")
        elif is_damage(error):
            self._damaged = file.identity
            self._give_up(file, error)
        elif not self._failing:
            self._fail(error)

    def _give_up(self, file: AnswerFile, reason: object) -> None:
        """Close a file whose content is lost."""
        file.close()
        file.remove_log()
        self._file, self._reason = None, reason
        self._memory.lost()
        now = time.monotonic()
        if now - self._lost_at < _RETRY_SECONDS:
            self._fail(reason)
        self._lost_at = now

    def _fail(self, error: object) -> None:
        """Keep answers in memory for the time being."""
        self._failing = True
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        if self._file is not None:
            self._file.set_busy_seconds(_FAILING_BUSY_SECONDS)
        self._warn(
            f"The result cache in {self._path.parent if self._path else 'memory'} cannot be used ({error}); answers "
            "are kept in memory, and are lost with this process unless the directory is usable again before. "
            "Set VALENCE_CACHE_DIR to a directory that can be written."
        )

    def _recover(self) -> None:
        """Open the file, and write what is not written yet."""
        before, path = self._file, self._path
        busy = _FAILING_BUSY_SECONDS if self._failing else _BUSY_SECONDS
        try:
            # What is in a temporary file is nowhere else.
            opened = Opened(before) if before and path is None else open_answers(self._open, path, busy, self._damaged)
        except (sqlite3.Error, OSError) as error:
            self._fail(self._reason or error)
            return
        self._file = opened.file
        if opened.file.generation != self._generation:
            self._memory.lost()  # also if the file was lost while it was closed
        self._generation = opened.file.generation
        try:
            opened.file.write(self._memory.unsaved)
            if self._claims and path is not None:
                self._keep_claims(self._claims, opened.file.renew(self._claims))
            opened.file.set_busy_seconds(_BUSY_SECONDS)
        except (sqlite3.Error, OSError) as error:
            if is_damage(error):
                self._damaged = opened.file.identity
                self._give_up(opened.file, error)
            self._fail(error)
            return
        finally:
            if before is not None and before is not self._file:
                before.close()
        if opened.aside is not None:
            self._warn(
                f"The result cache {self._path} cannot be used ({opened.reason or self._reason}); it is now "
                f"{opened.aside}. Answers in it that this process did not store have to be paid for again."
            )
        elif self._reason is not None:
            self._warn(
                f"The result cache {self._path} is a new file: {self._reason}. Answers that this process did not "
                "store have to be paid for again."
            )
        elif self._failing:
            _log.info("the result cache %s is usable again", self._path)
        self._memory.saved()
        self._failing = self._warned = False
        self._reason = self._damaged = None

    def _keep_claims(self, claims: Mapping[str, float | None], held: Mapping[str, float | None]) -> None:
        """Keep, of these claims, those that are held still."""
        if not self._remote:
            for key in claims.keys() - held.keys():  # it is another process's now
                del self._claims[key]
                self._renewals.discard(key)
            self._claims.update(held)

    def _open(self, busy_seconds: float) -> AnswerFile:
        return AnswerFile(self._path, self._remote, self._limits, busy_seconds)

    def _warn(self, message: str) -> None:
        if not self._warned:
            self._messages.append(message)
        self._warned = True
