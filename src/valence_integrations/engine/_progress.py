"""Progress of a job: counters and a progress bar."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from valence_integrations._format import span
from valence_integrations._limits.policy import Window, minimum_seconds
from valence_integrations.engine._futures import PredictionFuture
from valence_integrations.engine._stats import Stats

__all__ = ["Progress"]

#: Seconds between two lines in a log, and between two updates of a bar.
_LOG_SECONDS, _BAR_SECONDS = 30.0, 0.1

#: Decay of the speed's moving average per item: it covers about the last hundred items.
_DECAY = 0.99

#: Seconds to wait until threads have reported their last item.
_REPORT_SECONDS = 1.0

_DAY = 86_400

_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{left}, {rate_fmt}{postfix}]"
_LINE = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{left}, {rate_fmt}{postfix}]"


class Progress:
    """Count the items of a job as they finish, in any order and thread.

    Parameters
    ----------
    total : int or None
        Number of items, if known.
    stats : Stats
        Counters of the engine.
    windows : callable
        Returns the known rate-limit windows.
    show : bool
        Whether to show a bar or, in a log, a line every 30 s.
    clock : callable, optional
        Returns monotonic seconds.

    Attributes
    ----------
    done, cached, failed : int
        Items that are finished; of these, items from the cache and failed items.
    """

    def __init__(
        self,
        total: int | None,
        stats: Stats,
        *,
        windows: Callable[[], Sequence[Window]] = lambda: (),
        show: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.done = self.cached = self.failed = 0
        self._stats = stats
        self._windows = windows
        self._clock = clock
        self._initial = stats.as_dict()
        self._begin_time = self._last_time = clock()
        self._last_calls = stats.calls
        self._recent_items = self._recent_seconds = self._recent_calls = 0.0
        self._open = 0
        self._changed = threading.Condition()
        self._bar = _bar(self) if show else None

    @property
    def elapsed(self) -> float:
        """Seconds since the job began."""
        return self._clock() - self._begin_time

    @property
    def speed(self) -> float | None:
        """Items per second, over about the last hundred items; None when all are done."""
        return self._recent_items / self._recent_seconds if self._recent_seconds and self.done != self.total else None

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the job is done, by speed or by rate limits, whichever is longer.

        Rate limits let a job start faster than it can continue, so the speed alone is too optimistic.
        """
        if self.total is None or not self.done:
            return None
        items = self.total - self.done
        # Start from one call per item.
        calls = math.ceil(items * (self._recent_calls + 1) / (self._recent_items + 1))
        windows = self._windows()
        return max(
            items * self._recent_seconds / self._recent_items,
            minimum_seconds(calls, windows),
            minimum_seconds(self.made("calls") + calls, windows) - self.elapsed,
        )

    def made(self, counter: str) -> int:
        """Return the increase of an engine counter since the job began."""
        return int(getattr(self._stats, counter) - self._initial[counter])

    def summary(self) -> str:
        """Return all counts as one line for the log."""
        total = "" if self.total is None else f" of {self.total}"
        made = f"{self.made('calls')} calls, {self.made('retries')} retries, {self.made('rate_limited')} answers of 429"
        items = f"{self.done}{total} items done in {self.elapsed:.1f} s, {self.cached} cached, {self.failed} failed"
        return f"{items}; {made}"

    def interrupted(self, unanswered: int, *, kept: bool) -> str:
        """Return the message for an interrupted job.

        Parameters
        ----------
        unanswered : int
            Calls in flight whose answers were not received.
        kept : bool
            Whether answers are stored in the cache.
        """
        total = "" if self.total is None else f" of {self.total:,}"
        message = f"interrupted: {self.done:,}{total} items are done; "
        if not kept:
            return f"{message}without a cache their answers are not kept, and running again pays for them again."
        but = f" (but for {unanswered} calls that were still under way)" if unanswered else ""
        return f"{message}what is paid is in the cache{but}, so running the same again goes on from there."

    def watch(self, outcome: PredictionFuture) -> PredictionFuture:
        """Count an item when its future is done."""
        with self._changed:
            self._open += 1
        outcome.add_done_callback(self._report)
        return outcome

    def finish(self) -> None:
        """Wait until all finished items are counted: a future wakes its waiters before it runs callbacks."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open, _REPORT_SECONDS)

    def close(self) -> None:
        """Close the bar."""
        with self._changed:
            if self._bar is not None:
                self._bar.close()
                self._bar = None

    def _report(self, outcome: PredictionFuture) -> None:
        prediction = None if outcome.cancelled() or outcome.exception() else outcome.result()
        with self._changed:
            self._open -= 1
            self._changed.notify_all()
            if prediction is None:
                return
            self.done += 1
            self.cached += prediction.cached
            self.failed += prediction.error is not None
            self._update_speed()
            if self._bar is not None:
                self._bar.update()

    def _update_speed(self) -> None:
        now, calls = self._clock(), self._stats.calls
        self._recent_items = self._recent_items * _DECAY + 1
        self._recent_seconds = self._recent_seconds * _DECAY + now - self._last_time
        self._recent_calls = self._recent_calls * _DECAY + calls - self._last_calls
        self._last_time, self._last_calls = now, calls

    def __str__(self) -> str:
        return f"cached={self.cached}, failed={self.failed}, retried={self.made('retries')}"


def _bar(progress: Progress) -> Any:
    """Create the bar for a terminal, a notebook or a log."""
    from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        """Show speed and remaining time of the job instead of tqdm's own estimates."""

        monitor_interval = 0

        @property
        def format_dict(self) -> dict[str, Any]:
            shown = {"rate": progress.speed, "postfix": str(progress), "left": _format_time(progress.seconds_left)}
            return {**super().format_dict, "total": progress.total, **shown}

    in_log = _is_log(sys.stderr)
    return Bar(
        desc="emotions",
        total=progress.total,
        unit="clip",
        bar_format=_LINE if in_log else _BAR,
        file=_LineWriter(sys.stderr) if in_log else sys.stderr,
        mininterval=_LOG_SECONDS if in_log else _BAR_SECONDS,
        miniters=1,
        position=0 if in_log else None,
    )


def _format_time(seconds: float | None) -> str:
    from tqdm import tqdm

    if seconds is None:
        return "?"
    return span(seconds, 2) if seconds >= _DAY else tqdm.format_interval(seconds)


def _is_log(stream: TextIO) -> bool:
    """Whether a stream is a file or a pipe, not a terminal or notebook."""
    return not stream.isatty() and not type(stream).__module__.startswith("ipykernel")


class _LineWriter:
    """Write each update of a bar as a separate line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        self._stream.flush()
