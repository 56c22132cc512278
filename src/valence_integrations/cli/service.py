"""Source of the answers: the account, or the embedded sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from valence_integrations._store.cache import state_directory
from valence_integrations.errors import SettingsError
from valence_integrations.settings import Settings

__all__ = ["SANDBOX", "service"]

#: Subdirectory of the cache for the sandbox's answers, which never mix with the service's.
SANDBOX = "sandbox"

#: Fixed if it is free, because answers are cached by address.
_PORT = 8786


@contextmanager
def service(*, sandbox: bool, **overrides: Any) -> Iterator[Settings]:
    """Yield the settings, and run a sandbox in the meantime if requested.

    Parameters
    ----------
    sandbox : bool
        Whether to use the sandbox, with its own cache.
    **overrides
        Settings; None means the value of the environment.
    """
    overrides = {name: value for name, value in overrides.items() if value is not None}
    if not sandbox:
        yield Settings(**overrides)
        return
    if "base_url" in overrides:
        raise SettingsError(
            "--sandbox and --base-url are mutually exclusive.", code="settings_conflict", remedy="Choose one."
        )
    from valence_integrations.sandbox import Sandbox

    running = Sandbox(port=_PORT)
    try:
        running.start()
    except OSError:
        running = Sandbox().start()
    try:
        cache = overrides.pop("cache", True) and state_directory(Settings(**overrides)) / SANDBOX
        yield Settings(**{**overrides, "api_key": running.api_key, "base_url": running.url, "cache": cache})
    finally:
        running.stop()
