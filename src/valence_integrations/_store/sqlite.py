"""SQLite files that many processes open at once; safe with forks."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

__all__ = ["LEASE_SECONDS", "REMOTE", "close_in_process", "connect", "is_alive"]

#: Process id of a holder on another machine, whose lease expires after `LEASE_SECONDS`.
REMOTE = 0

#: Permits and claims held by other machines expire if they are not renewed for this long.
LEASE_SECONDS = 10.0

#: Seconds to wait for another process's transaction.
_BUSY_SECONDS = 30.0


def connect(path: Path | None, application_id: int, tables: str, synchronous: str) -> sqlite3.Connection:
    """Open a file of this library; create it if it does not exist.

    Parameters
    ----------
    path : Path or None
        None for a temporary file.
    application_id : int
        SQLite application id that marks files of this library.
    tables : str
        SQL that creates missing tables; statements are separated by semicolons.
    synchronous : {"NORMAL", "OFF"}
        Durability on power failure; a killed process never damages the file.

    Raises
    ------
    sqlite3.DatabaseError
        If it is damaged or not a file of this library.
    """
    if path is not None:
        # Do not open an existing file: closing it would release the locks of this process's other connections.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path or "", timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        # One transaction, so that processes opening a new file at the same time see all tables or none.
        connection.execute("BEGIN IMMEDIATE")
        (marked,) = connection.execute("PRAGMA application_id").fetchone()
        (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if count and marked != application_id:
            raise sqlite3.DatabaseError("it is not a file of valence-integrations")
        connection.execute(f"PRAGMA application_id = {application_id}")
        for statement in tables.split(";"):
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
    """Close a connection only in the process that opened it; a fork must not touch it."""
    if os.getpid() == pid:
        connection.close()


def is_alive(pid: int) -> bool:
    """Whether a process is alive; True where this cannot be checked: for `REMOTE`, and on Windows."""
    if os.name == "nt" or pid == REMOTE:  # on Windows, os.kill would terminate the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
