"""`ValenceAnnotator`: the function for ``Dataset.map``, its options and its fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from valence_integrations.datasets._batched_hint import warn_sequential_calls
from valence_integrations.datasets._compat import PickledState, is_called_by_dataset_map
from valence_integrations.datasets._failures import predict_all, warn_failures
from valence_integrations.engine import Engine, Segmented, given_settings, shared_engine, warn_unknown_emotions
from valence_integrations.errors import BatchError, MissingDependencyError, SettingsError
from valence_integrations.settings import (
    ANSWER_SETTINGS,
    LongAudio,
    OnError,
    Settings,
    ShortAudio,
    ShortSegments,
    changed_settings,
    check_choice,
)

if TYPE_CHECKING:
    import os

    from valence_integrations._arrow.columns import Columns
    from valence_integrations.datasets._summary import Summary
    from valence_integrations.results import EmotionPrediction

__all__ = ["ValenceAnnotator"]

Labels = Literal["string", "class"]
Scores = Literal["struct", "columns"]

#: Increment when the columns or their meaning change, so that `datasets` recomputes cached results.
_SCHEMA = 2

#: The annotator's own options.
_OPTIONS = ("audio_column", "prefix", "on_error", "labels", "scores", "segments_column", "short_segments")


class ValenceAnnotator:
    """A function for ``Dataset.map`` that adds emotions recognized by the Valence API to an audio column's rows.

    It works row by row, and faster with ``batched=True``, which sends the rows of a batch in parallel. Settings that
    are not given are read from the environment (see `Settings`): when the annotator is created or, if no setting is
    given, at each call.

    Parameters
    ----------
    audio_column : str, default="audio"
        The column with the audio: an ``Audio`` feature (which is not decoded), paths, bytes of files, or waveforms.
    prefix : str, default="emotion"
        Name of the label column, and prefix of the other columns' names.
    on_error : {"null", "raise"}, default="null"
        What to do with rows that fail: fill their error column and warn, or raise after the other rows of the batch
        are finished and cached.
    labels : {"string", "class"}, default="string"
        How emotions are encoded: as strings, or as the index of a ``ClassLabel``. With ``Dataset.map``, pass `features`
        to get the class names, too; `annotate_dataset` does so.
    scores : {"struct", "columns"}, default="struct"
        Whether the scores are one column, or one for each emotion: ``emotion_angry``...
    segments_column : str, optional
        The column with the segments of each item, which are annotated separately: a list of ``{"start", "end"}``, or of
        Whisper's ``{"timestamp": (start, end)}``, in seconds. The timeline then has these segments.
    short_segments : {"pad", "widen"}, default="pad"
        What to do with segments under 5.0 s: lengthen each as set by `short_audio`, or include surrounding audio, in
        which others may be speaking.
    engine : Engine, optional
        An engine to use, with its settings; no other settings can then be given.
    model, emotions, sampling_rate, short_audio, long_audio, min_confidence, concurrency, cache, api_key, base_url
        As for `Settings`.

    Raises
    ------
    SettingsError
        If a setting has an invalid value.

    See Also
    --------
    valence_annotate : An annotator that reads all settings from the environment.
    annotate_dataset : Annotate a whole dataset, a dict of splits, or a stream.

    Notes
    -----
    The columns with the prefix "emotion"; existing columns with these names are replaced:

    ==================== ===================================================== ============================
    column               type                                                  missing, skipped, failed row
    ==================== ===================================================== ============================
    emotion              string (``labels="class"``: ClassLabel)               None
    emotion_confidence   float32                                               NaN
    emotion_scores       struct with a float32 for each emotion                NaN for each
                         (``scores="columns"``: a column for each)
    emotion_timeline     list of {start, end (float64, seconds), emotion       []
                         (as above), confidence (float32)}
    emotion_source       string: "discrete", "chunk" or "asynch"               None
    emotion_error        string: what failed, and what to do                   the text, for a failed row
    emotion_error_code   string: the same for programs, "audio_not_found"...   the code, for a failed row
    ==================== ===================================================== ============================

    Scores are between 0 and 1 and need not sum to 1; an emotion that an answer does not name has 0.0. If
    ``Dataset.map`` calls the annotator directly, the types do not depend on the values in the rows. Your own functions
    and ``IterableDataset.map`` get plain Python values; `annotate_dataset` returns typed columns for streams too.

    `datasets` caches the result of ``map``, failed rows included. To retry those, pass ``load_from_cache_file=False``;
    rows with a cached answer are not billed again. The fingerprint depends on everything that changes the columns, not
    on the key, the concurrency or the cache.

    `datasets` decodes audio before it calls the function with ``input_columns``, with formats such as
    ``with_format("numpy")``, and in ``IterableDataset.map``. This needs torchcodec, unless the column is cast to
    ``Audio(decode=False)``. `annotate_dataset` never needs it.

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

    _summary: Summary | None = None

    def __init__(
        self,
        audio_column: str = "audio",
        prefix: str = "emotion",
        *,
        on_error: OnError = "null",
        labels: Labels = "string",
        scores: Scores = "struct",
        segments_column: str | None = None,
        short_segments: ShortSegments = "pad",
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
        for name, value, choices in (
            ("on_error", on_error, OnError),
            ("labels", labels, Labels),
            ("scores", scores, Scores),
            ("short_segments", short_segments, ShortSegments),
        ):
            check_choice(name, value, get_args(choices))
        segments = () if segments_column is None else (("segments_column", segments_column),)
        for name, column in (("audio_column", audio_column), ("prefix", prefix), *segments):
            if not isinstance(column, str) or not column:
                raise SettingsError(f"must be a name, not {column!r}.", setting=name)
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
        self.labels: Labels = labels
        self.scores: Scores = scores
        self.segments_column = segments_column
        self.short_segments: ShortSegments = short_segments
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """The engine in use. Annotators with the same settings share one within a process."""
        return shared_engine(Settings()) if self._engine is None else self._engine

    @property
    def features(self) -> Any:
        """Types of the new columns, as ``datasets.Features``.

        ``Dataset.map`` needs them for ``labels="class"``, ``IterableDataset.map`` for any types. Pass them with those
        of the other columns: ``map(annotate, features=Features({**dataset.features, **annotate.features}))``.
        """
        try:
            return self._columns().features
        except ImportError as error:
            raise MissingDependencyError.of(type(self).__name__, "datasets") from error

    def __call__(self, rows: Any, *others: Any, **changes: Any) -> Any:
        """Annotate a row, or a batch of rows.

        Parameters
        ----------
        rows : dict of a row or a batch, pyarrow.Table, DataFrame of pandas or polars
            What ``map`` passes in its mode and format; with ``input_columns``, whose first must be the audio column,
            the audio alone or a batch of it.
        *others
            Indices, rank and further columns, as ``map`` passes them.
        **changes
            Settings that override the annotator's own, for ``fn_kwargs``: any of its parameters except `engine` and
            `api_key`.

        Returns
        -------
        dict or pyarrow.Table
            A dict of the new columns. For tables and DataFrames: a table of all columns.

        Raises
        ------
        SettingsError
            If a column is missing, or a setting has an invalid value.
        BatchError, ItemError
            If rows of a batch, or the single row, failed and ``on_error="raise"``. The indices of a BatchError count
            from the start of the batch; with ``with_indices=True`` and without ``input_columns``, from that of the
            dataset.
        JobError
            If nothing can be annotated: no key, a refused key, a spent budget.
        MissingDependencyError
            If `datasets` is not installed.

        Warns
        -----
        PartialFailureWarning
            If rows of the call failed and ``on_error="null"``; for one ``map`` at most once a minute. All errors are in
            the error columns.
        UserWarning
            If an emotion has no column. Once, after 30 sequential live calls: ``batched=True`` makes them in parallel.
        """
        return self._changed(changes)._annotate(rows, others, typed=is_called_by_dataset_map())

    def _with_summary(self, summary: Summary) -> ValenceAnnotator:
        """Return a copy that records the result of each row in a summary, within this process."""
        annotator = type(self)(**self._options(), engine=self._engine)
        annotator._summary = summary
        return annotator

    def __repr__(self) -> str:
        own = {**self._options(), **({} if self._engine is None else {"engine": self._engine})}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in own.items())})"

    def __getstate__(self) -> PickledState:
        """Return what a worker process needs; for the fingerprint of `datasets`, only what changes the columns."""
        return PickledState({**self._options(), "_engine": self.engine}, self._fingerprint)

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
                "is not accepted in fn_kwargs, because they are pickled.",
                setting=min(refused),
                remedy="Pass it to ValenceAnnotator, or set VALENCE_API_KEY.",
            )
        settings = {name: value for name, value in changes.items() if name not in _OPTIONS}
        engine = shared_engine(changed_settings(self.engine.settings, **settings)) if settings else self._engine
        options = {name: changes.get(name, value) for name, value in self._options().items()}
        return type(self)(**options, engine=engine)

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _OPTIONS}

    def _fingerprint(self) -> dict[str, Any]:
        settings = self.engine.settings
        # `model` and `emotions` also determine the emotions' names in the columns.
        answer = {name: getattr(settings, name) for name in ("service", *ANSWER_SETTINGS)}
        return {**self._options(), **answer, "emotions": settings.columns, "schema": _SCHEMA}

    def _annotate(self, rows: Any, others: Sequence[Any], *, typed: bool) -> Any:
        try:
            from valence_integrations._arrow.tables import joined
            from valence_integrations.datasets._rows import TypedColumns, read_rows, read_segments
        except ImportError as error:
            raise MissingDependencyError.of(type(self).__name__, "datasets") from error

        found = read_rows(rows, self.audio_column)
        columns = self._columns()
        items: list[Any] = found.items
        if self.segments_column is not None:
            segments, others = read_segments(rows, others, self.segments_column, found)
            items = [Segmented(*pair, self.short_segments) for pair in zip(items, segments, strict=True)]
        indices = others[0] if found.has_columns and others and isinstance(others[0], list) else None
        arrays = columns.of(self._predictions(items, indices, found.single))
        if found.table is not None:
            return joined(found.table, arrays)
        if typed:
            return TypedColumns(arrays)
        values = {name: array.to_pylist() for name, array in arrays.items()}
        return {name: value[0] for name, value in values.items()} if found.single else values

    def _predictions(self, items: list[Any], indices: list[int] | None, single: bool) -> list[EmotionPrediction]:
        try:
            if self._summary is not None and indices is not None:
                return self._summary.predict_many(items, self.on_error, indices)
            if self.on_error == "raise":
                predictions = self.engine.predict_many(items)
            else:
                predictions = predict_all(self.engine, items)
                warn_failures(predictions)
        except BatchError as error:
            if single:
                raise error.errors[0] from None
            if indices is not None:
                numbered = {indices[index]: failure for index, failure in error.errors.items()}
                raise BatchError(numbered, error.predictions) from None
            raise
        warn_unknown_emotions(predictions, self.engine.settings)
        if len(predictions) == 1 and self.segments_column is None:
            warn_sequential_calls(predictions[0])
        return predictions

    def _columns(self) -> Columns:
        from valence_integrations._arrow.columns import Columns

        columns = Columns(self.prefix, self.engine.settings.columns, self.labels, self.scores)
        return columns.check_collisions(self.audio_column, self.segments_column)
