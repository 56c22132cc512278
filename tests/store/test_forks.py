"""Locks around SQLite at a fork."""

from __future__ import annotations

import os
import threading
import time

import pytest

from valence_integrations._store import forks

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def fork_and_find(lock: threading.Lock) -> bool:
    """Fork; return whether the child can take the lock."""
    child = os.fork()
    if child == 0:
        os._exit(0 if lock.acquire(timeout=0.1) else 1)
    return os.waitpid(child, 0)[1] == 0


def test_fork_waits_for_the_thread_within_sqlite() -> None:
    lock = forks.hold_at_fork(threading.Lock())
    held = threading.Event()

    def use() -> None:
        with lock:
            held.set()
            time.sleep(0.2)

    thread = threading.Thread(target=use)
    thread.start()
    assert held.wait(5)
    assert fork_and_find(lock)
    thread.join()
    assert not lock.locked()


def test_fork_waits_no_longer_than_a_second_in_all() -> None:
    locks = [forks.hold_at_fork(threading.Lock()) for _ in range(3)]
    for lock in locks:
        lock.acquire()
    begun = time.monotonic()
    assert not fork_and_find(locks[0])
    assert 1.0 <= time.monotonic() - begun < 3.0
    for lock in locks:
        lock.release()
