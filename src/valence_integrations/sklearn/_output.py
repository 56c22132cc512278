"""Convert predictions to the columns of the transformer's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from valence_integrations.results import EmotionPrediction


def scores_of(predictions: Sequence[EmotionPrediction], columns: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Array of scores: a row for each prediction, a column for each emotion; NaN where there is no answer."""
    empty = dict.fromkeys(columns, np.nan)
    rows = [[(found.scores or empty).get(name, 0.0) for name in columns] for found in predictions]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(columns))


def labels_of(predictions: Sequence[EmotionPrediction], columns: tuple[str, ...]) -> list[str | None]:
    """Emotion of each prediction; None if there is none, or if it has no column."""
    return [found.emotion if found.emotion in columns else None for found in predictions]


def as_array(scores: npt.NDArray[np.float64], labels: Sequence[str | None] | None) -> npt.NDArray[Any]:
    """Array of scores; with labels, an array of objects whose last column holds them."""
    if labels is None:
        return scores
    table = np.empty((len(labels), scores.shape[1] + 1), dtype=object)
    table[:, :-1] = scores
    table[:, -1] = labels
    return table


def as_frame(
    container: str,
    names: Sequence[str],
    scores: npt.NDArray[np.float64],
    labels: Sequence[str | None] | None,
    categories: Sequence[str],
    index: Any,
) -> Any:
    """DataFrame of pandas or polars: scores, and labels with fixed categories in a last column."""
    data: dict[str, Any] = dict(zip(names, scores.T, strict=False))
    if container == "pandas":
        import pandas as pd

        if labels is not None:
            data[names[-1]] = pd.Categorical(labels, categories=list(categories))
        return pd.DataFrame(data, index=index)
    import polars as pl

    if labels is not None:
        data[names[-1]] = pl.Series(labels, dtype=pl.Enum(list(categories)))
    return pl.DataFrame(data)
