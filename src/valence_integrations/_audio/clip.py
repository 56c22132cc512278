"""`Clip`: the opened audio of one item, and its encoding in the format that the service accepts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from valence_integrations._audio import decode, wav
from valence_integrations._audio.waveform import Float32, Int16, mix_down, to_float, to_int16
from valence_integrations.errors import AudioError, UnreadableAudioError

__all__ = ["IDEAL_RATE", "MAX_RATE", "MIN_RATE", "Clip"]


#: The lowest rate that the service accepts [quickstart], in Hz.
MIN_RATE = 8_000

#: The highest rate that is sent without resampling, in Hz; above it, audio is resampled to the ideal 44.1 kHz.
MAX_RATE = 48_000
IDEAL_RATE = 44_100


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
    source: bytes | Path | npt.NDArray[Any]

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

    def pcm(self) -> Int16:
        """Mono waveform at `rate`.

        Raises
        ------
        UnreadableAudioError
            If it cannot be decoded.
        """
        if isinstance(self.source, np.ndarray) and self._is_decoded:
            return self.source
        if self.ready and isinstance(self.source, bytes):
            return wav.samples(self.source)
        blocks = list(self.blocks())
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def decoded(self) -> Clip:
        """Return a clip with the decoded mono waveform at `rate`, whose length is exact."""
        pcm = self.pcm()
        return Clip(self.name, self.rate, 1, len(pcm), False, pcm)

    def blocks(self) -> Iterator[Int16]:
        """Iterate over the mono waveform at `rate` in blocks, so that a long item is never entirely in memory."""
        try:
            blocks = self._floats()
            if self.rate != self.sampling_rate:
                blocks = _resampled(blocks, self.sampling_rate, self.rate)
            empty = True
            for block in blocks:
                if block.size:
                    empty = False
                    yield to_int16(block)
            if empty:
                raise UnreadableAudioError("it holds no audio.", code="audio_empty")
        except AudioError as error:
            raise error.named(self.name) from None

    def wav(self) -> bytes:
        """Encode the clip as a WAV file that the service accepts."""
        if self.ready:
            return self.source if isinstance(self.source, bytes) else cast("Path", self.source).read_bytes()
        return wav.encode(self.pcm(), self.rate)

    def save(self, path: Path) -> None:
        """Write the WAV file that the service accepts; a ready file on disk is linked, not copied."""
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

    @property
    def _frames_sent(self) -> int:
        """Number of frames at `rate`: soxr rounds to the nearest, and halves up; audio has one at least."""
        if self.rate == self.sampling_rate:
            return self.frames
        return max((2 * self.frames * self.rate + self.sampling_rate) // (2 * self.sampling_rate), 1)

    @property
    def _is_decoded(self) -> bool:
        """Whether `pcm` can return the source unchanged."""
        source = self.source
        is_mono = isinstance(source, np.ndarray) and source.dtype == np.int16 and source.ndim == 1
        return is_mono and self.rate == self.sampling_rate

    def _floats(self) -> Iterator[Float32]:
        """Iterate over the mono float waveform at `sampling_rate`."""
        if not isinstance(self.source, np.ndarray):
            for block in decode.blocks(self.source, self.frames):
                yield mix_down(block)
            return
        if self.source.dtype == np.int16 and self.source.ndim == 1:
            yield self.source.astype(np.float32) / np.float32(32768)
            return
        yield mix_down(to_float(self.source))


def _resampled(blocks: Iterator[Float32], rate_in: int, rate_out: int) -> Iterator[Float32]:
    import soxr

    stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
