"""`Clip`: the opened audio of one item, and its encoding in the format that the service accepts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from valence_integrations._audio import decode, wav
from valence_integrations._audio.failures import disk_errors, empty, item_errors
from valence_integrations._audio.files import FileOnDisk, opened
from valence_integrations._audio.spool import MAX_IN_MEMORY, Samples, Spool, collected
from valence_integrations._audio.waveform import Float32, Int16, floats, mix_down, to_int16
from valence_integrations.errors import FileTooLargeError

__all__ = ["IDEAL_RATE", "MAX_RATE", "MIN_RATE", "Clip"]


#: The lowest rate that the service accepts [quickstart], in Hz.
MIN_RATE = 8_000

#: The highest rate that is sent without resampling, in Hz; above it, audio is resampled to the ideal 44.1 kHz.
MAX_RATE = 48_000
IDEAL_RATE = 44_100

#: The largest file that the AsynchAPI accepts [SDK].
_MAX_UPLOAD = 2**30

_BLOCK = 2**20


@dataclass(frozen=True, eq=False)
class Clip:
    """The opened audio of one item.

    Attributes
    ----------
    name : str
        Name of the item in messages.
    sampling_rate, channels, frames : int
        As in the header; `frames` of a compressed file can be an estimate.
    ready : bool
        Whether the source is a WAV file that the service accepts, which is sent unchanged.
    """

    name: str
    sampling_rate: int
    channels: int
    frames: int
    ready: bool
    source: bytes | FileOnDisk | npt.NDArray[Any] | Spool

    @property
    def duration(self) -> float:
        """Seconds of the waveform at `rate`: resampling can change the length by half a frame."""
        return self._frames_sent / self.rate

    @property
    def rate(self) -> int:
        """Sampling rate in Hz at which it is sent."""
        if self.sampling_rate > MAX_RATE:
            return IDEAL_RATE
        return max(self.sampling_rate, MIN_RATE)

    @property
    def is_file(self) -> bool:
        """Whether the source is a file, not a waveform."""
        return isinstance(self.source, (bytes, FileOnDisk))

    @property
    def size(self) -> int:
        """Bytes of the source, which is a file."""
        assert isinstance(self.source, (bytes, FileOnDisk))
        return len(self.source) if isinstance(self.source, bytes) else self.source.size

    def digest(self) -> str:
        """SHA-256 of the source, which is a file."""
        assert isinstance(self.source, (bytes, FileOnDisk))
        digest = hashlib.sha256()
        with item_errors(self.name), opened(self.source) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def samples(self) -> Samples:
        """Mono waveform at `rate`, in memory or, if it is long, in a temporary file.

        Raises
        ------
        ItemError
            If it cannot be decoded.
        """
        if isinstance(self.source, Spool):
            return self.source
        if self.ready and isinstance(self.source, bytes) and self.frames <= MAX_IN_MEMORY:
            return wav.samples(self.source)
        with item_errors(self.name):
            return collected(self.blocks())

    def pcm(self) -> Int16:
        """Mono waveform at `rate`, in memory.

        Raises
        ------
        ItemError
            If it cannot be decoded.
        """
        samples = self._ready_samples
        return (self.samples() if samples is None else samples)[:]

    def decoded(self) -> Clip:
        """Return a clip with the decoded mono waveform at `rate`, whose length is exact."""
        samples = self.samples()
        return Clip(self.name, self.rate, 1, len(samples), False, samples)

    def blocks(self) -> Iterator[Int16]:
        """Iterate over the mono waveform at `rate` in blocks, so that a long item is never entirely in memory."""
        with item_errors(self.name):
            any_audio = False
            for block in self._blocks():
                if block.size:
                    any_audio = True
                    yield block
            if not any_audio:
                raise empty()

    def wav(self) -> bytes:
        """Encode the clip as a WAV file that the service accepts."""
        if self.ready and isinstance(self.source, bytes):
            return self.source
        return wav.encode(self.pcm(), self.rate)

    def save(self, path: Path) -> None:
        """Write the WAV file that the service accepts.

        Raises
        ------
        ItemError
            If it cannot be decoded, was changed since it was opened, or is larger than the service accepts.
        """
        with item_errors(self.name):
            size = 0
            with disk_errors():
                file = path.open("wb")
            with file:
                for block in self._encoded():
                    size += len(block)
                    if size > _MAX_UPLOAD:
                        raise FileTooLargeError(
                            "its WAV file has more than 1 GB.",
                            remedy='Use long_audio="chunk", or cut it.',
                            max_size_mb=_MAX_UPLOAD / 2**20,
                        )
                    with disk_errors():
                        file.write(block)
                with disk_errors():
                    if not self.ready:
                        file.seek(0)
                        file.write(wav.header(self.rate, size - wav.HEADER_SIZE))
                    file.flush()

    def _encoded(self) -> Iterator[bytes]:
        """Iterate over the WAV file to send, except that a new one begins with zeros in place of its header."""
        if self.ready:
            assert isinstance(self.source, (bytes, FileOnDisk))
            with opened(self.source) as file:
                while block := file.read(_BLOCK):
                    yield block
            return
        yield bytes(wav.HEADER_SIZE)
        for samples in self.blocks():
            yield samples.astype("<i2", copy=False).tobytes()

    @property
    def _frames_sent(self) -> int:
        """Number of frames at `rate`: soxr rounds to the nearest, and halves up; audio has one at least."""
        if self.rate == self.sampling_rate:
            return self.frames
        return max((2 * self.frames * self.rate + self.sampling_rate) // (2 * self.sampling_rate), 1)

    @property
    def _ready_samples(self) -> Samples | None:
        """The source, if it is the waveform that is sent."""
        source = self.source
        if isinstance(source, Spool):
            return source
        is_mono = isinstance(source, np.ndarray) and source.dtype == np.int16 and source.ndim == 1
        return cast("Int16", source) if is_mono and self.rate == self.sampling_rate else None

    def _blocks(self) -> Iterator[Int16]:
        samples = self._ready_samples
        if samples is not None:
            for start in range(0, len(samples), _BLOCK):
                yield samples[start : start + _BLOCK]
            return
        blocks = self._floats()
        if self.rate != self.sampling_rate:
            blocks = _resampled(blocks, self.sampling_rate, self.rate)
        for block in blocks:
            yield to_int16(block)

    def _floats(self) -> Iterator[Float32]:
        """Iterate over the mono float waveform at `sampling_rate`."""
        if isinstance(self.source, np.ndarray):
            blocks = floats(self.source)
        else:
            assert not isinstance(self.source, Spool)
            blocks = decode.blocks(self.source, decode.Info(self.sampling_rate, self.channels, self.frames))
        for block in blocks:
            yield mix_down(block)


def _resampled(blocks: Iterator[Float32], rate_in: int, rate_out: int) -> Iterator[Float32]:
    import soxr

    stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
