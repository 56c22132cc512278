"""When the service counts as down, so that a job stops instead of failing item by item."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from valence_integrations import errors
from valence_integrations._service.retry import is_outage
from valence_integrations._store.machine import machine_clock

__all__ = ["Circuit"]

_log = logging.getLogger("valence_integrations")

#: Consecutive failed calls, over all items, after which the service counts as down: at least so many, and so many for
#: each call that may be under way, since an outage of a moment fails all of those.
_MIN_FAILURES, _FAILURES_PER_CALL = 20, 3

#: They must be spread over at least this time.
_MIN_SECONDS = 5.0


class Circuit:
    """Count consecutive failures of the service.

    Parameters
    ----------
    clock : callable, optional
        Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = machine_clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._since = 0.0

    def record_success(self) -> None:
        """Record that a call was answered."""
        self._failures = 0

    def record_failure(self, error: Exception, concurrency: int) -> None:
        """Record that a call failed, of at most `concurrency` simultaneous ones.

        Raises
        ------
        ServiceUnavailableError
            If the service counts as down.
        """
        if not isinstance(error, errors.ValenceError) or not is_outage(error):
            return
        with self._lock:
            now = self._clock()
            if not self._failures:
                self._since = now
            self._failures += 1
            failures, seconds = self._failures, now - self._since
        if failures >= max(_MIN_FAILURES, _FAILURES_PER_CALL * concurrency) and seconds >= _MIN_SECONDS:
            _log.warning("%d calls in a row have failed within %.0f s: the job stops", failures, seconds)
            raise errors.ServiceUnavailableError(
                f"{failures} calls in a row have failed; the last one: {error.headline}",
                remedy="What is done is kept in the cache; run again later to go on.",
            ) from None
