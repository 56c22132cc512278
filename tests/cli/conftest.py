from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.conftest import voice
from valence_integrations._audio import wav
from valence_integrations.cli.app import app
from valence_integrations.sandbox import Sandbox

Run = Callable[..., "CommandResult"]


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def clip(seed: int, seconds: float = 5.0) -> bytes:
    return wav.encode(np.rint(voice(seconds, 8_000, seed) * 30_000).astype(np.int16), 8_000)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in its own working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    return folder


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> Sandbox:
    """Set the key and the address of a sandbox in the environment."""
    return _use(sandbox, monkeypatch)


@pytest.fixture
def make_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Sandbox]]:
    started: list[Sandbox] = []

    def make(**options: object) -> Sandbox:
        started.append(Sandbox(**options).start())  # type: ignore[arg-type]
        return _use(started[-1], monkeypatch)

    yield make
    for sandbox in started:
        sandbox.stop()


def _use(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    monkeypatch.setenv("VALENCE_API_KEY", sandbox.api_key)
    monkeypatch.setenv("VALENCE_API_BASE_URL", sandbox.url)
    return sandbox


@pytest.fixture
def clips(here: Path) -> Path:
    """Create a nested folder with four clips, two of them identical, and a file that is not audio."""
    folder = here / "calls"
    (folder / "more").mkdir(parents=True)
    for name, seed in (("a.wav", 0), ("b.wav", 1), ("more/c.wav", 2), ("more/same.wav", 0)):
        (folder / name).write_bytes(clip(seed))
    (folder / "notes.txt").write_text("no audio")
    return folder


@pytest.fixture
def run() -> Run:
    """Run a command in this process."""

    def run(*arguments: object, **options: object) -> CommandResult:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], **options)  # type: ignore[arg-type]
        return CommandResult(result.exit_code, result.stdout, result.stderr)

    return run


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start a command in a new process."""
    command = [sys.executable, "-m", "valence_integrations", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
