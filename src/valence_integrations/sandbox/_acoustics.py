"""The acoustic rule behind the sandbox's answers: a stand-in, **no emotion model**.

The rule exists so that different voices and manners get different, reproducible answers. It knows nothing of
emotions, was trained on nothing, and its answers say nothing about how anybody feels. It goes like this:

1. The audio is brought to 8 kHz and cut into frames of 64 ms, one every 32 ms. The frames within 30 dB of the loudest
   one (and above -70 dB) are the *active* ones; the rest are pauses.
2. Four measurements are taken of the active frames: **level**, the mean A-weighted power in dB under full scale;
   **pitch**, the median over the voiced frames, in semitones (MIDI numbers), by autocorrelation under 1 kHz;
   **range**, the distance between its upper and lower quartiles; **tilt**, the alpha ratio: how many dB the power
   above 1 kHz lies over that below.
3. Each becomes a trait from 0 to 1 by a logistic curve (`_CURVES`): *loud*, *high*, *lively*, *flat*.
4. Every emotion has a typical place in this space (`_PLACES`); its score is a bell curve of the distance to it. So
   each score lies in 0..1, and the scores of a clip need not sum to 1.

Loud, high and flat is angry; loud, high and lively is happy; quiet, low and steep is sad; the middle is neutral.
Without voiced frames (whisper, noise) pitch counts as middling; silence counts as quiet and otherwise middling.

librosa supplies the scales (frequencies, A-weighting, semitones). Only its light part is used, without its numba and
scipy.signal functions, whose import and compilation would make a first call take seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import soxr
from numpy.typing import NDArray

EMOTIONS: dict[str, tuple[str, ...]] = {
    "4emotions": ("angry", "happy", "neutral", "sad"),
    "7emotions": ("happy", "sad", "angry", "neutral", "surprised", "disgusted", "calm"),
}
"""The emotions of each model, in the order of the answers."""

_RATE = 8000
_FRAME = 512
_HOP = 256
_N_FFT = 1024
_WINDOW = np.hanning(_FRAME + 1)[:-1]
_FLOOR_DB = -70.0
_DEPTH_DB = 30.0
_LAGS = slice(_RATE // 500, _RATE // 70)
_VOICED = 0.5
_OCTAVE_COST = 0.05

_TRAITS = ("loud", "high", "lively", "flat")
_CURVES = {"loud": (-25.0, 4.0), "high": (48.0, 5.0), "lively": (2.4, 0.8), "flat": (-7.0, 3.0)}
"""Middle and width of the logistic curve of each trait: dB, semitones, semitones, dB."""

_PLACES = {
    "angry": (0.85, 0.65, 0.45, 0.85),
    "happy": (0.75, 0.75, 0.75, 0.45),
    "neutral": (0.50, 0.45, 0.40, 0.50),
    "sad": (0.15, 0.25, 0.35, 0.30),
    "surprised": (0.60, 0.90, 0.90, 0.65),
    "disgusted": (0.75, 0.10, 0.25, 0.80),
    "calm": (0.30, 0.50, 0.10, 0.30),
}
"""Where each emotion lies: loud, high, lively, flat."""
_REACH = 0.55

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class _Scales:
    loudness: NDArray[np.float64]
    low: slice
    high: slice
    lag_correction: NDArray[np.float64]
    lag_cost: NDArray[np.float64]


@cache
def _scales() -> _Scales:
    import librosa

    frequencies = librosa.fft_frequencies(sr=_RATE, n_fft=_N_FFT)[1:]
    bottom, middle, top = (int(i) for i in np.searchsorted(frequencies, (60.0, 1000.0, 3600.0)))
    window_correlation = np.fft.irfft(np.abs(np.fft.rfft(_WINDOW, _N_FFT)) ** 2)[: _LAGS.stop + 1]
    return _Scales(
        loudness=10 ** (librosa.A_weighting(frequencies) / 10),
        low=slice(bottom, middle),
        high=slice(middle, top),
        lag_correction=window_correlation[0] / window_correlation,
        lag_cost=_OCTAVE_COST * np.log2(np.arange(_LAGS.start, _LAGS.stop)),
    )


@cache
def warm_up() -> None:
    """Load what the first clip would have to wait for."""
    scores(np.zeros(_RATE, dtype=np.float32), 2 * _RATE, "4emotions")


def scores(samples: Samples, rate: int, model: str) -> dict[str, float]:
    """Score mono audio: emotion to confidence, for the emotions of `model`, rounded to 6 decimals."""
    traits = _traits(samples, rate)
    return {
        emotion: round(float(np.exp(-np.sum((traits - _PLACES[emotion]) ** 2) / _REACH**2)), 6)
        for emotion in EMOTIONS[model]
    }


def _traits(samples: Samples, rate: int) -> NDArray[np.float64]:
    measured = measure(samples, rate)
    curves = [_CURVES[trait] for trait in _TRAITS]
    return np.array(
        [1 / (1 + np.exp(-(value - middle) / width)) for value, (middle, width) in zip(measured, curves, strict=True)]
    )


def measure(samples: Samples, rate: int) -> tuple[float, float, float, float]:
    """Level (dB), median pitch (semitones), pitch range (semitones) and spectral tilt (dB)."""
    scales = _scales()
    power = _power_spectra(_at_8_khz(samples, rate))
    frame_power = power[:, 1:] @ scales.loudness * (2 / (_N_FFT * np.sum(_WINDOW**2)))
    floor = max(frame_power.max() * 10 ** (-_DEPTH_DB / 10), 10 ** (_FLOOR_DB / 10))
    active = frame_power > floor
    pitch, spread = _CURVES["high"][0], 0.0
    if not active.any():
        return _FLOOR_DB, pitch, spread, _CURVES["flat"][0]
    semitones = _semitones(power[active], scales)
    if semitones.size:
        low, pitch, high = (float(q) for q in np.percentile(semitones, (25, 50, 75)))
        spread = high - low
    level = 10 * float(np.log10(frame_power[active].mean()))
    spectrum = power[active, 1:].mean(axis=0)
    tilt = 10 * float(np.log10((spectrum[scales.high].sum() + 1e-12) / (spectrum[scales.low].sum() + 1e-12)))
    return level, pitch, spread, tilt


def _at_8_khz(samples: Samples, rate: int) -> Samples:
    short = _FRAME - len(samples) * _RATE // rate
    audio: Samples = samples if rate == _RATE else soxr.resample(samples, rate, _RATE)
    return np.pad(audio, (0, short + 1)) if short > 0 else audio


def _power_spectra(audio: Samples) -> NDArray[np.float64]:
    frames = np.lib.stride_tricks.sliding_window_view(audio, _FRAME)[::_HOP]
    return np.abs(np.fft.rfft(frames * _WINDOW, _N_FFT)) ** 2


def _semitones(power: NDArray[np.float64], scales: _Scales) -> NDArray[np.float64]:
    """Return the pitch of each voiced frame: the highest peak of its autocorrelation between 70 and 500 Hz."""
    import librosa

    correlation = np.fft.irfft(power[:, : scales.high.start], _N_FFT)[:, : _LAGS.stop + 1] * scales.lag_correction
    correlation /= correlation[:, :1]
    lags = (correlation[:, _LAGS] - scales.lag_cost).argmax(axis=1) + _LAGS.start
    rows = np.arange(len(lags))
    left, peak, right = (correlation[rows, lags + step] for step in (-1, 0, 1))
    voiced = (peak > _VOICED) & (peak > left) & (peak >= right)
    bend = (left - 2 * peak + right)[voiced]
    exact = lags[voiced] + 0.5 * (left - right)[voiced] / bend
    semitones: NDArray[np.float64] = librosa.hz_to_midi(_RATE / exact)
    return semitones
