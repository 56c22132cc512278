"""At exit, wait for the answers to calls in flight and store them, since they may be billed."""

from __future__ import annotations

import atexit
import os
import time
import weakref

from valence_integrations.engine._job import Job

__all__ = ["INTERRUPT_SECONDS", "drain_at_exit", "forget"]

#: Seconds that an interrupted job waits for the answers to calls in flight.
INTERRUPT_SECONDS = 1.5

#: Jobs that may have calls in flight, by process id.
_jobs: dict[int, weakref.WeakSet[Job]] = {}


def drain_at_exit(job: Job) -> None:
    """Register a job whose answers are stored if the program ends first."""
    _jobs.setdefault(os.getpid(), weakref.WeakSet()).add(job)


def forget(job: Job) -> None:
    """Unregister a job that is drained by its caller."""
    _jobs.setdefault(os.getpid(), weakref.WeakSet()).discard(job)


def _drain_all() -> None:
    deadline = time.monotonic() + INTERRUPT_SECONDS
    jobs = list(_jobs.get(os.getpid(), ()))
    for job in jobs:
        job.stop()
    for job in jobs:
        job.drain(max(deadline - time.monotonic(), 0.0))


# atexit calls the last registered function first. Registering after the first weakref.finalize makes this run before
# the finalizers that close the cache.
weakref.finalize(_drain_all, int)
atexit.register(_drain_all)
