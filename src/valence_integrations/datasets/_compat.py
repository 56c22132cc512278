"""Which pickler and which caller of `datasets` 4.0 to 5.2 is at work; lazy rows are in `_rows`, streams in `_mapping`.

Nothing here imports `datasets`, which may be imported later or not be installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["PickledState", "is_called_by_dataset_map"]

#: The module of the pickler that makes fingerprints, and of the function that registers types with it.
_PICKLER_MODULE = "datasets.utils._dill"

#: The module of ``Dataset.map``.
_MAP_MODULE = "datasets.arrow_dataset"


class PickledState:
    """The state of a pickled object: a dict, except for the fingerprint pickler of `datasets`.

    For fingerprints, `datasets` pickles functions with its own pickler and hashes the bytes. Only that pickler has a
    reducer for this type, which saves another dict. The type is registered each time a state is created, before it
    reaches a pickler, so neither the order of imports nor the pickler in use matters.

    Parameters
    ----------
    pickled : mapping
        State for every other pickler.
    fingerprint : callable
        Returns the state that the fingerprint depends on.
    """

    def __init__(self, pickled: Mapping[str, Any], fingerprint: Callable[[], Mapping[str, Any]]) -> None:
        self.pickled = pickled
        self.fingerprint = fingerprint
        register = getattr(sys.modules.get(_PICKLER_MODULE), "pklregister", None)
        if register is not None:
            register(PickledState)(_save_fingerprint)

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self.pickled),)


def _save_fingerprint(pickler: Any, state: PickledState) -> None:
    """Save the fingerprint's state instead of the pickled one; called by the pickler of `datasets`."""
    pickler.save(dict(state.fingerprint()))


def is_called_by_dataset_map() -> bool:
    """Whether ``Dataset.map`` called the function that calls this one.

    Only the writer of ``Dataset.map`` accepts typed arrays; ``IterableDataset.map`` and user functions do not.
    `datasets` passes nothing that distinguishes them, so the caller's frame is inspected.
    """
    return bool(sys._getframe(2).f_globals.get("__name__") == _MAP_MODULE)
