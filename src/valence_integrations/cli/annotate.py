"""``valence annotate``: rows in, rows with emotions out."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from valence_integrations import errors
from valence_integrations.cli.inputs import Inputs, Row
from valence_integrations.cli.journal import Journal
from valence_integrations.cli.outputs import Output, Pair, appearing, open_output
from valence_integrations.cli.service import SANDBOX, service
from valence_integrations.cli.terminal import ExitCode, in_options, one_line, say
from valence_integrations.engine import Engine
from valence_integrations.engine._estimate import span
from valence_integrations.settings import OnError

__all__ = ["annotate"]

#: Items begun ahead of the one that is waited for, for each call under way at once: a long call, which takes minutes,
#: must not hold up all that come after it.
_AHEAD = 32

#: Failures that are told one by one.
_TOLD = 10

#: What an item fails with if the service, and not the item, is in trouble.
_OUTAGES = (errors.NetworkError, errors.ServerError, errors.ReadTimeoutError, errors.RateLimitError)


def annotate(
    paths: Sequence[str],
    output: str,
    *,
    audio_column: str | None,
    on_error: OnError,
    report: Path | None,
    sandbox: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> ExitCode:
    """Annotate inputs into an output, going on from where an earlier run was stopped.

    Parameters
    ----------
    paths, output, audio_column, on_error, report, sandbox, quiet, as_json
        As the command's help says.
    **given
        Settings; those that are None are taken from the environment.
    """
    with service(sandbox=sandbox, **given) as settings, _terminated_like_interrupted():
        settings.require_key()
        target = open_output(output, settings.columns)
        inputs = Inputs(paths, audio_column, leave_out=target.path)
        target.check(inputs)
        write_report = None if report is None else _report_writer(report)
        partial = target.path.with_name(f"{target.path.name}.partial.jsonl")
        with (
            Engine(settings) as engine,
            Journal(partial, SANDBOX if sandbox else settings.base_url, settings) as journal,
        ):
            job = _Job(engine, inputs, journal)
            if sandbox and not quiet:
                say("The embedded sandbox answers: it is a stand-in, and no emotion model.")
            try:
                job.predict(progress=not quiet)
                job.tell_failures()
                if job.failures and on_error == "raise":
                    say(f"{output} is not written. Mend or drop what failed, or use --on-error null, and run again.")
                    return ExitCode.ITEMS_FAILED
                job.write(target)
                if write_report is not None:
                    pairs = ((row.name, prediction) for row, prediction in job.pairs())
                    write_report(pairs, settings=settings, stats=engine.stats, title=f"Emotions in {output}")
                journal.clear()
                if not quiet:
                    say(job.summary(output))
            except (KeyboardInterrupt, errors.JobError):
                job.tell_failures()
                if job.done:
                    say(
                        f"{job.done:,} of {job.total:,} items are kept in {one_line(partial.name)}. Run the same "
                        "command again to go on from there: nothing is paid twice."
                    )
                raise
            finally:
                if as_json:
                    sys.stdout.write(json.dumps({"output": output, **job.counts()}) + "\n")
            return ExitCode.ITEMS_FAILED if job.failures else ExitCode.DONE


class _Job:
    """Rows of the inputs, and their predictions in the journal.

    The engine is given those that are not done yet, as an iterable that knows how many there are.
    """

    def __init__(self, engine: Engine, inputs: Inputs, journal: Journal) -> None:
        self._engine = engine
        self._inputs = inputs
        self._journal = journal
        self._begun = time.monotonic()
        self._waiting: deque[Row] = deque()
        self.total = self.earlier = self.cached = self.answered = 0
        for row in inputs:
            self.total += 1
            self.earlier += journal.is_done(row)
        self.done = self.earlier
        if not self.total:
            raise errors.SettingsError("there is no audio in the inputs. Name files, or folders that hold some.")
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
            raise errors.ServiceUnavailableError(f"no call was answered; the last one: {outages[-1]} Run again later.")

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

        def counted() -> Iterator[Pair]:
            nonlocal written
            for row, prediction in self.pairs():
                written += 1
                if prediction.source is not None:
                    self.emotions[prediction.emotion or "none"] += 1
                yield row, prediction

        target.write(counted())
        if target.left_out:
            say(f"{_counted(target.left_out, 'item')} without a file cannot be in a folder, and are left out.")
        if written != self.total:
            say(f"The inputs have changed meanwhile, from {self.total:,} items to {written:,}. Run again.")

    def tell_failures(self) -> None:
        """Say what failed, and what to do."""
        if self.failures:
            say(f"{_counted(len(self.failures), 'item')} of {self.total:,} failed:")
        for _, error in self.failures[:_TOLD]:
            say(f"  {one_line(in_options(str(error)))}")
        if (more := len(self.failures) - _TOLD) > 0:
            say(f"  and {more:,} more; the column emotion_error has them all")

    def summary(self, output: str) -> str:
        """What a person reads at the end."""
        calls = self._engine.stats.calls
        counts = [
            f"{_counted(self.total, 'item')}, {len(self.failures):,} failed",
            f"{_counted(calls, 'call')} in {span(time.monotonic() - self._begun)}",
            f"{self.cached:,} from the cache",
            f"{self.earlier:,} from an earlier run",
        ]
        emotions = ", ".join(f"{emotion} {count:,}" for emotion, count in self.emotions.most_common())
        return f"{one_line(output)}: {'; '.join(counts)}\n  {emotions or 'no emotions'}"

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
                {"item": name, "type": type(error).__name__, "error": str(error)} for name, error in self.failures
            ],
        }


def _report_writer(path: Path) -> Callable[..., None]:
    """What writes the report; it says at once if it cannot."""
    from valence_integrations.report import write_report

    if not path.parent.is_dir():
        raise errors.SettingsError(f"the folder {str(path.parent)!r} for the report is not there. Make it first.")

    def write(items: Iterator[tuple[str, Any]], **about: Any) -> None:
        with appearing(path) as temporary:
            write_report(temporary, items, **about)

    return write


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Have a job that is ended by its scheduler keep what is paid, as after Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
