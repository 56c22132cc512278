"""Files: only regular ones are read, and each as one content."""

from __future__ import annotations

import inspect
import io
import os
import stat
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from valence_integrations._audio.failures import disk_errors
from valence_integrations.errors import UnreadableAudioError

__all__ = ["Encoded", "FileOnDisk", "opened", "read_file_object", "read_path"]

#: Files up to this size are read at once; larger ones stay on disk.
_IN_MEMORY = 8 * 2**20

#: File objects are not read beyond this size: some have no end.
_MAX_STREAM = 16 * 2**30

_BLOCK = 2**20

#: Two writes within one tick of the kernel's clock (at most 10 ms) can leave the same modification time.
_TICK_SECONDS = 0.02


class FileOnDisk:
    """A regular file that is too large to hold in memory.

    It is read several times, and each time it must be the same file, unchanged.

    Parameters
    ----------
    path : Path
        Absolute path.
    size : int
        Bytes.
    identity : tuple
        See `_identity`.
    """

    def __init__(self, path: Path, size: int, identity: tuple[int, ...]) -> None:
        self.path = path
        self.size = size
        self._identity = identity

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the file for reading.

        Raises
        ------
        UnreadableAudioError
            If it is not the same file, or was changed, before or while it is read.
        """
        with _open_regular(self.path) as file:
            self._check(file)
            yield file
            self._check(file)

    def _check(self, file: BinaryIO) -> None:
        if _identity(os.fstat(file.fileno())) != self._identity:
            raise _changed()


#: An encoded file, in memory or on disk.
Encoded: TypeAlias = "bytes | FileOnDisk"


@contextmanager
def opened(source: Encoded) -> Iterator[BinaryIO]:
    """Open an encoded file for reading."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    with source.open() as file:
        yield file


def read_path(path: Path) -> Encoded:
    """Read a file, or remember which one it is if it is large.

    Raises
    ------
    UnreadableAudioError
        If it is not a regular file.
    OSError, ValueError
        If it cannot be opened.
    """
    # Opening a device can have effects, so the type is checked before, and once more for the file that was opened.
    _check_regular(path.stat())
    with _open_regular(path) as file:
        status = os.fstat(file.fileno())
        if status.st_size > _IN_MEMORY:
            return FileOnDisk(path.absolute(), status.st_size, _settled(file))
        # Files such as those in /proc say that they are empty, and can block or have no end.
        data = file.read(status.st_size)
        if _identity(os.fstat(file.fileno())) != _identity(status):
            raise _changed()
        return data


def read_file_object(file: Any) -> Encoded:
    """Read a file object to its end, and leave its position as it was.

    Raises
    ------
    UnreadableAudioError
        If it is a pipe, a socket or a device, is open as text, or does not end.
    """
    _check_descriptor(file)
    position = None
    with suppress(Exception):
        position = file.tell() if file.seekable() else None
    try:
        return _contents(file)
    finally:
        if position is not None:
            with suppress(Exception):
                file.seek(position)


def _check_descriptor(file: Any) -> None:
    """Refuse what can block for ever: reading a pipe, a socket or a terminal."""
    descriptor = None
    with suppress(Exception):
        descriptor = file.fileno()
    if isinstance(descriptor, int) and descriptor >= 0:
        with suppress(OSError, OverflowError):
            _check_regular(os.fstat(descriptor))


def _contents(file: Any) -> Encoded:
    data = bytearray()
    while len(data) <= _IN_MEMORY:
        block = _read(file, _BLOCK)
        if not block:
            return bytes(data)
        data += block
    return _on_disk(data, file)


def _on_disk(data: bytearray, file: Any) -> FileOnDisk:
    """Copy a large file object to a temporary file, which is deleted with the `FileOnDisk`."""
    with disk_errors():
        descriptor, name = tempfile.mkstemp(prefix="valence-")
    try:
        with open(descriptor, "wb", buffering=0) as copy:  # noqa: PTH123
            size = _write(copy, data)
            while block := _read(file, _BLOCK):
                size += _write(copy, block)
                if size > _MAX_STREAM:
                    raise UnreadableAudioError(f"it does not end within {_MAX_STREAM} bytes.", code="audio_open_failed")
            stored = FileOnDisk(Path(name), size, _settled(copy))
    except BaseException:
        _unlink(name)
        raise
    weakref.finalize(stored, _unlink, name)
    return stored


def _write(copy: io.FileIO, block: bytes | bytearray) -> int:
    written = 0
    with disk_errors():
        while written < len(block):
            written += copy.write(memoryview(block)[written:])
    return written


def _unlink(name: str) -> None:
    with suppress(OSError):
        Path(name).unlink()


def _read(file: Any, size: int) -> bytes:
    block = file.read(size)
    if isinstance(block, (bytes, bytearray, memoryview)):
        return bytes(block)
    if inspect.iscoroutine(block):
        block.close()
        raise UnreadableAudioError(
            "its read() is asynchronous.", code="item_invalid", remedy="Give the bytes: await file.read()."
        )
    if isinstance(block, str):
        raise UnreadableAudioError("the file is open as text.", code="item_invalid", remedy='Open it with mode "rb".')
    raise UnreadableAudioError(f"its read() gives {type(block).__name__}, not bytes.", code="item_invalid")


def _open_regular(path: Path) -> BinaryIO:
    """Open a regular file; opening another kind, such as a named pipe, does not block."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    # Opened by its descriptor, it has no name from which soundfile would guess a format.
    file = open(os.open(path, flags), "rb")  # noqa: PTH123, SIM115
    try:
        _check_regular(os.fstat(file.fileno()))
    except BaseException:
        file.close()
        raise
    return file


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableAudioError("this is a directory, a device or a pipe, not a file.", code="audio_path_invalid")


def _settled(file: BinaryIO) -> tuple[int, ...]:
    """Identity of a file, taken when a later write is certain to change it."""
    status = os.fstat(file.fileno())
    if abs(time.time_ns() - status.st_mtime_ns) < _TICK_SECONDS * 1e9:
        time.sleep(_TICK_SECONDS)
        status = os.fstat(file.fileno())
    return _identity(status)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _changed() -> UnreadableAudioError:
    return UnreadableAudioError(
        "the file was changed while it was read.", code="audio_changed", remedy="Run again when it is complete."
    )
