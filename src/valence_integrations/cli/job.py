"""Rows of the inputs, their way through the engine into the journal, and what became of them."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

from valence_integrations import errors
from valence_integrations._format import counted, span
from valence_integrations.cli.advice import described
from valence_integrations.cli.inputs import Inputs
from valence_integrations.cli.journal import Journal
from valence_integrations.cli.outputs import Output, Pair
from valence_integrations.cli.rows import Row
from valence_integrations.cli.terminal import one_line, say
from valence_integrations.engine import Engine

__all__ = ["Job"]

#: Items begun ahead of the one that is waited for, for each call under way at once: a long call, which takes minutes,
#: must not hold up all that come after it.
_AHEAD = 32

#: Failures that are told one by one.
_MAX_LISTED = 10

#: What an item fails with if the service, and not the item, is in trouble.
_OUTAGES = (errors.NetworkError, errors.ServerError, errors.ReadTimeoutError, errors.RateLimitError)


class Job:
    """Rows of the inputs, and their predictions in the journal.

    The engine is given those that are not done yet, as an iterable that knows how many there are.
    """

    def __init__(self, engine: Engine, inputs: Inputs, journal: Journal) -> None:
        self._engine = engine
        self._inputs = inputs
        self._journal = journal
        self._begun = time.monotonic()
        self._waiting: deque[Row] = deque()
        self.cached = self.answered = 0
        self.total = inputs.count()
        self.earlier = sum(map(journal.is_done, inputs)) if journal.has_earlier else 0
        self.done = self.earlier
        if not self.total:
            raise errors.SettingsError(
                "there is no audio in the inputs.",
                code="input_invalid",
                remedy="Name files, or folders that hold some.",
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
        """Annotate what is left, and keep each prediction at once.

        Raises
        ------
        ServiceUnavailableError
            If all calls failed, however few they were.
        """
        for prediction in self._engine.iter_predict(self, on_error="null", progress=progress, ahead=_AHEAD):
            row = self._waiting.popleft()
            self._journal.add(row, prediction)
            self.done += 1
            if prediction.error is not None:
                self.failures.append((row.name, prediction.error))
            else:
                self.cached += prediction.cached
                self.answered += prediction.source is not None and not prediction.cached
        outages = [error for _, error in self.failures if isinstance(error, _OUTAGES)]
        if outages and not self.answered:
            raise errors.ServiceUnavailableError(
                f"no call was answered; the last one: {outages[-1].headline}", remedy="Run again later."
            )

    def pairs(self) -> Iterator[Pair]:
        """Every row with its prediction, in the order of the inputs."""
        for row in self._inputs:
            prediction = self._journal.find(row)
            if prediction is not None:
                yield row, prediction

    def write(self, target: Output) -> None:
        """Write the output, and count what is in it."""
        self.emotions.clear()
        written = 0

        def seen() -> Iterator[Pair]:
            nonlocal written
            for row, prediction in self.pairs():
                written += 1
                if prediction.source is not None:
                    self.emotions[prediction.emotion or "none"] += 1
                yield row, prediction

        target.write(seen())
        if target.left_out:
            say(f"{counted(target.left_out, 'item')} without a file cannot be in a folder, and are left out.")
        if written != self.total:
            say(f"The inputs have changed meanwhile, from {self.total:,} items to {written:,}. Run again.")

    def tell_failures(self) -> None:
        """Say what failed, and what to do."""
        if self.failures:
            say(f"{counted(len(self.failures), 'item')} of {self.total:,} failed:")
        for _, error in self.failures[:_MAX_LISTED]:
            say(f"  {one_line(described(error))}")
        if (more := len(self.failures) - _MAX_LISTED) > 0:
            say(f"  and {more:,} more: --json names them all")

    def summary(self, output: str) -> str:
        """What a person reads at the end."""
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
        """What ``--json`` prints."""
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
                {"item": name, "type": type(error).__name__, "code": error.code, "error": described(error)}
                for name, error in self.failures
            ],
        }
