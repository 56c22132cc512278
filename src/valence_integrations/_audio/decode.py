"""Decode audio files: with soundfile where it supports the format, else with PyAV (the ``av`` extra)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from valence_integrations.errors import MissingDependencyError, UnreadableAudioError

if TYPE_CHECKING:
    import soundfile

Float32: TypeAlias = npt.NDArray[np.float32]

#: Frames per decoded block.
_BLOCK = 2**18


class Info(NamedTuple):
    """Contents of a file's header."""

    sampling_rate: int
    channels: int
    frames: int


def probe(source: bytes | Path) -> Info:
    """Read the header of an encoded file."""
    try:
        with _open_soundfile(source) as file:
            return Info(file.samplerate, file.channels, file.frames)
    except UnreadableAudioError:
        return _probe_av(source)


def blocks(source: bytes | Path, frames: int) -> Iterator[Float32]:
    """Decode a file in blocks of shape ``(frames, channels)``, with values between -1 and 1.

    Raises
    ------
    UnreadableAudioError
        If the file is damaged, or has less audio than `frames`.
    """
    try:
        file = _open_soundfile(source)
    except UnreadableAudioError:
        yield from _blocks_av(source)
        return
    with file:
        exact = file.format != "MP3"
        read = 0
        while True:
            try:
                block = file.read(_BLOCK, dtype="float32", always_2d=True)
            except RuntimeError as error:
                raise _damaged(f"the file is damaged: {error}.") from None
            if not len(block):
                break
            read += len(block)
            yield block
        if exact and read < frames:
            raise _damaged(f"the file is cut off: it has only {read} of {frames} frames.")


def _open_soundfile(source: bytes | Path) -> soundfile.SoundFile:
    import soundfile

    class SequentialSoundFile(soundfile.SoundFile):  # type: ignore[misc]
        """Not seekable: soundfile seeks after each read of a seekable file, which breaks the decoding of MP3."""

        def seekable(self) -> bool:
            return False

    try:
        return SequentialSoundFile(io.BytesIO(source) if isinstance(source, bytes) else str(source))
    except (RuntimeError, TypeError, ValueError) as error:
        raise UnreadableAudioError(f"this is not a readable audio file: {error}", code="audio_format_unknown") from None


def _open_av(source: bytes | Path) -> Any:
    try:
        import av
    except ImportError:
        if _is_av_container(source):
            missing = MissingDependencyError.of("Reading M4A, MP4 or WebM", "av")
            raise UnreadableAudioError(missing.message, code="audio_needs_av", remedy=missing.remedy) from None
        raise _unknown() from None
    try:
        container = av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source))
    except (av.FFmpegError, ValueError):
        raise _unknown() from None
    stream = next(iter(container.streams.audio), None)
    # FFmpeg accepts some bytes that are not audio, such as b"\x04", as audio without a rate.
    if stream is None or stream.codec_context is None or not stream.codec_context.sample_rate:
        container.close()
        raise UnreadableAudioError("the file has no decodable audio.", code="audio_empty")
    return container


def _unknown() -> UnreadableAudioError:
    return UnreadableAudioError(
        "this is not a readable audio file.",
        code="audio_format_unknown",
        remedy="Give WAV, FLAC, OGG, Opus, MP3 or AIFF, "
        'or M4A, MP4 or WebM with pip install "valence-integrations[av]".',
    )


def _damaged(message: str) -> UnreadableAudioError:
    return UnreadableAudioError(message, code="audio_damaged", remedy="Export or copy it again.")


def _is_av_container(source: bytes | Path) -> bool:
    if isinstance(source, bytes):
        head = source[:12]
    else:
        with source.open("rb") as file:
            head = file.read(12)
    return head[4:8] == b"ftyp" or head[:4] == b"\x1a\x45\xdf\xa3"


def _probe_av(source: bytes | Path) -> Info:
    with _open_av(source) as container:
        stream = container.streams.audio[0]
        rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        if stream.duration is not None:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            seconds = container.duration / 1e6
        else:
            seconds = sum(len(block) for block in _blocks_av(source)) / rate
        return Info(rate, channels, round(seconds * rate))


def _blocks_av(source: bytes | Path) -> Iterator[Float32]:
    with _open_av(source) as container:
        import av

        resampler = av.AudioResampler(format="fltp")
        try:
            for frame in container.decode(audio=0):
                for converted in resampler.resample(frame):
                    yield converted.to_ndarray().T.astype(np.float32, copy=False)
            for converted in resampler.resample(None):
                yield converted.to_ndarray().T.astype(np.float32, copy=False)
        except av.FFmpegError as error:
            raise _damaged(f"the file is damaged: {error}.") from None
