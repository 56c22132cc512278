"""Poll all jobs of the AsynchAPI from one thread."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from valence_integrations import errors
from valence_integrations._limits.ledger import MAX_HOLD_SECONDS

__all__ = ["FIRST_POLL", "MAX_REFUSALS", "Poller", "deadline_seconds", "no_threads"]

#: Seconds from the upload to the first poll, the backoff factor, and the longest wait between polls.
FIRST_POLL, BACKOFF, LONGEST_WAIT = 1.0, 1.5, 5.0

#: The service looks for new uploads every ~10 s, then takes 1 to 5 s for each minute of audio [SDK readme].
#: The timeout is twelve times the former plus four times the maximum of the latter.
DEADLINE_BASE, DEADLINE_PER_MINUTE = 120.0, 20.0

#: Refused polls in a row after which a job is given up: a single one may be a mistake of a gateway.
MAX_REFUSALS = 3


def deadline_seconds(duration: float) -> float:
    """Timeout in seconds for the job of an item of `duration` seconds."""
    return DEADLINE_BASE + DEADLINE_PER_MINUTE * duration / 60


def no_threads(error: RuntimeError) -> errors.JobError:
    """Return the error for a thread that cannot be started."""
    return errors.JobError(
        f"no thread can be started for an upload: {error}.",
        code="no_threads",
        remedy="Close other programs, or raise the limit of processes, and run again: what is uploaded is not "
        "uploaded again.",
    )


@dataclass(order=True)
class Pending:
    """A pending job."""

    due: float
    number: int
    request_id: str = field(compare=False)
    deadline: float = field(compare=False)
    wait: float = field(compare=False)
    stopped: Callable[[], bool] = field(compare=False)
    refusals: list[errors.ValenceError] = field(default_factory=list, compare=False)
    future: Future[dict[str, Any]] = field(default_factory=Future, compare=False)


class Poller:
    """Polls all pending jobs from one thread, which ends with the last job.

    A poll that fails is repeated: after a failure of the network or the service until the deadline of the job, after a
    refusal or an unreadable answer twice. `AsynchExpiredError` means that the service has said three times that it does
    not know the request.

    Parameters
    ----------
    poll : callable
        Polls one job; returns its result, or None if it is not ready.
    clock : callable, optional
        Monotonic clock in seconds.
    """

    def __init__(
        self, poll: Callable[[str], dict[str, Any] | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._poll = poll
        self._clock = clock
        self._numbers = itertools.count()
        self._pending: list[Pending] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(
        self, request_id: str, duration: float, stopped: Callable[[], bool] = lambda: False
    ) -> Future[dict[str, Any]]:
        """Add a job; the future gets its result, or an exception.

        Parameters
        ----------
        request_id : str
            As returned by the upload.
        duration : float
            Length of the audio in seconds, for the deadline.
        stopped : callable
            Whether the job is no longer needed.
        """
        job = self.pending(request_id, duration, stopped)
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="valence-poller", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    raise no_threads(error) from None
                self._thread = thread
            heapq.heappush(self._pending, job)
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Look at all jobs now, so that those which are stopped end, and the thread with the last one."""
        with self._changed:
            for job in self._pending:
                job.due = 0.0
            self._changed.notify()

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, at most some seconds."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def pending(self, request_id: str, duration: float, stopped: Callable[[], bool]) -> Pending:
        """Create a job and schedule its first poll."""
        now = self._clock()
        deadline = now + deadline_seconds(duration)
        return Pending(now + FIRST_POLL, next(self._numbers), request_id, deadline, FIRST_POLL, stopped)

    def step(self, job: Pending) -> bool:
        """Poll one due job; return whether to poll it again."""
        if job.stopped():
            job.future.cancel()
            return False
        last_error: errors.ValenceError | None = None
        try:
            result = self._poll(job.request_id)
            job.refusals.clear()
        except (errors.NetworkError, errors.ReadTimeoutError, errors.ServerError) as error:
            result, last_error = None, error
        except errors.RateLimitError as error:
            result, last_error = None, error
            job.wait = min(max(job.wait, error.retry_after or 0.0), MAX_HOLD_SECONDS)
        except errors.AsynchFailedError as error:
            job.future.set_exception(error)
            return False
        except errors.ValenceError as error:
            job.refusals.append(error)
            if len(job.refusals) == MAX_REFUSALS:
                job.future.set_exception(_given_up(job))
                return False
            result, last_error = None, error
        except BaseException as error:
            job.future.set_exception(error)
            return False
        if result is not None:
            job.future.set_result(result)
            return False
        now = self._clock()
        if now >= job.deadline:
            job.future.set_exception(_timed_out(job, last_error))
            return False
        job.due = min(now + job.wait, job.deadline)
        job.wait = min(job.wait * BACKOFF, LONGEST_WAIT)
        return True

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._pending and (wait := self._pending[0].due - self._clock()) > 0:
                    self._changed.wait(wait)
                if not self._pending:
                    self._thread = None
                    return
                job = heapq.heappop(self._pending)
            if self.step(job):
                with self._changed:
                    heapq.heappush(self._pending, job)


def _given_up(job: Pending) -> errors.ValenceError:
    """Return the error of a job whose polls were refused."""
    last = job.refusals[-1]
    if any(error.code != "upload_unknown" for error in job.refusals):
        return last
    return errors.AsynchExpiredError(
        f"{last.message.rstrip('.')}. It keeps results for 24 hours at most.",
        remedy="Send the item again.",
        request_id=job.request_id,
    )


def _timed_out(job: Pending, last_error: errors.ValenceError | None) -> errors.AsynchTimeoutError:
    last = f"; the last poll failed: {last_error.headline.rstrip('.')}" if last_error else ""
    return errors.AsynchTimeoutError(
        f"the job (request {job.request_id}) was not finished in time{last}.",
        remedy="Run again within 24 hours: with a cache, the same job is then polled again, and nothing is uploaded.",
        request_id=job.request_id,
    )
