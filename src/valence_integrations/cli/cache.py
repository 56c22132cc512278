"""``valence cache``: look at the kept answers, forget them, or write them to a file."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import typer

from valence_integrations._format import size
from valence_integrations._store.cache import ResultCache, state_directory
from valence_integrations.cli.outputs import appearing
from valence_integrations.cli.service import SANDBOX
from valence_integrations.cli.terminal import ExitCode, one_line, say
from valence_integrations.errors import SettingsError
from valence_integrations.settings import Settings

__all__ = ["clear", "export", "info"]

_DAY_SECONDS = 86_400.0


def info(*, sandbox: bool) -> ExitCode:
    """Print where the cache is, and how much is in it."""
    about = _cache(sandbox).info()
    oldest = "none" if about["oldest"] is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(about["oldest"]))
    rows = {"file": about["path"], "answers": f"{about['answers']:,}", "size": size(about["bytes"]), "oldest": oldest}
    sys.stdout.write("".join(f"{name:<9}{one_line(str(value))}\n" for name, value in rows.items()))
    return ExitCode.DONE


def clear(*, older_than: float, yes: bool, sandbox: bool) -> ExitCode:
    """Forget answers, after asking."""
    cache = _cache(sandbox)
    which = f"older than {older_than:g} days" if older_than else "kept"
    if not yes:
        if not sys.stdin.isatty():
            raise SettingsError(
                "forgotten answers have to be paid again.",
                code="settings_conflict",
                remedy="Say that you mean it: --yes.",
            )
        where = one_line(str(cache.info()["path"]))
        if not typer.confirm(f"Forget the answers {which} in {where}? They would have to be paid again.", err=True):
            return ExitCode.DONE
    say(f"{cache.clear(older_than * _DAY_SECONDS):,} answers are forgotten.")
    return ExitCode.DONE


def export(path: Path, *, sandbox: bool) -> ExitCode:
    """Write all answers to a file, which appears when it is whole."""
    with appearing(path) as temporary:
        written = _cache(sandbox).export(temporary)
    say(f"{one_line(str(path))}: {written:,} answers")
    return ExitCode.DONE


def _cache(sandbox: bool) -> ResultCache:
    directory = state_directory(Settings())
    return ResultCache(directory / SANDBOX if sandbox else directory)
