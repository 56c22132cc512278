"""What stands for no item: nothing is sent for it, and it is no error."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["is_missing"]


def is_missing(item: object) -> bool:
    """Whether it is None, NaN, or what pandas has for them."""
    if item is None or type(item).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(item, (float, np.floating)) and math.isnan(item)
