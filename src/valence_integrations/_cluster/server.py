"""What the workers of a cluster share, served from one place: the account's permits and, if wanted, the answers."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import logging
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from valence_integrations._limits.ledger import Ledger, ledger_path
from valence_integrations._limits.policy import Window
from valence_integrations._store.cache import ResultCache, state_directory
from valence_integrations._store.mounts import network_filesystem
from valence_integrations.settings import Settings

__all__ = ["ClusterServer", "account_of", "local_directory"]

_log = logging.getLogger("valence_integrations")

#: Whoever is first in line waits this long for a permit, then goes to the end of the line: it may be dead by now.
_MAX_WAIT_SECONDS = 0.5

#: How long a window is kept as long as one worker wanted it, whose calls are late.
_WINDOW_MEMORY_SECONDS = 10.0


def account_of(settings: Settings) -> str:
    """Name of an account, which tells neither key nor host.

    Raises
    ------
    MissingKeyError
        If there is no key.
    """
    return ledger_path(Path(), settings.base_url, settings.require_key()).stem


def local_directory(settings: Settings) -> Path:
    """Where this machine keeps its files, which is never on a network file system.

    Warns
    -----
    UserWarning
        If the directory that was asked for is on one: then another one is taken.
    """
    directory = state_directory(settings)
    kind = network_filesystem(directory)
    if kind is None:
        return directory
    local = Path(tempfile.gettempdir()) / f"valence-integrations-{getpass.getuser()}"
    message = (
        f"{directory} lies on a network file system ({kind}), where SQLite files break that several machines write: "
        f"this one keeps answers and limits in {local}. Set VALENCE_CACHE_DIR on each to a directory of its own disk "
        'that lasts; with cache="shared" all use the answers of one.'
    )
    _log.warning("%s", message)
    warnings.warn(message, stacklevel=2)
    return local


class ClusterServer:
    """Gives out the account's permits, and keeps answers, for processes on any machine.

    It holds nothing but open files, so that another one at the same files can take its place at any time. It needs
    no key. A permit that is given out is written down before it is told, and counts as used unless it is given back
    as unused; one that is not renewed for `LEASE_SECONDS` no longer counts as under way.

    Parameters
    ----------
    settings : Settings
        Where the files lie; no more of them counts here.
    account : str
        What `account_of` returned.
    """

    def __init__(self, settings: Settings, account: str) -> None:
        directory = local_directory(settings)
        self._ledger = Ledger(directory / f"{account}.sqlite3", remote=True)
        self._cache = ResultCache(directory, remote=True)
        self._longest: dict[int, tuple[float, float]] = {}
        self._queue = asyncio.Lock()
        self._given_back = asyncio.Event()

    async def take(
        self, windows: tuple[Window, ...], concurrency: int, wanted: int
    ) -> tuple[list[tuple[int, float]], float]:
        """Take permits, first come first served, as soon as there is one.

        Parameters
        ----------
        windows : tuple of Window
            The policy, with windows as long as they are to be kept.
        concurrency : int
            Permits out at once.
        wanted : int
            Permits that would be used at once.

        Returns
        -------
        list of (int, float)
            Numbers of permits and when they start, by the clock here; none if there was none for a while.
        float
            The time here.
        """
        windows = tuple(self._longest_requested(window) for window in windows)
        async with self._queue:
            deadline = time.monotonic() + _MAX_WAIT_SECONDS
            granted: list[tuple[int, float]] = []
            while True:
                self._given_back.clear()
                while len(granted) < wanted:
                    permit, when = self._ledger.take(windows, concurrency, float)
                    if not permit:
                        break
                    granted.append((permit, when))
                left = deadline - time.monotonic()
                if granted or left <= 0:
                    return granted, self._ledger.clock()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._given_back.wait(), min(when, left))

    def _longest_requested(self, window: Window) -> Window:
        """Make a window as long as anybody has wanted it lately: who is late makes all the others wait longer."""
        now = time.monotonic()
        longest, until = self._longest.get(window.count, (0.0, 0.0))
        if window.seconds >= longest or now > until:
            self._longest[window.count] = (window.seconds, now + _WINDOW_MEMORY_SECONDS)
            return window
        return replace(window, seconds=longest)

    async def give_back(self, permit: int, unused: float | None = None) -> None:
        """Say that a permit's call has ended or, with the permit's start, that it was not made."""
        self._ledger.give_back(permit, unused)
        self._given_back.set()

    async def hold(self, seconds: float) -> bool:
        """Give out no permit for a while; return whether nobody had said so before."""
        return self._ledger.hold(seconds)

    async def started(self, seconds: float) -> int:
        """Count the permits that started in the last so many seconds."""
        return self._ledger.started(seconds)

    async def now(self) -> float:
        """Tell the time here."""
        return self._ledger.clock()

    async def renew(self, permits: Sequence[int], claims: Sequence[str]) -> None:
        """Say that permits and claims are still in use."""
        self._ledger.renew(permits)
        if claims:
            self._cache.renew(claims)

    async def get(self, key: str) -> dict[str, Any] | None:
        """Return the answer to a key, or None."""
        return self._cache.get(key)

    async def put(self, key: str, value: dict[str, Any]) -> None:
        """Keep an answer."""
        self._cache.put(key, value)

    async def recipe(self, key: str) -> dict[str, Any] | None:
        """Return how a file was sent, or None."""
        return self._cache.recipe(key)

    async def put_recipe(self, key: str, value: dict[str, Any]) -> None:
        """Keep how a file was sent."""
        self._cache.put_recipe(key, value)

    async def remove(self, key: str) -> None:
        """Forget a key."""
        self._cache.remove(key)

    async def claim(self, key: str) -> bool:
        """Say that the caller is about to find out the answer to a key; False if another is at it, or has done so."""
        return self._cache.claim(key)

    async def release(self, key: str) -> None:
        """Give up a claim without an answer."""
        self._cache.release(key)
