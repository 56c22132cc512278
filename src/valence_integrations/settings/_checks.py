"""Checks of settings: each returns the valid value in its normal form, or raises SettingsError naming the setting."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from valence_integrations.errors import SettingsError

__all__ = [
    "check_choice",
    "check_count",
    "check_flag",
    "check_number",
    "validate_cache",
    "validate_emotions",
    "validate_key",
    "validate_model",
    "validate_timeout",
]


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """Raise unless `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise SettingsError(f"must be one of {', '.join(map(repr, choices))}, not {value!r}.", setting=name)
    return str(value)


def check_flag(name: str, value: object) -> bool:
    """Raise unless `value` is True or False."""
    if not isinstance(value, bool):
        raise SettingsError(f"must be True or False, not {value!r}.", setting=name)
    return value


def check_count(
    name: str, value: object, *, optional: bool = False, least: int = 1, most: float = math.inf
) -> int | None:
    """Raise unless `value` is a whole number between `least` and `most`, or None if that is allowed."""
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        raise SettingsError(
            f"must be a whole number of {f'at least {least}' if most == math.inf else f'{least} to {most}'}, "
            f"not {value!r}.",
            setting=name,
            remedy="None is also accepted." if optional else None,
        )
    return int(value)


def check_number(name: str, value: object, highest: float) -> float | None:
    """Raise unless `value` is a number between 0 and `highest`, or None."""
    if value is None:
        return None
    number = _finite(value)
    if number is None or not 0 <= number <= highest:
        allowed = "between 0 and 1" if highest == 1.0 else "of at least 0"
        raise SettingsError(
            f"must be a number {allowed}, not {value!r}.", setting=name, remedy="None is also accepted."
        )
    return number


def validate_model(model: object) -> str:
    if not isinstance(model, str) or not model.strip():
        raise SettingsError(f"must name a model, such as '4emotions', not {model!r}.", setting="model")
    return str(model)


def validate_emotions(emotions: object) -> tuple[str, ...] | None:
    if emotions is None:
        return None
    if isinstance(emotions, str):
        raise SettingsError(f"must be a sequence of names, such as ({emotions!r},), not a string.", setting="emotions")
    # The order of a set, and so that of the columns, differs between processes.
    if not isinstance(emotions, Iterable) or isinstance(emotions, (set, frozenset)):
        raise SettingsError(f"must be a sequence of names, not {emotions!r}.", setting="emotions")
    given: tuple[Any, ...] = tuple(emotions)
    names = tuple(str(name).strip() for name in given if isinstance(name, str))
    if not all(names) or len(names) != len(given) or not names or len(set(names)) != len(names):
        raise SettingsError(f"must be distinct, non-empty names, not {given!r}.", setting="emotions")
    return names


def validate_timeout(timeout: Any) -> tuple[float, float]:
    try:
        connect, read = (_finite(seconds) for seconds in timeout)
    except (TypeError, ValueError):
        connect = read = None
    if connect and read and 0 < connect <= threading.TIMEOUT_MAX and 0 < read <= threading.TIMEOUT_MAX:
        return connect, read
    raise SettingsError(f"must be two positive numbers, (connect, read), not {timeout!r}.", setting="timeout")


def validate_cache(cache: object) -> bool | Path:
    if isinstance(cache, bool):
        return cache
    if not isinstance(cache, (str, os.PathLike)) or not os.fspath(cache) or "\0" in os.fsdecode(cache):
        raise SettingsError(f"must be True, False or the path of a directory, not {cache!r}.", setting="cache")
    return Path(os.fsdecode(cache))


def validate_key(key: object) -> str:
    """Return a given key without surrounding white space; the error does not show it."""
    if isinstance(key, str) and not key.strip():
        raise SettingsError(
            "must not be empty.", setting="api_key", remedy="Leave it out to read VALENCE_API_KEY, or give a key."
        )
    if not isinstance(key, str) or not key.strip().isascii() or not key.strip().isprintable():
        raise SettingsError("must be printable ASCII characters.", setting="api_key", remedy="Copy it again.")
    return key.strip()


def _finite(value: object) -> float | None:
    """Convert a number to float; None if it is no finite number (a bool is not a number here)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
