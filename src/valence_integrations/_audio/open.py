"""Open items in every supported form, without decoding them if possible."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Mapping
from numbers import Number
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from valence_integrations._audio import decode, wav
from valence_integrations._audio.clip import MAX_RATE, MIN_RATE, Clip
from valence_integrations._audio.missing import is_missing
from valence_integrations._audio.waveform import FORMS, checked_rate, frames_first, samples_of
from valence_integrations.errors import AudioError, AudioNotFoundError, Code, UnreadableAudioError

__all__ = ["open_clip"]

#: Files up to this size are read at once; of larger ones, only the header.
_IN_MEMORY = 8 * 2**20


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def open_clip(item: Any, sampling_rate: int = 16_000) -> Clip | None:
    """Open one item in any supported form.

    Parameters
    ----------
    item : object
        See *Audio an item may be* in the documentation.
    sampling_rate : int, default=16000
        Rate in Hz of a waveform without one.

    Returns
    -------
    Clip or None
        None for a missing item (``None``, NaN, ``pd.NA``).

    Raises
    ------
    AudioError
        If the item is not audio, is damaged, or needs an extra that is not installed; the message names the item.

    Examples
    --------
    >>> import numpy as np
    >>> from valence_integrations._audio.open import open_clip
    >>> open_clip((np.zeros(48_000, dtype="float32"), 8_000)).duration
    6.0
    """
    if is_missing(item):
        return None
    if hasattr(item, "as_py"):
        return open_clip(item.as_py(), sampling_rate)
    if isinstance(item, (str, os.PathLike)):
        return _open_path(item)
    if isinstance(item, np.bytes_):
        raise UnreadableAudioError(
            "numpy strips the NUL bytes at the end of bytes, which damages the file.",
            code="item_invalid",
            remedy="Use dtype object.",
        ).named(f"numpy bytes of {len(item)} bytes")
    if isinstance(item, (bytes, bytearray, memoryview)):
        return _open_bytes(bytes(item), None)
    if isinstance(item, Mapping):
        return _open_mapping(item, sampling_rate)
    if isinstance(item, tuple) and len(item) == 2 and not isinstance(item[0], Number):
        return _open_waveform(item[0], item[1])
    if getattr(item, "_hf_encoded", None):
        # The encoded file behind a decoder of `datasets`, which need not be decoded.
        return open_clip(item._hf_encoded, sampling_rate)
    if hasattr(item, "get_all_samples"):
        samples = item.get_all_samples()
        return _open_waveform(samples.data, samples.sample_rate)
    if hasattr(item, "read"):
        return _open_file(item)
    if isinstance(item, tuple) and len(item) == 2 and not isinstance(item[1], Number):
        raise UnreadableAudioError(
            "give (waveform, sampling_rate), not (sampling_rate, waveform).", code="item_invalid"
        ).named("tuple")
    if isinstance(item, (list, tuple)) or hasattr(item, "__array__") or hasattr(item, "detach"):
        return _open_waveform(item, sampling_rate)
    raise UnreadableAudioError("this is not audio.", code="item_invalid", remedy=f"Give {FORMS}.").named(
        f"item of type {type(item).__name__}"
    )


def _open_path(path: str | os.PathLike[Any]) -> Clip:
    name = os.fsdecode(path)
    try:
        if not name:
            raise UnreadableAudioError("the path is empty.", code="audio_path_invalid")
        if _URL.match(name):
            raise UnreadableAudioError(
                "URLs are not fetched.", code="url_not_fetched", remedy="Download the file, and give its path."
            )
        return _open_file_at(Path(name), name)
    except AudioError as error:
        raise error.named(name or "path") from None
    except (OSError, ValueError) as error:
        message = f"the file cannot be read: {getattr(error, 'strerror', None) or error}."
        if isinstance(error, FileNotFoundError):
            raise AudioNotFoundError(message).named(name) from None
        code: Code = "audio_open_failed" if isinstance(error, OSError) else "audio_path_invalid"
        raise UnreadableAudioError(message, code=code).named(name) from None


def _open_file_at(path: Path, name: str) -> Clip:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableAudioError("this is a directory or a device, not a file.", code="audio_path_invalid")
    if status.st_size <= _IN_MEMORY:
        return _open_bytes(path.read_bytes(), name)
    with path.open("rb") as file:
        return _open_encoded(file, status.st_size, path, name)


def _open_bytes(data: bytes, name: str | None) -> Clip:
    name = name or f"audio of {len(data)} bytes"
    try:
        return _open_encoded(io.BytesIO(data), len(data), data, name)
    except AudioError as error:
        raise error.named(name) from None


def _open_encoded(file: BinaryIO, size: int, source: bytes | Path, name: str) -> Clip:
    if size == 0:
        raise UnreadableAudioError("the file is empty.", code="audio_empty")
    magic = file.read(4)
    file.seek(0)
    if magic in (b"RIFF", b"RIFX", b"RF64"):
        try:
            head = wav.read_header(file, size)
        except wav.WavError as error:
            raise UnreadableAudioError(
                f"the WAV file is damaged: {error}.", code="audio_damaged", remedy="Export or copy it again."
            ) from None
        if head.frames is not None:
            ready = head.plain and head.channels == 1 and MIN_RATE <= head.sampling_rate <= MAX_RATE
            return Clip(name, checked_rate(head.sampling_rate), head.channels, head.frames, ready, source)
    info = decode.probe(source)
    if info.frames == 0:
        raise UnreadableAudioError("it holds no audio.", code="audio_empty")
    return Clip(name, checked_rate(info.sampling_rate), info.channels, info.frames, False, source)


def _open_mapping(item: Mapping[Any, Any], sampling_rate: int) -> Clip | None:
    for key in ("array", "raw"):
        if item.get(key) is not None:
            return _open_waveform(item[key], item.get("sampling_rate") or sampling_rate)
    data, path = item.get("bytes"), item.get("path")
    if data is not None:
        return _open_bytes(bytes(data), str(path) if path else None)
    if path is not None:
        return _open_path(path)
    if "bytes" in item or "path" in item or "array" in item or "raw" in item:
        return None
    raise UnreadableAudioError(
        f"a dict with the keys {sorted(map(str, item))} is not audio.", code="item_invalid", remedy=f"Give {FORMS}."
    ).named("dict")


def _open_file(file: Any) -> Clip:
    name = str(getattr(file, "name", "") or f"file object of type {type(file).__name__}")
    try:
        position = file.tell() if file.seekable() else None
    except (AttributeError, OSError, ValueError):
        position = None
    try:
        data = file.read()
    except (OSError, ValueError) as error:
        raise UnreadableAudioError(f"the file cannot be read: {error}.", code="audio_open_failed").named(name) from None
    if position is not None:
        file.seek(position)
    if not isinstance(data, bytes):
        raise UnreadableAudioError(
            "the file is open as text.", code="item_invalid", remedy='Open it with mode "rb".'
        ).named(name)
    return _open_bytes(data, name)


def _open_waveform(waveform: Any, sampling_rate: Any) -> Clip:
    name = "waveform"
    try:
        if hasattr(waveform, "detach"):
            waveform = waveform.detach().cpu().numpy()
        array = samples_of(waveform)
        name = f"waveform of shape {array.shape} and type {array.dtype}"
        rate = checked_rate(sampling_rate)
        if array.size == 0:
            raise UnreadableAudioError("it holds no audio.", code="audio_empty")
        array = frames_first(array)
    except AudioError as error:
        raise error.named(name) from None
    except (TypeError, ValueError) as error:
        raise UnreadableAudioError(f"this is not a waveform: {error}.", code="waveform_invalid").named(name) from None
    return Clip(name, rate, array.shape[1] if array.ndim == 2 else 1, len(array), False, array)
