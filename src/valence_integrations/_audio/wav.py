"""Read WAV headers without decoding, and write the WAV files that are sent."""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["HEADER_SIZE", "MAGIC", "WavError", "WavHeader", "completed", "encode", "header", "read_header", "samples"]

#: First bytes of WAV files: little-endian, big-endian, and over 4 GB.
MAGIC = (b"RIFF", b"RIFX", b"RF64")

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE

#: Lengths that programs write to a pipe, where they do not know the real one: ffmpeg 0xFFFFFFFF, sox 0x7FFFF0xx.
_UNKNOWN_LENGTH = range(0x7FFF_F000, 0x1_0000_0000)

#: Bytes of a chunk that are read: of the format and of the long sizes, what follows has no meaning here.
_CHUNK_HEAD = 64

#: Chunks in a file: more than any program writes, and few enough that a hostile file takes no time.
_MAX_CHUNKS = 10_000

#: Bytes before the samples in files written by `encode`.
HEADER_SIZE = 44


class WavError(ValueError):
    """The file has a WAV signature, but is malformed."""


@dataclass(frozen=True)
class WavHeader:
    """Contents of the header of a well-formed WAV file.

    Attributes
    ----------
    sampling_rate : int
        Hz.
    channels, bits, frames : int
        Layout of the samples; `frames` is None for a compressed encoding.
    start : int
        Position of the first sample in the file, in bytes.
    plain : bool
        Whether every reader supports the file: little-endian 16-bit PCM with a regular structure.
    """

    sampling_rate: int
    channels: int
    bits: int
    frames: int | None
    start: int
    plain: bool


def read_header(file: BinaryIO, size: int) -> WavHeader:
    """Walk the chunks of a RIFF, RIFX or RF64 file.

    Parameters
    ----------
    file : binary file
        Seekable, at its start.
    size : int
        Bytes in the file.

    Raises
    ------
    WavError
        If the file is cut off, inconsistent, or has no format or no audio.
    """
    magic, form = (head := _read_exactly(file, 12))[:4], head[8:]
    endian = ">" if magic == b"RIFX" else "<"
    (riff_size,) = struct.unpack_from(f"{endian}I", head, 4)
    if form != b"WAVE":
        raise WavError("it is a RIFF file, but not a WAV file")
    covers_file = riff_size + 8 == size
    fmt: tuple[int, int, int, int, int, int] | None = None
    long_data_size: int | None = None
    for _ in range(_MAX_CHUNKS):
        if len(head := file.read(8)) < 8:
            raise WavError("it ends before its audio begins")
        kind, length = cast("tuple[bytes, int]", struct.unpack(f"{endian}4sI", head))
        if kind == b"data":
            if fmt is None:
                raise WavError("its audio comes before its format")
            # So written to a pipe, or by a program that did not end well: all the rest is audio.
            is_unknown = length == 0xFFFF_FFFF or (length == 0 and not covers_file)
            data_size = long_data_size if is_unknown else length
            return _read_data(file, size, fmt, data_size, plain=magic == b"RIFF" and covers_file)
        if file.tell() + length > size:
            raise WavError(f"its {kind.decode('ascii', 'replace')!r} chunk is cut off")
        body = _read_exactly(file, min(length, _CHUNK_HEAD)) if kind in (b"fmt ", b"ds64") else b""
        if kind == b"fmt " and fmt is not None:
            raise WavError("it has two formats")
        if kind == b"fmt ":
            fmt = _format(body, endian)
        elif kind == b"ds64" and length >= 16:
            (long_data_size,) = struct.unpack_from("<Q", body, 8)
        file.seek((length - len(body)) + length % 2, 1)
    raise WavError(f"it has more than {_MAX_CHUNKS} chunks")


def _format(body: bytes, endian: str) -> tuple[int, int, int, int, int, int]:
    if len(body) < 16:
        raise WavError("its format is cut off")
    tag, channels, rate, byte_rate, block, bits = struct.unpack_from(f"{endian}HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:
        (subformat,) = struct.unpack_from(f"{endian}H", body, 24)
        tag = _EXTENSIBLE if subformat == _PCM else subformat
    if channels == 0 or rate == 0:
        raise WavError(f"its header declares {channels} channels at {rate} Hz")
    if tag in (_PCM, _FLOAT, _EXTENSIBLE) and (bits == 0 or block != channels * ((bits + 7) // 8)):
        raise WavError(f"its header declares {channels} channels of {bits} bits in frames of {block} bytes")
    return tag, channels, rate, byte_rate, block, bits


def _read_data(
    file: BinaryIO, size: int, fmt: tuple[int, int, int, int, int, int], length: int | None, *, plain: bool
) -> WavHeader:
    tag, channels, rate, byte_rate, block, bits = fmt
    start = file.tell()
    available = size - file.tell()
    if length is None or (length in _UNKNOWN_LENGTH and length > available):
        length, plain = available - available % max(block, 1), False
    if length > available:
        raise WavError(f"it is cut off: it has only {available} of {length} bytes of audio")
    if tag not in (_PCM, _FLOAT, _EXTENSIBLE):
        return WavHeader(rate, channels, bits, None, start, plain=False)
    if length % block:
        raise WavError(f"its {length} bytes of audio end within a frame of {block} bytes")
    if length == 0:
        raise WavError("it holds no audio")
    plain = plain and tag == _PCM and bits == 16 and byte_rate == rate * block
    # Always looked at, as a second format or second audio is an error in every file.
    plain = _rest_is_chunks(file, file.tell() + length + length % 2, size) and plain
    return WavHeader(rate, channels, bits, length // block, start, plain)


def _rest_is_chunks(file: BinaryIO, position: int, size: int) -> bool:
    """Whether only whole chunks follow the audio, up to the end of the file."""
    for _ in range(_MAX_CHUNKS):
        if position >= size:
            return position == size
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return False
        kind, length = struct.unpack("<4sI", head)
        if kind in (b"fmt ", b"data"):
            raise WavError(f"it has two {kind.decode()!r} chunks")
        position += 8 + length + length % 2
    return False


class _Completed:
    """A file in which the length of the audio, 0, is replaced by the one that means that it is unknown."""

    def __init__(self, file: BinaryIO, position: int) -> None:
        self._file = file
        self._position = position
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        start = self._position - self._file.tell()
        data = bytearray(self._file.read(size))
        for index in range(max(start, 0), min(start + 4, len(data))):
            data[index] = 0xFF
        return bytes(data)


def completed(file: BinaryIO) -> BinaryIO:
    """Return a file as soundfile can read it: of audio that has the length 0 in its header, it reads nothing."""
    magic = file.read(4)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if magic not in MAGIC:
        return file
    try:
        position = read_header(file, size).start - 4
        file.seek(position)
        return cast("BinaryIO", _Completed(file, position)) if file.read(4) == bytes(4) else file
    except WavError:
        return file
    finally:
        file.seek(0)


def _read_exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise WavError("it is cut off within its header")
    return data


def samples(data: bytes) -> npt.NDArray[np.int16]:
    """Return the samples of a file whose header is `plain`, without copying them."""
    import numpy as np

    head = read_header(io.BytesIO(data), len(data))
    assert head.plain
    assert head.frames is not None
    return np.frombuffer(data, "<i2", head.frames * head.channels, head.start)


def header(sampling_rate: int, data_size: int) -> bytes:
    """Header of a mono 16-bit WAV file with `data_size` bytes of audio."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", data_size + HEADER_SIZE - 8, b"WAVE"),
        *(b"fmt ", 16, _PCM, 1, sampling_rate, sampling_rate * 2, 2, 16),
        *(b"data", data_size),
    )


def encode(pcm: npt.NDArray[np.int16], sampling_rate: int) -> bytes:
    """Encode a mono waveform as a 16-bit WAV file."""
    data = pcm.astype("<i2", copy=False).tobytes()
    return header(sampling_rate, len(data)) + data
