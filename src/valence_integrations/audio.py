"""Audio: every form that an item may have, opened without decoding where that is possible."""

from __future__ import annotations

import io
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Number
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from valence_integrations import _decode, wav
from valence_integrations._missing import is_missing
from valence_integrations.errors import AudioError, AudioNotFoundError, UnreadableAudioError

__all__ = ["MAX_RATE", "MIN_RATE", "Clip", "open_clip"]

Int16: TypeAlias = npt.NDArray[np.int16]
Float32: TypeAlias = npt.NDArray[np.float32]

#: The lowest rate that the service takes [quickstart], in Hz.
MIN_RATE = 8_000

#: The highest rate that is sent as it is, in Hz; above it, audio is resampled to the service's ideal 44.1 kHz.
MAX_RATE = 48_000
IDEAL_RATE = 44_100

#: Below this, in Hz, there is no speech to hear: the rate is a mistake.
_LOWEST_RATE = 1_000

#: A file up to this size is read at once; of a larger one, only the header.
_IN_MEMORY = 8 * 2**20

#: More channels than this are taken for frames when the layout of a 2-D waveform is told apart.
_MAX_CHANNELS = 32

_FORMS = (
    "a path, the bytes of a file, a file object, a waveform, (waveform, sampling_rate), "
    '{"array", "sampling_rate"} or {"bytes", "path"}'
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True, eq=False)
class Clip:
    """One item's audio, opened.

    Attributes
    ----------
    name : str
        What messages call it.
    sampling_rate, channels, frames : int
        What the header says; `frames` of a compressed file can be an estimate.
    ready : bool
        Whether it is a WAV file that the service takes as it is, so that it travels byte for byte.
    """

    name: str
    sampling_rate: int
    channels: int
    frames: int
    ready: bool
    source: bytes | Path | npt.NDArray[Any]

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.sampling_rate

    @property
    def rate(self) -> int:
        """Hz at which it is sent."""
        if self.sampling_rate > MAX_RATE:
            return IDEAL_RATE
        return max(self.sampling_rate, MIN_RATE)

    def pcm(self) -> Int16:
        """Mono waveform at `rate`.

        Raises
        ------
        UnreadableAudioError
            If it cannot be decoded.
        """
        blocks = list(self.blocks())
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def blocks(self) -> Iterator[Int16]:
        """Mono waveform at `rate`, piece by piece, so that a long item is never whole in memory."""
        try:
            blocks = self._floats()
            if self.rate != self.sampling_rate:
                blocks = _resampled(blocks, self.sampling_rate, self.rate)
            empty = True
            for block in blocks:
                if block.size:
                    empty = False
                    yield _to_int16(block)
            if empty:
                raise UnreadableAudioError("it holds no audio.")
        except AudioError as error:
            raise error.named(self.name) from None

    def wav(self) -> bytes:
        """WAV file that the service takes."""
        if self.ready:
            return self.source if isinstance(self.source, bytes) else cast("Path", self.source).read_bytes()
        return wav.encode(self.pcm(), self.rate)

    def save(self, path: Path) -> None:
        """Write the WAV file that the service takes; one that is ready on disk is linked, not copied."""
        if self.ready and isinstance(self.source, Path):
            try:
                path.symlink_to(self.source.absolute())
            except OSError:
                pass
            else:
                return
        with path.open("wb") as file:
            if self.ready:
                file.write(self.wav())
                return
            file.write(bytes(wav.HEADER_SIZE))
            size = sum(file.write(block.astype("<i2", copy=False).tobytes()) for block in self.blocks())
            file.seek(0)
            file.write(wav.header(self.rate, size))

    def _floats(self) -> Iterator[Float32]:
        """Mono float waveform at its own rate."""
        if not isinstance(self.source, np.ndarray):
            for block in _decode.blocks(self.source, self.frames):
                yield _mixed_down(block)
            return
        if self.source.dtype == np.int16 and self.source.ndim == 1:
            yield self.source.astype(np.float32) / np.float32(32768)
            return
        yield _mixed_down(_to_float(self.source))


def open_clip(item: Any, sampling_rate: int = 16_000) -> Clip | None:
    """Open one item, in any of the forms that an item may have.

    Parameters
    ----------
    item : object
        See *Audio an item may be* in the documentation.
    sampling_rate : int, default=16000
        Rate in Hz of a waveform that comes without one.

    Returns
    -------
    Clip or None
        None for a missing item (``None``, NaN, ``pd.NA``).

    Raises
    ------
    AudioError
        If the item is no audio, is damaged, or needs an extra that is not installed; the message names the item.

    Examples
    --------
    >>> import numpy as np
    >>> from valence_integrations.audio import open_clip
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
            "numpy cuts zeros off the end of bytes, so this is not the file any more; use dtype object."
        ).named(f"numpy bytes of {len(item)} bytes")
    if isinstance(item, (bytes, bytearray, memoryview)):
        return _open_bytes(bytes(item), None)
    if isinstance(item, Mapping):
        return _open_mapping(item, sampling_rate)
    if isinstance(item, tuple) and len(item) == 2 and not isinstance(item[0], Number):
        return _open_waveform(item[0], item[1])
    if getattr(item, "_hf_encoded", None):
        # What the decoder of `datasets` was made of: the file itself, which need not be decoded.
        return open_clip(item._hf_encoded, sampling_rate)
    if hasattr(item, "get_all_samples"):
        samples = item.get_all_samples()
        return _open_waveform(samples.data, samples.sample_rate)
    if hasattr(item, "read"):
        return _open_file(item)
    if isinstance(item, tuple) and len(item) == 2 and not isinstance(item[1], Number):
        raise UnreadableAudioError("give (waveform, sampling_rate), not (sampling_rate, waveform).").named("tuple")
    if isinstance(item, (list, tuple)) or hasattr(item, "__array__") or hasattr(item, "detach"):
        return _open_waveform(item, sampling_rate)
    raise UnreadableAudioError(f"this is no audio; give {_FORMS}.").named(f"item of type {type(item).__name__}")


def _open_path(path: str | os.PathLike[Any]) -> Clip:
    name = os.fsdecode(path)
    try:
        if not name:
            raise UnreadableAudioError("the path is empty.")
        if _URL.match(name):
            raise UnreadableAudioError("addresses are not fetched; download the file and give its path.")
        return _open_file_at(Path(name), name)
    except AudioError as error:
        raise error.named(name or "path") from None
    except (OSError, ValueError) as error:
        kind = AudioNotFoundError if isinstance(error, FileNotFoundError) else UnreadableAudioError
        reason = getattr(error, "strerror", None) or str(error)
        raise kind(f"the file cannot be read: {reason}.").named(name) from None


def _open_file_at(path: Path, name: str) -> Clip:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableAudioError("this is a directory or a device, not a file.")
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
        raise UnreadableAudioError("the file is empty.")
    magic = file.read(4)
    file.seek(0)
    if magic in (b"RIFF", b"RIFX", b"RF64"):
        try:
            head = wav.read_header(file, size)
        except wav.WavError as error:
            raise UnreadableAudioError(f"the WAV file is damaged: {error}. Export or copy it again.") from None
        if head.frames is not None:
            ready = head.plain and head.channels == 1 and MIN_RATE <= head.sampling_rate <= MAX_RATE
            return Clip(name, _rate(head.sampling_rate), head.channels, head.frames, ready, source)
    info = _decode.probe(source)
    if info.frames == 0:
        raise UnreadableAudioError("it holds no audio.")
    return Clip(name, _rate(info.sampling_rate), info.channels, info.frames, False, source)


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
    raise UnreadableAudioError(f"a dict with the keys {sorted(map(str, item))} is no audio; give {_FORMS}.").named(
        "dict"
    )


def _open_file(file: Any) -> Clip:
    name = str(getattr(file, "name", "") or f"file object of type {type(file).__name__}")
    try:
        position = file.tell() if file.seekable() else None
    except (AttributeError, OSError, ValueError):
        position = None
    try:
        data = file.read()
    except (OSError, ValueError) as error:
        raise UnreadableAudioError(f"the file cannot be read: {error}.").named(name) from None
    if position is not None:
        file.seek(position)
    if not isinstance(data, bytes):
        raise UnreadableAudioError('the file is open as text; open it with mode "rb".').named(name)
    return _open_bytes(data, name)


def _open_waveform(waveform: Any, sampling_rate: Any) -> Clip:
    name = "waveform"
    try:
        if hasattr(waveform, "detach"):
            waveform = waveform.detach().cpu().numpy()
        array = _samples(waveform)
        name = f"waveform of shape {array.shape} and type {array.dtype}"
        rate = _rate(sampling_rate)
        if array.size == 0:
            raise UnreadableAudioError("it holds no audio.")
        array = _frames_first(array)
    except AudioError as error:
        raise error.named(name) from None
    except (TypeError, ValueError) as error:
        raise UnreadableAudioError(f"it is no waveform: {error}.").named(name) from None
    return Clip(name, rate, array.shape[1] if array.ndim == 2 else 1, len(array), False, array)


def _samples(waveform: Any) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.asarray(waveform)
    if array.dtype == object:
        array = array.astype(np.float64)
    if array.dtype in (np.int64, np.uint64) and array.size:
        array = _narrowed(array)
    if array.dtype.kind not in "iuf":
        raise UnreadableAudioError(f"samples must be numbers, not {array.dtype}; give {_FORMS}.")
    return array


def _narrowed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """64-bit integers, as lists of Python numbers become: no audio has that width, so the values tell it."""
    peak = max(-int(array.min()), int(array.max()))
    for width in (np.int16, np.int32):
        limits = np.iinfo(width)
        if peak <= -limits.min:
            narrowed: npt.NDArray[Any] = np.clip(array, limits.min, limits.max).astype(width)
            return narrowed
    raise UnreadableAudioError("its values do not fit in 32 bits; scale it to float between -1 and 1.")


def _rate(sampling_rate: Any) -> int:
    try:
        rate = int(sampling_rate)
        if rate == sampling_rate and rate >= _LOWEST_RATE:
            return rate
    except (TypeError, ValueError, OverflowError):
        pass
    raise UnreadableAudioError(
        f"its sampling_rate must be a whole number of Hz, {_LOWEST_RATE} at least, not {sampling_rate!r}."
    )


def _frames_first(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Tell (frames, channels) and (channels, frames) apart: the channels are the few."""
    if array.ndim == 1:
        return array
    if array.ndim != 2:
        raise UnreadableAudioError("a waveform has one dimension, or two with its channels.")
    first, second = array.shape
    if 1 in (first, second):
        return array.reshape(-1)
    if first <= _MAX_CHANNELS < second:
        return array.T
    if second <= _MAX_CHANNELS < first:
        return array
    raise UnreadableAudioError(
        "which axis holds the channels is ambiguous; mix it down to one dimension, or give one channel."
    )


def _to_float(array: npt.NDArray[Any]) -> Float32:
    """Samples between -1 and 1. A float waveform beyond that is scaled down as a whole, not clipped."""
    if array.dtype.kind == "u":
        middle = float(2 ** (8 * array.itemsize - 1))
        return ((array.astype(np.float64) - middle) / middle).astype(np.float32)
    if array.dtype.kind == "i":
        return (array / float(2 ** (8 * array.itemsize - 1))).astype(np.float32)
    peak = float(np.max(np.abs(array)))
    if not math.isfinite(peak):
        raise UnreadableAudioError("it has samples that are NaN or infinite; replace or drop them.")
    return (array / peak if peak > 1.0 else array).astype(np.float32)


def _mixed_down(block: Float32) -> Float32:
    """Mean of the channels; a matrix product is ten times as fast as ``mean``."""
    if block.ndim == 1:
        return block
    channels = block.shape[1]
    if channels == 1:
        return block[:, 0]
    return block @ np.full(channels, 1.0 / channels, dtype=np.float32)


def _resampled(blocks: Iterator[Float32], rate_in: int, rate_out: int) -> Iterator[Float32]:
    import soxr

    stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


def _to_int16(block: Float32) -> Int16:
    scaled = np.rint(block * np.float32(32768))
    if not np.isfinite(scaled).all():
        raise UnreadableAudioError("it has samples that are NaN or infinite; replace or drop them.")
    pcm: Int16 = np.clip(scaled, -32768, 32767).astype(np.int16)
    return pcm
