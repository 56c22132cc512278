"""Take items from the caller, who may change them as soon as the next one is asked for.

Whatever the caller can still write into, such as an array that a generator refills, is copied. Bytes, paths and
read-only arrays are not.
"""

from __future__ import annotations

import array
import copy
import ctypes
from collections import UserList, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from numbers import Number
from typing import Any

import numpy as np

from valence_integrations.engine._segmented import Segmented
from valence_integrations.errors import UnreadableAudioError

__all__ = ["taken", "taken_one_by_one"]

#: Methods of scalars of pyarrow, paths, decoders and file objects.
_UNCHANGED = ("as_py", "__fspath__", "get_all_samples", "read")


def taken_one_by_one(items: Iterable[object]) -> Iterator[object]:
    """Iterate over items and take each; those of a list or tuple all exist at once, and need no copy."""
    return iter(items) if type(items) in (list, tuple) else map(taken, items)


def taken(item: object) -> object:
    """Return an item that the caller cannot change; an error in place of one that cannot be copied.

    File objects are returned unchanged: the engine reads them when they are submitted.
    """
    try:
        return _copied(item)
    except Exception as error:
        return UnreadableAudioError(f"the item cannot be read: {error!r}.", code="item_invalid").named(
            f"item of type {type(item).__name__}"
        )


def _copied(item: Any) -> Any:
    """Copy what is writable, recognizing forms in the order of `open_clip`."""
    if isinstance(item, Segmented):
        return replace(item, audio=_copied(item.audio), segments=_segments(item.segments))
    if isinstance(item, bytearray):
        return bytes(item)
    if isinstance(item, memoryview):
        return item if _is_constant(item) else bytes(item)
    if isinstance(item, Mapping):
        return {key: _copied(value) for key, value in item.items()}
    if isinstance(item, (list, tuple)):
        # The first element tells a list of samples from one of channels, or from (waveform, sampling_rate).
        samples = len(item) == 0 or isinstance(item[0], Number)
        parts = item if samples else map(_copied, item)
        return tuple(parts) if isinstance(item, tuple) else list(parts)
    if isinstance(item, (str, bytes, np.generic)) or any(hasattr(item, name) for name in _UNCHANGED):
        return item
    if hasattr(item, "detach"):
        return item.detach().clone()
    if isinstance(item, np.ndarray) and _is_constant(item):
        return item
    if hasattr(item, "__array__") or hasattr(item, "__array_interface__"):
        return np.array(item)
    return copy.copy(item) if isinstance(item, (array.array, deque, UserList, ctypes.Array)) else item


def _segments(segments: Any) -> Any:
    return copy.deepcopy(segments) if isinstance(segments, (list, dict, np.ndarray)) else segments


def _is_constant(view: Any) -> bool:
    """Whether nothing can write to the memory of an array or memoryview: it is read-only down to its owner."""
    while isinstance(view, (np.ndarray, memoryview)):
        if view.flags.writeable if isinstance(view, np.ndarray) else not view.readonly:
            return False
        view = view.base if isinstance(view, np.ndarray) else view.obj
    try:
        return view is None or memoryview(view).readonly
    except TypeError:
        return False
