"""A headless browser for tests, spoken to in the DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"

#: Seconds in which a browser must start, load a page, or answer.
PATIENCE = 60


def find_browser() -> str:
    """Path of a Chromium or Chrome; that in the environment variable ``CHROMIUM`` goes first."""
    for name in (os.environ.get("CHROMIUM", ""), *NAMES, MAC):
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(
        "The report is tested in a browser, and none was found. `make test-browser` installs Debian's Chromium; "
        "or install Chrome, or set CHROMIUM to the path of one."
    )


class Browser:
    """One tab. Whatever it wants from the network, and whatever it complains about, is kept."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self._socket = socket
        self._number = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: object) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def open(self, page: Path) -> None:
        self.requests.clear()
        self.complaints.clear()
        self.call("Page.navigate", url=page.as_uri())
        while self._receive().get("method") != "Page.loadEventFired":
            pass

    def look(self, width: int, height: int = 900, scheme: str = "light") -> None:
        """Make the window so large, and light or dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run(self, script: str) -> Any:
        said = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise RuntimeError(said["exceptionDetails"])
        return said["result"].get("value")

    def press(self, key: str) -> None:
        code, text = {"Tab": (9, ""), "Enter": (13, "\r")}[key]
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, text=text)

    def picture(self, path: Path) -> None:
        said = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(said["data"]))

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv())
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded":
                self.complaints.append(json.dumps(message["params"]))
        return message


@contextmanager
def open_browser(arguments: Sequence[str] = ()) -> Iterator[Browser]:
    """Start a browser of its own, with an empty profile."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            find_browser(),
            "--headless",
            "--hide-scrollbars",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            *arguments,
            "about:blank",
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                socket = websocket.create_connection(_tab(process), suppress_origin=True, timeout=PATIENCE)
                try:
                    yield Browser(socket)
                finally:
                    socket.close()
            finally:
                process.terminate()
                process.wait(timeout=PATIENCE)


def _tab(process: subprocess.Popen[str]) -> str:
    """Address of the browser's first tab: it says where it listens."""
    assert process.stderr is not None
    said = []
    impatience = threading.Timer(PATIENCE, process.kill)
    impatience.start()
    for line in process.stderr:
        said.append(line)
        if line.startswith("DevTools listening on "):
            impatience.cancel()
            # What it says later must not fill the pipe.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            host = line.split("/")[2]
            tabs = requests.get(f"http://{host}/json/list", timeout=PATIENCE).json()
            return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
    impatience.cancel()
    raise RuntimeError(f"The browser did not start: {''.join(said[-5:])}")


if __name__ == "__main__":
    try:
        print(find_browser())
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from None
