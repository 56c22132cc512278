"""What all processes of a machine share, containers included: a clock, and which holders of something still run."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["Incarnations", "boot", "machine_clock", "running_clock"]

_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)
_lock = threading.Lock()


def machine_clock() -> float:
    """Return seconds that all processes agree on and that nobody can set; they start anew when the machine boots."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


def running_clock() -> float:
    """Return the same without the time in which the machine slept."""
    return time.monotonic()


def boot() -> str:
    """Return an identifier of the current boot; empty if the system has none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


class Incarnations:
    """Numbers of processes that share a directory; a number is never reused, unlike a process id.

    Each process locks one byte of a file, at the offset that is its number. The lock ends with the process, however it
    ends, and is seen by all processes of the machine, in whatever container. A forked child has a number of its own.

    Parameters
    ----------
    path : Path
        The file; it is created if it does not exist, and remains empty.
    mode : int
        Its permissions.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from valence_integrations._store.machine import Incarnations
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     processes = Incarnations(Path(directory) / "processes.lock")
    ...     processes.is_alive(processes.own()), processes.is_alive(1)
    (True, False)
    """

    #: By process id and path: a process must open a file once only, as closing it releases all its locks.
    _open: ClassVar[dict[tuple[int, str], tuple[int, int]]] = {}

    def __init__(self, path: Path, mode: int = 0o600) -> None:
        self._path = os.path.realpath(path)
        self._mode = mode

    def own(self) -> int:
        """Return the number of this process."""
        return self._own()[1]

    def is_alive(self, number: int) -> bool:
        """Return whether the process with a number runs; True where this cannot be found out."""
        file, own = self._own()
        if number == own or fcntl is None:
            return True
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, number)
        except OSError:
            return True
        fcntl.lockf(file, fcntl.LOCK_UN, 1, number)
        return False

    def _own(self) -> tuple[int, int]:
        """Return the open file and the number of this process; open the file again if it was deleted."""
        key = (os.getpid(), self._path)
        with _lock:
            known = self._open.get(key)
            if known is None or not _is_at(known[0], self._path):
                number = known[1] if known else 1 + secrets.randbits(62)
                file = os.open(self._path, os.O_RDWR | os.O_CREAT, self._mode)
                if fcntl is not None:
                    with contextlib.suppress(OSError):  # a file system without locks
                        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
                if known is not None:
                    os.close(known[0])
                known = self._open[key] = file, number
            return known


def _is_at(file: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))  # noqa: PTH116 (Path takes ten times as long)
    except OSError:
        return False


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
