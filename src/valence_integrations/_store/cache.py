"""The result cache: answers on disk, so that no call is paid twice.

One SQLite file for all accounts and models. It stores emotions and scores as JSON under a digest of the request; it
contains no audio, API key or path.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import platformdirs

from valence_integrations._store.sqlite import LEASE_SECONDS, REMOTE, close_in_process, connect, is_alive
from valence_integrations.settings import Settings

__all__ = ["ResultCache", "cache_directory", "cache_key", "state_directory"]

T = TypeVar("T")
Run: TypeAlias = Callable[..., sqlite3.Cursor]

#: Increment when the meaning of a cached value changes.
SCHEMA = 1

#: SQLite application id of the file ("VALE").
_APPLICATION_ID = 0x56414C45

_FILE = "answers.sqlite3"

#: A row without a value is a claim: the process `pid` is computing the value.
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT, created REAL, pid INTEGER);
CREATE TABLE IF NOT EXISTS recipes (key TEXT PRIMARY KEY, value TEXT, created REAL)
"""

#: Longest duration of a claim; after that its process hangs, or its process id was reused.
_CLAIM_SECONDS = 3_600.0


def cache_directory(settings: Settings) -> Path | None:
    """Directory of the result cache; None if the cache is disabled."""
    return None if settings.cache is False else state_directory(settings)


def state_directory(settings: Settings) -> Path:
    """Directory of files shared by this machine's processes, also if the cache is disabled."""
    if not isinstance(settings.cache, bool):
        return Path(settings.cache)
    return Path(os.environ.get("VALENCE_CACHE_DIR") or platformdirs.user_cache_dir("valence-integrations", False))


def cache_key(settings: Settings, api: str, digest: str) -> str:
    """Key of an answer: a digest of the audio as sent and of all settings that the answer depends on.

    Parameters
    ----------
    settings : Settings
        Host and, for the DiscreteAPI, path, model and payload; the AsynchAPI takes no model.
    api : str
        ``"discrete"``, ``"asynch"``, ``"upload"`` for an upload receipt, or ``"recipe"``.
    digest : str
        SHA-256 of the WAV file as sent.
    """
    asked = [SCHEMA, api, settings.base_url, digest]
    if api == "discrete":
        asked += [settings.model, settings.discrete_path, settings.payload]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


class ResultCache:
    """Answers by key; safe to share between threads and processes.

    Parameters
    ----------
    directory : Path or None
        Directory of the file; None for a temporary file that lives as long as the object.
    elsewhere : bool, default=False
        Whether claims are held by other machines; these expire after `LEASE_SECONDS` unless they are renewed.

    Examples
    --------
    >>> from valence_integrations._store.cache import ResultCache
    >>> cache = ResultCache(None)
    >>> cache.put("key", {"emotion": "happy"})
    >>> cache.get("key")
    {'emotion': 'happy'}
    """

    def __init__(self, directory: Path | None, *, remote: bool = False) -> None:
        self._directory = directory
        self._holder = REMOTE if remote else os.getpid()
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._close: Callable[[], object] = lambda: None

    @property
    def is_persistent(self) -> bool:
        """Whether stored values outlive this object."""
        return self._directory is not None

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the value of a key, or None."""
        row = self._run(lambda run: run("SELECT value FROM answers WHERE key = ?", (key,)).fetchone())
        return dict(json.loads(row[0])) if row and row[0] else None

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Store a value immediately and durably."""
        row = (key, json.dumps(value, allow_nan=False), time.time())
        self._run(lambda run: run("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, NULL)", row))

    def recipe(self, key: str) -> dict[str, Any] | None:
        """Return the recipe of a file, or None."""
        row = self._run(lambda run: run("SELECT value FROM recipes WHERE key = ?", (key,)).fetchone())
        return None if row is None else dict(json.loads(row[0]))

    def put_recipe(self, key: str, value: dict[str, Any]) -> None:
        """Store the recipe of a file."""
        row = (key, json.dumps(value, allow_nan=False), time.time())
        self._run(lambda run: run("INSERT OR REPLACE INTO recipes VALUES (?, ?, ?)", row))

    def remove(self, key: str) -> None:
        """Remove a key."""
        self._run(lambda run: run("DELETE FROM answers WHERE key = ?", (key,)))

    def claim(self, key: str) -> bool:
        """Claim a key before computing its value; return False if another process claimed or stored it."""

        def work(run: Run) -> bool:
            now = time.time()
            if run("INSERT OR IGNORE INTO answers VALUES (?, NULL, ?, ?)", (key, now, self._holder)).rowcount:
                return True
            row = run("SELECT pid, created FROM answers WHERE key = ? AND value ISNULL", (key,)).fetchone()
            if row is None:
                return False
            pid, since = row
            lasts = LEASE_SECONDS if pid == REMOTE else _CLAIM_SECONDS
            if since + lasts > now and is_alive(pid):
                return False
            taken = run(
                "UPDATE answers SET pid = ?, created = ? WHERE key = ? AND value ISNULL AND pid = ? AND created = ?",
                (self._holder, now, key, *row),
            )
            return bool(taken.rowcount)

        return self._run(work)

    def renew(self, keys: Iterable[str]) -> None:
        """Renew claims."""
        rows = [(time.time(), key) for key in keys]
        self._run(lambda run: [run("UPDATE answers SET created = ? WHERE key = ? AND value ISNULL", r) for r in rows])

    def release(self, key: str) -> None:
        """Release a claim without storing a value."""
        self._run(lambda run: run("DELETE FROM answers WHERE key = ? AND value ISNULL", (key,)))

    def info(self) -> dict[str, Any]:
        """Return the path, the number of answers, the size in bytes, and the time of the oldest answer."""
        count, oldest = self._run(
            lambda run: run("SELECT count(*), min(created) FROM answers WHERE value NOTNULL").fetchone()
        )
        path = None if self._directory is None else self._directory / _FILE
        return {
            "path": None if path is None else str(path),
            "answers": count,
            "bytes": 0 if path is None else path.stat().st_size,
            "oldest": oldest,
        }

    def clear(self, older_than: float = 0.0) -> int:
        """Remove answers older than `older_than` seconds; return their number."""
        before = time.time() - older_than
        forget = "DELETE FROM answers WHERE created <= ? AND value NOTNULL"
        self._run(lambda run: run("DELETE FROM recipes WHERE created <= ?", (before,)))
        return int(self._run(lambda run: run(forget, (before,)).rowcount))

    def export(self, path: Path) -> int:
        """Write all answers to a JSON Lines file; return their number."""
        answers = "SELECT key, created, value FROM answers WHERE value NOTNULL ORDER BY created, key"
        rows = self._run(lambda run: run(answers).fetchall())
        with path.open("w", encoding="utf-8") as file:
            for key, created, value in rows:
                file.write(json.dumps({"key": key, "created": created, **json.loads(value)}) + "\n")
        return len(rows)

    def close(self) -> None:
        """Close the file; it is reopened when needed."""
        with self._lock:
            self._close()
            self._connection = None

    def _run(self, work: Callable[[Run], T]) -> T:
        with self._lock:
            try:
                return work((self._connection or self._set_connection(self._open())).execute)
            except (sqlite3.Error, OSError) as error:
                if self._directory is None:
                    raise
                warnings.warn(
                    f"The result cache in {self._directory} cannot be used ({error}); answers of this job are not "
                    "kept. Set VALENCE_CACHE_DIR to a directory that can be written.",
                    stacklevel=2,
                )
                self._close()
                self._directory = None
                return work(self._set_connection(_connect(None)).execute)

    def _set_connection(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        self._connection = connection
        self._close = weakref.finalize(self, close_in_process, os.getpid(), connection)
        return connection

    def _open(self) -> sqlite3.Connection:
        if self._directory is None:
            return _connect(None)
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / _FILE
        try:
            return _prune(_connect(path))
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            aside = path.with_name(f"{_FILE}.{time.time_ns()}.aside")
            for suffix in ("-wal", "-shm", ""):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{path}{suffix}").replace(f"{aside}{suffix}")
            warnings.warn(f"The result cache {path} cannot be used ({error}); it is now {aside.name}.", stacklevel=2)
            return _connect(path)


def _connect(path: Path | None) -> sqlite3.Connection:
    return connect(path, _APPLICATION_ID, _TABLES, "NORMAL")


def _prune(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Remove the oldest answers according to VALENCE_CACHE_MAX_AGE_DAYS and VALENCE_CACHE_MAX_MB."""
    if days := os.environ.get("VALENCE_CACHE_MAX_AGE_DAYS"):
        connection.execute("DELETE FROM answers WHERE created < ?", (time.time() - float(days) * 86_400,))
    if megabytes := os.environ.get("VALENCE_CACHE_MAX_MB"):
        (size,) = connection.execute("SELECT coalesce(sum(length(key) + length(value)), 0) FROM answers").fetchone()
        (count,) = connection.execute("SELECT count(*) FROM answers").fetchone()
        surplus = count - int(count * float(megabytes) * 1e6 / size) if size else 0
        if surplus > 0:
            connection.execute(
                "DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY created LIMIT ?)", (surplus,)
            )
    if days or megabytes:
        # A recipe is useful only while answers stored after it remain.
        connection.execute("DELETE FROM recipes WHERE created < (SELECT min(created) FROM answers)")
    return connection
