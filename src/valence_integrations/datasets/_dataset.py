"""`annotate_dataset`: a whole dataset, a dict of splits, or a stream."""

from __future__ import annotations

from typing import Any, TypeVar

from valence_integrations.datasets._annotator import ValenceAnnotator
from valence_integrations.errors import MissingDependencyError

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
    """Add the emotions which the Valence API hears in an audio column.

    Rows are sent side by side. The audio column and its feature stay as they are, and audio is never decoded. At the
    end, a summary says how many rows have a label, which failed and why, and how many answers were in the cache.

    Parameters
    ----------
    ds : Dataset, DatasetDict, IterableDataset or IterableDatasetDict
        A stream is annotated as it is read, a few rows ahead. Its rows then hold audio as ``{"bytes", "path"}``.
    audio_column, prefix, **settings
        As for `ValenceAnnotator`, whose notes tell the columns.
    batch_size : int, optional
        Rows that are annotated together. In a stream, it is what at most is paid beyond the rows that are taken; by
        default 4 for each call under way at once, with segments 1. Else it matters little, and is 50 for each.
    progress : bool, default=True
        Whether to show a progress bar over all splits, unless those of `datasets` are turned off, and the summary. A
        stream, which is read at some other time, has none: `Engine.stats` counts there.

    Returns
    -------
    Dataset, DatasetDict, IterableDataset or IterableDatasetDict
        The same kind with the new columns, and with the type of every column in ``features``.

    Raises
    ------
    TypeError
        If `ds` is none of these.
    SettingsError
        If there is no such column, or a setting has a value that cannot be.
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
        from valence_integrations.datasets._mapping import annotated
    except ImportError as error:
        raise MissingDependencyError.of("annotate_dataset", "datasets") from error

    return annotated(ds, annotator, batch_size, progress=progress)  # type: ignore[no-any-return]
