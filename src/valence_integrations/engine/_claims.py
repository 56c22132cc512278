"""Wait for answers that other jobs or processes are fetching: all of them in one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from valence_integrations._limits.limiter import StoppedError

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
        """Call `is_over` again and again until it returns true; call `on_error` if it raises, or the job is stopped."""
        with self._lock:
            self._waiting.append((is_over, on_error))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="valence-claims", daemon=True)
                self._thread.start()

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
