"""Plot predictions with matplotlib."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from valence_integrations._audio.clip import Clip
from valence_integrations._audio.open import open_clip
from valence_integrations._html.palette import color
from valence_integrations._html.pictures import NO_EMOTION, emotion_text
from valence_integrations.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from valence_integrations.results import EmotionPrediction

#: Number of stretches whose lowest and highest samples draw a waveform: more than a figure has pixels.
_STRETCHES = 2000


def plot(prediction: EmotionPrediction, audio: object, ax: Axes | None) -> Axes:
    """Plot scores as bars, or a timeline if there are several segments or audio is given."""
    if prediction.error is not None:
        raise prediction.error
    clip = open_clip(audio) if audio is not None else None
    timeline = bool(prediction.segments) and (clip is not None or len(prediction.segments) > 1)
    ax = ax if ax is not None else _new_axes(wide=timeline)
    if timeline:
        _draw_timeline(prediction, clip, ax)
    else:
        _draw_scores(prediction, ax)
    ax.set_title(emotion_text(prediction.emotion, prediction.confidence))
    return ax


def _new_axes(*, wide: bool) -> Axes:
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        raise MissingDependencyError.of("plot()", "report") from None
    _, ax = plt.subplots(figsize=(9, 2.6) if wide else (4.5, 2.6), layout="constrained")
    return ax


def _draw_scores(prediction: EmotionPrediction, ax: Axes) -> None:
    rising = sorted(prediction.scores.items(), key=lambda pair: pair[1])
    names, scores = [name for name, _ in rising], [score for _, score in rising]
    bars = ax.barh(names, scores, color=[color(name) for name in names], edgecolor="0.45", linewidth=0.8)
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.set(xlim=(0, 1.12), xlabel="confidence")
    ax.spines[["top", "right"]].set_visible(False)


def _draw_timeline(prediction: EmotionPrediction, clip: Clip | None, ax: Axes) -> None:
    """Draw each segment as a box: as high as its confidence, or full height behind the waveform."""
    named: set[str] = set()
    for segment in prediction.segments:
        label = segment.emotion or NO_EMOTION
        style: dict[str, Any] = (
            {"facecolor": "none", "hatch": "///"} if segment.emotion is None else {"facecolor": color(segment.emotion)}
        )
        bottom, height = (0.0, segment.confidence) if clip is None else (-1.0, 2.0)
        ax.bar(
            segment.start,
            height,
            segment.end - segment.start,
            bottom,
            align="edge",
            edgecolor="0.45",
            linewidth=0.5,
            alpha=1.0 if clip is None else 0.55,
            label="_" if label in named else label,
            **style,
        )
        named.add(label)
    if clip is None:
        ax.set(ylim=(0, 1), ylabel="confidence")
    else:
        times, lowest, highest = _envelope(clip)
        ax.fill_between(times, lowest, highest, color="black", linewidth=0.4)
        ax.set(ylim=(-1, 1), yticks=[])
    ends = [prediction.segments[-1].end, *([prediction.duration] if math.isfinite(prediction.duration) else [])]
    ax.set(xlim=(0, max(ends)), xlabel="seconds")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _envelope(clip: Clip) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return time, lowest and highest sample of each stretch, normalized to a peak of 1."""
    pcm = clip.pcm()
    edges = np.linspace(0, len(pcm), min(_STRETCHES, len(pcm)) + 1).astype(int)[:-1]
    lowest, highest = (pick.reduceat(pcm, edges).astype(np.float64) for pick in (np.minimum, np.maximum))
    peak = max(highest.max(), -lowest.min(), 1.0)
    return edges / clip.rate, lowest / peak, highest / peak
