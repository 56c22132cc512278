"""`ValenceEmotionPipeline`: called like ``transformers.pipeline("audio-classification")``, without transformers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, get_args

from valence_integrations.engine import Engine, given_settings, shared_engine
from valence_integrations.errors import MissingDependencyError
from valence_integrations.settings import (
    EMOTIONS,
    LongAudio,
    OnError,
    Settings,
    ShortAudio,
    changed_settings,
    check_choice,
)
from valence_integrations.transformers._inputs import is_item
from valence_integrations.transformers._outputs import FunctionToApply, Parameters, classify

if TYPE_CHECKING:
    from huggingface_hub import AudioClassificationOutputElement


__all__ = ["ValenceEmotionPipeline"]


class ValenceEmotionPipeline:
    """Classify emotions in audio with the Valence API, like an audio-classification pipeline.

    Settings that are not given are read from the environment when the pipeline is created, see `Settings`.

    Parameters
    ----------
    model : str, optional
        ``"4emotions"`` (the default), ``"7emotions"`` or the name of a custom model.
    top_k : int, optional
        Maximum number of labels for an item; all by default.
    function_to_apply : {"none", "softmax"}, default="none"
        ``"none"`` returns the service's confidences, each between 0 and 1, which need not sum to 1. ``"softmax"`` makes
        them sum to 1 in the same order, for code that expects it; this flattens them, and they are not probabilities.
    return_timestamps : bool, default=False
        Whether to return the timeline of each item, too.
    batch_size, num_workers : int, optional
        Accepted as in transformers, but without effect: each item is a separate call, and `concurrency` and the
        account's limits set the number of simultaneous calls.
    on_error : {"raise", "null"}, default="raise"
        What to do with items that fail: raise after the others are finished and cached, or return no labels for them.
    engine : Engine, optional
        An engine to use, with its settings; no other settings can then be given.
    emotions, sampling_rate, short_audio, long_audio, concurrency, cache, api_key, base_url
        As for `Settings`.

    Attributes
    ----------
    task : str
        ``"audio-classification"``.
    engine : Engine
        The engine that makes the predictions.

    Raises
    ------
    SettingsError
        If a parameter has an invalid value.

    See Also
    --------
    register_pipeline : Register a task of the genuine ``transformers.pipeline``.

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
    ...     timed = classify(hum, top_k=1, return_timestamps=True)
    >>> [sorted(label) for label in one]
    [['label', 'score'], ['label', 'score']]
    >>> [len(labels) for labels in many]
    [4, 4]
    >>> [chunk["timestamp"] for chunk in timed["chunks"]]
    [(0.0, 6.0)]
    """

    task = "audio-classification"

    def __init__(
        self,
        model: str | None = None,
        top_k: int | None = None,
        *,
        function_to_apply: FunctionToApply = "none",
        return_timestamps: bool = False,
        batch_size: int | None = None,
        num_workers: int | None = None,
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
        self._parameters = Parameters(top_k, function_to_apply, return_timestamps, batch_size, num_workers)
        if engine is None:
            engine = shared_engine(Settings(**given))
        _ = engine.settings.columns
        self.engine = engine
        self.on_error: OnError = on_error

    def __call__(
        self,
        inputs: Any,
        *,
        top_k: int | EllipsisType | None = ...,
        function_to_apply: FunctionToApply | None = None,
        return_timestamps: bool | None = None,
        batch_size: int | None = None,
        num_workers: int | None = None,
    ) -> Any:
        """Classify one item or a collection of items.

        Parameters
        ----------
        inputs : object
            One item: a path, the bytes of a file, a file object, a waveform (an array, a tensor, or a list of
            numbers), ``(waveform, sampling_rate)``, a dict with ``"raw"`` or ``"array"``, or with ``"bytes"`` or
            ``"path"``. Or a collection: a list or tuple of items, or any other iterable or indexable object: a
            generator, a dataset of torch, a ``KeyDataset``, a column of `datasets` or a dataset with one ``Audio``
            column, which is not decoded.
        top_k, function_to_apply, return_timestamps, batch_size, num_workers
            Values that override the pipeline's own for this call; ``top_k=None`` returns all labels.

        Returns
        -------
        list of dict, list of list of dict, or iterator of list of dict
            For one item its labels, ``{"score": float, "label": str}``, largest score first; an empty list for a
            missing, skipped or failed item. For a list or tuple, a list of those lists. For other collections a lazy
            iterator in the order of the items, which reads a few items ahead (four times the number of simultaneous
            calls, 20 by default).

            With ``return_timestamps=True``, a dict for each item instead: ``"labels"`` for the whole item, and
            ``"chunks"`` for its timeline, a list of dicts with ``"labels"`` and ``"timestamp"``, (start, end) in
            seconds.

        Raises
        ------
        ItemError
            If the single item failed and ``on_error="raise"``.
        BatchError
            If items of a collection failed; an iterator raises it after the last item.
        JobError
            If nothing can be classified: no key, a refused key, a spent budget.
        SettingsError
            If a parameter has an invalid value.
        TypeError
            If `inputs` are neither audio nor a collection.
        """
        parameters = self._parameters.changed(
            top_k=top_k,
            function_to_apply=function_to_apply,
            return_timestamps=return_timestamps,
            batch_size=batch_size,
            num_workers=num_workers,
        )
        return classify(self.engine, inputs, parameters, self.on_error)

    def audio_classification(
        self,
        audio: Any,
        *,
        model: str | None = None,
        top_k: int | None = None,
        function_to_apply: FunctionToApply | None = None,
    ) -> list[AudioClassificationOutputElement]:
        """Classify one item, as ``huggingface_hub.InferenceClient.audio_classification`` does.

        Parameters
        ----------
        audio : object
            One item, as for a call. URLs are not downloaded.
        model : str, optional
            A model to use instead of the pipeline's own, with the same account.
        top_k, function_to_apply
            Values that override the pipeline's own for this call.

        Returns
        -------
        list of AudioClassificationOutputElement
            Labels with their scores, largest score first.

        Raises
        ------
        MissingDependencyError
            If `huggingface_hub` is not installed; it is a dependency of `datasets` and `transformers`.
        TypeError
            If `audio` is not one item.
        ItemError, JobError, SettingsError
            As for a call.

        Examples
        --------
        >>> import numpy as np
        >>> from valence_integrations import ValenceEmotionPipeline
        >>> from valence_integrations.sandbox import Sandbox
        >>> hum = np.sin(np.arange(6 * 16_000) * 0.08)
        >>> with Sandbox() as sandbox:
        ...     client = ValenceEmotionPipeline(base_url=sandbox.url, api_key=sandbox.api_key, cache=False)
        ...     elements = client.audio_classification(hum, top_k=2)
        >>> [0 <= element.score <= 1 for element in elements]
        [True, True]
        """
        try:
            from huggingface_hub import AudioClassificationOutputElement
        except ImportError as error:
            raise MissingDependencyError(
                "audio_classification needs huggingface_hub.", remedy="Install it: pip install huggingface_hub"
            ) from error

        if not is_item(audio):
            raise TypeError(f"audio must be one item, not {type(audio).__name__}; for many, call the pipeline itself.")
        parameters = self._parameters.changed(
            top_k=... if top_k is None else top_k, function_to_apply=function_to_apply, return_timestamps=False
        )
        engine = self.engine if model is None else _with_model(self.engine.settings, model)
        return [
            AudioClassificationOutputElement(**label) for label in classify(engine, audio, parameters, self.on_error)
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_parameters": dataclasses.asdict(self._parameters)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _parameters=Parameters(**state["_parameters"]))

    def __repr__(self) -> str:
        own = {"engine": self.engine, **dataclasses.asdict(self._parameters), "on_error": self.on_error}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in own.items())})"


def _with_model(settings: Settings, model: str) -> Engine:
    emotions = None if model in EMOTIONS else settings.emotions
    return shared_engine(changed_settings(settings, model=model, emotions=emotions))
