"""Routing: which API an item goes to, and as which clips.

================  =====================================================================
length            way
================  =====================================================================
under 5.0 s       ``short_audio``: pad, repeat, skip or error
5.0 to 15 s       one DiscreteAPI call
over 15 s         ``long_audio``: asynch, chunk, truncate, skip or error
================  =====================================================================
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from valence_integrations._audio import wav
from valence_integrations._audio.clip import Clip
from valence_integrations.errors import AudioTooLongError, AudioTooShortError
from valence_integrations.settings import Settings

__all__ = ["MAX_SECONDS", "MIN_SECONDS", "Part", "Plan", "plan"]

#: The service wants 4.5 s after the 0.5 s that it skips [SDK, live probe].
MIN_SECONDS = 5.0
SKIPPED_SECONDS = 0.5

#: The longest clip that the DiscreteAPI takes [SDK].
MAX_SECONDS = 15.0

#: The largest file that the DiscreteAPI takes [SDK].
MAX_BYTES = 6 * 2**20

#: The length of a compressed file is known for sure only when it is decoded; over this, its header is believed.
_DECODE_FIRST_SECONDS = 60.0

#: A pause is at least this long: between syllables it is shorter.
_PAUSE_SECONDS = 0.2

#: Below this level, in dB under full scale, everything is equally silent.
_SILENCE_DB = -60.0

#: How much louder a cut may be for each second that it comes later: fewer calls for the same audio.
_DB_PER_SECOND = 1.0

Int16 = npt.NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Part:
    """A WAV file for one DiscreteAPI call, and the stretch of the item that it stands for, in seconds."""

    wav: bytes
    start: float
    end: float

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.wav).hexdigest()

    @property
    def seconds(self) -> float:
        """Length of the stretch."""
        return self.end - self.start


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be done with one item.

    Attributes
    ----------
    source : {"discrete", "chunk", "asynch"} or None
        None if the item is skipped.
    duration : float
        Seconds of audio in the item.
    parts : tuple of Part
        What is sent to the DiscreteAPI.
    upload : Clip or None
        What is sent to the AsynchAPI.
    padded : bool
        Whether the item was lengthened.
    """

    source: str | None
    duration: float
    parts: tuple[Part, ...] = ()
    upload: Clip | None = None
    padded: bool = False


def plan(clip: Clip, settings: Settings) -> Plan:
    """Decide how an item is sent.

    Raises
    ------
    AudioTooShortError, AudioTooLongError
        If the policy for such items is ``"error"``.
    AudioError
        If it cannot be decoded.
    """
    pcm = None if clip.ready or clip.duration > _DECODE_FIRST_SECONDS else clip.pcm()
    duration = clip.duration if pcm is None else len(pcm) / clip.rate
    if duration < MIN_SECONDS:
        return _plan_short(clip, pcm, duration, settings)
    if duration > MAX_SECONDS:
        return _plan_long(clip, pcm, duration, settings)
    data = clip.wav() if pcm is None else wav.encode(pcm, clip.rate)
    if len(data) > MAX_BYTES:
        data = wav.encode(clip.pcm(), clip.rate)
    return Plan("discrete", duration, (Part(data, 0.0, duration),))


def _plan_short(clip: Clip, pcm: Int16 | None, duration: float, settings: Settings) -> Plan:
    if settings.short_audio == "skip":
        return Plan(None, duration)
    if settings.short_audio == "error":
        error = AudioTooShortError(
            f"{duration:.2f} s is too short: the service needs {MIN_SECONDS:g} s, as it skips the first "
            f'{SKIPPED_SECONDS:g} s. Use short_audio="pad", "repeat" or "skip", or drop it.',
            min_duration=MIN_SECONDS,
            actual_duration=duration,
        )
        raise error.named(clip.name)
    pcm = clip.pcm() if pcm is None else pcm
    lengthen = _padded if settings.short_audio == "pad" else _repeated
    data = wav.encode(lengthen(pcm, clip.rate), clip.rate)
    return Plan("discrete", duration, (Part(data, 0.0, duration),), padded=True)


def _plan_long(clip: Clip, pcm: Int16 | None, duration: float, settings: Settings) -> Plan:
    if settings.long_audio == "skip":
        return Plan(None, duration)
    if settings.long_audio == "error":
        error = AudioTooLongError(
            f"{duration:.2f} s is too long for one call of at most {MAX_SECONDS:g} s. "
            'Use long_audio="asynch", "chunk", "truncate" or "skip", or cut it.',
            max_duration=MAX_SECONDS,
            actual_duration=duration,
        )
        raise error.named(clip.name)
    if settings.long_audio == "asynch":
        return Plan("asynch", duration, upload=clip)
    pcm = clip.pcm() if pcm is None else pcm
    rate = clip.rate
    if settings.long_audio == "truncate":
        kept = pcm[: int(MAX_SECONDS * rate)]
        return Plan("discrete", duration, (Part(wav.encode(kept, rate), 0.0, len(kept) / rate),))
    cuts = cut_points(pcm, rate)
    parts = tuple(Part(wav.encode(pcm[start:end], rate), start / rate, end / rate) for start, end in pairwise(cuts))
    return Plan("chunk", len(pcm) / rate, parts)


def _padded(pcm: Int16, rate: int) -> Int16:
    """Lengthen with silence: first in front, where the service skips, so that it hears the whole item."""
    missing = math.ceil(MIN_SECONDS * rate) - len(pcm)
    front = min(missing, math.ceil(SKIPPED_SECONDS * rate))
    return np.pad(pcm, (front, missing - front))


def _repeated(pcm: Int16, rate: int) -> Int16:
    """Lengthen by playing it again, in whole turns."""
    return np.tile(pcm, math.ceil(MIN_SECONDS * rate / len(pcm)))


def cut_points(pcm: Int16, rate: int) -> list[int]:
    """Where to cut a long waveform, near pauses, into clips of 5 to 15 s.

    Parameters
    ----------
    pcm : ndarray of int16, shape (frames,)
        Longer than 15 s.
    rate : int
        Hz.

    Returns
    -------
    list of int
        Frames, from 0 to the waveform's length; two neighbours enclose a clip.
    """
    hop = rate // 100
    loudness = _loudness(pcm, hop)
    shortest, longest = math.ceil(MIN_SECONDS * rate), int(MAX_SECONDS * rate)
    cuts = [0]
    while len(pcm) - cuts[-1] > longest:
        first = cuts[-1] + shortest
        last = min(cuts[-1] + longest, len(pcm) - shortest)
        hops = np.arange(math.ceil(first / hop), last // hop + 1)
        best = hops[np.argmin(loudness[hops] - _DB_PER_SECOND / 100 * hops)] if len(hops) else first / hop
        cuts.append(int(best * hop))
    return [*cuts, len(pcm)]


def _loudness(pcm: Int16, hop: int) -> npt.NDArray[np.float64]:
    """Level around each hop, in dB under full scale."""
    import librosa

    rms = librosa.feature.rms(y=pcm.astype(np.float32), frame_length=hop, hop_length=hop, center=False)[0]
    width = round(_PAUSE_SECONDS * 100)
    mean = np.convolve(np.pad(rms, width // 2, mode="edge"), np.full(width, 1 / width), mode="same")
    level: npt.NDArray[np.float64] = 20 * np.log10(np.maximum(mean[width // 2 :] / 32768, 10 ** (_SILENCE_DB / 20)))
    return level
