"""Waveforms in memory: validate their shape and type, and convert them to mono samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from valence_integrations._audio.failures import shown
from valence_integrations.errors import UnreadableAudioError
from valence_integrations.settings import MAX_SAMPLING_RATE, MIN_SAMPLING_RATE

__all__ = [
    "FORMS",
    "Float32",
    "Int16",
    "checked_channels",
    "checked_rate",
    "floats",
    "frames_first",
    "mix_down",
    "samples_of",
    "to_int16",
]

Int16: TypeAlias = npt.NDArray[np.int16]
Float32: TypeAlias = npt.NDArray[np.float32]

#: As in libsndfile.
_HIGHEST_CHANNELS = 1024

#: Samples of all channels that are converted at once.
_BLOCK = 2**18


#: An axis of a 2-D waveform that is longer than this is considered to be the frames.
_MAX_CHANNELS = 32


FORMS = (
    "a path, the bytes of a file, a file object, a waveform, (waveform, sampling_rate), "
    '{"array", "sampling_rate"} or {"bytes", "path"}'
)


def samples_of(waveform: Any) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.asarray(waveform)
    if array.dtype == object:
        _check_objects(array)
        array = array.astype(np.float64)
    if array.dtype in (np.int64, np.uint64) and array.size:
        array = _narrowed(array)
    if array.dtype.kind not in "iuf":
        raise UnreadableAudioError(
            f"samples must be numbers, not {array.dtype}.", code="waveform_invalid", remedy=f"Give {FORMS}."
        )
    return array


def _check_objects(array: npt.NDArray[Any]) -> None:
    """Refuse what NumPy would convert to numbers, but are none: text such as "0.5", and truth values."""
    for kind in {type(value) for value in array.flat}:
        if issubclass(kind, (str, bytes, bool, np.bool_)):
            raise UnreadableAudioError(
                f"samples must be numbers, not {kind.__name__}.", code="waveform_invalid", remedy=f"Give {FORMS}."
            )


def _narrowed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Narrow 64-bit integers (from lists of Python numbers) to the smallest width of audio that fits the values."""
    peak = max(-int(array.min()), int(array.max()))
    for width in (np.int16, np.int32):
        limits = np.iinfo(width)
        if peak <= -limits.min:
            narrowed: npt.NDArray[Any] = np.clip(array, limits.min, limits.max).astype(width)
            return narrowed
    raise UnreadableAudioError(
        "its values do not fit in 32 bits.", code="waveform_invalid", remedy="Scale it to float between -1 and 1."
    )


def checked_rate(sampling_rate: Any) -> int:
    try:
        rate = int(sampling_rate)
        if rate == sampling_rate and MIN_SAMPLING_RATE <= rate <= MAX_SAMPLING_RATE:
            return rate
    except (TypeError, ValueError, OverflowError):
        pass
    raise UnreadableAudioError(
        f"its sampling_rate must be a whole number of {MIN_SAMPLING_RATE} to {MAX_SAMPLING_RATE} Hz, "
        f"not {shown(sampling_rate)}.",
        code="sampling_rate_invalid",
    )


def checked_channels(channels: int) -> int:
    if 1 <= channels <= _HIGHEST_CHANNELS:
        return channels
    raise UnreadableAudioError(
        f"its header declares {channels} channels; at most {_HIGHEST_CHANNELS} are read.", code="audio_damaged"
    )


def frames_first(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the waveform as (frames, channels); the shorter axis is the channels."""
    if array.ndim == 1:
        return array
    if array.ndim != 2:
        raise UnreadableAudioError(
            "a waveform must have one dimension, or two if it has channels.", code="waveform_invalid"
        )
    first, second = array.shape
    if 1 in (first, second):
        return array.reshape(-1)
    if first <= _MAX_CHANNELS < second:
        return array.T
    if second <= _MAX_CHANNELS < first:
        return array
    raise UnreadableAudioError(
        "it is ambiguous which axis holds the channels.",
        code="waveform_invalid",
        remedy="Mix it down to one dimension, or give one channel.",
    )


def floats(array: npt.NDArray[Any]) -> Iterator[Float32]:
    """Convert samples to floats between -1 and 1, in blocks.

    A float waveform beyond that is scaled down, not clipped.
    """
    step = max(_BLOCK // (array.shape[1] if array.ndim == 2 else 1), 1)
    slices = [array[start : start + step] for start in range(0, len(array), step)]
    if array.dtype.kind == "f":
        # NaN, if there is any, is NumPy's maximum, but not Python's.
        peak = float(np.max([np.max(np.abs(block)) for block in slices]))
        if not math.isfinite(peak):
            raise _not_finite()
        for block in slices:
            yield (block / peak if peak > 1.0 else block).astype(np.float32)
        return
    middle = float(2 ** (8 * array.itemsize - 1))
    offset = middle if array.dtype.kind == "u" else 0.0
    for block in slices:
        yield ((block.astype(np.float64) - offset) / middle).astype(np.float32)


def mix_down(block: Float32) -> Float32:
    """Mean of the channels, as a matrix product, which is ten times as fast as ``mean``."""
    if block.ndim == 1:
        return block
    channels = block.shape[1]
    if channels == 1:
        return block[:, 0]
    with np.errstate(over="ignore", invalid="ignore"):
        mixed: Float32 = block @ np.full(channels, 1.0 / channels, dtype=np.float32)
    return mixed


def to_int16(block: Float32) -> Int16:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint(block * np.float32(32768))
    if not np.isfinite(scaled).all():
        raise _not_finite()
    pcm: Int16 = np.clip(scaled, -32768, 32767).astype(np.int16)
    return pcm


def _not_finite() -> UnreadableAudioError:
    return UnreadableAudioError(
        "some samples are NaN or infinite.", code="waveform_invalid", remedy="Replace or drop them."
    )
