"""Engines shared by callers in one process, with common connections and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from valence_integrations._store.cache import state_directory
from valence_integrations.engine._engine import Engine
from valence_integrations.errors import SettingsError
from valence_integrations.settings import Settings, given_key, service_identity

__all__ = ["check_engine", "close_shared", "given_settings", "shared_engine"]

#: By the settings, the key that was given (None for engines that read the key from the environment at each call), and
#: the directory of cache and limits, which also depends on the environment.
_shared: dict[tuple[Settings, tuple[str | None, Path]], Engine] = {}


def shared_engine(settings: Settings) -> Engine:
    """Return the engine that callers in this process with the same settings share; its connections stay open.

    An engine that reads the key from the environment is never shared with a caller that gave a key, even the same
    one: the variable can change or go away later. Nor are engines shared between directories: each keeps the
    ``VALENCE_CACHE_DIR`` of its first call.
    """
    return _shared.setdefault((settings, (given_key(settings), state_directory(settings))), Engine(settings))


def close_shared(base_url: str) -> None:
    """Close and remove the shared engines of a service that has shut down."""
    service = service_identity(base_url)
    for key in [key for key in _shared if key[0].service == service]:
        _shared.pop(key).close()


def check_engine(engine: object) -> None:
    """Raise SettingsError unless `engine` is an engine or None."""
    if engine is not None and not isinstance(getattr(engine, "settings", None), Settings):
        raise SettingsError(f"must be an Engine or None, not {engine!r}.", setting="engine")


def given_settings(engine: Engine | None, **settings: object) -> dict[str, Any]:
    """Return the settings that are not None, for callers that accept an engine or settings.

    Raises
    ------
    SettingsError
        If both are given, or `engine` is not an engine.
    """
    check_engine(engine)
    given = {name: value for name, value in settings.items() if value is not None}
    if given and engine is not None:
        raise SettingsError(
            "The engine brings its own settings.",
            code="settings_conflict",
            setting=next(iter(given)),
            remedy=f"Set {', '.join(given)} there, or give no engine.",
        )
    return given
