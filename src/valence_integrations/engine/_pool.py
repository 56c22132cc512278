"""A bounded pool of daemon threads, which do not block the exit of an interrupted program as an executor's do."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from enum import IntEnum

from valence_integrations.errors import JobError

__all__ = ["Pool", "Priority"]


class Priority(IntEnum):
    """Priority of work: calls of started items run before new items."""

    CALL = 0
    ITEM = 1


class Pool:
    """Run callables that handle their own errors."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._work: list[tuple[Priority, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._threads: set[threading.Thread] = set()
        self._busy = 0
        self._closed = False
        # Its lock is reentrant: the garbage collector may call `close` in a thread that holds it.
        self._changed = threading.Condition()

    def submit(self, priority: Priority, work: Callable[[], None]) -> None:
        """Run `work` when a thread is free, also if the pool is closed.

        Raises
        ------
        JobError
            If the pool has no thread, and the system starts none.
        """
        with self._changed:
            heapq.heappush(self._work, (priority, next(self._numbers), work))
            self._start_threads()
            self._changed.notify()

    def grow(self, size: int) -> None:
        """Allow at least `size` threads."""
        with self._changed:
            self._size = max(self._size, size)
            self._start_threads()

    def close(self) -> None:
        """Let the threads end after all submitted work."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self, seconds: float) -> None:
        """Wait until the threads of a closed pool have ended, at most some seconds."""
        deadline = time.monotonic() + seconds
        for thread in list(self._threads):
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _start_threads(self) -> None:
        """Start the threads that the work needs; if the system starts no more, go on with those that run."""
        while len(self._work) > len(self._threads) - self._busy and len(self._threads) < self._size:
            thread = threading.Thread(target=self._run, name=f"valence-{len(self._threads) + 1}", daemon=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError) as error:
                if self._threads:
                    return
                raise no_threads(error) from None
            self._threads.add(thread)

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            finally:
                del work
                with self._changed:
                    self._busy -= 1

    def _next(self) -> Callable[[], None] | None:
        """Wait for work; return None if the thread is to end."""
        with self._changed:
            while not self._work:
                if self._closed:
                    self._threads.discard(threading.current_thread())
                    return None
                self._changed.wait()
            self._busy += 1
            return heapq.heappop(self._work)[2]


def no_threads(error: BaseException) -> JobError:
    """Return the error of a process for which the system starts no thread."""
    return JobError(
        f"no thread can be started: {error}.",
        code="no_threads",
        remedy="Close other programs, or raise the limit of processes (ulimit -u, or that of the container).",
    )
