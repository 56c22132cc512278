"""Server of a cluster: gives its workers the account's permits and, optionally, the answers."""

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

from valence_integrations._limits.permits import Hold
from valence_integrations._limits.place import account as account_name
from valence_integrations._limits.place import places
from valence_integrations._limits.policy import Window
from valence_integrations._limits.shared import SharedLedger
from valence_integrations._store.cache import ResultCache, state_directory
from valence_integrations._store.mounts import network_filesystem
from valence_integrations.settings import Settings

__all__ = ["ClusterServer", "account_of", "local_directory"]

_log = logging.getLogger("valence_integrations")

#: The first request in the queue waits this long for a permit, then must ask again: its process may be dead.
_MAX_WAIT_SECONDS = 0.5

#: How long the longest window length requested by a worker applies to all workers.
_WINDOW_MEMORY_SECONDS = 10.0


def account_of(settings: Settings) -> str:
    """Name of an account, which reveals neither key nor host.

    Raises
    ------
    MissingKeyError
        If there is no key.
    """
    return f"limits-{account_name(settings.service, settings.require_key())}"


def local_directory(settings: Settings) -> Path:
    """Directory of this machine's files, never on a network file system.

    Warns
    -----
    UserWarning
        If the configured directory is on a network file system; a temporary directory is used instead.
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
    """Grant the account's permits to processes on any machine, and store their answers.

    All state is in files, so another server with the same files can replace it at any time. It needs no API key. A
    permit is stored before it is returned, and counts as used unless it is given back as unused. A permit that is not
    renewed for `LEASE_SECONDS` no longer counts as in use.

    Parameters
    ----------
    settings : Settings
        Settings with the directory of the files; other settings are ignored.
    account : str
        Result of `account_of`.
    """

    def __init__(self, settings: Settings, account: str) -> None:
        directory = local_directory(settings)
        self._ledger = SharedLedger(account.removeprefix("limits-"), places(directory), remote=True)
        self._cache = ResultCache(directory, remote=True)
        self._longest: dict[int, tuple[float, float]] = {}
        self._queue = asyncio.Lock()
        self._given_back = asyncio.Event()

    async def take(
        self, windows: tuple[Window, ...], concurrency: int, wanted: int
    ) -> tuple[list[tuple[int, float]], float, Hold]:
        """Take permits, first come, first served, as soon as at least one is available.

        Parameters
        ----------
        windows : tuple of Window
            Windows of the policy, with the lengths to enforce.
        concurrency : int
            Maximum number of permits in use.
        wanted : int
            Number of permits that would be used immediately.

        Returns
        -------
        list of (int, float)
            Ids and start times of permits, by the server's clock; empty if no permit became available in time.
        float
            Time of the server's clock.
        (float, float)
            Begin and end of the last hold.
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
                    return granted, self._ledger.clock(), self._ledger.held
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._given_back.wait(), min(when, left))

    def _longest_requested(self, window: Window) -> Window:
        """Extend a window to the longest length that any worker requested recently: late calls affect all workers."""
        now = time.monotonic()
        longest, until = self._longest.get(window.count, (0.0, 0.0))
        if window.seconds >= longest or now > until:
            self._longest[window.count] = (window.seconds, now + _WINDOW_MEMORY_SECONDS)
            return window
        return replace(window, seconds=longest)

    async def give_back(self, permit: int, unused: float | None = None) -> None:
        """Release a permit. Pass its start time as `unused` if no call was made."""
        self._ledger.give_back(permit, unused)
        self._given_back.set()

    async def hold(self, seconds: float, sent: float) -> tuple[bool, Hold]:
        """Grant no permits for some seconds; return whether this is a new hold, and its begin and end."""
        return self._ledger.hold(seconds, sent), self._ledger.held

    async def started(self, seconds: float) -> int:
        """Count the permits that started in the last `seconds`."""
        return self._ledger.started(seconds)

    async def now(self) -> float:
        """Return the time of the server's clock."""
        return self._ledger.clock()

    async def renew(self, permits: Sequence[int], claims: Sequence[str]) -> None:
        """Extend the leases of permits and claims."""
        self._ledger.renew(permits)
        if claims:
            self._cache.renew(claims)

    async def get(self, key: str) -> dict[str, Any] | None:
        """Return the answer to a key, or None."""
        return self._cache.get(key)

    async def put(self, key: str, value: dict[str, Any]) -> None:
        """Store an answer."""
        self._cache.put(key, value)

    async def recipe(self, key: str) -> dict[str, Any] | None:
        """Return the recipe of a file, or None."""
        return self._cache.recipe(key)

    async def put_recipe(self, key: str, value: dict[str, Any]) -> None:
        """Store the recipe of a file."""
        self._cache.put_recipe(key, value)

    async def remove(self, key: str) -> None:
        """Remove a key."""
        self._cache.remove(key)

    async def claim(self, key: str) -> bool:
        """Claim a key before requesting its answer; return False if another process claimed or stored it."""
        return self._cache.claim(key)

    async def release(self, key: str) -> None:
        """Release a claim without storing an answer."""
        self._cache.release(key)
