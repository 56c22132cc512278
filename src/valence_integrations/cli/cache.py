"""``valence cache``: show, delete or export cached answers."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import typer

from valence_integrations._format import size
from valence_integrations._store.cache import ResultCache, state_directory
from valence_integrations.cli.service import SANDBOX
from valence_integrations.cli.terminal import ExitCode, one_line, print_message
from valence_integrations.errors import SettingsError
from valence_integrations.settings import Settings

__all__ = ["clear", "export", "info"]

_DAY_SECONDS = 86_400.0


def info(*, sandbox: bool) -> ExitCode:
    """Print the path and size of the cache."""
    about = _cache(sandbox).info()
    oldest = "none" if about["oldest"] is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(about["oldest"]))
    rows = {"file": about["path"], "answers": f"{about['answers']:,}", "size": size(about["bytes"]), "oldest": oldest}
    sys.stdout.write("".join(f"{name:<9}{one_line(str(value))}\n" for name, value in rows.items()))
    return ExitCode.DONE


def clear(*, older_than: float, yes: bool, sandbox: bool) -> ExitCode:
    """Delete cached answers, after confirmation."""
    cache = _cache(sandbox)
    which = f"answers older than {older_than:g} days" if older_than else "all answers"
    if not yes:
        if not sys.stdin.isatty():
            raise SettingsError(
                "deleted answers have to be paid for again.",
                code="settings_conflict",
                remedy="Confirm with --yes.",
            )
        where = one_line(str(cache.info()["path"]))
        if not typer.confirm(f"Delete {which} in {where}? They will have to be paid for again.", err=True):
            return ExitCode.DONE
    print_message(f"{cache.clear(older_than * _DAY_SECONDS):,} answers deleted.")
    return ExitCode.DONE


def export(path: Path, *, sandbox: bool) -> ExitCode:
    """Export all answers to a file, atomically."""
    written = _cache(sandbox).export(path)
    print_message(f"{one_line(str(path))}: {written:,} answers")
    return ExitCode.DONE


def _cache(sandbox: bool) -> ResultCache:
    directory = state_directory(Settings())
    return ResultCache(directory / SANDBOX if sandbox else directory)
