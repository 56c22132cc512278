"""Decode audio files: with soundfile where it supports the format, else with PyAV (the ``av`` extra)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from valence_integrations._audio import containers, wav
from valence_integrations._audio.failures import damaged
from valence_integrations._audio.files import Encoded, opened
from valence_integrations._audio.waveform import Float32, checked_channels, checked_rate
from valence_integrations.errors import AudioTooLongError

if TYPE_CHECKING:
    import soundfile

__all__ = ["MAX_DECODED_SECONDS", "Info", "blocks", "probe", "too_long"]

#: Samples of all channels in a decoded block.
_BLOCK = 2**18

#: Longer audio is not decoded: a small file can claim, and hold, years of silence.
MAX_DECODED_SECONDS = 24 * 3600.0

#: libsndfile's number of frames of a file that does not tell it.
_UNKNOWN_FRAMES = 2**62


class Info(NamedTuple):
    """Contents of a file's header."""

    sampling_rate: int
    channels: int
    frames: int


def probe(source: Encoded) -> Info:
    """Read the header of an encoded file; if it does not tell the length, decode the file to find it."""
    frames: int | None
    with opened(source) as file:
        sound = _open_soundfile(file)
        if sound is not None:
            with sound:
                rate, channels, frames = sound.samplerate, sound.channels, sound.frames
        else:
            rate, channels, frames = containers.header(file)
    rate, channels = checked_rate(rate), checked_channels(channels)
    if frames is None or frames >= _UNKNOWN_FRAMES:
        frames = sum(len(block) for block in blocks(source, Info(rate, channels, 0)))
    return Info(rate, channels, frames)


def blocks(source: Encoded, info: Info) -> Iterator[Float32]:
    """Decode a file in blocks of shape ``(frames, channels)``, with values between -1 and 1.

    Raises
    ------
    UnreadableAudioError
        If the file is damaged, or has less audio than its header says.
    AudioTooLongError
        If it has more than `MAX_DECODED_SECONDS`.
    """
    read = 0
    with opened(source) as file:
        sound = _open_soundfile(file)
        exact = sound is not None and sound.format != "MP3"
        for block in containers.blocks(file) if sound is None else _blocks(sound):
            read += len(block)
            if read > MAX_DECODED_SECONDS * info.sampling_rate:
                raise too_long()
            yield block
    if exact and read < info.frames:
        raise damaged(f"the file is cut off: it has only {read} of {info.frames} frames.")


def too_long() -> AudioTooLongError:
    """Error of an item of more than `MAX_DECODED_SECONDS`."""
    return AudioTooLongError(
        f"it has more than {MAX_DECODED_SECONDS / 3600:g} hours of audio.",
        remedy="Cut it.",
        max_duration=MAX_DECODED_SECONDS,
    )


def _blocks(sound: soundfile.SoundFile) -> Iterator[Float32]:
    with sound:
        frames = max(_BLOCK // sound.channels, 1)
        while True:
            try:
                block = sound.read(frames, dtype="float32", always_2d=True)
            except RuntimeError as error:
                raise damaged(f"the file is damaged: {error}.") from None
            if not len(block):
                return
            yield block


def _open_soundfile(file: BinaryIO) -> soundfile.SoundFile | None:
    """Open a file with soundfile, or return None with the file at its start."""
    import soundfile

    class SequentialSoundFile(soundfile.SoundFile):  # type: ignore[misc]
        """Not seekable: soundfile seeks after each read of a seekable file, which breaks the decoding of MP3."""

        def seekable(self) -> bool:
            return False

    try:
        return SequentialSoundFile(wav.completed(file))
    except (RuntimeError, TypeError, ValueError):
        file.seek(0)
        return None
