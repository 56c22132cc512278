"""Audio in the containers that only PyAV (the ``av`` extra) can read.

FFmpeg guesses formats, and some formats name other files or addresses that it opens: playlists, concat scripts, SDP,
HLS, DASH, image sequences. So the format is decided here, from the first bytes, and is one of a few that hold their
audio themselves; FFmpeg gets bytes, never a path; and every attempt to open anything else fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from valence_integrations._audio.failures import damaged
from valence_integrations.errors import MissingDependencyError, UnreadableAudioError

__all__ = ["blocks", "header"]

#: Position and bytes that a file has, and FFmpeg's name of its format.
_SIGNATURES = (
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (4, b"wide", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"\xff\xf1", "aac"),
    (0, b"\xff\xf9", "aac"),
    (0, b"#!AMR", "amr"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"caff", "caf"),
    (0, b"OggS", "ogg"),
    (8, b"WAVE", "wav"),
    (8, b"AIFC", "aiff"),
)

#: Formats with some codecs that soundfile reads: the others fail as unknown where PyAV is not installed.
_ALSO_SOUNDFILE = ("caf", "ogg", "wav", "aiff")

_OPTIONS = {"protocol_whitelist": "none", "enable_drefs": "0", "use_absolute_path": "0", "max_streams": "64"}


class _Readable:
    """A file of which FFmpeg gets the content only, and no name."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell


def header(file: BinaryIO) -> tuple[int, int, int | None]:
    """Return the sampling rate, the number of channels, and the number of frames, or None if the header has none."""
    with _open(file) as container:
        stream = container.streams.audio[0]
        rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        if stream.duration is not None:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            seconds = container.duration / 1e6
        else:
            return rate, channels, None
        return rate, channels, round(seconds * rate) if seconds > 0 else None


def blocks(file: BinaryIO) -> Iterator[npt.NDArray[np.float32]]:
    """Decode the first audio stream in blocks of shape ``(frames, channels)``.

    Raises
    ------
    UnreadableAudioError
        If it is in no such container, is damaged, or has no audio.
    """
    with _open(file) as container:
        import av

        resampler = av.AudioResampler(format="fltp", rate=container.streams.audio[0].codec_context.sample_rate)
        try:
            for frame in container.decode(audio=0):
                for converted in resampler.resample(frame):
                    yield converted.to_ndarray().T.astype(np.float32, copy=False)
            for converted in resampler.resample(None):
                yield converted.to_ndarray().T.astype(np.float32, copy=False)
        except (av.FFmpegError, ValueError) as error:
            raise damaged(f"the file is damaged: {error}.") from None


def _open(file: BinaryIO) -> Any:
    kind = _kind(file)
    if kind is None:
        raise _unknown()
    try:
        import av
    except ImportError:
        if kind in _ALSO_SOUNDFILE:
            raise _unknown() from None
        missing = MissingDependencyError.of("Reading M4A, MP4 or WebM", "av")
        raise UnreadableAudioError(missing.message, code="audio_needs_av", remedy=missing.remedy) from None
    try:
        container = av.open(_Readable(file), format=kind, container_options=_OPTIONS, io_open=_refuse)
    except (av.FFmpegError, ValueError):
        raise _unknown() from None
    stream = next(iter(container.streams.audio), None)
    # FFmpeg accepts some bytes that are not audio as audio without a rate.
    if stream is None or stream.codec_context is None or not stream.codec_context.sample_rate:
        container.close()
        raise UnreadableAudioError("the file has no decodable audio.", code="audio_empty")
    return container


def _kind(file: BinaryIO) -> str | None:
    head = file.read(12)
    file.seek(0)
    return next((kind for start, magic, kind in _SIGNATURES if head.startswith(magic, start)), None)


def _refuse(*_: object) -> None:
    raise PermissionError("audio files open no other files")


def _unknown() -> UnreadableAudioError:
    return UnreadableAudioError(
        "this is not a readable audio file.",
        code="audio_format_unknown",
        remedy="Give WAV, FLAC, OGG, Opus, MP3 or AIFF, "
        'or M4A, MP4 or WebM with pip install "valence-integrations[av]".',
    )
