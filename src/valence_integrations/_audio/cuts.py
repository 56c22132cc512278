"""Cut long waveforms near pauses."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from valence_integrations._audio.spool import Samples

__all__ = ["cut_points"]

#: Levels are measured in hops of 10 ms.
_HOPS_PER_SECOND = 100

#: Minimum length of a pause; gaps between syllables are shorter.
_PAUSE_SECONDS = 0.2

#: Levels below this, in dB relative to full scale, count as equally silent.
_SILENCE_DB = -60.0

#: How much louder a cut may be for each second that it is later; later cuts mean fewer calls.
_DB_PER_SECOND = 1.0

_FULL_SCALE = 32768

#: Hops whose levels are computed at once.
_HOPS = 2**12


def cut_points(pcm: Samples, rate: int, *, shortest: float, longest: float) -> list[int]:
    """Find where to cut a long waveform into clips, near pauses.

    Parameters
    ----------
    pcm : ndarray of int16, shape (frames,), or Spool
        The waveform.
    rate : int
        Hz.
    shortest, longest : float
        Minimum and maximum length of a clip in seconds; `longest` must be at least twice `shortest`.

    Returns
    -------
    list of int
        Frames from 0 to the waveform's length; each adjacent pair bounds a clip.
    """
    hop = rate // _HOPS_PER_SECOND
    levels = _levels(pcm, hop)
    fewest, most = math.ceil(shortest * rate), int(longest * rate)
    cuts = [0]
    while len(pcm) - cuts[-1] > most:
        first = cuts[-1] + fewest
        last = min(cuts[-1] + most, len(pcm) - fewest)
        hops = np.arange(math.ceil(first / hop), last // hop + 1)
        best = hops[np.argmin(levels[hops] - _DB_PER_SECOND / _HOPS_PER_SECOND * hops)] if len(hops) else first / hop
        cuts.append(int(best * hop))
    return [*cuts, len(pcm)]


def _levels(pcm: Samples, hop: int) -> npt.NDArray[np.float64]:
    """Level around each hop, in dB relative to full scale."""
    width = round(_PAUSE_SECONDS * _HOPS_PER_SECOND)
    rms = np.pad(_rms(pcm, hop), width // 2, mode="edge")
    mean = np.convolve(rms, np.full(width, 1 / width), mode="same")
    floor = 10 ** (_SILENCE_DB / 20)
    levels: npt.NDArray[np.float64] = 20 * np.log10(np.maximum(mean[width // 2 :] / _FULL_SCALE, floor))
    return levels


def _rms(pcm: Samples, hop: int) -> npt.NDArray[np.float32]:
    """Root mean square of each whole hop.

    Equals ``librosa.feature.rms(y=pcm, frame_length=hop, hop_length=hop, center=False)``, whose first call takes
    seconds.
    """
    frames = len(pcm) // hop * hop
    rms = [np.zeros(0, dtype=np.float32)]
    for start in range(0, frames, _HOPS * hop):
        samples = pcm[start : min(start + _HOPS * hop, frames)].astype(np.float32).reshape(-1, hop)
        np.square(samples, out=samples)
        rms.append(np.sqrt(samples.mean(axis=1)))
    return np.concatenate(rms)
