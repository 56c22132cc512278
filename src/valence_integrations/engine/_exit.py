"""End of the process: stop all jobs, wait for calls in flight, which may be billed, and end all threads, in this order.

Python kills daemon threads at any point, even within C code, and objects that close files at exit would do so while
other threads still use them: both crash. So no thread of this library outlives the functions of `atexit`, unless it
waits for the service too long.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from typing import Protocol

__all__ = ["INTERRUPT_SECONDS", "end_at_exit", "is_ending", "leave_daemon", "stop_at_exit"]

#: Seconds that an interrupted job, or the end of the process, waits for the answers to calls in flight.
INTERRUPT_SECONDS = 1.5


class _Threads(Protocol):
    def close(self) -> None:
        """Let the threads end; do not wait."""

    def join(self, seconds: float) -> None:
        """Wait until the threads have ended, at most some seconds."""


class _Registry:
    """What is to be ended in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: weakref.WeakSet[threading.Event] = weakref.WeakSet()
        self._threads: weakref.WeakSet[_Threads] = weakref.WeakSet()
        self._in_worker = False
        self.ending = False

    def add(self, *, event: threading.Event | None = None, threads: _Threads | None = None) -> None:
        with self._lock:
            if event is not None:
                self._events.add(event)
            if threads is not None:
                self._threads.add(threads)
            if not self._in_worker:
                self._in_worker = _call_at_end_of_worker()

    def end(self) -> None:
        self.ending = True
        with self._lock:
            events, owners = list(self._events), list(self._threads)
        for event in events:
            event.set()
        for owner in owners:
            owner.close()
        deadline = time.monotonic() + INTERRUPT_SECONDS
        for owner in owners:
            owner.join(max(deadline - time.monotonic(), 0.0))


_registry = _Registry()


def stop_at_exit(event: threading.Event) -> None:
    """Set an event when the process ends; does not return in a daemon thread of a process that has begun to end."""
    leave_daemon()
    _registry.add(event=event)


def end_at_exit(threads: _Threads) -> None:
    """Close and join threads when the process ends."""
    _registry.add(threads=threads)


def is_ending() -> bool:
    """Return whether the process has begun to end."""
    return _registry.ending


def leave_daemon() -> None:
    """If the process ends, never return to the daemon thread of a caller, which Python is about to kill anyway.

    Otherwise the thread would begin new jobs, or print a traceback because its job was stopped.
    """
    if _registry.ending and threading.current_thread().daemon:
        threading.Event().wait()


def _end() -> None:
    try:
        _registry.end()
    except KeyboardInterrupt:
        return  # a second Ctrl-C: do not wait


def _call_at_end_of_worker() -> bool:
    """In a worker process of `multiprocessing`, which may not run functions of `atexit`, register with it."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is None or processes.parent_process() is None:
        return False
    from multiprocessing.util import Finalize

    Finalize(None, _end_worker, exitpriority=0)
    return True


def _end_worker() -> None:
    """End, unless there are threads that Python waits for afterwards."""
    others = set(threading.enumerate()) - {threading.current_thread()}
    if all(thread.daemon for thread in others):
        _end()


def _after_fork() -> None:
    global _registry
    _registry = _Registry()


# Functions of atexit run last in, first out. Finalizers of weakref, which close files, must run after this one.
weakref.finalize(_end, int)
atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
