"""Run the commands of docs/command_line.md, and compare their output with the page."""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from tests.conftest import EXAMPLES
from valence_integrations.cli.app import app
from valence_integrations.sandbox import Policy, Sandbox

PAGE = EXAMPLES.parent / "docs" / "command_line.md"


def commands() -> list[tuple[str, str]]:
    """Return the commands of the page with their expected output."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [
        (command, shown)
        for block in blocks
        for command, shown in re.findall(r"^\$ valence (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    ]


def test_commands_print_the_output_on_the_page(make_account: Callable[..., Sandbox], here: Path) -> None:
    account = make_account(policy=Policy.standard())
    (here / "examples").symlink_to(EXAMPLES)
    checker = doctest.OutputChecker()
    for command, shown in commands():
        result = CliRunner().invoke(app, shlex.split(command))
        same = checker.check_output(shown, result.output, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        assert same, f"$ valence {command}\n{result.output}"
        assert result.exit_code == (3 if shown.startswith("stopped") else 0)
    assert account.calls == 0


def test_page_has_commands() -> None:
    assert len(commands()) >= 10
    assert {command.split()[0] for command, _ in commands()} == {"annotate", "estimate", "report", "doctor", "cache"}
