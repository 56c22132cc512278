"""A job: pass the rows of the inputs to the engine, keep predictions in the journal, and summarize them."""

from __future__ import annotations

import threading
import time
import warnings
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any, cast

from valence_integrations import errors
from valence_integrations._format import counted, span
from valence_integrations.cli.advice import error_text
from valence_integrations.cli.inputs import Inputs
from valence_integrations.cli.journal import Journal
from valence_integrations.cli.outputs import Output, Pair
from valence_integrations.cli.rows import Row
from valence_integrations.cli.terminal import one_line, print_message
from valence_integrations.engine import Engine
from valence_integrations.results import EmotionPrediction

__all__ = ["Job"]

#: Items started ahead of the oldest unfinished one, for each simultaneous call: a long call, which takes minutes, must
#: not block the items after it.
_LOOKAHEAD = 32

#: Maximum number of failures to list.
_MAX_LISTED = 10

#: Errors of an item that are caused by the service, not by the item.
_OUTAGE_ERRORS = (errors.NetworkError, errors.ServerError, errors.ReadTimeoutError, errors.RateLimitError)

#: Errors after which the same command may succeed.
_TEMPORARY_ERRORS = (errors.BudgetExceededError, errors.ServiceUnavailableError)


class Job:
    """Rows of the inputs, and their predictions in the journal.

    Iterating yields the audio of the rows that are not finished yet; ``len`` is their number.
    """

    def __init__(self, engine: Engine, inputs: Inputs, journal: Journal) -> None:
        self._engine = engine
        self._inputs = inputs
        self._journal = journal
        self._begun = time.monotonic()
        self._lock = threading.Lock()
        self._unfinished: dict[int, Row] = {}
        self._failures: dict[int, tuple[str, errors.ValenceError]] = {}
        self._write_error: OSError | None = None
        self.cached = self.answered = 0
        self.total = inputs.count()
        self.earlier = journal.resume(inputs)
        self.done = self.earlier
        if not self.total:
            raise errors.SettingsError(
                "there is no audio in the inputs.",
                code="input_invalid",
                remedy="Name audio files, or folders that contain some.",
            )
        self.emotions: Counter[str] = Counter()

    def __len__(self) -> int:
        return self.total - self.earlier

    def __iter__(self) -> Iterator[Any]:
        left = (row for row in self._inputs if not self._journal.is_done(row))
        for position, row in enumerate(left):
            self._unfinished[position] = row
            yield row.audio

    @property
    def failures(self) -> list[tuple[str, errors.ValenceError]]:
        """Name and error of each failed row, in input order."""
        return [failure for _, failure in sorted(self._failures.items(), key=lambda item: item[0])]

    def predict(self, *, progress: bool) -> None:
        """Annotate the remaining rows, and store each prediction as soon as it is there, in any order.

        Raises
        ------
        ServiceUnavailableError
            If all calls failed, even if there were few.
        OSError
            If a prediction cannot be stored.
        """
        found = self._engine.iter_predict(
            self, on_error="null", progress=progress, ahead=_LOOKAHEAD, on_done=self._keep
        )
        predictions = cast("Generator[EmotionPrediction]", found)
        with warnings.catch_warnings():
            # The summary lists failures.
            warnings.simplefilter("ignore", errors.PartialFailureWarning)
            try:
                for position, prediction in enumerate(predictions):
                    self._keep(position, prediction)
                    if self._write_error is not None:
                        raise self._write_error
            except BaseException as error:
                # Wherever Ctrl-C strikes: the engine waits for the answers to calls in flight.
                predictions.throw(error)
                raise
            finally:
                with self._lock:
                    self._unfinished.clear()  # an answer that comes later is in the cache
        outages = [error for _, error in self.failures if isinstance(error, _OUTAGE_ERRORS)]
        if outages and not self.answered:
            raise errors.ServiceUnavailableError(
                f"no call was answered; the last error: {outages[-1].headline}", remedy="Run again later."
            )

    def _keep(self, position: int, prediction: EmotionPrediction) -> None:
        """Store a prediction, once; called by the threads of the engine, too."""
        with self._lock:
            row = self._unfinished.pop(position, None)
            if row is None:
                return
            try:
                self._journal.add(row, prediction)
            except OSError as error:
                self._write_error = error
                return
            self.done += 1
            if prediction.error is not None:
                self._failures[position] = row.name, prediction.error
            else:
                self.cached += prediction.cached
                self.answered += prediction.source is not None and not prediction.cached

    def pairs(self) -> Iterator[Pair]:
        """Yield every row with its prediction, in input order."""
        for row in self._inputs:
            prediction = self._journal.find(row)
            if prediction is not None:
                yield row, prediction

    def write(self, target: Output) -> bool:
        """Write the output, and count its emotions; return whether the inputs are still the same."""
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
                f"The inputs have changed during the run, from {self.total:,} to {written:,} items. Run again, with "
                "--force."
            )
        return written == self.total

    def print_failures(self) -> None:
        """Print failures and their remedies."""
        failures = self.failures
        if failures:
            print_message(f"{counted(len(failures), 'item')} of {self.total:,} failed:")
        for _, error in failures[:_MAX_LISTED]:
            print_message(f"  {one_line(error_text(error))}")
        if (more := len(failures) - _MAX_LISTED) > 0:
            print_message(f"  and {more:,} more: --json lists them all")

    def print_stopped(self, error: BaseException, *, kept_in_cache: bool) -> None:
        """Print what is kept of a job that stops early, and how to continue.

        Parameters
        ----------
        error : BaseException
            What stopped it.
        kept_in_cache : bool
            Whether answers are in the cache, too.
        """
        finished = self.done - len(self._failures)
        if finished:
            what = f"{finished:,} of {self.total:,} items are kept in {self._journal.path.name} and are not paid again"
        elif isinstance(error, errors.JobError) and not isinstance(error, _TEMPORARY_ERRORS):
            return  # nothing was begun
        else:
            what = "no item is finished" + ("; answers are kept in the cache" if kept_in_cache else "")
        word = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopped"
        print_message(f"{word}: {one_line(what)}. Run the same command to continue.")

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
