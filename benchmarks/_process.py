"""Child processes that exchange lines of text and JSON, such as the sandbox."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import IO, Any


class Server:
    """The sandbox in a separate process, started by `_server.py`."""

    def __init__(self, **settings: Any) -> None:
        command = [sys.executable, str(Path(__file__).with_name("_server.py")), json.dumps(settings)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started = read(self._process)
        self.url, self.api_key, self.tls_url = started["url"], started["api_key"], started.get("tls_url")

    def ask(self, command: str) -> dict[str, Any]:
        """Send ``reset`` or ``counters``."""
        write(self._process, command)
        return read(self._process)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def read(process: subprocess.Popen[str]) -> dict[str, Any]:
    stream: IO[str] | None = process.stdout
    line = stream.readline() if stream is not None else ""
    if not line:
        raise EOFError
    return dict(json.loads(line))


def write(process: subprocess.Popen[str], line: str) -> None:
    if process.stdin is not None:
        process.stdin.write(line + "\n")
        process.stdin.flush()
