"""A headless browser for tests, controlled through the DevTools protocol."""

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

#: Timeout in seconds for the browser to start, load a page, or answer.
TIMEOUT = 60


def find_browser() -> str:
    """Return the path of Chromium or Chrome; the environment variable ``CHROMIUM`` takes precedence."""
    for name in (os.environ.get("CHROMIUM", ""), *NAMES, MAC):
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(
        "The report is tested in a browser, and none was found. `make test-browser` installs Debian's Chromium; "
        "or install Chrome, or set CHROMIUM to the path of one."
    )


class Browser:
    """One tab. Records its network requests and console messages."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self._socket = socket
        self._number = 0
        self.requests: list[str] = []
        self.console_messages: list[str] = []
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
        self.console_messages.clear()
        self.call("Page.navigate", url=page.as_uri())
        while self._receive().get("method") != "Page.loadEventFired":
            pass

    def set_window(self, width: int, height: int = 900, scheme: str = "light") -> None:
        """Set the window size and the color scheme."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run(self, script: str) -> Any:
        response = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in response:
            raise RuntimeError(response["exceptionDetails"])
        return response["result"].get("value")

    def press(self, key: str) -> None:
        code, text = {"Tab": (9, ""), "Enter": (13, "\r")}[key]
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, text=text)

    def screenshot(self, path: Path) -> None:
        response = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(response["data"]))

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv())
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded":
                self.console_messages.append(json.dumps(message["params"]))
        return message


@contextmanager
def open_browser(arguments: Sequence[str] = ()) -> Iterator[Browser]:
    """Start a new browser with an empty profile."""
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
                socket = websocket.create_connection(_tab(process), suppress_origin=True, timeout=TIMEOUT)
                try:
                    yield Browser(socket)
                finally:
                    socket.close()
            finally:
                process.terminate()
                process.wait(timeout=TIMEOUT)


def _tab(process: subprocess.Popen[str]) -> str:
    """Return the WebSocket address of the first tab, from the port that the browser prints."""
    assert process.stderr is not None
    lines = []
    killer = threading.Timer(TIMEOUT, process.kill)
    killer.start()
    for line in process.stderr:
        lines.append(line)
        if line.startswith("DevTools listening on "):
            killer.cancel()
            # Later output must not fill the pipe.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            host = line.split("/")[2]
            tabs = requests.get(f"http://{host}/json/list", timeout=TIMEOUT).json()
            return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
    killer.cancel()
    raise RuntimeError(f"The browser did not start: {''.join(lines[-5:])}")


if __name__ == "__main__":
    try:
        print(find_browser())
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from None
