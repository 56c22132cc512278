"""Called like ``transformers.pipeline("audio-classification")``; needs neither `transformers` nor torch."""

from __future__ import annotations

import dataclasses
import numbers
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

import numpy as np

from valence_integrations.engine import Engine, given_settings, shared_engine
from valence_integrations.errors import SettingsError
from valence_integrations.results import EmotionPrediction
from valence_integrations.settings import LongAudio, OnError, Settings, ShortAudio, check_choice

__all__ = ["ValenceEmotionPipeline"]


class ValenceEmotionPipeline:
    """Tell the emotions that the Valence API hears in audio, as an audio-classification pipeline does.

    A setting that is not given is read from the environment when the pipeline is made, as `Settings` tells.

    Parameters
    ----------
    model : str, optional
        ``"4emotions"`` (the default), ``"7emotions"`` or the name of a custom model.
    top_k : int, optional
        How many labels to give for an item; by default all.
    on_error : {"raise", "null"}, default="raise"
        What to do about items that fail: raise after the others are finished and kept in the cache, or give no labels
        for them.
    engine : Engine, optional
        An engine to use, with its settings; no others can then be given.
    emotions, sampling_rate, short_audio, long_audio, concurrency, cache, api_key, base_url
        As for `Settings`.

    Attributes
    ----------
    task : str
        ``"audio-classification"``.
    engine : Engine
        What does the work.

    Raises
    ------
    SettingsError
        If a setting has a value that cannot be.

    Examples
    --------
    >>> import numpy as np
    >>> from valence_integrations import ValenceEmotionPipeline
    >>> from valence_integrations.sandbox import Sandbox
    >>> hum = np.sin(np.arange(6 * 16_000) * 0.08)
    >>> with Sandbox() as sandbox:
    ...     classify = ValenceEmotionPipeline(base_url=sandbox.url, api_key=sandbox.api_key, cache=False)
    ...     one = classify(hum, top_k=2)
    ...     many = classify([hum, (hum[::2], 8_000)])
    >>> [sorted(label) for label in one]
    [['label', 'score'], ['label', 'score']]
    >>> [len(labels) for labels in many]
    [4, 4]
    """

    task = "audio-classification"

    def __init__(
        self,
        model: str | None = None,
        top_k: int | None = None,
        *,
        on_error: OnError = "raise",
        engine: Engine | None = None,
        emotions: Sequence[str] | None = None,
        sampling_rate: int | None = None,
        short_audio: ShortAudio | None = None,
        long_audio: LongAudio | None = None,
        concurrency: int | None = None,
        cache: bool | str | os.PathLike[str] | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
    ) -> None:
        check_choice("on_error", on_error, get_args(OnError))
        given = given_settings(
            engine,
            model=model,
            emotions=emotions,
            sampling_rate=sampling_rate,
            short_audio=short_audio,
            long_audio=long_audio,
            concurrency=concurrency,
            cache=cache,
            api_key=api_key,
            base_url=base_url,
        )
        if engine is None:
            engine = shared_engine(Settings(**given))
        _ = engine.settings.columns
        self.engine = engine
        self.on_error: OnError = on_error
        self.top_k = _checked_top_k(top_k)

    def __call__(self, inputs: Any, *, top_k: int | None = None) -> Any:
        """Classify one item, or many.

        Parameters
        ----------
        inputs : object
            One item: a path, the bytes of a file, a file object, a waveform (an array, a tensor, or a list of
            numbers), ``(waveform, sampling_rate)``, a dict such as `datasets` gives. Or many: a list or tuple of
            items, or anything else that can be iterated over or indexed (a generator, a dataset's column, a
            ``KeyDataset``).
        top_k : int, optional
            How many labels to give for an item; by default the pipeline's `top_k`.

        Returns
        -------
        list of dict, list of list of dict, or iterator of list of dict
            For one item its labels, ``{"score": float, "label": str}``, largest score first; none for a missing,
            skipped or failed one. For a list or tuple, a list of that. For other iterables an iterator, which works
            lazily: it reads a few items ahead, and gives labels in their order. Scores are between 0 and 1 and need
            not sum to 1.

        Raises
        ------
        ItemError
            If the one item failed, under ``on_error="raise"``.
        BatchError
            If some of many did; an iterator raises it after the last item.
        JobError
            If nothing can be classified: no key, a refused key, a spent budget.
        SettingsError
            If `top_k` is no number of labels.
        """
        top_k = self.top_k if top_k is None else _checked_top_k(top_k)
        if _is_item(inputs):
            if self.on_error == "raise":
                return self._labels(self.engine.predict(inputs), top_k)
            return self._labels(self.engine.predict_many([inputs], "null")[0], top_k)
        if isinstance(inputs, (list, tuple)):
            return [self._labels(found, top_k) for found in self.engine.predict_many(inputs, self.on_error)]
        return self._lazily(_iterable(inputs), top_k)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(engine={self.engine!r}, top_k={self.top_k!r}, on_error={self.on_error!r})"

    def _lazily(self, items: Iterable[Any], top_k: int | None) -> Iterator[list[dict[str, Any]]]:
        for found in self.engine.iter_predict(items, self.on_error):
            yield self._labels(found, top_k)

    def _labels(self, found: EmotionPrediction, top_k: int | None) -> list[dict[str, Any]]:
        if found.source is None:
            return []
        scores = {emotion: found.scores.get(emotion, 0.0) for emotion in self.engine.settings.columns}
        largest_first = sorted(scores, key=scores.__getitem__, reverse=True)
        return [{"score": scores[emotion], "label": emotion} for emotion in largest_first[:top_k]]


def _checked_top_k(top_k: int | None) -> int | None:
    if top_k is None or (isinstance(top_k, numbers.Integral) and not isinstance(top_k, bool) and top_k > 0):
        return top_k
    raise SettingsError(f"top_k must be a number of labels, at least 1, or None for all, not {top_k!r}.")


def _is_item(inputs: Any) -> bool:
    """Whether it is one item. A list or tuple is many, but one of numbers is a waveform."""
    if inputs is None or isinstance(inputs, (str, bytes, bytearray, memoryview, os.PathLike, Mapping, numbers.Number)):
        return True
    if isinstance(inputs, np.ndarray):
        return inputs.dtype.kind not in "OUST"
    if isinstance(inputs, (list, tuple)):
        with_rate = isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[1], numbers.Number)
        return with_rate or (len(inputs) > 0 and all(isinstance(sample, numbers.Number) for sample in inputs))
    return any(hasattr(inputs, method) for method in ("read", "get_all_samples", "detach"))


def _iterable(inputs: Any) -> Iterable[Any]:
    if type(getattr(inputs, "features", None)).__name__ == "Audio":
        # A column of `datasets`: bytes and paths, which need no decoder to be installed.
        raw = inputs.source.cast_column(inputs.column_name, dataclasses.replace(inputs.features, decode=False))
        return raw[inputs.column_name]  # type: ignore[no-any-return]
    if isinstance(inputs, Iterable):
        return inputs
    if hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"):
        # A torch dataset, such as a KeyDataset.
        return (inputs[index] for index in range(len(inputs)))
    raise TypeError(f"inputs must be audio, or many items of it, not {type(inputs).__name__}.")
