"""The SQLite file of the result cache, while it is open: answers, recipes, and claims of answers to come."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from valence_integrations._store.files import Identity, directory_lock, identity, make_directory
from valence_integrations._store.machine import Incarnations, running_clock
from valence_integrations._store.memory import Place, Row
from valence_integrations._store.renewals import HELD_SECONDS
from valence_integrations._store.sqlite import COMPANIONS, LEASE_SECONDS, REMOTE, close_in_process, connect, is_damage
from valence_integrations.settings._cache_limits import CacheLimits

__all__ = ["RECEIPT", "RECEIPT_SECONDS", "AnswerFile", "Opened", "open_answers"]

#: Keys of upload receipts begin with this.
RECEIPT = "upload-"

#: Receipts are kept as long as the service keeps uploads [vendor's documents].
RECEIPT_SECONDS = 86_400.0

#: SQLite application id of the file ("VALE").
_APPLICATION_ID = 0x56414C45

_TABLES = (
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT, created REAL)",
    "CREATE TABLE IF NOT EXISTS recipes (key TEXT PRIMARY KEY, value TEXT, created REAL)",
    # The process `holder`, a number of `Incarnations`, is computing the value; `renewed` is of `running_clock`.
    "CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, holder INTEGER, renewed REAL)",
    """CREATE TRIGGER IF NOT EXISTS answered AFTER INSERT ON answers
    BEGIN DELETE FROM claims WHERE key = new.key; END""",
)

_GET = {
    "answers": "SELECT value FROM answers WHERE key = ?",
    "recipes": "SELECT value FROM recipes WHERE key = ?",
}
_REMOVE = {
    "answers": "DELETE FROM answers WHERE key = ?",
    "recipes": "DELETE FROM recipes WHERE key = ?",
}
_STORE = {
    "answers": "INSERT OR REPLACE INTO answers (key, value, created) VALUES (?, ?, ?)",
    "recipes": "INSERT OR REPLACE INTO recipes (key, value, created) VALUES (?, ?, ?)",
}
_CLAIM = """
INSERT OR IGNORE INTO claims
SELECT :key, :holder, :now WHERE NOT EXISTS (SELECT 1 FROM answers WHERE key = :key AND value NOTNULL)
"""


class AnswerFile:
    """An open file, for one thread at a time.

    Methods raise sqlite3.Error or OSError if the file is damaged or cannot be used.

    Parameters
    ----------
    path : Path or None
        Path of the file; None for a temporary file.
    remote : bool
        Whether claims are held by other machines; these expire after `LEASE_SECONDS` unless they are renewed.
    limits : CacheLimits
        The oldest answers beyond them are removed.
    busy_seconds : float
        Seconds to wait for another process's transaction.
    """

    def __init__(self, path: Path | None, remote: bool, limits: CacheLimits, busy_seconds: float) -> None:
        self.path = path
        self._pid = os.getpid()
        self._lease = LEASE_SECONDS if remote else HELD_SECONDS
        self._processes = None if path is None or remote else Incarnations(path.with_name("answers.lock"))
        self._connection = connect(path, _APPLICATION_ID, _TABLES, "NORMAL", busy_seconds)
        # Damaged text is found where it is parsed.
        self._connection.text_factory = bytes
        self._run = self._connection.execute
        self.identity = None if path is None else identity(path)
        try:
            #: Random number of the file's content: another one after the file was emptied or overwritten.
            self.generation = self._read_generation()
            self._prune(limits)
        except BaseException:
            self.close()
            raise
        self._log = None if path is None else identity(f"{path}-wal")

    def is_moved(self) -> bool:
        """Return whether the path leads to another file now, or to none; or the path of SQLite's log."""
        if self.path is None:
            return False
        return identity(self.path) != self.identity or (
            self._log is not None and identity(f"{self.path}-wal") != self._log
        )

    def remove_log(self) -> None:
        """Remove SQLite's log if another file is in this one's place, for which SQLite would take it otherwise."""
        if self._log is not None and identity(f"{self.path}-wal") == self._log and self.is_moved():
            for suffix in ("-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    def set_busy_seconds(self, seconds: float) -> None:
        """Set how long to wait for another process's transaction."""
        self._run(f"PRAGMA busy_timeout = {int(1_000 * seconds)}")

    def get(self, table: str, key: str) -> dict[str, Any] | None:
        """Return a value, or None."""
        row = self._run(_GET[table], (key,)).fetchone()
        return None if row is None or row[0] is None else _parsed(row[0])

    def write(self, rows: Mapping[Place, Row]) -> None:
        """Store or remove rows, all or none."""
        if len(rows) == 1:
            self._write(*next(iter(rows.items())))
        elif rows:
            with self._transaction():
                for place, row in rows.items():
                    self._write(place, row)

    def claim(self, key: str) -> float | None:
        """Claim a key; return the time of the claim, or None if another process claimed or stored the key."""
        now, holder = running_clock(), self._holder()
        if self._run(_CLAIM, {"key": key, "holder": holder, "now": now}).rowcount:
            return now
        row = self._run("SELECT holder, renewed FROM claims WHERE key = ?", (key,)).fetchone()
        # After the machine was booted, its clock is behind.
        if row is None or (abs(now - row[1]) <= self._lease and self._is_alive(row[0])):
            return None
        taken = self._run(
            "UPDATE claims SET holder = ?, renewed = ? WHERE key = ? AND holder = ? AND renewed = ?",
            (holder, now, key, *row),
        )
        return now if taken.rowcount else None

    def renew(self, claims: Mapping[str, float | None]) -> dict[str, float | None]:
        """Renew claims made at these times; return those that still hold. Claims of other machines have no time."""
        now, holder = running_clock(), self._holder()
        renewed: dict[str, float | None] = {}
        with self._transaction():
            for key, since in claims.items():
                if self._run(
                    "UPDATE claims SET renewed = ? WHERE key = ? AND holder = ? AND renewed = coalesce(?, renewed)",
                    (now, key, holder, since),
                ).rowcount or (
                    since is not None and self._run(_CLAIM, {"key": key, "holder": holder, "now": now}).rowcount
                ):
                    renewed[key] = now
        return renewed

    def info(self) -> dict[str, Any]:
        """Return the path, the number of answers, the size in bytes, and the time of the oldest answer."""
        count, oldest = self._run(
            "SELECT count(*), min(created) FROM answers WHERE value NOTNULL AND key NOT GLOB 'upload-*'"
        ).fetchone()
        size = 0
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                size += 0 if self.path is None else Path(f"{self.path}{suffix}").stat().st_size
        return {"path": self.path and str(self.path), "answers": count, "bytes": size, "oldest": oldest}

    def clear(self, older_than: float) -> int:
        """Remove answers and recipes older than `older_than` seconds; return the number of answers."""
        now = time.time()
        with self._transaction():
            self._run("DELETE FROM recipes WHERE created <= ?", (now - older_than,))
            self._run("DELETE FROM answers WHERE created <= ? AND key GLOB 'upload-*'", (now - RECEIPT_SECONDS,))
            gone = self._run("DELETE FROM answers WHERE created <= ? AND key NOT GLOB 'upload-*'", (now - older_than,))
        return gone.rowcount

    def rows(self) -> Iterator[tuple[str, float, dict[str, Any]]]:
        """Return key, time and value of all answers, the oldest first."""
        found = self._run(
            "SELECT key, created, value FROM answers WHERE value NOTNULL AND key NOT GLOB 'upload-*' "
            "ORDER BY created, key"
        )
        for key, created, value in found.fetchall():
            yield key.decode(), created, _parsed(value)

    def close(self) -> None:
        """Close the file; a process that was forked leaves it to its parent."""
        close_in_process(self._pid, self._connection)

    def _read_generation(self) -> int:
        (found,) = self._run("PRAGMA user_version").fetchone()
        if not found:
            with self._transaction():
                (found,) = self._run("PRAGMA user_version").fetchone()
                if not found:
                    found = 1 + secrets.randbits(30)
                    self._run(f"PRAGMA user_version = {found}")
        return int(found)

    def _write(self, place: Place, row: Row) -> None:
        table, key = place
        if table == "claims":
            self._run(
                "DELETE FROM claims WHERE key = ? AND holder = ? AND renewed = coalesce(?, renewed)",
                (key, self._holder(), row.time),
            )
        elif row.value is None:
            self._run(_REMOVE[table], (key,))
        else:
            self._run(_STORE[table], (key, *row))

    def _holder(self) -> int:
        return REMOTE if self._processes is None else self._processes.own()

    def _is_alive(self, holder: int) -> bool:
        return self._processes is None or holder == REMOTE or self._processes.is_alive(holder)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._run("ROLLBACK")
            raise

    def _prune(self, limits: CacheLimits) -> None:
        if limits == CacheLimits():
            return
        now = time.time()
        if limits.days is not None:
            before = now - limits.days * 86_400
            self._run("DELETE FROM answers WHERE created < ? AND key NOT GLOB 'upload-*'", (before,))
            before = min(before, now - RECEIPT_SECONDS)
            self._run("DELETE FROM answers WHERE created < ? AND key GLOB 'upload-*'", (before,))
        if limits.megabytes is not None:
            count, size = self._run(
                "SELECT count(*), total(length(key) + length(value)) FROM answers WHERE key NOT GLOB 'upload-*'"
            ).fetchone()
            surplus = count - int(min(count * limits.megabytes * 1e6 / size, count)) if size else 0
            self._run(
                "DELETE FROM answers WHERE key IN "
                "(SELECT key FROM answers WHERE key NOT GLOB 'upload-*' ORDER BY created LIMIT ?)",
                (surplus,),
            )
        # A recipe is useful only while answers stored after it remain.
        self._run("DELETE FROM recipes WHERE created < (SELECT min(created) FROM answers)")


class Opened(NamedTuple):
    """An opened file; if a damaged one was in its place, why it was moved aside and its name now."""

    file: AnswerFile
    reason: object = None
    aside: str | None = None


def open_answers(
    opener: Callable[[float], AnswerFile], path: Path | None, busy_seconds: float, damaged: Identity | None = None
) -> Opened:
    """Open a file; create it if it does not exist, and move a damaged one aside.

    Parameters
    ----------
    opener : callable
        Makes the `AnswerFile`, given `busy_seconds`.
    path : Path or None
        Its path.
    busy_seconds : float
        Seconds to wait for other processes.
    damaged : Identity, optional
        A file that turned out to be damaged while it was used.
    """
    if path is None:
        return Opened(opener(busy_seconds))
    make_directory(path.parent)
    with directory_lock(path.parent, busy_seconds):
        there = identity(path)
        if there is None:
            # SQLite would take what remains of a file that was deleted for parts of the new one.
            for suffix in COMPANIONS:
                Path(f"{path}{suffix}").unlink(missing_ok=True)
        elif there == damaged:
            aside = _move_aside(path)
            return Opened(opener(busy_seconds), aside=aside)
        try:
            return Opened(opener(busy_seconds))
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            aside = _move_aside(path)
            return Opened(opener(busy_seconds), error, aside)


def _move_aside(path: Path) -> str:
    aside = path.with_name(f"{path.name}.{time.time_ns()}.aside")
    for suffix in (*COMPANIONS, ""):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(f"{aside}{suffix}")
    return aside.name


def _parsed(value: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(value)
        if isinstance(parsed, dict):
            return parsed
    except ValueError:
        pass
    raise sqlite3.DatabaseError("a stored answer is not readable")
