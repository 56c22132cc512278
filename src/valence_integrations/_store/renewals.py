"""Renewal of what a process holds, so that others need not wait for a process that hangs."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ["HELD_SECONDS", "RENEW_SECONDS", "Renewals"]

#: What is held expires if it is not renewed for this long, as by a process that is suspended.
HELD_SECONDS = 60.0

#: Renewed at this interval, several times within `HELD_SECONDS`.
RENEW_SECONDS = 15.0


class Renewals:
    """Items that this process holds, renewed by a thread while there are any.

    Parameters
    ----------
    renew : bound method
        Called with the list of held items. Its object is not kept alive.
    seconds : float
        Interval.
    """

    def __init__(self, renew: Callable[[list[Any]], object], seconds: float = RENEW_SECONDS) -> None:
        self._renew = weakref.WeakMethod(renew)
        self._seconds = seconds
        self._held: set[Hashable] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._running_in = 0

    def add(self, item: Hashable) -> None:
        """Renew an item from now on."""
        with self._changed:
            self._held.add(item)
            self._closed = False
            if self._running_in != os.getpid():  # not after a fork either
                # Without a thread, what is held expires; the next item tries again.
                with contextlib.suppress(RuntimeError):
                    threading.Thread(target=self._run, name="valence-renewals", daemon=True).start()
                    self._running_in = os.getpid()

    def discard(self, item: Hashable) -> None:
        """Renew an item no more."""
        with self._changed:
            self._held.discard(item)

    def close(self) -> None:
        """End the thread if nothing is held."""
        with self._changed:
            self._closed = not self._held
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed, self._seconds)
                renew, held = self._renew(), list(self._held)
                if renew is None or not held:
                    self._running_in = 0
                    return
            try:
                renew(held)
            except BaseException:
                self._running_in = 0
                raise
            del renew
