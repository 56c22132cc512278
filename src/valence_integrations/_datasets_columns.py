"""The columns that an annotation adds to a dataset: names, types and values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from valence_integrations.results import EmotionPrediction

__all__ = ["ArrowColumns", "column_types", "columns_of", "joined"]


def column_types(prefix: str, emotions: Sequence[str]) -> pa.Schema:
    """Names and types of the columns.

    Times are float64, so that they still find the very sample in an hour of audio; scores are float32.
    """
    score = pa.float32()
    segment = [("start", pa.float64()), ("end", pa.float64()), ("emotion", pa.string()), ("confidence", score)]
    return pa.schema(
        [
            (prefix, pa.string()),
            (f"{prefix}_confidence", score),
            (f"{prefix}_scores", pa.struct([(emotion, score) for emotion in emotions])),
            (f"{prefix}_timeline", pa.list_(pa.struct(segment))),
            (f"{prefix}_source", pa.string()),
            (f"{prefix}_error", pa.string()),
        ]
    )


def columns_of(
    predictions: Sequence[EmotionPrediction], types: pa.Schema, emotions: Sequence[str]
) -> dict[str, pa.Array]:
    """Columns of these types, with one row for each prediction."""
    rows = [_row(prediction, emotions) for prediction in predictions]
    return {field.name: pa.array([row[i] for row in rows], field.type) for i, field in enumerate(types)}


def _row(prediction: EmotionPrediction, emotions: Sequence[str]) -> tuple[Any, ...]:
    not_named = math.nan if prediction.source is None else 0.0
    return (
        prediction.emotion,
        prediction.confidence,
        {emotion: prediction.scores.get(emotion, not_named) for emotion in emotions},
        [
            {"start": part.start, "end": part.end, "emotion": part.emotion, "confidence": part.confidence}
            for part in prediction.segments
        ],
        prediction.source,
        None if prediction.error is None else str(prediction.error),
    )


def joined(table: pa.Table, columns: dict[str, pa.Array]) -> pa.Table:
    """The table with the columns, in the place of those that have their names."""
    if not table.column_names:
        return pa.table(columns)
    for name, column in columns.items():
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
    return table


class ArrowColumns(dict[str, pa.Array]):
    """Columns for the writer behind ``Dataset.map``.

    The writer takes arrow arrays with their type, so that a column has the right one even if all its values are None.
    But in batched mode ``map`` first looks at the ``values()``, and lets only lists pass.
    """

    def values(self) -> Any:
        """Columns as lists."""
        return [array.to_pylist() for array in super().values()]
