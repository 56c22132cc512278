"""Detect missing items, which are not sent and are not an error."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["is_missing"]


def is_missing(item: object) -> bool:
    """Whether an item is None, NaN, ``pd.NA`` or ``pd.NaT``."""
    if item is None or type(item).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(item, (float, np.floating)) and math.isnan(item)
