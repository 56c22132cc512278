"""Helpers for futures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

from valence_integrations.results import EmotionPrediction

__all__ = ["PredictionFuture", "complete", "when_all"]

T = TypeVar("T")

PredictionFuture: TypeAlias = "Future[EmotionPrediction]"


def complete(future: Future[T], work: Callable[[], T]) -> None:
    """Set the result of `work` on a future, or the exception that it raises."""
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


def when_all(futures: list[Future[Any]], then: Callable[[], None]) -> None:
    """Call `then` once all futures are done, then empty the list.

    A future references its callbacks, and they reference this list. The reference cycle would keep audio in memory.
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
