"""Where answers come from: the account, or the embedded sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from valence_integrations._store.cache import state_directory
from valence_integrations.errors import SettingsError
from valence_integrations.settings import Settings

__all__ = ["SANDBOX", "service"]

#: Name and place, in the cache directory, of what the sandbox answered: it never mixes with the service's answers.
SANDBOX = "sandbox"

#: Always the same if it is free, as answers are cached by address.
_PORT = 8786


@contextmanager
def service(*, sandbox: bool, **given: Any) -> Iterator[Settings]:
    """Make the settings, with a sandbox that runs meanwhile if it is asked for.

    Parameters
    ----------
    sandbox : bool
        Whether the sandbox answers, with a cache of its own.
    **given
        Settings; those that are None are taken from the environment.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if not sandbox:
        yield Settings(**given)
        return
    if "base_url" in given:
        raise SettingsError(
            "--sandbox and --base-url exclude each other.", code="settings_conflict", remedy="Choose one."
        )
    from valence_integrations.sandbox import Sandbox

    running = Sandbox(port=_PORT)
    try:
        running.start()
    except OSError:
        running = Sandbox().start()
    try:
        cache = given.pop("cache", True) and state_directory(Settings(**given)) / SANDBOX
        yield Settings(**{**given, "api_key": running.api_key, "base_url": running.url, "cache": cache})
    finally:
        running.stop()
