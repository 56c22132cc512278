"""Decoded audio: short waveforms in memory, long ones in a temporary file."""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

from valence_integrations._audio.failures import disk_errors
from valence_integrations._audio.waveform import Int16

__all__ = ["MAX_IN_MEMORY", "Samples", "Spool", "collected", "interval"]

#: More samples than this are kept in a temporary file: 8.7 minutes at 16 kHz.
MAX_IN_MEMORY = 2**23


class _Store:
    """A temporary file of int16 samples, which is deleted when nothing refers to this object."""

    def __init__(self) -> None:
        with disk_errors():
            self._file = tempfile.TemporaryFile(prefix="valence-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()

    def write(self, block: Int16) -> None:
        with disk_errors():
            self._file.write(block.tobytes())

    def flush(self) -> None:
        with disk_errors():
            self._file.flush()

    def read(self, start: int, stop: int) -> Int16:
        with self._lock:
            self._file.seek(2 * start)
            return np.frombuffer(self._file.read(2 * (stop - start)), dtype=np.int16)


class Spool:
    """Mono samples in a temporary file.

    Like an array, it has a length, and slices, which are arrays.

    Parameters
    ----------
    store : _Store
        The file.
    start, stop : int
        The samples of the file that belong to it.
    """

    def __init__(self, store: _Store, start: int, stop: int) -> None:
        self._store = store
        self._start = start
        self._stop = stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, key: slice) -> Int16:
        start, stop, _ = key.indices(len(self))
        return self._store.read(self._start + start, self._start + max(start, stop))

    def interval(self, start: int, stop: int) -> Spool:
        """Return some of the samples, without reading them."""
        return Spool(self._store, self._start + start, self._start + stop)


#: Mono samples, in memory or on disk.
Samples: TypeAlias = "Int16 | Spool"


def interval(samples: Samples, start: int, stop: int) -> Samples:
    """Return some of the samples, without copying or reading them."""
    return samples.interval(start, stop) if isinstance(samples, Spool) else samples[start:stop]


def collected(blocks: Iterable[Int16]) -> Samples:
    """Join blocks of samples, in memory if they are few, else in a temporary file."""
    few: list[Int16] = []
    size = 0
    iterator = iter(blocks)
    for block in iterator:
        few.append(block)
        size += len(block)
        if size > MAX_IN_MEMORY:
            break
    else:
        return few[0] if len(few) == 1 else np.concatenate(few)
    store = _Store()
    for block in few:
        store.write(block)
    few.clear()
    for block in iterator:
        size += len(block)
        store.write(block)
    store.flush()
    return Spool(store, 0, size)
