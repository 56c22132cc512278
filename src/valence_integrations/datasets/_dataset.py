"""`annotate_dataset`: a whole dataset, a dict of splits, or a stream."""

from __future__ import annotations

from typing import Any, TypeVar

from valence_integrations.datasets._annotator import ValenceAnnotator
from valence_integrations.errors import MissingDependencyError
from valence_integrations.settings import check_count, check_flag

__all__ = ["annotate_dataset"]

T = TypeVar("T")


def annotate_dataset(
    ds: T,
    audio_column: str = "audio",
    prefix: str = "emotion",
    *,
    batch_size: int | None = None,
    progress: bool = True,
    **settings: Any,
) -> T:
    """Add emotions recognized by the Valence API to a dataset with an audio column.

    Rows are sent in parallel. The audio column and its feature are unchanged, and audio is never decoded. At the end, a
    summary shows how many rows have a label, which failed and why, and how many answers came from the cache.

    Parameters
    ----------
    ds : Dataset, DatasetDict, IterableDataset or IterableDatasetDict
        A stream is annotated as it is read, a few rows ahead. Its rows then hold audio as ``{"bytes", "path"}``.
    audio_column, prefix, **settings
        As for `ValenceAnnotator`, whose notes list the columns.
    batch_size : int, optional
        Rows that are annotated together. In a stream, up to this many rows beyond those consumed are billed; the
        default is 4 times the number of simultaneous calls, with segments once that number. For other datasets it
        matters little; the default is 50 times that number.
    progress : bool, default=True
        Whether to show the summary and a progress bar over all splits, unless the bars of `datasets` are disabled.
        Streams have neither, because they are read later: see `Engine.stats`.

    Returns
    -------
    Dataset, DatasetDict, IterableDataset or IterableDatasetDict
        The same type as `ds`, with the new columns, and the type of every column in ``features``.

    Raises
    ------
    TypeError
        If `ds` is none of these.
    SettingsError
        If a column is missing, or a setting has an invalid value.
    BatchError
        If rows failed and ``on_error="raise"``; it has the indices of the failed rows of a batch.
    JobError
        If nothing can be annotated: no key, a refused key, a spent budget.
    MissingDependencyError
        If `datasets` is not installed.

    Warns
    -----
    PartialFailureWarning
        At the end, if rows failed and ``on_error="null"``. In a stream, which has no end, if rows of a batch failed, at
        most once a minute.
    UserWarning
        If an emotion has no column.

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
    check_count("batch_size", batch_size, optional=True)
    check_flag("progress", progress)
    annotator = ValenceAnnotator(audio_column, prefix, **settings)
    try:
        from valence_integrations.datasets._mapping import annotated
    except ImportError as error:
        raise MissingDependencyError.of("annotate_dataset", "datasets") from error

    return annotated(ds, annotator, batch_size, progress=progress)  # type: ignore[no-any-return]
