"""SQLite files that many processes open at once; safe with forks."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

__all__ = ["COMPANIONS", "LEASE_SECONDS", "REMOTE", "close_in_process", "connect", "is_damage"]

#: Number of a holder on another machine, whose lease expires after `LEASE_SECONDS`.
REMOTE = 0

#: Permits and claims held by other machines expire if they are not renewed for this long.
LEASE_SECONDS = 10.0

#: Suffixes of the files that SQLite keeps beside a file.
COMPANIONS = ("-wal", "-shm", "-journal")

#: Seconds to wait for another process's transaction.
_BUSY_SECONDS = 30.0


def connect(
    path: Path | None,
    application_id: int,
    tables: Sequence[str],
    synchronous: str,
    busy_seconds: float = _BUSY_SECONDS,
) -> sqlite3.Connection:
    """Open a file of this library; create it if it does not exist.

    Parameters
    ----------
    path : Path or None
        None for a temporary file.
    application_id : int
        SQLite application id that marks files of this library.
    tables : sequence of str
        SQL statements that create missing tables.
    synchronous : {"NORMAL", "OFF"}
        Durability on power failure; a killed process never damages the file.
    busy_seconds : float
        Seconds to wait for another process's transaction.

    Raises
    ------
    sqlite3.DatabaseError
        If it is damaged or not a file of this library.
    """
    if path is not None:
        # Do not open an existing file: closing it would release the locks of this process's other connections.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path or "", timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        # One transaction, so that processes opening a new file at the same time see all tables or none.
        connection.execute("BEGIN IMMEDIATE")
        (marked,) = connection.execute("PRAGMA application_id").fetchone()
        (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if count and marked != application_id:
            raise sqlite3.DatabaseError("it is not a file of valence-integrations")
        if marked != application_id:  # or a file on a full disk could not even be read
            connection.execute(f"PRAGMA application_id = {application_id}")
        for statement in tables:
            connection.execute(statement)
        connection.execute("COMMIT")
        # Fails while another process uses the file; then that process, or the next, sets the mode.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        connection.close()
        raise
    return connection


def close_in_process(pid: int, connection: sqlite3.Connection) -> None:
    """Close a connection only in the process that opened it; a fork must not touch it.

    The caller ensures that no other thread uses it: SQLite crashes otherwise.
    """
    if os.getpid() == pid:
        connection.close()
    else:
        # The last reference to a connection would close it, too, or wait for ever for a lock that a thread of the
        # parent held when it forked.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def is_damage(error: BaseException) -> bool:
    """Return whether an error says that a file is damaged or foreign, not that it cannot be used now."""
    # Its subclasses mean a locked file, a full disk and the like.
    return type(error) is sqlite3.DatabaseError
