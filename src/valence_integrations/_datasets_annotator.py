"""Hugging Face `datasets`: audio columns in, emotion columns out.

::

    from datasets import Audio, Dataset
    from valence_integrations import valence_annotate

    dataset = Dataset.from_dict({"audio": paths}).cast_column("audio", Audio())
    dataset = dataset.map(valence_annotate, batched=True)

`valence_annotate` reads its settings from the environment; `ValenceAnnotator` is the same with settings of its own;
`annotate_dataset` takes a whole dataset, a dict of splits, or a stream.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from valence_integrations.engine import Engine, given_settings, shared_engine
from valence_integrations.errors import BatchError, MissingDependencyError, SettingsError
from valence_integrations.settings import DEFAULT_CONCURRENCY, LongAudio, OnError, Settings, ShortAudio, check_choice

if TYPE_CHECKING:
    import os

    import pyarrow as pa

    from valence_integrations._datasets_rows import Rows
    from valence_integrations.results import EmotionPrediction

__all__ = ["ValenceAnnotator", "annotate_dataset", "valence_annotate"]

T = TypeVar("T")

#: Raised when the meaning of a column changes: what `datasets` has cached is then made anew.
_SCHEMA = 1

#: Settings that change a column; `model` and `emotions` do it through the emotions' names as well.
_ANSWER_SETTINGS = (
    "base_url",
    "discrete_path",
    "long_audio",
    "min_confidence",
    "model",
    "payload",
    "sampling_rate",
    "short_audio",
)

#: Live calls made one by one before it is said that they could be made side by side.
_CALLS_UNTIL_HINT = 30
_single_calls = itertools.count(1)


class ValenceAnnotator:
    """A function for ``Dataset.map`` that adds the emotions which the Valence API hears in an audio column.

    It works row by row, and faster with ``batched=True``: the rows of a batch are sent side by side. A setting that is
    not given is read from the environment, as `Settings` tells: when the annotator is made or, if none is given at
    all, at each call.

    Parameters
    ----------
    audio_column : str, default="audio"
        The column with the audio: an ``Audio`` feature (which is not decoded), paths, bytes of files, or waveforms.
    prefix : str, default="emotion"
        Name of the label's column, and start of the other columns' names.
    on_error : {"null", "raise"}, default="null"
        What to do about rows that fail: fill their error column, or raise after the other rows of the batch are
        finished and kept in the cache.
    engine : Engine, optional
        An engine to use, with its settings; no others can then be given.
    model, emotions, sampling_rate, short_audio, long_audio, min_confidence, concurrency, cache, api_key, base_url
        As for `Settings`.

    Raises
    ------
    SettingsError
        If a setting has a value that cannot be.

    See Also
    --------
    valence_annotate : The annotator without any setting of its own.
    annotate_dataset : For a whole dataset, a dict of splits, or a stream.

    Notes
    -----
    The columns, under the prefix "emotion"; columns that have these names already are replaced:

    ==================== ===================================================== ============================
    column               type                                                  missing, skipped, failed row
    ==================== ===================================================== ============================
    emotion              string                                                None
    emotion_confidence   float32                                               NaN
    emotion_scores       struct with a float32 for each emotion                NaN for each
    emotion_timeline     list of {start, end (float64, seconds), emotion       []
                         (string), confidence (float32)}
    emotion_source       string: "discrete", "chunk" or "asynch"               None
    emotion_error        string: what failed, and what to do                   the text, for a failed row
    ==================== ===================================================== ============================

    Scores are between 0 and 1 and need not sum to 1; an emotion that an answer does not name has 0.0. The types do not
    depend on what the rows hold, if ``Dataset.map`` calls the annotator itself. A function of your own that calls it,
    and ``IterableDataset.map``, get plain Python values; `annotate_dataset` gives typed columns for streams too.

    `datasets` keeps the result of ``map``, failed rows included: to try those again, pass
    ``load_from_cache_file=False``; rows that have an answer cost nothing the second time. Its fingerprint depends on
    all that changes the columns, and not on the key, the concurrency or the cache.

    Where `datasets` decodes audio before it calls any function, torchcodec is needed, unless the column is cast to
    ``Audio(decode=False)``: with ``input_columns``, under ``with_format("numpy")`` and the like, and in
    ``IterableDataset.map``. Not with `annotate_dataset`.

    Examples
    --------
    >>> import numpy as np
    >>> from datasets import Dataset
    >>> from valence_integrations import ValenceAnnotator
    >>> from valence_integrations.sandbox import Sandbox
    >>> hum = np.sin(np.arange(6 * 16_000) * 0.08).astype("float32")
    >>> dataset = Dataset.from_dict({"speech": [hum, None]})
    >>> with Sandbox() as sandbox:
    ...     annotate = ValenceAnnotator("speech", base_url=sandbox.url, api_key=sandbox.api_key, cache=False)
    ...     dataset = dataset.map(annotate, batched=True)
    >>> dataset["emotion_source"][:]
    ['discrete', None]
    >>> sorted(dataset[0]["emotion_scores"])
    ['angry', 'happy', 'neutral', 'sad']
    """

    def __init__(
        self,
        audio_column: str = "audio",
        prefix: str = "emotion",
        *,
        on_error: OnError = "null",
        engine: Engine | None = None,
        model: str | None = None,
        emotions: Sequence[str] | None = None,
        sampling_rate: int | None = None,
        short_audio: ShortAudio | None = None,
        long_audio: LongAudio | None = None,
        min_confidence: float | None = None,
        concurrency: int | None = None,
        cache: bool | str | os.PathLike[str] | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
    ) -> None:
        check_choice("on_error", on_error, get_args(OnError))
        for name, value in (("audio_column", audio_column), ("prefix", prefix)):
            if not isinstance(value, str) or not value:
                raise SettingsError(f"{name} must be a name, not {value!r}.")
        given = given_settings(
            engine,
            model=model,
            emotions=emotions,
            sampling_rate=sampling_rate,
            short_audio=short_audio,
            long_audio=long_audio,
            min_confidence=min_confidence,
            concurrency=concurrency,
            cache=cache,
            api_key=api_key,
            base_url=base_url,
        )
        if engine is None and given:
            engine = shared_engine(Settings(**given))
        if engine is not None:
            _ = engine.settings.columns
        self.audio_column = audio_column
        self.prefix = prefix
        self.on_error: OnError = on_error
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """The engine that it uses now; in this process, annotators with the same settings share one."""
        return shared_engine(Settings()) if self._engine is None else self._engine

    def __call__(self, rows: Any, *others: Any, **changes: Any) -> Any:
        """Annotate a row, or a batch of rows.

        Parameters
        ----------
        rows : dict of a row or a batch, pyarrow.Table, DataFrame of pandas or polars
            What ``map`` gives in its mode and format; with ``input_columns``, which must begin with the audio, the
            audio alone, or a batch of it.
        *others
            Indices, rank and further columns, as ``map`` gives them.
        **changes
            Other settings than the annotator's own, for ``fn_kwargs``: any of its parameters, except `engine` and
            `api_key`.

        Returns
        -------
        dict or pyarrow.Table
            A dict of the new columns. For tables and DataFrames: a table of all columns.

        Raises
        ------
        SettingsError
            If there is no such audio column, or a setting has a value that cannot be.
        BatchError, ItemError
            If rows of a batch or the one row failed, under ``on_error="raise"``. A BatchError counts from the start of
            the batch; with ``with_indices=True``, from that of the dataset.
        JobError
            If nothing can be annotated: no key, a refused key, a spent budget.
        MissingDependencyError
            If `datasets` is not installed.

        Warns
        -----
        UserWarning
            Once, after some tens of live calls one by one: ``batched=True`` would make them side by side.
        """
        # Only the writer behind Dataset.map knows what to do with typed columns.
        typed = sys._getframe(1).f_globals.get("__name__") == "datasets.arrow_dataset"
        return self._changed(changes)._annotated(rows, others, typed)

    def __repr__(self) -> str:
        own = f"audio_column={self.audio_column!r}, prefix={self.prefix!r}, on_error={self.on_error!r}"
        return f"{type(self).__name__}({own}{'' if self._engine is None else f', engine={self._engine!r}'})"

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process needs; to the fingerprint of `datasets`, only what changes the columns.

        Nothing but the pickler at work tells the two apart.
        """
        pickler = sys._getframe(1).f_locals.get("self")
        settings = self.engine.settings
        state: dict[str, Any] = {
            "audio_column": self.audio_column,
            "prefix": self.prefix,
            "on_error": self.on_error,
        }
        if type(pickler).__module__ != "datasets.utils._dill":
            return {**state, "_engine": self.engine}
        answer = {name: getattr(settings, name) for name in _ANSWER_SETTINGS}
        return {**state, **answer, "emotions": settings.columns, "schema": _SCHEMA}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _engine=shared_engine(state["_engine"].settings))

    def __copy__(self) -> ValenceAnnotator:
        return self

    def __deepcopy__(self, memo: object) -> ValenceAnnotator:
        return self

    def _changed(self, changes: dict[str, Any]) -> ValenceAnnotator:
        if not changes:
            return self
        if refused := changes.keys() & {"api_key", "engine"}:
            raise SettingsError(
                f"{' and '.join(sorted(refused))} cannot be in fn_kwargs, which are pickled: "
                "give them to ValenceAnnotator, or set VALENCE_API_KEY."
            )
        own = {"audio_column": self.audio_column, "prefix": self.prefix, "on_error": self.on_error}
        settings = {name: value for name, value in changes.items() if name not in own}
        engine = shared_engine(dataclasses.replace(self.engine.settings, **settings)) if settings else self._engine
        return type(self)(**{**own, **{name: changes[name] for name in own.keys() & changes}}, engine=engine)

    def _annotated(self, rows: Any, others: Sequence[Any], typed: bool) -> Any:
        try:
            from valence_integrations._datasets_columns import ArrowColumns, columns_of, joined
            from valence_integrations._datasets_rows import read_rows
        except ImportError as error:
            raise MissingDependencyError.of(type(self).__name__, "datasets") from error

        found = read_rows(rows, self.audio_column)
        types = self._types()
        columns = columns_of(self._predictions(found, others), types, self.engine.settings.columns)
        if found.table is not None:
            return joined(found.table, columns)
        if typed:
            return ArrowColumns(columns)
        values = {name: column.to_pylist() for name, column in columns.items()}
        return {name: value[0] for name, value in values.items()} if found.single else values

    def _predictions(self, found: Rows, others: Sequence[Any]) -> list[EmotionPrediction]:
        try:
            predictions = self.engine.predict_many(found.items, self.on_error)
        except BatchError as error:
            if found.single:
                raise error.errors[0] from None
            if others and isinstance(others[0], list) and len(others[0]) == len(found.items):
                numbered = {others[0][index]: failure for index, failure in error.errors.items()}
                raise BatchError(numbered, error.predictions) from None
            raise
        if len(predictions) == 1:
            _hint(predictions[0])
        return predictions

    def _types(self) -> pa.Schema:
        from valence_integrations._datasets_columns import column_types

        types = column_types(self.prefix, self.engine.settings.columns)
        if self.audio_column in types.names:
            raise SettingsError(f"prefix={self.prefix!r} would replace the audio column: choose another prefix.")
        return types


#: The annotator that takes all its settings from the environment: ``dataset.map(valence_annotate, batched=True)``.
valence_annotate = ValenceAnnotator()


def annotate_dataset(ds: T, audio_column: str = "audio", prefix: str = "emotion", **settings: Any) -> T:
    """Add the emotions which the Valence API hears in an audio column.

    Rows are sent side by side. The audio column and its feature stay as they are, and audio is never decoded.

    Parameters
    ----------
    ds : Dataset, DatasetDict, IterableDataset or IterableDatasetDict
        A stream is annotated as it is read, a few rows ahead. Its rows then hold audio as ``{"bytes", "path"}``.
    audio_column, prefix, **settings
        As for `ValenceAnnotator`, whose notes tell the columns.

    Returns
    -------
    Dataset, DatasetDict, IterableDataset or IterableDatasetDict
        The same kind with the new columns, and with the type of every column in ``features``.

    Raises
    ------
    TypeError
        If `ds` is none of these.
    SettingsError
        If there is no such audio column, or a setting has a value that cannot be.
    BatchError
        If rows failed, under ``on_error="raise"``; it names the rows of a batch by their index.
    JobError
        If nothing can be annotated: no key, a refused key, a spent budget.
    MissingDependencyError
        If `datasets` is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from datasets import Dataset, DatasetDict
    >>> from valence_integrations import annotate_dataset
    >>> from valence_integrations.sandbox import Sandbox
    >>> hum = np.sin(np.arange(6 * 16_000) * 0.08).astype("float32")
    >>> splits = DatasetDict(train=Dataset.from_dict({"audio": [hum, hum / 2]}))
    >>> with Sandbox() as sandbox:
    ...     splits = annotate_dataset(splits, base_url=sandbox.url, api_key=sandbox.api_key, cache=False)
    >>> splits["train"].features["emotion_confidence"]
    Value('float32')
    """
    annotator = ValenceAnnotator(audio_column, prefix, **settings)
    try:
        from valence_integrations._datasets_whole import map_dataset
    except ImportError as error:
        raise MissingDependencyError.of("annotate_dataset", "datasets") from error

    calls = annotator.engine.settings.concurrency or DEFAULT_CONCURRENCY
    return map_dataset(ds, annotator, audio_column, annotator._types(), calls)  # type: ignore[no-any-return]


def _hint(prediction: EmotionPrediction) -> None:
    live = prediction.source is not None and not prediction.cached
    if live and next(_single_calls) == _CALLS_UNTIL_HINT:
        warnings.warn(
            f"{_CALLS_UNTIL_HINT} calls were made one after the other. map(..., batched=True) makes them side by side, "
            "several times as fast.",
            UserWarning,
            stacklevel=5,
        )
