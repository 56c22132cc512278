"""Outputs of a pipeline: labels with their scores, and the parameters that change them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from types import EllipsisType
from typing import Any, Literal, get_args

from valence_integrations.engine import Engine, warn_unknown_emotions
from valence_integrations.errors import SettingsError
from valence_integrations.results import EmotionPrediction
from valence_integrations.settings import OnError, Settings, check_choice
from valence_integrations.transformers._inputs import is_item, items_of

__all__ = ["FunctionToApply", "Parameters", "SizedIterator", "classify"]

FunctionToApply = Literal["none", "softmax"]


@dataclass(frozen=True)
class Parameters:
    """Parameters of a pipeline that each call can override."""

    top_k: int | None = None
    function_to_apply: FunctionToApply = "none"
    return_timestamps: bool = False
    batch_size: int | None = None
    num_workers: int | None = None

    def __post_init__(self) -> None:
        check_choice("function_to_apply", self.function_to_apply, get_args(FunctionToApply))
        if not isinstance(self.return_timestamps, bool):
            raise SettingsError(f"must be True or False, not {self.return_timestamps!r}.", setting="return_timestamps")
        for name, least in (("top_k", 0), ("batch_size", 1), ("num_workers", 0)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, Integral) or value < least):
                raise SettingsError(
                    f"must be a whole number of at least {least}, not {value!r}.",
                    setting=name,
                    remedy="None is accepted, too.",
                )

    def changed(self, *, top_k: int | EllipsisType | None = ..., **others: Any) -> Parameters:
        """Return a copy with the given values; None is a value for `top_k` only."""
        given = {name: value for name, value in others.items() if value is not None}
        if top_k is not ...:
            given["top_k"] = top_k
        return dataclasses.replace(self, **given)

    def output(self, found: EmotionPrediction, emotions: Sequence[str]) -> Any:
        """Convert a prediction to the pipeline's output for an item."""
        labels = [] if found.source is None else self._labels(found.scores, emotions)
        if not self.return_timestamps:
            return labels
        chunks = [
            {"labels": self._labels(segment.scores, emotions), "timestamp": (segment.start, segment.end)}
            for segment in found.segments
        ]
        return {"labels": labels, "chunks": chunks}

    def _labels(self, found: Mapping[str, float], emotions: Sequence[str]) -> list[dict[str, Any]]:
        scores = {emotion: found.get(emotion, 0.0) for emotion in emotions}
        if self.function_to_apply == "softmax":
            powers = {emotion: math.exp(score) for emotion, score in scores.items()}
            scores = {emotion: power / sum(powers.values()) for emotion, power in powers.items()}
        largest_first = sorted(scores, key=scores.__getitem__, reverse=True)
        return [{"score": scores[emotion], "label": emotion} for emotion in largest_first[: self.top_k]]


class SizedIterator(Iterator[Any]):
    """An iterator with a length, for progress bars such as ``tqdm``."""

    def __init__(self, found: Iterator[Any], size: int) -> None:
        self._found = found
        self._size = size

    def __next__(self) -> Any:
        return next(self._found)

    def __len__(self) -> int:
        return self._size


def classify(engine: Engine, inputs: Any, parameters: Parameters, on_error: OnError) -> Any:
    """Classify inputs; return the output of one item, a list for a list or tuple, else an iterator of outputs."""
    emotions = engine.settings.columns
    if is_item(inputs):
        found = engine.predict(inputs) if on_error == "raise" else engine.predict_many([inputs], on_error)[0]
        warn_unknown_emotions([found], engine.settings)
        return parameters.output(found, emotions)
    items = items_of(inputs)
    if isinstance(inputs, (list, tuple)):
        predictions = engine.predict_many(items, on_error)
        warn_unknown_emotions(predictions, engine.settings)
        return [parameters.output(found, emotions) for found in predictions]
    outputs = _outputs(engine.iter_predict(items, on_error), parameters, engine.settings)
    try:
        return SizedIterator(outputs, len(inputs))
    except TypeError:
        return outputs


def _outputs(predictions: Iterator[EmotionPrediction], parameters: Parameters, settings: Settings) -> Iterator[Any]:
    for found in predictions:
        warn_unknown_emotions([found], settings)
        yield parameters.output(found, settings.columns)
