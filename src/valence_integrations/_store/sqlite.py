"""SQLite files that many processes open at once, of which a fork touches none."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

__all__ = ["LEASE_SECONDS", "REMOTE", "close_in_process", "connect", "is_alive"]

#: In the place of a process of this machine: a holder on another one, for which `LEASE_SECONDS` count.
REMOTE = 0

#: What is held elsewhere is given up if it is not renewed for so long.
LEASE_SECONDS = 10.0

#: Seconds that a process waits for another's transaction.
_BUSY_SECONDS = 30.0


def connect(path: Path | None, application_id: int, tables: str, synchronous: str) -> sqlite3.Connection:
    """Open a file of ours, and make it if it is not there.

    Parameters
    ----------
    path : Path or None
        None for a temporary one.
    application_id : int
        What marks the file as ours.
    tables : str
        SQL that makes its tables, unless they exist; statements end in a semicolon.
    synchronous : {"NORMAL", "OFF"}
        How sure SQLite makes that the file survives a power failure; a killed process never harms it.

    Raises
    ------
    sqlite3.DatabaseError
        If it is not ours, or damaged.
    """
    if path is not None:
        # Not opened if it is there: closing it again would release the locks of this process's other connections.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path or "", timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        # One transaction: processes that open a new file at once find it made, or not made.
        connection.execute("BEGIN IMMEDIATE")
        (marked,) = connection.execute("PRAGMA application_id").fetchone()
        (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if count and marked != application_id:
            raise sqlite3.DatabaseError("it is not a file of valence-integrations")
        connection.execute(f"PRAGMA application_id = {application_id}")
        for statement in tables.split(";"):
            connection.execute(statement)
        connection.execute("COMMIT")
        # Refused while another process is at work in the file; then that one, or the next, changes the mode.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        connection.close()
        raise
    return connection


def close_in_process(pid: int, connection: sqlite3.Connection) -> None:
    """Close a connection in the process that opened it: a fork must not touch it."""
    if os.getpid() == pid:
        connection.close()


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is still there; of one elsewhere, nobody knows better."""
    if os.name == "nt" or pid == REMOTE:  # there, os.kill would do what it says
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
