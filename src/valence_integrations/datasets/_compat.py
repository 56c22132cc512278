"""What this package has to know about the inside of `datasets` 4.0 to 5.2: whose pickler, and whose call it is.

Nothing here imports `datasets`, which may come later or not at all.
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
    """The state of an object on its way into a pickle, which holds it as a dict.

    For fingerprints, `datasets` pickles functions with a pickler of its own, and hashes the bytes. That pickler alone
    has a reducer for this type, which gives it another dict. Every object that is pickled makes its state anew, and
    `datasets` is told of the type before the state reaches any pickler: it does not matter which of the two was
    imported first, and nothing needs to know which pickler is at work.

    Parameters
    ----------
    pickled : mapping
        What every other pickler gets.
    fingerprint : callable
        Makes what the fingerprint depends on.
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
    """Save what the fingerprint depends on in the place of a state; the pickler of `datasets` calls it."""
    pickler.save(dict(state.fingerprint()))


def is_called_by_dataset_map() -> bool:
    """Tell whether the code behind ``Dataset.map`` has called the function that asks.

    The writer there takes typed arrays, and nothing else does: not ``IterableDataset.map``, and no function of a user.
    `datasets` hands its functions nothing that tells the two apart, so the frame of the caller has to.
    """
    return bool(sys._getframe(2).f_globals.get("__name__") == _MAP_MODULE)
