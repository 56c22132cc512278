"""A strict WAV reader, separate from the clients under test so that they share no misreading.

It reads RIFF/WAVE with PCM of 8, 16, 24 or 32 bits or floats of 32 or 64 bits, plain or as WAVE_FORMAT_EXTENSIBLE.
It refuses malformed files: sizes beyond the end of the file, contradictory fields, a partial frame, no audio. The error
codes that are not in the vendor's documents (``INVALID_AUDIO``, ``UNSUPPORTED_AUDIO``) are the sandbox's own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._errors import ApiError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_RATE = 8000

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_ENCODINGS = {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}


@dataclass(frozen=True)
class Audio:
    """Mono samples in -1..1 at a sampling rate."""

    samples: NDArray[np.float32]
    rate: int

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.rate

    def cut(self, start: float, end: float | None = None) -> NDArray[np.float32]:
        """Return the samples between two times in seconds."""
        return self.samples[round(start * self.rate) : None if end is None else round(end * self.rate)]


def read_wav(data: bytes) -> Audio:
    """Decode a mono WAV file, or refuse it with a 400."""
    chunks = _chunks(data)
    if "fmt " not in chunks:
        raise _invalid("it has no fmt chunk")
    if "data" not in chunks:
        raise _invalid("it has no data chunk")
    encoding, channels, rate, bits = _format(chunks["fmt "])
    if (encoding, bits) not in _ENCODINGS:
        raise ApiError(400, "UNSUPPORTED_AUDIO", f"WAV encoding {encoding} with {bits} bits is not supported: send PCM")
    if channels != 1:
        raise ApiError(400, "UNSUPPORTED_AUDIO", f"Audio must be mono, this file has {channels} channels")
    if rate < MIN_RATE:
        raise ApiError(400, "UNSUPPORTED_AUDIO", f"Audio must be sampled at {MIN_RATE} Hz at least, not {rate} Hz")
    payload = chunks["data"]
    if not payload:
        raise _invalid("its data chunk is empty")
    if len(payload) % (bits // 8):
        raise _invalid("its data chunk ends within a sample")
    return Audio(_samples(payload, encoding, bits), rate)


def _invalid(reason: str) -> ApiError:
    return ApiError(400, "INVALID_AUDIO", f"The file is not a readable WAV file: {reason}")


def _chunks(data: bytes) -> dict[str, bytes]:
    """Return the chunks up to the data chunk by name; for a repeated name, the first."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise _invalid("it does not begin with a RIFF/WAVE header")
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise _invalid("it is truncated, its header promises more bytes than came")
    chunks: dict[str, bytes] = {}
    at = 12
    while at + 8 <= len(data) and "data" not in chunks:
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if at + size > len(data):
            raise _invalid(f"its chunk {name!r} reaches beyond the end of the file")
        chunks.setdefault(name.decode("latin-1"), data[at : at + size])
        at += size + size % 2
    return chunks


def _format(chunk: bytes) -> tuple[int, int, int, int]:
    """Return encoding, channels, sampling rate and bits per sample."""
    if len(chunk) < 16:
        raise _invalid("its fmt chunk is too short")
    encoding, channels, rate, byte_rate, block, bits = struct.unpack_from("<HHIIHH", chunk)
    if encoding == _EXTENSIBLE:
        if len(chunk) < 40 or chunk[26:40] != _GUID_TAIL:
            raise _invalid("its extensible fmt chunk is broken")
        encoding = struct.unpack_from("<H", chunk, 24)[0]
    if not channels or not rate or bits % 8 or block != channels * bits // 8 or byte_rate != rate * block:
        raise _invalid("the fields of its fmt chunk contradict each other")
    return encoding, channels, rate, bits


def _samples(payload: bytes, encoding: int, bits: int) -> NDArray[np.float32]:
    if encoding == _FLOAT:
        floats = np.frombuffer(payload, dtype=f"<f{bits // 8}").astype(np.float32)
        if not np.isfinite(floats).all():
            raise _invalid("it holds samples that are not finite")
        return floats
    if bits == 8:
        return (np.frombuffer(payload, dtype=np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    if bits == 24:
        bytewise = np.frombuffer(payload, dtype=np.uint8).reshape(-1, 3)
        padded = np.zeros((len(bytewise), 4), dtype=np.uint8)
        padded[:, 1:] = bytewise
        integers = padded.view("<i4").ravel()
        bits = 32
    else:
        integers = np.frombuffer(payload, dtype=f"<i{bits // 8}")
    return (integers / float(1 << (bits - 1))).astype(np.float32)
