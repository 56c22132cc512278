"""A job: pass the rows of the inputs to the engine, keep predictions in the journal, and summarize them."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

from valence_integrations import errors
from valence_integrations._format import counted, span
from valence_integrations.cli.advice import error_text
from valence_integrations.cli.inputs import Inputs
from valence_integrations.cli.journal import Journal
from valence_integrations.cli.outputs import Output, Pair
from valence_integrations.cli.rows import Row
from valence_integrations.cli.terminal import one_line, print_message
from valence_integrations.engine import Engine

__all__ = ["Job"]

#: Items started ahead of the oldest unfinished one, for each simultaneous call: a long call, which takes minutes, must
#: not block the items after it.
_LOOKAHEAD = 32

#: Maximum number of failures to list.
_MAX_LISTED = 10

#: Errors of an item that are caused by the service, not by the item.
_OUTAGE_ERRORS = (errors.NetworkError, errors.ServerError, errors.ReadTimeoutError, errors.RateLimitError)


class Job:
    """Rows of the inputs, and their predictions in the journal.

    Iterating yields the audio of the rows that are not finished yet; ``len`` is their number.
    """

    def __init__(self, engine: Engine, inputs: Inputs, journal: Journal) -> None:
        self._engine = engine
        self._inputs = inputs
        self._journal = journal
        self._begun = time.monotonic()
        self._waiting: deque[Row] = deque()
        self.cached = self.answered = 0
        self.total = inputs.count()
        self.earlier = sum(map(journal.is_done, inputs)) if journal.has_earlier_run else 0
        self.done = self.earlier
        if not self.total:
            raise errors.SettingsError(
                "there is no audio in the inputs.",
                code="input_invalid",
                remedy="Name audio files, or folders that contain some.",
            )
        self.emotions: Counter[str] = Counter()
        self.failures: list[tuple[str, errors.ValenceError]] = []

    def __len__(self) -> int:
        return self.total - self.earlier

    def __iter__(self) -> Iterator[Any]:
        for row in self._inputs:
            if not self._journal.is_done(row):
                self._waiting.append(row)
                yield row.audio

    def predict(self, *, progress: bool) -> None:
        """Annotate the remaining rows, and store each prediction immediately.

        Raises
        ------
        ServiceUnavailableError
            If all calls failed, even if there were few.
        """
        for prediction in self._engine.iter_predict(self, on_error="null", progress=progress, ahead=_LOOKAHEAD):
            row = self._waiting.popleft()
            self._journal.add(row, prediction)
            self.done += 1
            if prediction.error is not None:
                self.failures.append((row.name, prediction.error))
            else:
                self.cached += prediction.cached
                self.answered += prediction.source is not None and not prediction.cached
        outages = [error for _, error in self.failures if isinstance(error, _OUTAGE_ERRORS)]
        if outages and not self.answered:
            raise errors.ServiceUnavailableError(
                f"no call was answered; the last error: {outages[-1].headline}", remedy="Run again later."
            )

    def pairs(self) -> Iterator[Pair]:
        """Yield every row with its prediction, in input order."""
        for row in self._inputs:
            prediction = self._journal.find(row)
            if prediction is not None:
                yield row, prediction

    def write(self, target: Output) -> None:
        """Write the output, and count its emotions."""
        self.emotions.clear()
        written = 0

        def counted_pairs() -> Iterator[Pair]:
            nonlocal written
            for row, prediction in self.pairs():
                written += 1
                if prediction.source is not None:
                    self.emotions[prediction.emotion or "none"] += 1
                yield row, prediction

        target.write(counted_pairs())
        if target.skipped_rows:
            print_message(
                f"{counted(target.skipped_rows, 'item')} without an audio file skipped: a folder cannot contain them."
            )
        if written != self.total:
            print_message(
                f"The inputs have changed during the run, from {self.total:,} to {written:,} items. Run again."
            )

    def print_failures(self) -> None:
        """Print failures and their remedies."""
        if self.failures:
            print_message(f"{counted(len(self.failures), 'item')} of {self.total:,} failed:")
        for _, error in self.failures[:_MAX_LISTED]:
            print_message(f"  {one_line(error_text(error))}")
        if (more := len(self.failures) - _MAX_LISTED) > 0:
            print_message(f"  and {more:,} more: --json lists them all")

    def summary(self, output: str) -> str:
        """Return the summary for people."""
        took = [f"{counted(self._engine.stats.calls, 'call')} in {span(time.monotonic() - self._begun)}"]
        took += [f"{self.cached:,} from the cache"] if self.cached else []
        took += [f"{self.earlier:,} from an earlier run"] if self.earlier else []
        emotions = [f"{emotion} {count:,}" for emotion, count in self.emotions.most_common()]
        lines = [
            f"{one_line(output)}: {counted(self.total, 'item')}, {len(self.failures):,} failed",
            *map(", ".join, (took, emotions)),
        ]
        return "\n  ".join(line for line in lines if line)

    def counts(self) -> dict[str, Any]:
        """Return the summary for ``--json``."""
        stats = self._engine.stats
        return {
            "items": self.total,
            "done": self.done,
            "earlier": self.earlier,
            "cached": self.cached,
            "failed": len(self.failures),
            "calls": stats.calls,
            "retries": stats.retries,
            "possibly_double_billed": stats.possibly_double_billed,
            "audio_seconds": round(stats.audio_seconds, 3),
            "seconds": round(time.monotonic() - self._begun, 3),
            "emotions": dict(self.emotions.most_common()),
            "failures": [
                {"item": name, "type": type(error).__name__, "code": error.code, "error": error_text(error)}
                for name, error in self.failures
            ],
        }
