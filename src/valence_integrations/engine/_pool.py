"""A bounded pool of daemon threads, which do not block the exit of an interrupted program as an executor's do."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from enum import IntEnum


class Priority(IntEnum):
    """Priority of work: calls of started items run before new items."""

    CALL = 0
    ITEM = 1
    STOP = 2


class Pool:
    """Run callables that handle their own errors."""

    def __init__(self, size: int) -> None:
        self._work: queue.PriorityQueue[tuple[Priority, int, Callable[[], None] | None]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._size = size
        self._threads = 0

    def submit(self, priority: Priority, work: Callable[[], None]) -> None:
        """Run `work` when a thread is free."""
        self._work.put((priority, next(self._numbers), work))
        self._start_threads()

    def grow(self, size: int) -> None:
        """Allow at least `size` threads."""
        self._size = max(self._size, size)
        self._start_threads()

    def close(self) -> None:
        """Let the threads end after all submitted work."""
        with self._lock:
            for _ in range(self._threads):
                self._work.put((Priority.STOP, next(self._numbers), None))
            self._threads = 0

    def _start_threads(self) -> None:
        with self._lock:
            while self._threads < min(self._size, self._threads + self._work.qsize()):
                self._threads += 1
                threading.Thread(target=self._run, name=f"valence-{self._threads}", daemon=True).start()

    def _run(self) -> None:
        while (work := self._work.get()[2]) is not None:
            work()
            del work
