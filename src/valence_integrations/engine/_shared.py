"""Engines shared by callers in one process, with common connections and limits."""

from __future__ import annotations

from typing import Any

from valence_integrations.engine._engine import Engine
from valence_integrations.errors import SettingsError
from valence_integrations.settings import Settings, given_key

__all__ = ["close_shared", "given_settings", "shared_engine"]

#: By the settings and the key that was given, None for engines that read the key from the environment at each call.
_shared: dict[tuple[Settings, str | None], Engine] = {}


def shared_engine(settings: Settings) -> Engine:
    """Return the engine that callers in this process with the same settings share; its connections stay open.

    An engine that reads the key from the environment is never shared with a caller that gave a key, even the same
    one: the variable can change or go away later.
    """
    return _shared.setdefault((settings, given_key(settings)), Engine(settings))


def close_shared(base_url: str) -> None:
    """Close and remove the shared engines of a service that has shut down."""
    for key in [key for key in _shared if key[0].base_url == base_url]:
        _shared.pop(key).close()


def given_settings(engine: Engine | None, **settings: object) -> dict[str, Any]:
    """Return the settings that are not None, for callers that accept an engine or settings.

    Raises
    ------
    SettingsError
        If both are given.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if given and engine is not None:
        raise SettingsError(
            "The engine brings its own settings.",
            code="settings_conflict",
            setting=next(iter(given)),
            remedy=f"Set {', '.join(given)} there, or give no engine.",
        )
    return given
