"""``valence annotate``: rows in, rows with emotions out."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from valence_integrations import errors
from valence_integrations.cli.audiofolder import AudioFolder
from valence_integrations.cli.inputs import Inputs
from valence_integrations.cli.job import Job
from valence_integrations.cli.journal import Journal
from valence_integrations.cli.outputs import CsvOutput, JsonlOutput, Output, ParquetOutput
from valence_integrations.cli.service import SANDBOX, service
from valence_integrations.cli.terminal import ExitCode, one_line, say
from valence_integrations.engine import Engine
from valence_integrations.report import write_report
from valence_integrations.settings import OnError

__all__ = ["annotate"]

_KINDS: dict[str, type[CsvOutput | JsonlOutput | ParquetOutput]] = {
    ".csv": CsvOutput,
    ".jsonl": JsonlOutput,
    ".parquet": ParquetOutput,
}


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
        target = _output(output, settings.columns)
        inputs = Inputs(paths, audio_column, leave_out=target.path)
        target.check(inputs)
        if report is not None:
            _check_folder_of(report)
        unfinished = target.path.with_name(f"{target.path.name}.partial.jsonl")
        with (
            Engine(settings) as engine,
            Journal(unfinished, SANDBOX if sandbox else settings.base_url, settings) as journal,
        ):
            job = Job(engine, inputs, journal)
            if sandbox and not quiet:
                say("The embedded sandbox answers: it is a stand-in, and no emotion model.")
            try:
                job.predict(progress=not quiet)
                job.tell_failures()
                if job.failures and on_error == "raise":
                    say(f"{one_line(output)} is not written. Mend or drop these items, or use --on-error null.")
                    return ExitCode.ITEMS_FAILED
                job.write(target)
                journal.clear()
                if report is not None:
                    pairs = ((row.name, prediction) for row, prediction in job.pairs())
                    write_report(report, pairs, settings=settings, stats=engine.stats, title=f"Emotions in {output}")
                if not quiet:
                    say(job.summary(output))
            except (KeyboardInterrupt, errors.JobError) as stopped:
                job.tell_failures()
                if job.done:
                    say(
                        f"{'interrupted' if isinstance(stopped, KeyboardInterrupt) else 'stopped'}: {job.done:,} of "
                        f"{job.total:,} items are kept in {one_line(unfinished.name)}, and are not paid again. Run the "
                        "same command to go on."
                    )
                raise
            finally:
                if as_json:
                    sys.stdout.write(json.dumps({"output": output, **job.counts()}) + "\n")
            return ExitCode.ITEMS_FAILED if job.failures else ExitCode.DONE


def _output(text: str, emotions: Sequence[str]) -> Output:
    """Choose the kind of output by its suffix; nothing is written yet.

    Raises
    ------
    SettingsError
        If there is no such kind, or its folder is not there.
    """
    # What a link points to is replaced, and not the link.
    path = Path(os.path.realpath(text))
    _check_folder_of(path)
    kind = _KINDS.get(path.suffix.lower())
    is_folder = path.is_dir() or text.endswith(("/", os.sep)) or not path.suffix
    if kind is not None and not is_folder:
        return kind(path, emotions)
    if is_folder and not path.is_file():
        return AudioFolder(path, emotions)
    raise errors.SettingsError(
        f"{text!r} is no output: name a file that ends in {', '.join(_KINDS)}, or a folder for an AudioFolder.",
        code="output_invalid",
    )


def _check_folder_of(path: Path) -> None:
    if not path.parent.is_dir():
        raise errors.SettingsError(
            f"the folder {str(path.parent)!r} for {path.name} is not there.",
            code="output_invalid",
            remedy="Make it first.",
        )


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
