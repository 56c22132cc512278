"""Open items in every supported form, without decoding them if possible."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from numbers import Number
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from valence_integrations._audio import decode, wav
from valence_integrations._audio.clip import MAX_RATE, MIN_RATE, Clip
from valence_integrations._audio.failures import damaged, empty, item_errors, printable
from valence_integrations._audio.files import Encoded, opened, read_file_object, read_path
from valence_integrations._audio.missing import is_missing
from valence_integrations._audio.waveform import FORMS, checked_channels, checked_rate, frames_first, samples_of
from valence_integrations.errors import UnreadableAudioError

__all__ = ["is_file_object", "open_clip"]

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
    ItemError
        If the item is not audio, is damaged, needs an extra that is not installed, or raises anything when it is read;
        the message names the item.

    Examples
    --------
    >>> import numpy as np
    >>> from valence_integrations._audio.open import open_clip
    >>> open_clip((np.zeros(48_000, dtype="float32"), 8_000)).duration
    6.0
    """
    with item_errors(f"item of type {type(item).__name__}"):
        clip = _open(item, sampling_rate)
        if clip is not None and clip.duration > decode.MAX_DECODED_SECONDS:
            raise decode.too_long().named(clip.name)
        return clip


def is_file_object(item: Any) -> bool:
    """Whether an item must be read at once, since a file object may be closed or read further by its owner."""
    try:
        return hasattr(item, "read")
    except Exception:
        return False


def _open(item: Any, sampling_rate: int) -> Clip | None:
    if is_missing(item):
        return None
    if hasattr(item, "as_py"):
        return _open(item.as_py(), sampling_rate)
    if isinstance(item, (str, os.PathLike)):
        return _open_path(item)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return _open_bytes(item, None)
    if isinstance(item, Mapping):
        return _open_mapping(item, sampling_rate)
    if isinstance(item, tuple) and len(item) == 2 and not isinstance(item[0], Number):
        return _open_waveform(item[0], item[1])
    if getattr(item, "_hf_encoded", None):
        # The encoded file behind a decoder of `datasets`, which need not be decoded.
        return _open(item._hf_encoded, sampling_rate)
    if hasattr(item, "get_all_samples"):
        samples = item.get_all_samples()
        return _open_waveform(samples.data, samples.sample_rate)
    if hasattr(item, "read"):
        return _open_file_object(item)
    if isinstance(item, tuple) and len(item) == 2 and not isinstance(item[1], Number):
        raise UnreadableAudioError(
            "give (waveform, sampling_rate), not (sampling_rate, waveform).", code="item_invalid"
        ).named("tuple")
    if isinstance(item, (list, tuple)) or hasattr(item, "__array__") or hasattr(item, "detach"):
        return _open_waveform(item, sampling_rate)
    raise UnreadableAudioError("this is not audio.", code="item_invalid", remedy=f"Give {FORMS}.")


def _open_path(path: str | bytes | os.PathLike[Any]) -> Clip:
    name = os.fsdecode(path)
    with item_errors(name or "path"):
        if not name:
            raise UnreadableAudioError("the path is empty.", code="audio_path_invalid")
        if _URL.match(name):
            raise UnreadableAudioError(
                "URLs are not fetched.", code="url_not_fetched", remedy="Download the file, and give its path."
            )
        try:
            source = read_path(Path(name))
        except ValueError as error:
            if isinstance(error, UnreadableAudioError):
                raise
            raise UnreadableAudioError(f"the file cannot be read: {error}.", code="audio_path_invalid") from None
        return _open_encoded(source, name)


def _open_bytes(data: bytes | bytearray | memoryview, name: str | None) -> Clip:
    if isinstance(data, np.bytes_):
        raise UnreadableAudioError(
            "numpy strips the NUL bytes at the end of bytes, which damages the file.",
            code="item_invalid",
            remedy="Use dtype object.",
        ).named(f"numpy bytes of {len(data)} bytes")
    content = bytes(data)
    return _open_encoded(content, name or f"audio of {len(content)} bytes")


def _open_encoded(source: Encoded, name: str) -> Clip:
    name = printable(name)
    with item_errors(name):
        with opened(source) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if size == 0:
                raise empty("the file is empty.")
            head = _wav_header(file, size)
        if head is not None and head.frames is not None:
            ready = head.plain and head.channels == 1 and MIN_RATE <= head.sampling_rate <= MAX_RATE
            rate, channels = checked_rate(head.sampling_rate), checked_channels(head.channels)
            return Clip(name, rate, channels, head.frames, ready, source)
        info = decode.probe(source)
        if info.frames <= 0:
            raise empty()
        return Clip(name, info.sampling_rate, info.channels, info.frames, False, source)


def _wav_header(file: BinaryIO, size: int) -> wav.WavHeader | None:
    magic = file.read(4)
    file.seek(0)
    if magic not in wav.MAGIC:
        return None
    try:
        return wav.read_header(file, size)
    except wav.WavError as error:
        raise damaged(f"the WAV file is damaged: {error}.") from None


def _open_mapping(item: Mapping[Any, Any], sampling_rate: int) -> Clip | None:
    for key in ("array", "raw"):
        if not is_missing(item.get(key)):
            return _open_waveform(
                item[key], sampling_rate if item.get("sampling_rate") is None else item["sampling_rate"]
            )
    data, path = item.get("bytes"), item.get("path")
    if not is_missing(data):
        name = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else None
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise UnreadableAudioError(
                f'its "bytes" are of type {type(data).__name__}, not bytes.',
                code="item_invalid",
                remedy="Give the bytes of a file; decode base64 text first, with base64.b64decode.",
            ).named(name or "dict")
        return _open_bytes(data, name)
    if not is_missing(path):
        if not isinstance(path, (str, bytes, os.PathLike)):
            raise UnreadableAudioError(
                f'its "path" is of type {type(path).__name__}, not text.',
                code="item_invalid",
                remedy=f"Give {FORMS}.",
            ).named("dict")
        return _open_path(path)
    if "bytes" in item or "path" in item or "array" in item or "raw" in item:
        return None
    raise UnreadableAudioError(
        f"a dict with the keys {sorted(map(str, item))[:10]} is not audio.",
        code="item_invalid",
        remedy=f"Give {FORMS}.",
    ).named("dict")


def _open_file_object(file: Any) -> Clip:
    name = f"file object of type {type(file).__name__}"
    given = getattr(file, "name", None)
    if isinstance(given, (str, bytes, os.PathLike)) and given:
        name = os.fsdecode(given)
    with item_errors(name):
        try:
            source = read_file_object(file)
        except OSError as error:
            raise UnreadableAudioError(f"the file cannot be read: {error}.", code="audio_open_failed") from None
        return _open_encoded(source, name)


def _open_waveform(waveform: Any, sampling_rate: Any) -> Clip:
    name = "waveform"
    try:
        if hasattr(waveform, "detach"):
            waveform = waveform.detach().cpu().numpy()
        array = samples_of(waveform)
        name = f"waveform of shape {array.shape} and type {array.dtype}"
        rate = checked_rate(sampling_rate)
        if array.size == 0:
            raise empty()
        array = frames_first(array)
    except UnreadableAudioError as error:
        raise error.named(name) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise UnreadableAudioError(f"this is not a waveform: {error}.", code="waveform_invalid").named(name) from None
    return Clip(name, rate, array.shape[1] if array.ndim == 2 else 1, len(array), False, array)
