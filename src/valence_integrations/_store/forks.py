"""Forks: no thread may be within SQLite while the process forks, or its global locks stay locked in the child."""

from __future__ import annotations

import os
import threading
import time
import weakref

__all__ = ["hold_at_fork"]

#: Seconds that a fork waits for the threads within SQLite. Those that wait for another process take longer.
_SECONDS = 1.0

_locks: weakref.WeakSet[threading.Lock] = weakref.WeakSet()
_held: list[threading.Lock] = []


def hold_at_fork(lock: threading.Lock) -> threading.Lock:
    """Let a fork wait until nobody holds a lock, within which SQLite is used; return the lock."""
    _locks.add(lock)
    return lock


def _before() -> None:
    deadline = time.monotonic() + _SECONDS
    _held.extend(lock for lock in list(_locks) if lock.acquire(timeout=max(deadline - time.monotonic(), 0.0)))


def _after() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
