"""Route items to an API by their length, and render the WAV files to send.

================  =====================================================================
length            route
================  =====================================================================
under 0.1 s       never sent: an error
under 5.0 s       ``short_audio``: pad, repeat, skip or error
5.0 to 15 s       one DiscreteAPI call
over 15 s         ``long_audio``: asynch, chunk, truncate, skip or error
================  =====================================================================
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from valence_integrations._audio import wav
from valence_integrations._audio.clip import Clip
from valence_integrations._audio.cuts import cut_points
from valence_integrations._audio.spool import Samples, Spool
from valence_integrations.errors import AudioTooLongError, AudioTooShortError
from valence_integrations.settings import Settings

__all__ = [
    "LEAST_SECONDS",
    "MAX_BYTES",
    "MAX_SECONDS",
    "MIN_SECONDS",
    "RENDERING",
    "SKIPPED_SECONDS",
    "Part",
    "Route",
    "decide",
    "measured",
    "needs_samples",
    "prepare",
    "render",
]

#: Less audio holds no speech; what is given so is most likely a table of numbers. It is never sent.
LEAST_SECONDS = 0.1

#: The service needs 4.5 s after the 0.5 s that it skips [SDK, live probe].
MIN_SECONDS = 5.0
SKIPPED_SECONDS = 0.5

#: The longest clip that the DiscreteAPI accepts [SDK].
MAX_SECONDS = 15.0

#: The largest file that the DiscreteAPI accepts [SDK].
MAX_BYTES = 6 * 2**20

#: Increment when the same item and settings give other WAV files: files sent before are then decoded again.
RENDERING = 1

#: The exact length of a compressed file is known only after decoding; above this length, the header is trusted.
_DECODE_FIRST_SECONDS = 60.0

#: Mean length of the clips that a long item is cut into (13.3 to 14.9 s measured).
_CHUNK_SECONDS = 14.0

Int16 = npt.NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Part:
    """A WAV file for one DiscreteAPI call, and the interval of the item that it covers, in seconds."""

    audio: bytes | Clip
    start: float
    end: float

    @property
    def wav(self) -> bytes:
        """The file; of a long item, it is read from the item's temporary file each time."""
        return self.audio.wav() if isinstance(self.audio, Clip) else self.audio

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return wav.HEADER_SIZE + 2 * self.audio.frames if isinstance(self.audio, Clip) else len(self.audio)

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        # Before Python 3.12, a cached_property has one lock for all objects, which blocks a child that was forked.
        if "_digest" not in self.__dict__:
            self.__dict__["_digest"] = hashlib.sha256(self.wav).hexdigest()
        digest: str = self.__dict__["_digest"]
        return digest

    @property
    def seconds(self) -> float:
        """Length of the interval in seconds."""
        return self.end - self.start


@dataclass(frozen=True)
class Route:
    """How an item of a certain length is sent.

    Attributes
    ----------
    source : {"discrete", "chunk", "asynch"} or None
        None if the item is skipped.
    duration : float
        Seconds of audio in the item.
    change : {"pad", "repeat", "truncate"} or None
        What is done to the audio before it is sent.
    """

    source: Literal["discrete", "chunk", "asynch"] | None
    duration: float
    change: Literal["pad", "repeat", "truncate"] | None = None

    @property
    def padded(self) -> bool:
        """Whether the item is lengthened."""
        return self.change in ("pad", "repeat")

    @property
    def calls(self) -> list[tuple[float, float]]:
        """Seconds of the item that each call stands for, and seconds that it sends.

        How many calls a long item is cut into depends on its pauses: 14 s each are expected.
        """
        if self.source is None:
            return []
        if self.source == "chunk":
            number = max(math.ceil(self.duration / _CHUNK_SECONDS), 2)
            return [(self.duration / number, self.duration / number)] * number
        if self.change == "truncate":
            return [(MAX_SECONDS, MAX_SECONDS)]
        if self.change == "pad":
            return [(self.duration, MIN_SECONDS)]
        if self.change == "repeat":
            return [(self.duration, math.ceil(MIN_SECONDS / self.duration) * self.duration)]
        return [(self.duration, self.duration)]


def decide(duration: float, settings: Settings) -> Route:
    """Decide how an item is sent, by its length.

    Parameters
    ----------
    duration : float
        Seconds.
    settings : Settings
        The policies for short and long items.

    Raises
    ------
    AudioTooShortError, AudioTooLongError
        If the policy for such items is ``"error"``, or if it is shorter than any speech.

    Examples
    --------
    >>> from valence_integrations import Settings
    >>> from valence_integrations._audio.routing import decide
    >>> decide(3.0, Settings()).change, decide(60.0, Settings(long_audio="chunk")).source
    ('pad', 'chunk')
    """
    if duration < LEAST_SECONDS:
        raise AudioTooShortError(
            f"{duration:.3g} s is too short for speech: at least {LEAST_SECONDS:g} s is needed.",
            remedy="Drop it; if it is a waveform, check its sampling_rate.",
            min_duration=LEAST_SECONDS,
            actual_duration=duration,
        )
    if duration < MIN_SECONDS:
        return _decide_short(duration, settings)
    if duration > MAX_SECONDS:
        return _decide_long(duration, settings)
    return Route("discrete", duration)


def _decide_short(duration: float, settings: Settings) -> Route:
    if settings.short_audio == "skip":
        return Route(None, duration)
    if settings.short_audio == "error":
        raise AudioTooShortError(
            f"{duration:.2f} s is too short: the service needs {MIN_SECONDS:g} s, as it skips the first "
            f"{SKIPPED_SECONDS:g} s.",
            remedy='Use short_audio="pad", "repeat" or "skip", or drop it.',
            min_duration=MIN_SECONDS,
            actual_duration=duration,
        )
    return Route("discrete", duration, settings.short_audio)


def _decide_long(duration: float, settings: Settings) -> Route:
    if settings.long_audio == "skip":
        return Route(None, duration)
    if settings.long_audio == "error":
        raise AudioTooLongError(
            f"{duration:.2f} s is too long for one call of at most {MAX_SECONDS:g} s.",
            remedy='Use long_audio="asynch", "chunk", "truncate" or "skip", or cut it.',
            max_duration=MAX_SECONDS,
            actual_duration=duration,
        )
    if settings.long_audio == "truncate":
        return Route("discrete", duration, "truncate")
    return Route(settings.long_audio, duration)


def prepare(clip: Clip, settings: Settings) -> tuple[Clip, Route, tuple[Part, ...]]:
    """Measure a clip, decide how it is sent, and make its WAV files.

    Returns
    -------
    clip : Clip
        As `measured` returned it.
    route : Route
        How it is sent.
    parts : tuple of Part
        WAV files for the DiscreteAPI; none for an item that is skipped or uploaded.

    Raises
    ------
    AudioError
        If it cannot be decoded, or the policy for its length is ``"error"``.
    """
    clip = measured(clip, settings)
    route = decide(clip.duration, settings)
    return clip, route, render(clip, route)


def needs_samples(clip: Clip, settings: Settings) -> bool:
    """Whether a clip is cut or truncated, and so cannot be sent as the file that it is."""
    return clip.duration > MAX_SECONDS and settings.long_audio in ("chunk", "truncate")


def measured(clip: Clip, settings: Settings) -> Clip:
    """Return the clip with its exact length.

    The header of a compressed file may be wrong, so files of up to a minute are decoded, and longer ones if their
    samples are needed anyway.
    """
    if clip.ready or (clip.duration > _DECODE_FIRST_SECONDS and not needs_samples(clip, settings)):
        return clip
    return clip.decoded()


def render(clip: Clip, route: Route) -> tuple[Part, ...]:
    """Make the WAV files for the DiscreteAPI; an empty tuple for an item that is skipped or uploaded.

    Parameters
    ----------
    clip : Clip
        As returned by `measured`.
    route : Route
        As returned by `decide` for its duration.

    Raises
    ------
    AudioError
        If the clip cannot be decoded.
    """
    rate = clip.rate
    if route.source == "chunk":
        samples = clip.samples()
        cuts = pairwise(cut_points(samples, rate, shortest=MIN_SECONDS, longest=MAX_SECONDS))
        return tuple(_cut(clip, samples, start, stop) for start, stop in cuts)
    if route.source != "discrete":
        return ()
    if route.change is None:
        data = clip.wav()
        if len(data) > MAX_BYTES:  # because of metadata: 15 s of audio are smaller
            data = wav.encode(clip.pcm(), rate)
        return (Part(data, 0.0, route.duration),)
    if route.change == "truncate":
        pcm = clip.samples()[: int(MAX_SECONDS * rate)]
        return (Part(wav.encode(pcm, rate), 0.0, len(pcm) / rate),)
    lengthen = _padded if route.change == "pad" else _repeated
    return (Part(wav.encode(lengthen(clip.pcm(), rate), rate), 0.0, route.duration),)


def _cut(clip: Clip, samples: Samples, start: int, stop: int) -> Part:
    """Cut a part out of a long item; out of one in a temporary file it is read only when it is sent."""
    if isinstance(samples, Spool):
        cut = Clip(clip.name, clip.rate, 1, stop - start, False, samples.interval(start, stop))
        return Part(cut, start / clip.rate, stop / clip.rate)
    return Part(wav.encode(samples[start:stop], clip.rate), start / clip.rate, stop / clip.rate)


def _padded(pcm: Int16, rate: int) -> Int16:
    """Pad with silence, first at the start, which the service skips, so that it hears the whole item."""
    missing = math.ceil(MIN_SECONDS * rate) - len(pcm)
    front = min(missing, math.ceil(SKIPPED_SECONDS * rate))
    return np.pad(pcm, (front, missing - front))


def _repeated(pcm: Int16, rate: int) -> Int16:
    """Repeat the whole item until it is long enough."""
    return np.tile(pcm, math.ceil(MIN_SECONDS * rate / len(pcm)))
