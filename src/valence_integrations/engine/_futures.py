"""Futures: what is done when they are done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["complete", "when_all"]

T = TypeVar("T")


def complete(future: Future[T], work: Callable[[], T]) -> None:
    """Give a future its result, or the reason why there is none."""
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


def when_all(futures: list[Future[Any]], then: Callable[[], None]) -> None:
    """Call `then` once, when each of the futures is done; afterwards the list is empty.

    A future keeps its callbacks, and they this list: the circle would keep audio until it is collected.
    """
    left = len(futures)
    lock = threading.Lock()

    def on_done(_: object) -> None:
        nonlocal left
        with lock:
            left -= 1
            if left:
                return
        then()
        futures.clear()

    for future in list(futures):
        future.add_done_callback(on_done)
