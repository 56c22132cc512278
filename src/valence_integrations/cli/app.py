"""What can be typed: commands, options, and their help. What the commands do is imported when one is run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from valence_integrations import __version__
from valence_integrations.cli.terminal import Command, ExitCode, Group
from valence_integrations.settings import LongAudio, OnError, ShortAudio

__all__ = ["app"]

# Plain text: it is the same in a terminal, a log and a screen reader.
_SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 80},
}

app = typer.Typer(cls=Group, **_SETTINGS)
cache = typer.Typer(**_SETTINGS)
app.add_typer(cache, name="cache")


def _option(*names: str, metavar: str | None = None, help: str, **more: Any) -> Any:  # noqa: A002
    return typer.Option(*names, metavar=metavar, help=help, show_default=False, **more)


Paths: TypeAlias = Annotated[list[str], typer.Argument(metavar="PATHS...", hidden=True)]
AudioColumn: TypeAlias = Annotated[
    str | None, _option("--audio-column", metavar="NAME", help="The tables' column with the audio.")
]
UseSandbox: TypeAlias = Annotated[bool, _option("--sandbox", help="No key: a stand-in on this machine answers.")]
Model: TypeAlias = Annotated[str | None, _option("--model", metavar="NAME", help="4emotions, 7emotions, or your own.")]
Emotions: TypeAlias = Annotated[str | None, _option("--emotions", metavar="A,B,...", help="Those of your own model.")]
Short: TypeAlias = Annotated[
    ShortAudio | None, _option("--short", metavar="WAY", help="Under 5 s: pad, repeat, skip, error.")
]
Long: TypeAlias = Annotated[
    LongAudio | None, _option("--long", metavar="WAY", help="Over 15 s: asynch, chunk, truncate, skip, error.")
]
BaseUrl: TypeAlias = Annotated[str | None, _option("--base-url", metavar="URL", help="Where the service lives.")]
NoCache: TypeAlias = Annotated[bool, _option("--no-cache", help="Neither use nor keep answers: pay again.")]
OfSandbox: TypeAlias = Annotated[bool, _option("--sandbox", help="The cache of --sandbox.")]
AsJson: TypeAlias = Annotated[bool, _option("--json", help="Print a summary for programs.")]

#: What it does is in `terminal.Group`, where errors end.
Debug: TypeAlias = Annotated[bool, _option("--debug", help="Show the traceback of an error.")]


@app.callback(invoke_without_command=True)
def valence(
    context: typer.Context, version: Annotated[bool, _option("--version", help="Print the version.")] = False
) -> int:
    """Hear emotions in speech, through the Valence API.

    \b
    Example, which needs no key:
      valence annotate calls/ -o calls.csv --sandbox
    """
    if version:
        typer.echo(f"valence {__version__}")
        raise typer.Exit
    return _help_if_alone(context)


@app.command(cls=Command)
def annotate(
    paths: Paths,
    output: Annotated[str, _option("-o", "--output", metavar="OUT", help="The file or folder to write.")],
    audio_column: AudioColumn = None,
    report: Annotated[Path | None, _option("--report", metavar="FILE", help="Write a report too, as HTML.")] = None,
    sandbox: UseSandbox = False,
    model: Model = None,
    emotions: Emotions = None,
    short: Short = None,
    long: Long = None,
    min_confidence: Annotated[
        float | None, _option("--min-confidence", metavar="X", help="Drop emotions under it (vendor: 0.38).")
    ] = None,
    on_error: Annotated[
        OnError, _option("--on-error", metavar="WAY", help="null: failed rows are empty (default). raise: no OUT.")
    ] = "null",
    max_calls: Annotated[int | None, _option("--max-calls", metavar="N", help="Stop before more calls.")] = None,
    concurrency: Annotated[int | None, _option("--concurrency", metavar="N", help="Calls at once.")] = None,
    base_url: BaseUrl = None,
    no_cache: NoCache = False,
    quiet: Annotated[bool, _option("-q", "--quiet", help="Say nothing but what fails.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Annotate audio with emotions.

    PATHS: files, folders, globs, tables with an audio column (.csv, .jsonl,
    .parquet), datasets saved to disk. OUT ends in .csv, .jsonl or .parquet,
    or is a folder, in the AudioFolder layout of datasets.

    \b
    Examples:
      valence annotate calls/ -o calls.csv --sandbox
      valence annotate clips.csv -o clips.parquet --audio-column wav --long chunk

    Stopped, it goes on when it is run again. Exit codes: 0 all done, 1 some
    items failed, 2 wrong use or no key, 3 budget or outage, 130 interrupted.
    """
    from valence_integrations.cli.annotate import annotate

    return annotate(
        paths,
        output,
        audio_column=audio_column,
        on_error=on_error,
        report=report,
        sandbox=sandbox,
        quiet=quiet,
        as_json=as_json,
        min_confidence=min_confidence,
        max_calls=max_calls,
        concurrency=concurrency,
        **_settings(model, emotions, short, long, base_url, no_cache),
    )


@app.command(cls=Command)
def estimate(
    paths: Paths,
    audio_column: AudioColumn = None,
    sandbox: UseSandbox = False,
    model: Model = None,
    emotions: Emotions = None,
    short: Short = None,
    long: Long = None,
    base_url: BaseUrl = None,
    no_cache: NoCache = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Tell what annotating would take: no call, no key.

    PATHS and options are those of annotate.

    \b
    Example:
      valence estimate calls/ --long chunk
    """
    from valence_integrations.cli.estimate import estimate

    return estimate(
        paths,
        audio_column=audio_column,
        sandbox=sandbox,
        as_json=as_json,
        **_settings(model, emotions, short, long, base_url, no_cache),
    )


@app.command(cls=Command)
def report(
    output: Annotated[str, typer.Argument(metavar="OUT", hidden=True)],
    html: Annotated[Path | None, _option("-o", "--output", metavar="FILE", help="By default: OUT, as .html.")] = None,
    audio_column: AudioColumn = None,
    debug: Debug = False,
) -> int:
    """Write an HTML report on what annotate has written.

    \b
    Example:
      valence report calls.csv -o calls.html
    """
    from valence_integrations.cli.report import report

    return report(output, html, audio_column=audio_column)


@app.command(cls=Command)
def doctor(base_url: BaseUrl = None, debug: Debug = False) -> int:
    """Look whether all is well, and say what to do.

    Key, service, limits, cache and optional parts are looked at; the key is
    not shown. Exit codes: 0 all is well, 2 the key or the cache is not, 3 the
    service is not.

    \b
    Example:
      valence doctor
    """
    from valence_integrations.cli.doctor import doctor

    return doctor(base_url=base_url)


@app.command(
    cls=Command,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def sandbox(context: typer.Context) -> int:
    """Run a stand-in for the service, to try without a key."""
    from valence_integrations.sandbox.__main__ import main

    return main(context.args, context.command_path)


@cache.callback(invoke_without_command=True)
def valence_cache(context: typer.Context) -> int:
    """Look at the answers that are kept, or forget them.

    \b
    Example:
      valence cache info
    """
    return _help_if_alone(context)


@cache.command(cls=Command)
def info(sandbox: OfSandbox = False, debug: Debug = False) -> int:
    """Tell where the cache is, and how much is in it.

    \b
    Example:
      valence cache info
    """
    from valence_integrations.cli import cache

    return cache.info(sandbox=sandbox)


@cache.command(cls=Command)
def clear(
    older_than: Annotated[float, _option("--older-than", metavar="DAYS", help="Only answers older than this.")] = 0.0,
    yes: Annotated[bool, _option("-y", "--yes", help="Do not ask.")] = False,
    sandbox: OfSandbox = False,
    debug: Debug = False,
) -> int:
    """Forget answers; the same audio would be paid again.

    \b
    Example:
      valence cache clear --older-than 90
    """
    from valence_integrations.cli import cache

    return cache.clear(older_than=older_than, yes=yes, sandbox=sandbox)


@cache.command(cls=Command)
def export(
    path: Annotated[Path, typer.Argument(metavar="FILE", hidden=True)],
    sandbox: OfSandbox = False,
    debug: Debug = False,
) -> int:
    """Write all answers to a file, one JSON object a line.

    \b
    Example:
      valence cache export answers.jsonl
    """
    from valence_integrations.cli import cache

    return cache.export(path, sandbox=sandbox)


def _settings(
    model: str | None,
    emotions: str | None,
    short: ShortAudio | None,
    long: LongAudio | None,
    base_url: str | None,
    no_cache: bool,
) -> dict[str, Any]:
    return {
        "model": model,
        "emotions": None if emotions is None else emotions.split(","),
        "short_audio": short,
        "long_audio": long,
        "base_url": base_url,
        "cache": False if no_cache else None,
    }


def _help_if_alone(context: typer.Context) -> int:
    if context.invoked_subcommand is not None:
        return ExitCode.DONE
    typer.echo(context.get_help())
    raise typer.Exit(ExitCode.WRONG_USE)
