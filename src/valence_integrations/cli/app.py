"""Commands, options and their help. The implementation of a command is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from valence_integrations import __version__
from valence_integrations.cli.terminal import Command, ExitCode, Group
from valence_integrations.settings import LongAudio, OnError, ShortAudio

__all__ = ["app"]

# Plain text reads the same in a terminal, a log and a screen reader.
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
    str | None, _option("--audio-column", metavar="NAME", help="Column of a table that holds the audio.")
]
UseSandbox: TypeAlias = Annotated[bool, _option("--sandbox", help="Use a local stand-in; needs no key.")]
Model: TypeAlias = Annotated[
    str | None, _option("--model", metavar="NAME", help="4emotions, 7emotions or a custom model.")
]
Emotions: TypeAlias = Annotated[
    str | None, _option("--emotions", metavar="A,B,...", help="Emotions of a custom model.")
]
Short: TypeAlias = Annotated[
    ShortAudio | None, _option("--short", metavar="MODE", help="Under 5 s: pad, repeat, skip, error.")
]
Long: TypeAlias = Annotated[
    LongAudio | None, _option("--long", metavar="MODE", help="Over 15 s: asynch, chunk, truncate, skip, error.")
]
BaseUrl: TypeAlias = Annotated[str | None, _option("--base-url", metavar="URL", help="Address of the service.")]
NoCache: TypeAlias = Annotated[bool, _option("--no-cache", help="Neither read nor write the cache.")]
SandboxCache: TypeAlias = Annotated[bool, _option("--sandbox", help="Use the cache of --sandbox.")]
AsJson: TypeAlias = Annotated[bool, _option("--json", help="Print a summary as JSON.")]

#: Implemented in `terminal.Group`, which handles errors.
Debug: TypeAlias = Annotated[bool, _option("--debug", help="Show the traceback of an error.")]


@app.callback(invoke_without_command=True)
def valence(
    context: typer.Context, version: Annotated[bool, _option("--version", help="Print the version.")] = False
) -> int:
    """Annotate speech with emotions through the Valence API.

    \b
    Example (needs no key):
      valence annotate calls/ -o calls.csv --sandbox
    """
    if version:
        typer.echo(f"valence {__version__}")
        raise typer.Exit
    return _help_without_command(context)


@app.command(cls=Command)
def annotate(
    paths: Paths,
    output: Annotated[str, _option("-o", "--output", metavar="OUT", help="The file or folder to write.")],
    audio_column: AudioColumn = None,
    report: Annotated[Path | None, _option("--report", metavar="FILE", help="Also write an HTML report.")] = None,
    force: Annotated[bool, _option("--force", help="Replace OUT if it exists.")] = False,
    sandbox: UseSandbox = False,
    model: Model = None,
    emotions: Emotions = None,
    short: Short = None,
    long: Long = None,
    min_confidence: Annotated[
        float | None, _option("--min-confidence", metavar="X", help="Drop emotions below X (vendor: 0.38).")
    ] = None,
    on_error: Annotated[
        OnError, _option("--on-error", metavar="MODE", help="null: failed rows are empty (default). raise: no OUT.")
    ] = "null",
    max_calls: Annotated[int | None, _option("--max-calls", metavar="N", help="Maximum number of calls.")] = None,
    concurrency: Annotated[
        int | None, _option("--concurrency", metavar="N", help="Number of simultaneous calls.")
    ] = None,
    base_url: BaseUrl = None,
    no_cache: NoCache = False,
    quiet: Annotated[bool, _option("-q", "--quiet", help="Print only failures.")] = False,
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

    Run the same command again to resume. Exit codes: 0 done, 1 some items
    failed, 2 wrong usage or no key, 3 budget or outage, 130 interrupted.
    """
    from valence_integrations.cli.annotate import annotate

    return annotate(
        paths,
        output,
        audio_column=audio_column,
        on_error=on_error,
        report=report,
        force=force,
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
    """Estimate calls, data and time; needs no key.

    Takes the PATHS and options of annotate.

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
    html: Annotated[
        Path | None, _option("-o", "--output", metavar="FILE", help="Default: OUT with the suffix .html.")
    ] = None,
    audio_column: AudioColumn = None,
    debug: Debug = False,
) -> int:
    """Write an HTML report on an output of annotate.

    \b
    Example:
      valence report calls.csv -o calls.html
    """
    from valence_integrations.cli.report import report

    return report(output, html, audio_column=audio_column)


@app.command(cls=Command)
def doctor(base_url: BaseUrl = None, debug: Debug = False) -> int:
    """Check your setup and suggest fixes.

    Checks the key, service, limits, cache and optional dependencies; the key
    is not shown. Exit codes: 0 no problem, 2 a problem with the key or the
    cache, 3 a problem with the service.

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
    """Run a local stand-in for the service; needs no key."""
    from valence_integrations.sandbox.__main__ import main

    return main(context.args, context.command_path)


@cache.callback(invoke_without_command=True)
def valence_cache(context: typer.Context) -> int:
    """Show, export or delete cached answers.

    \b
    Example:
      valence cache info
    """
    return _help_without_command(context)


@cache.command(cls=Command)
def info(sandbox: SandboxCache = False, debug: Debug = False) -> int:
    """Show the path and size of the cache.

    \b
    Example:
      valence cache info
    """
    from valence_integrations.cli import cache

    return cache.info(sandbox=sandbox)


@cache.command(cls=Command)
def clear(
    older_than: Annotated[
        float, _option("--older-than", metavar="DAYS", min=0.0, help="Delete only answers older than DAYS.")
    ] = 0.0,
    yes: Annotated[bool, _option("-y", "--yes", help="Do not ask for confirmation.")] = False,
    sandbox: SandboxCache = False,
    debug: Debug = False,
) -> int:
    """Delete cached answers; the same audio will be paid for again.

    \b
    Example:
      valence cache clear --older-than 90
    """
    from valence_integrations.cli import cache

    return cache.clear(older_than=older_than, yes=yes, sandbox=sandbox)


@cache.command(cls=Command)
def export(
    path: Annotated[Path, typer.Argument(metavar="FILE", hidden=True)],
    sandbox: SandboxCache = False,
    debug: Debug = False,
) -> int:
    """Export all cached answers to a JSONL file.

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


def _help_without_command(context: typer.Context) -> int:
    if context.invoked_subcommand is not None:
        return ExitCode.DONE
    typer.echo(context.get_help())
    raise typer.Exit(ExitCode.WRONG_USE)
