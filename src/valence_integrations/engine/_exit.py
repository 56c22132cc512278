"""When the program ends: calls under way are paid, so their answers are waited for and kept."""

from __future__ import annotations

import atexit
import os
import time
import weakref

from valence_integrations.engine._job import Job

__all__ = ["INTERRUPT_SECONDS", "drain_at_exit", "forget"]

#: Seconds that an interrupted job waits for the answers to calls that are paid already.
INTERRUPT_SECONDS = 1.5

#: Jobs of each process that may have calls under way.
_jobs: dict[int, weakref.WeakSet[Job]] = {}


def drain_at_exit(job: Job) -> None:
    """Keep the answers to a job's calls if the program ends before the job does."""
    _jobs.setdefault(os.getpid(), weakref.WeakSet()).add(job)


def forget(job: Job) -> None:
    """Leave a job to whoever drains it."""
    _jobs.setdefault(os.getpid(), weakref.WeakSet()).discard(job)


def _drain_all() -> None:
    deadline = time.monotonic() + INTERRUPT_SECONDS
    jobs = list(_jobs.get(os.getpid(), ()))
    for job in jobs:
        job.stop()
    for job in jobs:
        job.drain(max(deadline - time.monotonic(), 0.0))


# At exit, what was registered last is called first: after the first finalizer, so before those that close the cache.
weakref.finalize(_drain_all, int)
atexit.register(_drain_all)
