"""Checks of settings: each returns or accepts a valid value, and raises SettingsError with the setting's name."""

from __future__ import annotations

import ipaddress
from numbers import Integral, Real
from typing import cast
from urllib.parse import urlsplit

from valence_integrations.errors import SettingsError

__all__ = [
    "DEFAULT_BASE_URL",
    "check_choice",
    "check_count",
    "check_number",
    "validate_emotions",
    "validate_timeout",
    "validate_url",
]

#: Address of the service [vendor's quickstart].
DEFAULT_BASE_URL = "https://api.getvalenceai.com"


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise unless `value` is one of `choices`."""
    if value not in choices:
        raise SettingsError(f"must be one of {', '.join(map(repr, choices))}, not {value!r}.", setting=name)


def check_count(name: str, value: object, *, optional: bool = False) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise SettingsError(
            f"must be a whole number of at least 1, not {value!r}.",
            setting=name,
            remedy="None is also accepted." if optional else None,
        )


def check_number(name: str, value: object, highest: float) -> None:
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= highest
    ):
        allowed = "between 0 and 1" if highest == 1.0 else "of at least 0"
        raise SettingsError(
            f"must be a number {allowed}, not {value!r}.", setting=name, remedy="None is also accepted."
        )


def validate_emotions(emotions: object) -> tuple[str, ...] | None:
    if emotions is None:
        return None
    if isinstance(emotions, str):
        raise SettingsError(f"must be a sequence of names, such as ({emotions!r},), not a string.", setting="emotions")
    names = tuple(name.strip() if isinstance(name, str) else name for name in cast("tuple[str, ...]", emotions))
    if not names or len(set(names)) != len(names) or not all(isinstance(name, str) and name for name in names):
        raise SettingsError(f"must be distinct, non-empty names, not {names!r}.", setting="emotions")
    return names


def validate_timeout(timeout: object) -> tuple[float, float]:
    try:
        connect, read = cast("tuple[float, float]", timeout)
        if connect > 0 and read > 0:
            return float(connect), float(read)
    except (TypeError, ValueError):
        pass
    raise SettingsError(f"must be two positive numbers, (connect, read), not {timeout!r}.", setting="timeout")


def validate_url(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError(f"must look like {DEFAULT_BASE_URL!r}, not {url!r}.", setting="base_url")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError("must be a URL without user, query or fragment.", setting="base_url")
    if parts.scheme == "http" and not _is_loopback(host):
        raise SettingsError(
            f"must be https://: {url!r} would send the key unencrypted (http:// is for 127.0.0.1).", setting="base_url"
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
