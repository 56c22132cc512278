"""Terminal output: one-line messages, and exit codes."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from valence_integrations import errors
from valence_integrations.cli.advice import error_text

__all__ = [
    "Command",
    "ExitCode",
    "Group",
    "one_line",
    "print_message",
]


class ExitCode(IntEnum):
    """Exit codes of the commands."""

    DONE = 0
    ITEMS_FAILED = 1
    WRONG_USE = 2
    STOPPED = 3
    #: A bug of this library (EX_SOFTWARE).
    FAULT = 70
    INTERRUPTED = 130


def print_message(text: str) -> None:
    """Print a message to standard error, without breaking a progress bar."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


def one_line(text: str) -> str:
    """Escape control characters and undecodable bytes, which file names may contain."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def exit_code_and_message(error: BaseException) -> tuple[ExitCode, str]:
    """Return the exit code and message of an error."""
    if isinstance(error, _UsageError):
        context = getattr(error, "ctx", None)
        message = error.format_message()
        message += "" if message.endswith((".", "?")) else "."
        return ExitCode.WRONG_USE, f"{message} See {context.command_path if context else 'valence'} --help."
    if isinstance(error, errors.ValenceError):
        stopped = isinstance(error, (errors.BudgetExceededError, errors.ServiceUnavailableError))
        failed = ExitCode.ITEMS_FAILED if isinstance(error, errors.ItemError) else ExitCode.WRONG_USE
        return ExitCode.STOPPED if stopped else failed, error_text(error)
    if isinstance(error, ImportError):
        return ExitCode.WRONG_USE, str(error)
    if isinstance(error, OSError):
        what = f"{error.filename}: " if error.filename else ""
        return (
            ExitCode.WRONG_USE,
            f"{what}{error.strerror or error}. Check the path, its permissions and the free disk space.",
        )
    kind = type(error).__name__
    return (
        ExitCode.FAULT,
        f"a bug in valence-integrations ({kind}: {error}). Please report it, with the output of --debug.",
    )


class Command(TyperCommand):
    """A command whose usage line shows the metavars of its arguments."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """Write the usage line."""
        arguments = [str(param.metavar) for param in self.params if param.param_type_name == "argument"]
        formatter.write_usage(ctx.command_path, " ".join([*arguments, "[OPTIONS]"]))


class Group(TyperGroup):
    """The command group; every error becomes one line and an exit code."""

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> NoReturn:
        """Run a command line, and exit."""
        given = sys.argv[1:] if args is None else list(args)
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        extra.update(prog_name="valence", standalone_mode=False)
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print_message(f"valence: {one_line(str(message))}")
            try:
                code = super().main(given, **extra)
            except typer.Abort:
                code = ExitCode.INTERRUPTED
            except Exception as error:
                if "--debug" in given:
                    traceback.print_exc()
                code, message = exit_code_and_message(error)
                print_message(f"valence: {one_line(message)}")
        sys.exit(code)


#: Base class of typer's usage errors; older versions of typer use click's.
_UsageError: Any = typer.BadParameter.__mro__[1]
