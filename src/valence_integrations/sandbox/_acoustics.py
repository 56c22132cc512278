"""The acoustic rule behind the sandbox's answers: a stand-in, **not an emotion model**.

The rule gives different voices and manners of speaking different, reproducible answers. It was not trained on any
data, and its answers say nothing about how anybody feels. The steps:

1. The audio is resampled to 8 kHz and cut into frames of 64 ms, one every 32 ms. The frames within 30 dB of the loudest
   one (and above -70 dB) are *active*; the rest are pauses.
2. Four values are measured over the active frames: **level**, the mean A-weighted power in dB relative to full scale;
   **pitch**, the median over the voiced frames, in semitones (MIDI numbers), by autocorrelation under 1 kHz;
   **range**, the interquartile range of the pitch; **tilt**, the alpha ratio: the power above 1 kHz relative to the
   power below, in dB.
3. A logistic curve (`_CURVES`) maps each value to a trait from 0 to 1: *loud*, *high*, *lively*, *flat*.
4. Each emotion has a prototype in this space (`_PROTOTYPES`). Its score is a Gaussian of the distance to the prototype.
   Each score lies in 0..1, and the scores of a clip need not sum to 1.

Loud, high and flat is angry; loud, high and lively is happy; quiet, low and steep is sad; the middle is neutral.
Without voiced frames (whisper, noise), the pitch takes its middle value. Silence is quiet, and its pitch and tilt take
their middle values.

librosa supplies the scales (frequencies, A-weighting, semitones). Its functions that use numba or scipy.signal are
avoided: their import and compilation would make the first call take seconds.
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
_ACTIVE_RANGE_DB = 30.0
_LAGS = slice(_RATE // 500, _RATE // 70)
_VOICED_THRESHOLD = 0.5
_OCTAVE_COST = 0.05

_TRAITS = ("loud", "high", "lively", "flat")
_CURVES = {"loud": (-25.0, 4.0), "high": (48.0, 5.0), "lively": (2.4, 0.8), "flat": (-7.0, 3.0)}
"""Middle and width of the logistic curve of each trait: dB, semitones, semitones, dB."""

_PROTOTYPES = {
    "angry": (0.85, 0.65, 0.45, 0.85),
    "happy": (0.75, 0.75, 0.75, 0.45),
    "neutral": (0.50, 0.45, 0.40, 0.50),
    "sad": (0.15, 0.25, 0.35, 0.30),
    "surprised": (0.60, 0.90, 0.90, 0.65),
    "disgusted": (0.75, 0.10, 0.25, 0.80),
    "calm": (0.30, 0.50, 0.10, 0.30),
}
"""The prototype of each emotion: loud, high, lively, flat."""
_PROTOTYPE_WIDTH = 0.55

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
    """Run the rule once, so that the first request does not wait for imports."""
    scores(np.zeros(_RATE, dtype=np.float32), 2 * _RATE, "4emotions")


def scores(samples: Samples, rate: int, model: str) -> dict[str, float]:
    """Score mono audio: emotion to confidence, for the emotions of `model`, rounded to 6 decimals."""
    traits = _traits(samples, rate)
    return {
        emotion: round(float(np.exp(-np.sum((traits - _PROTOTYPES[emotion]) ** 2) / _PROTOTYPE_WIDTH**2)), 6)
        for emotion in EMOTIONS[model]
    }


def _traits(samples: Samples, rate: int) -> NDArray[np.float64]:
    measured = measure(samples, rate)
    curves = [_CURVES[trait] for trait in _TRAITS]
    return np.array(
        [1 / (1 + np.exp(-(value - middle) / width)) for value, (middle, width) in zip(measured, curves, strict=True)]
    )


def measure(samples: Samples, rate: int) -> tuple[float, float, float, float]:
    """Return level (dB), median pitch (semitones), pitch range (semitones) and spectral tilt (dB)."""
    scales = _scales()
    power = _power_spectra(_resample_to_8_khz(samples, rate))
    frame_power = power[:, 1:] @ scales.loudness * (2 / (_N_FFT * np.sum(_WINDOW**2)))
    floor = max(frame_power.max() * 10 ** (-_ACTIVE_RANGE_DB / 10), 10 ** (_FLOOR_DB / 10))
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


def _resample_to_8_khz(samples: Samples, rate: int) -> Samples:
    missing = _FRAME - len(samples) * _RATE // rate
    audio: Samples = samples if rate == _RATE else soxr.resample(samples, rate, _RATE)
    return np.pad(audio, (0, missing + 1)) if missing > 0 else audio


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
    voiced = (peak > _VOICED_THRESHOLD) & (peak > left) & (peak >= right)
    curvature = (left - 2 * peak + right)[voiced]
    exact = lags[voiced] + 0.5 * (left - right)[voiced] / curvature
    semitones: NDArray[np.float64] = librosa.hz_to_midi(_RATE / exact)
    return semitones
