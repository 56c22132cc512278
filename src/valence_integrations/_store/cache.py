"""The result cache: answers on disk, so that no call is paid twice.

One SQLite file for all accounts and models. It stores emotions and scores as JSON under a digest of the request; it
contains no audio, API key or path.
"""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import platformdirs

from valence_integrations._store.answers import RECEIPT
from valence_integrations._store.files import atomic_file, identity
from valence_integrations._store.guard import GuardedFile
from valence_integrations.errors import SettingsError
from valence_integrations.settings import Settings
from valence_integrations.settings._cache_limits import cache_limits

__all__ = ["ResultCache", "cache_directory", "cache_key", "state_directory"]

#: Increment when the meaning of a cached value changes.
SCHEMA = 1

_FILE = "answers.sqlite3"


def cache_directory(settings: Settings) -> Path | None:
    """Directory of the result cache; None if the cache is disabled."""
    return None if settings.cache is False else state_directory(settings)


def state_directory(settings: Settings) -> Path:
    """Directory of files shared by this machine's processes, also if the cache is disabled."""
    if not isinstance(settings.cache, bool):
        return Path(settings.cache)
    return Path(os.environ.get("VALENCE_CACHE_DIR") or platformdirs.user_cache_dir("valence-integrations", False))


def cache_key(settings: Settings, api: str, digest: str) -> str:
    """Key of an answer: a digest of the audio as sent and of all settings that the answer depends on.

    Parameters
    ----------
    settings : Settings
        Host and, for the DiscreteAPI, path, model and payload; the AsynchAPI takes no model.
    api : str
        ``"discrete"``, ``"asynch"``, ``"upload"`` for an upload receipt, or ``"recipe"``.
    digest : str
        SHA-256 of the WAV file as sent.
    """
    asked = [SCHEMA, api, settings.service, digest]
    if api == "discrete":
        asked += [settings.model, settings.discrete_path, settings.payload]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    return f"{RECEIPT}{key}" if api == "upload" else key


class ResultCache:
    """Answers by key; safe to share between threads and processes.

    Parameters
    ----------
    directory : Path or None
        Directory of the file; None for a temporary file that lives as long as the object.
    remote : bool, default=False
        Whether claims are held by other machines; these expire after `LEASE_SECONDS` unless they are renewed.

    Examples
    --------
    >>> from valence_integrations._store.cache import ResultCache
    >>> cache = ResultCache(None)
    >>> cache.put("key", {"emotion": "happy"})
    >>> cache.get("key")
    {'emotion': 'happy'}
    """

    def __init__(self, directory: Path | None, *, remote: bool = False) -> None:
        self._path = None if directory is None else Path(directory) / _FILE
        self._remote = remote
        self._limits = cache_limits()
        self._set_guard()

    @property
    def is_persistent(self) -> bool:
        """Whether what was stored is on disk and outlives this process, as of now."""
        return self._guarded.is_persistent()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the value of a key, or None."""
        return self._guarded.get("answers", key)

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Store a value immediately and durably; in memory while the file cannot be used."""
        self._guarded.store("answers", key, json.dumps(value))

    def recipe(self, key: str) -> dict[str, Any] | None:
        """Return the recipe of a file, or None."""
        return self._guarded.get("recipes", key)

    def put_recipe(self, key: str, value: dict[str, Any]) -> None:
        """Store the recipe of a file."""
        self._guarded.store("recipes", key, json.dumps(value, allow_nan=False))

    def remove(self, key: str) -> None:
        """Remove a key."""
        self._guarded.store("answers", key, None)

    def claim(self, key: str) -> bool:
        """Claim a key before computing its value; return False if another process claimed or stored it.

        The claim ends with its process, and with one that is suspended after `HELD_SECONDS`.
        """
        return self._guarded.claim(key)

    def renew(self, keys: Iterable[str]) -> None:
        """Renew claims. Those of this process are renewed by themselves."""
        self._guarded.renew(keys)

    def release(self, key: str) -> None:
        """Release a claim of this object without storing a value."""
        self._guarded.release(key)

    def info(self) -> dict[str, Any]:
        """Return the path, the number of answers, the size in bytes, and the time of the oldest answer.

        The path is None if the file cannot be used.
        """
        nothing = {"path": None, "answers": 0, "bytes": 0, "oldest": None}
        return self._guarded.run(lambda file: file.info(), nothing)

    def clear(self, older_than: float = 0.0) -> int:
        """Remove answers older than `older_than` seconds; return their number.

        Claims remain, and receipts of uploads that the service still has.
        """
        return self._guarded.clear(older_than)

    def export(self, path: Path) -> int:
        """Write all answers to a JSON Lines file, for its owner only; return their number.

        Raises
        ------
        SettingsError
            If the path is a file of the cache.
        """
        if self._path is not None and self._is_own(path):
            raise SettingsError(
                f"{path} is a file of the cache itself.", code="output_invalid", remedy="Choose another file."
            )
        nothing: list[tuple[str, float, dict[str, Any]]] = []
        found = self._guarded.run(lambda file: list(file.rows()), nothing)
        rows = {key: (created, value) for key, created, value in found}
        for (table, key), row in self._guarded.unsaved().items():
            if table == "answers" and row.value is not None and not key.startswith(RECEIPT):
                rows[key] = row.time or 0.0, json.loads(row.value)
        with atomic_file(path) as file:
            for key, (created, value) in rows.items():
                file.write(json.dumps({"key": key, "created": created, **value}) + "\n")
        return len(rows)

    def close(self) -> None:
        """Close the file; it is reopened when needed."""
        self._guarded.close()

    @property
    def _guarded(self) -> GuardedFile:
        """The file as opened by this process: a forked one opens it anew."""
        return self._guard if self._guard.pid == os.getpid() else self._set_guard()

    def _set_guard(self) -> GuardedFile:
        self._guard = GuardedFile(self._path, self._remote, self._limits)
        weakref.finalize(self, self._guard.close, by_collector=True)
        return self._guard

    def _is_own(self, path: Path) -> bool:
        """Return whether a path leads to a file of this cache, under whatever name."""
        assert self._path is not None
        if path.resolve().parent == self._path.resolve().parent and path.name.startswith("answers."):
            return True
        return identity(path) is not None and identity(path) == identity(self._path)
