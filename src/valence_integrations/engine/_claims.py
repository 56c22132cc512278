"""Wait for answers that other jobs or processes are fetching: all of them in one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from valence_integrations._limits.limiter import StoppedError
from valence_integrations.engine._exit import end_at_exit
from valence_integrations.engine._pool import no_threads

__all__ = ["OtherClaims"]

#: Seconds between two checks.
_POLL_SECONDS = 0.05


class OtherClaims:
    """Claims of others that a job waits for. The thread ends with the last of them.

    Parameters
    ----------
    wait : callable
        Called with seconds to wait; returns whether the job was stopped.
    """

    def __init__(self, wait: Callable[[float], bool]) -> None:
        self._wait = wait
        self._lock = threading.Lock()
        self._waiting: list[tuple[Callable[[], bool], Callable[[BaseException], object]]] = []
        self._thread: threading.Thread | None = None

    def add(self, is_over: Callable[[], bool], on_error: Callable[[BaseException], object]) -> None:
        """Call `is_over` again and again until it returns true; call `on_error` if it raises, or the job is stopped.

        Raises
        ------
        JobError
            If no thread can be started.
        """
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="valence-claims", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    raise no_threads(error) from None
                self._thread = thread
                end_at_exit(self)
            self._waiting.append((is_over, on_error))

    def close(self) -> None:
        """Do nothing: the thread ends when the job is stopped."""

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, at most some seconds."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _run(self) -> None:
        while True:
            stopped = self._wait(_POLL_SECONDS)
            with self._lock:
                checked, self._waiting = self._waiting, []
                if not checked:
                    self._thread = None
                    return
            left = [each for each in checked if not self._is_done(*each, stopped=stopped)]
            with self._lock:
                self._waiting = left + self._waiting

    def _is_done(
        self, is_over: Callable[[], bool], on_error: Callable[[BaseException], object], *, stopped: bool
    ) -> bool:
        try:
            if stopped:
                raise StoppedError
            return is_over()
        except BaseException as error:
            on_error(error)
            return True
