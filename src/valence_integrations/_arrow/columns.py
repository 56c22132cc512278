"""The columns that an annotation adds to a dataset: names, types and values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from valence_integrations.errors import SettingsError, ValenceError
from valence_integrations.results import EmotionPrediction

__all__ = ["Columns"]

_SCORE = pa.float32()


@dataclass(frozen=True)
class Columns:
    """Names of the columns, and how labels, scores and errors are encoded.

    Raises
    ------
    SettingsError
        If two columns would have the same name.
    """

    prefix: str
    emotions: tuple[str, ...]
    labels: str = "string"
    scores: str = "struct"
    text: Callable[[ValenceError], str] = str

    def __post_init__(self) -> None:
        names = [name for name, _ in self._fields()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SettingsError(
                f'scores="columns" would give two columns the name {twice[0]!r}.',
                code="column_conflict",
                setting="scores",
                remedy='Keep scores="struct", or rename that emotion.',
            )

    def check_collisions(self, audio: str, segments: str | None) -> Columns:
        """Check that no column would replace an input column, and return these columns.

        Raises
        ------
        SettingsError
            If a column has the name of the audio or segments column.
        """
        for what, name in (("audio", audio), ("segments", segments)):
            if name in self.types.names:
                raise SettingsError(
                    f"prefix={self.prefix!r} would replace the {what} column.",
                    code="column_conflict",
                    setting="prefix",
                    remedy="Choose another prefix.",
                )
        return self

    @cached_property
    def types(self) -> pa.Schema:
        """Names and types of the columns."""
        return pa.schema(self._fields())

    @cached_property
    def features(self) -> Any:
        """Names and types of the columns for `datasets`, class labels included."""
        from datasets import ClassLabel, Features, List

        features = Features.from_arrow_schema(self.types)
        if self.labels == "class":
            label, timeline = ClassLabel(names=list(self.emotions)), f"{self.prefix}_timeline"
            features[self.prefix] = label
            features[timeline] = List({**features[timeline].feature, "emotion": label})
        return features

    def of(self, predictions: Sequence[EmotionPrediction]) -> dict[str, pa.Array]:
        """Build the columns, with one row for each prediction."""
        rows = [self._row(prediction) for prediction in predictions]
        return {field.name: pa.array([row[i] for row in rows], field.type) for i, field in enumerate(self.types)}

    def _fields(self) -> list[tuple[str, pa.DataType]]:
        """Names and types. Times are float64, which is exact to the sample in hours of audio; scores are float32."""
        label = pa.int64() if self.labels == "class" else pa.string()
        segment = [("start", pa.float64()), ("end", pa.float64()), ("emotion", label), ("confidence", _SCORE)]
        scores = [(emotion, _SCORE) for emotion in self.emotions]
        if self.scores == "struct":
            scores = [("scores", pa.struct(scores))]
        others = [
            ("confidence", _SCORE),
            *scores,
            ("timeline", pa.list_(pa.struct(segment))),
            ("source", pa.string()),
            ("error", pa.string()),
            ("error_code", pa.string()),
        ]
        return [(self.prefix, label), *((f"{self.prefix}_{name}", kind) for name, kind in others)]

    def _row(self, prediction: EmotionPrediction) -> tuple[Any, ...]:
        default = math.nan if prediction.source is None else 0.0
        scores = {emotion: prediction.scores.get(emotion, default) for emotion in self.emotions}
        return (
            self._label(prediction.emotion),
            prediction.confidence,
            *((scores,) if self.scores == "struct" else scores.values()),
            [
                {
                    "start": part.start,
                    "end": part.end,
                    "emotion": self._label(part.emotion),
                    "confidence": part.confidence,
                }
                for part in prediction.segments
            ],
            prediction.source,
            None if prediction.error is None else self.text(prediction.error),
            None if prediction.error is None else prediction.error.code,
        )

    def _label(self, emotion: str | None) -> str | int | None:
        if self.labels == "string":
            return emotion
        return self.emotions.index(emotion) if emotion in self.emotions else None
