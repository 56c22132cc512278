"""Directories and files for their owner only: created, locked and replaced."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeAlias

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["Identity", "atomic_file", "directory_lock", "identity", "make_directory"]

#: Device and inode of a file; while the file is open, no other file can have them.
Identity: TypeAlias = "tuple[int, int]"

_POLL_SECONDS = 0.01


def identity(path: str | os.PathLike[str]) -> Identity | None:
    """Return which file a path leads to now; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 (faster, and called for every operation on the cache)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def make_directory(path: Path) -> None:
    """Create a directory and its parents, for their owner only, unless they exist."""
    for missing in reversed([place for place in (path, *path.parents) if not place.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def directory_lock(directory: Path, seconds: float) -> Iterator[None]:
    """Exclude other processes and threads that create or replace files in a directory.

    Raises
    ------
    TimeoutError
        If they do not finish within `seconds`.
    """
    if fcntl is None:
        yield
        return
    file = os.open(directory, os.O_RDONLY)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{directory} is locked by another process") from None
                time.sleep(_POLL_SECONDS)
            except OSError:  # a file system without locks
                break
        try:
            yield
        finally:
            # Not by closing alone: a process that was forked meanwhile has the file open, too.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)
    finally:
        os.close(file)


@contextmanager
def atomic_file(path: Path) -> Iterator[TextIO]:
    """Open a new file for its owner only, and give it its name, in place of another, when it is complete."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
