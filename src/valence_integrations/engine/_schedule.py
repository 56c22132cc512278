"""Scheduling of a job: its steps run on the pool, and every error ends the item or the job it belongs to."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from typing import Any, Protocol

from valence_integrations import errors
from valence_integrations._limits.limiter import StoppedError
from valence_integrations.engine._exit import is_ending, leave_daemon, stop_at_exit
from valence_integrations.engine._futures import PredictionFuture
from valence_integrations.engine._pool import Priority
from valence_integrations.results import EmotionPrediction

__all__ = ["Schedule"]

#: On Windows, Ctrl-C is handled only after a wait ends.
_POLL_SECONDS = 1.0

_NO_MEMORY = "there is not enough memory for it."


class _Pool(Protocol):
    def submit(self, priority: Priority, work: Callable[[], None]) -> None: ...


class Schedule:
    """The steps of one job.

    A thread waits only for its own call. Work that depends on another result runs as a callback.

    Parameters
    ----------
    pool : Pool
        Runs the steps.
    failed : callable
        Called with each item error; returns the prediction of the failed item.

    Attributes
    ----------
    stopped : threading.Event
        Set when no further step may start.
    """

    def __init__(self, pool: _Pool, failed: Callable[[errors.ItemError], EmotionPrediction]) -> None:
        self.stopped = threading.Event()
        self._pool = pool
        self._failed = failed
        self._lock = threading.Lock()
        self._job_error: Future[None] = Future()
        stop_at_exit(self.stopped)

    def start(self, priority: Priority, step: Callable[[PredictionFuture], None]) -> PredictionFuture:
        """Run the first step of an item when a thread is free; it, or a later step, sets the future's result."""
        future: PredictionFuture = Future()
        if self.stopped.is_set():
            future.cancel()
            return future
        self._pool.submit(priority, lambda: self.run(future, None, lambda: step(future)))
        return future

    def run(self, future: PredictionFuture, name: str | None, step: Callable[[], None], *, paid: bool = False) -> None:
        """Run a step now; an item error ends the item, a job error ends the job.

        Parameters
        ----------
        future : PredictionFuture
            That of the item; completed or cancelled on every error.
        name : str or None
            Name of the item in its error, if it is known.
        step : callable
            What to do.
        paid : bool, default=False
            Whether the step runs in a stopped job, too, because it completes what may be billed.
        """
        try:
            if self.stopped.is_set() and not paid:
                raise StoppedError
            step()
        except errors.ItemError as error:
            # A copy, with this item's name and without the traceback, whose frames reference audio.
            own = copy.copy(error)
            future.set_result(self._failed(own.named(name) if name else own))
        except errors.JobError as error:
            self._fail(error)
            future.cancel()
        except (StoppedError, CancelledError):
            future.cancel()
        except MemoryError:
            own = errors.ItemError(
                _NO_MEMORY, code="no_memory", remedy="Free memory, or lower concurrency, and run again."
            )
            future.set_result(self._failed(own.named(name) if name else own))
        except BaseException as error:
            future.set_exception(error)

    def wait(self, future: PredictionFuture) -> EmotionPrediction:
        """Wait for an item.

        Raises
        ------
        JobError
            As soon as the job fails, unless the item is done; also if the process ends.
        """
        waited: list[Future[Any]] = [future, self._job_error]
        while not any(each.done() for each in waited):
            wait_for(waited, _POLL_SECONDS, return_when="FIRST_COMPLETED")
        if self._job_error.done() and (future.cancelled() or not future.done()):
            self._job_error.result()
        if future.cancelled() and is_ending():
            leave_daemon()
            raise errors.JobError(
                "the process ends, so the job was stopped.",
                code="process_ended",
                remedy="Wait for the job before the main thread returns.",
            )
        return future.result()

    def _fail(self, error: errors.JobError) -> None:
        self.stopped.set()
        with self._lock:
            if not self._job_error.done():
                self._job_error.set_exception(copy.copy(error))
