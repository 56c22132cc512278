"""``valence annotate``: add emotions to the rows of the inputs."""

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
from valence_integrations.cli.files import refuse_existing, refuse_inputs
from valence_integrations.cli.inputs import Inputs
from valence_integrations.cli.job import Job
from valence_integrations.cli.journal import Journal
from valence_integrations.cli.outputs import CsvOutput, JsonlOutput, Output, ParquetOutput
from valence_integrations.cli.service import SANDBOX, service
from valence_integrations.cli.terminal import ExitCode, one_line, print_message
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
    force: bool,
    sandbox: bool,
    quiet: bool,
    as_json: bool,
    **overrides: Any,
) -> ExitCode:
    """Annotate inputs and write an output, resuming an earlier run.

    Parameters
    ----------
    paths, output, audio_column, on_error, report, force, sandbox, quiet, as_json
        See the command's help.
    **overrides
        Settings; None means the value of the environment.
    """
    with service(sandbox=sandbox, **overrides) as settings, _sigterm_as_interrupt():
        settings.require_key()
        target = _output(output, settings.columns)
        inputs = Inputs(paths, audio_column, exclude=target.path)
        target.check(inputs)
        refuse_existing(target.path, force=force)
        unfinished = target.path.with_name(f"{target.path.name}.partial.jsonl")
        files = [target.path, unfinished]
        if report is not None:
            _check_folder_of(report)
            files.append(_other_than(files, report))
        refuse_inputs(files, inputs.paths())
        with (
            Engine(settings) as engine,
            Journal(unfinished, SANDBOX if sandbox else settings.base_url, settings, force=force) as journal,
        ):
            job = Job(engine, inputs, journal)
            if sandbox and not quiet:
                print_message("The embedded sandbox answers: it is a stand-in, not an emotion model.")
            try:
                try:
                    job.predict(progress=not quiet)
                finally:
                    job.print_failures()
                if job.failures and on_error == "raise":
                    print_message(
                        f"{one_line(output)} is not written. Fix or drop these items, or use --on-error null."
                    )
                    return ExitCode.ITEMS_FAILED
                refuse_existing(target.path, force=force)
                if job.write(target):
                    journal.clear()
            except BaseException as stopped:
                job.print_stopped(stopped, kept_in_cache=settings.cache is not False)
                raise
            else:
                if report is not None:
                    pairs = ((row.name, prediction) for row, prediction in job.pairs())
                    write_report(report, pairs, settings=settings, stats=engine.stats, title=f"Emotions in {output}")
                if not quiet:
                    print_message(job.summary(output))
            finally:
                if as_json:
                    sys.stdout.write(json.dumps({"output": output, **job.counts()}) + "\n")
            return ExitCode.ITEMS_FAILED if job.failures else ExitCode.DONE


def _output(text: str, emotions: Sequence[str]) -> Output:
    """Create the output for a suffix, without writing anything.

    Raises
    ------
    SettingsError
        If the suffix is unsupported, or the folder does not exist.
    """
    # Replace the target of a link, not the link.
    path = Path(os.path.realpath(text))
    _check_folder_of(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise errors.SettingsError(
            f"{text!r} is neither a file nor a folder.", code="output_invalid", remedy="Choose another output."
        )
    kind = _KINDS.get(path.suffix.lower())
    is_folder = path.is_dir() or text.endswith(("/", os.sep)) or not path.suffix
    if kind is not None and not is_folder:
        return kind(path, emotions)
    if is_folder and not path.is_file():
        return AudioFolder(path, emotions)
    raise errors.SettingsError(
        f"{text!r} is not an output: name a file that ends in {', '.join(_KINDS)}, or a folder for an AudioFolder.",
        code="output_invalid",
    )


def _other_than(files: Sequence[Path], report: Path) -> Path:
    """Return the resolved path of the report, which must not be another file of the job."""
    path = Path(os.path.realpath(report))
    if path in files:
        raise errors.SettingsError(
            f"--report and --output both write {report.name!r}.",
            code="settings_conflict",
            remedy="Name another file for the report.",
        )
    return path


def _check_folder_of(path: Path) -> None:
    if not path.parent.is_dir():
        raise errors.SettingsError(
            f"the folder {str(path.parent)!r} for {path.name} does not exist.",
            code="output_invalid",
            remedy="Create it first.",
        )


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, so that a job ended by a scheduler keeps its paid answers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
