"""Predictions and their segments."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from valence_integrations.errors import ValenceError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["EmotionPrediction", "EmotionSegment"]


@dataclass(frozen=True)
class EmotionSegment:
    """Emotion of one segment of an item.

    Attributes
    ----------
    start, end : float
        Seconds from the start of the item.
    emotion : str or None
        The emotion with the highest score; None if its confidence is under ``min_confidence``.
    confidence : float
        The service's confidence in that emotion, 0 to 1.
    scores : dict of str to float
        Confidence of each emotion; scores need not sum to 1. No other segment or prediction shares the dict.
    """

    start: float
    end: float
    emotion: str | None
    confidence: float
    scores: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", dict(self.scores))


@dataclass(frozen=True)
class EmotionPrediction:
    """Emotion of one item.

    Attributes
    ----------
    emotion : str or None
        The item's emotion; None for a missing, skipped or failed item, or if the confidence is under
        ``min_confidence``.
    confidence : float
        The service's confidence in that emotion, 0 to 1; NaN if there is no answer.
    scores : dict of str to float
        Confidence of each emotion; scores need not sum to 1. For several segments, the duration-weighted mean.
    segments : tuple of EmotionSegment
        The timeline; one segment for a single call.
    source : {"discrete", "chunk", "asynch"} or None
        How the item was sent; None if it was not sent.
    duration : float
        Seconds of audio in the item, without padding; NaN if unknown.
    padded : bool
        Whether the item was shorter than the API accepts and was padded.
    cached : bool
        Whether no call was billed for the item, because the answer was already available.
    request_id : str or None
        The service's id of the call; of the last call if there were several.
    model : str or None
        The requested model; the AsynchAPI takes no model parameter.
    error : ValenceError or None
        The error of a failed item.

    Examples
    --------
    >>> from valence_integrations import EmotionPrediction
    >>> prediction = EmotionPrediction(emotion="happy", confidence=0.78, scores={"happy": 0.78, "sad": 0.1})
    >>> prediction.emotion
    'happy'
    """

    emotion: str | None = None
    confidence: float = math.nan
    scores: dict[str, float] = field(default_factory=dict)
    segments: tuple[EmotionSegment, ...] = ()
    source: str | None = None
    duration: float = math.nan
    padded: bool = False
    cached: bool = False
    request_id: str | None = None
    model: str | None = None
    error: ValenceError | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", dict(self.scores))

    @classmethod
    def from_segments(cls, segments: Sequence[EmotionSegment], **fields: Any) -> EmotionPrediction:
        """Combine segments: scores are their duration-weighted mean, the emotion is the one with the highest score.

        A single segment is used unchanged, which keeps the service's own choice of emotion.
        """
        segments = tuple(segments)
        if len(segments) == 1:
            (only,) = segments
            return cls(only.emotion, only.confidence, only.scores, segments, **fields)
        scores = _weighted_mean(segments)
        emotion = max(scores, key=scores.__getitem__) if scores else None
        confidence = scores[emotion] if emotion is not None else math.nan
        return cls(emotion, confidence, scores, segments, **fields)

    def with_min_confidence(self, min_confidence: float | None) -> EmotionPrediction:
        """Replace emotions under `min_confidence` by None; keep scores and confidences."""
        if min_confidence is None:
            return self
        segments = tuple(
            replace(segment, emotion=None) if segment.confidence < min_confidence else segment
            for segment in self.segments
        )
        emotion = None if self.confidence < min_confidence else self.emotion
        return replace(self, emotion=emotion, segments=segments)

    def plot(self, audio: object = None, ax: Axes | None = None) -> Axes:
        """Plot the scores as bars, or several segments as a timeline.

        Parameters
        ----------
        audio : object, optional
            The item's audio, in any form supported for an item. The timeline is drawn over its waveform.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed; the extra ``report`` includes it.
        UnreadableAudioError
            If the audio cannot be read.
        ValenceError
            The item's own error, if the item failed.

        Examples
        --------
        >>> from valence_integrations import EmotionPrediction
        >>> prediction = EmotionPrediction(emotion="happy", confidence=0.78, scores={"happy": 0.78, "sad": 0.1})
        >>> prediction.plot().get_title()
        'happy 0.78'
        """
        from valence_integrations.results import _plot

        return _plot.plot(self, audio, ax)

    def to_frame(self, file: str | os.PathLike[str] = "") -> pd.DataFrame:
        """Return the segments as a table in the format of audformat and audinterface.

        Parameters
        ----------
        file : str or path, optional
            Name of the item.

        Returns
        -------
        pandas.DataFrame
            Same format as `valence_integrations.results.to_frame`, for one item.

        Examples
        --------
        >>> from valence_integrations import EmotionPrediction, EmotionSegment
        >>> segments = [EmotionSegment(0.0, 5.0, "sad", 0.5), EmotionSegment(5.0, 9.5, "calm", 0.7)]
        >>> call = EmotionPrediction.from_segments(segments)
        >>> call.to_frame("call.wav")["emotion"].to_list()
        ['sad', 'calm']
        """
        from valence_integrations.results import _export

        return _export.to_frame([(file, self)])

    def to_textgrid(self) -> str:
        """Return the segments as a Praat TextGrid with the tiers ``emotion`` and ``confidence``.

        Gaps and segments without an emotion are empty intervals. Save the text as UTF-8.

        Returns
        -------
        str
            TextGrid in Praat's long text format.

        Raises
        ------
        ValueError
            If the item has neither segments nor a duration.

        Examples
        --------
        >>> from valence_integrations import EmotionPrediction, EmotionSegment
        >>> segment = EmotionSegment(0.0, 6.0, "happy", 0.78)
        >>> print(EmotionPrediction.from_segments([segment], duration=6.0).to_textgrid().splitlines()[0])
        File type = "ooTextFile"
        """
        from valence_integrations.results import _export

        return _export.textgrid(self)

    def to_rttm(self, file: str | os.PathLike[str]) -> str:
        """Return the segments as RTTM, the format of diarization tools [NIST RT-09].

        Each segment is a ``SPEAKER`` line with the emotion in place of the speaker's name, and its confidence. Segments
        without an emotion are omitted. White space in names becomes ``_``.

        Parameters
        ----------
        file : str or path
            The recording's name in the RTTM file, by convention without folders and suffix.

        Raises
        ------
        ValueError
            If `file` is empty.

        Examples
        --------
        >>> from valence_integrations import EmotionPrediction, EmotionSegment
        >>> print(EmotionPrediction.from_segments([EmotionSegment(0.0, 6.0, "happy", 0.78)]).to_rttm("clip"), end="")
        SPEAKER clip 1 0.000 6.000 <NA> <NA> happy 0.780 <NA>
        """
        from valence_integrations.results import _export

        return _export.rttm(self, file)

    def _repr_html_(self) -> str:
        from valence_integrations.results import _notebook

        return _notebook.picture(self)


def _weighted_mean(segments: Sequence[EmotionSegment]) -> dict[str, float]:
    """Duration-weighted mean score of each emotion; an emotion missing from a segment counts as 0."""
    weights = [max(segment.end - segment.start, 0.0) for segment in segments]
    total = sum(weights)
    if total <= 0.0:
        weights, total = [1.0] * len(segments), float(len(segments))
    names = dict.fromkeys(name for segment in segments for name in segment.scores)
    return {
        name: sum(weight * segment.scores.get(name, 0.0) for weight, segment in zip(weights, segments, strict=True))
        / total
        for name in names
    }
