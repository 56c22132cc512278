"""Limits of the result cache, from the environment."""

from __future__ import annotations

import math
import os
from typing import NamedTuple

from valence_integrations.errors import SettingsError

__all__ = ["CacheLimits", "cache_limits"]


class CacheLimits(NamedTuple):
    """Maximum age of answers in days, and their maximum size in MB; None for no limit."""

    days: float | None = None
    megabytes: float | None = None


def cache_limits() -> CacheLimits:
    """Read ``VALENCE_CACHE_MAX_AGE_DAYS`` and ``VALENCE_CACHE_MAX_MB``.

    Raises
    ------
    SettingsError
        If one is not a number of at least 0.
    """
    return CacheLimits(_number("VALENCE_CACHE_MAX_AGE_DAYS"), _number("VALENCE_CACHE_MAX_MB"))


def _number(variable: str) -> float | None:
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise SettingsError(
            f"The environment variable {variable} is {text!r}, which is not a number of at least 0.",
            code="invalid_environment",
            setting=variable.removeprefix("VALENCE_").lower(),
            remedy="Change or unset it.",
        )
    return number
