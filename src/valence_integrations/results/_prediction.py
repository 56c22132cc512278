"""What comes back: predictions, and their segments."""

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
    """The emotion of one stretch of an item.

    Attributes
    ----------
    start, end : float
        Seconds from the start of the item.
    emotion : str or None
        The largest emotion, or None if it is under ``min_confidence``.
    confidence : float
        The service's confidence in that emotion, 0 to 1.
    scores : dict of str to float
        Confidence of each emotion; they need not sum to 1.
    """

    start: float
    end: float
    emotion: str | None
    confidence: float
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EmotionPrediction:
    """The emotion of one item.

    Attributes
    ----------
    emotion : str or None
        The item's emotion; None for a missing, skipped or failed item, and for one under ``min_confidence``.
    confidence : float
        The service's confidence in that emotion, 0 to 1; NaN if there is none.
    scores : dict of str to float
        Confidence of each emotion; they need not sum to 1. Over several segments: the mean, weighted by duration.
    segments : tuple of EmotionSegment
        The timeline; one segment for a single call.
    source : {"discrete", "chunk", "asynch"} or None
        The way the item took; None if it was not sent.
    duration : float
        Seconds of audio in the item itself, without padding; NaN if unknown.
    padded : bool
        Whether the item was shorter than the API accepts, and was lengthened.
    cached : bool
        Whether the answer was already there, so that nothing was paid.
    request_id : str or None
        The service's id of the call; of the last one, if there were several.
    model : str or None
        The model asked for; the AsynchAPI takes none.
    error : ValenceError or None
        Why there is no emotion, for a failed item.

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

    @classmethod
    def from_segments(cls, segments: Sequence[EmotionSegment], **fields: Any) -> EmotionPrediction:
        """Sum segments up: scores are their mean weighted by duration, the emotion is the largest.

        One segment is taken as it is, so that the service's own choice of emotion stays.
        """
        segments = tuple(segments)
        if len(segments) == 1:
            (only,) = segments
            return cls(only.emotion, only.confidence, dict(only.scores), segments, **fields)
        scores = _weighted_mean(segments)
        emotion = max(scores, key=scores.__getitem__) if scores else None
        confidence = scores[emotion] if emotion is not None else math.nan
        return cls(emotion, confidence, scores, segments, **fields)

    def with_min_confidence(self, min_confidence: float | None) -> EmotionPrediction:
        """Turn emotions under `min_confidence` into None; scores and confidences stay."""
        if min_confidence is None:
            return self
        segments = tuple(
            replace(segment, emotion=None) if segment.confidence < min_confidence else segment
            for segment in self.segments
        )
        emotion = None if self.confidence < min_confidence else self.emotion
        return replace(self, emotion=emotion, segments=segments)

    def plot(self, audio: object = None, ax: Axes | None = None) -> Axes:
        """Draw it: a bar for each score, or the timeline of an item with several segments.

        Parameters
        ----------
        audio : object, optional
            The item's audio, in any form that an item may have: the timeline is drawn over its waveform.
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        MissingDependencyError
            Without matplotlib, which the extra ``report`` brings.
        UnreadableAudioError
            If the audio cannot be read.
        ValenceError
            Its own error, if the item failed.

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
        """Return its segments as a table that audformat and audinterface understand.

        Parameters
        ----------
        file : str or path, optional
            What the item is called.

        Returns
        -------
        pandas.DataFrame
            As that of `to_frame` in `valence_integrations.results`, for one item.

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
        """Return its segments as a Praat TextGrid: the tiers ``emotion`` and ``confidence``.

        What is between segments, and a segment without an emotion, is an empty interval. Save it as UTF-8.

        Returns
        -------
        str
            In Praat's long text format.

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
        """Return its segments as RTTM, as diarization tools read it [NIST RT-09].

        Each segment is a ``SPEAKER`` line with the emotion where the speaker's name is, and its confidence in the
        field for that; a segment without an emotion has none. White space in names becomes ``_``.

        Parameters
        ----------
        file : str or path
            The recording's name in the RTTM file; by custom without folders and suffix.

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
    """Mean score of each emotion; one that a segment does not name counts as 0 there."""
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
