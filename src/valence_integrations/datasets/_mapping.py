"""Map an annotator over datasets of every kind, with typed columns and without decoding audio."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import datasets
from datasets import Audio, Dataset, DatasetDict, Features, IterableDataset, IterableDatasetDict
from tqdm import tqdm

from valence_integrations.datasets._annotator import ValenceAnnotator
from valence_integrations.datasets._rows import check_column
from valence_integrations.datasets._summary import Summary
from valence_integrations.settings import DEFAULT_CONCURRENCY

__all__ = ["annotated"]

#: Rows of a batch for each simultaneous call. Batches are long, because each waits for its end; in a stream they are
#: short, because a whole batch is billed even if only ten rows are consumed. A row with segments needs many calls.
_ROWS_PER_CALL, _ROWS_PER_CALL_STREAMED, _ROWS_PER_CALL_STREAMED_WITH_SEGMENTS = 50, 4, 1

_log = logging.getLogger("valence_integrations")


def annotated(ds: Any, annotator: ValenceAnnotator, batch_size: int | None, *, progress: bool) -> Any:
    """Map an annotator over a dataset, a dict of datasets, or lazily over a stream.

    Parameters
    ----------
    ds : Dataset, DatasetDict, IterableDataset or IterableDatasetDict
        Not modified.
    annotator : ValenceAnnotator
        Adds its columns.
    batch_size : int or None
        Rows of a batch.
    progress : bool
        Whether to show a bar and a summary.

    Returns
    -------
    Dataset, DatasetDict, IterableDataset or IterableDatasetDict
        The same type as `ds`.
    """
    splits = ds if isinstance(ds, (DatasetDict, IterableDatasetDict)) else {None: ds}
    for split in splits.values():
        if not isinstance(split, (Dataset, IterableDataset)):
            raise TypeError(f"annotate_dataset takes a Dataset, an IterableDataset or a dict of them, not {type(ds)}.")
    calls = annotator.engine.settings.concurrency or DEFAULT_CONCURRENCY
    finite = [split for split in splits.values() if isinstance(split, Dataset)]
    summary = Summary(annotator.engine, sum(map(len, finite)), show=progress and not _are_bars_disabled())
    done = {}
    try:
        for name, split in splits.items():
            if isinstance(split, IterableDataset):
                done[name] = _stream(split, annotator, batch_size or calls * _rows_per_call_streamed(annotator))
            else:
                summary.split = name
                done[name] = _dataset(split, annotator, batch_size or calls * _ROWS_PER_CALL, summary)
    finally:
        summary.close()
    if finite:
        _log.info("%s", summary)
        if progress:
            tqdm.write(str(summary), file=sys.stderr)
        summary.warn()
    return done[None] if None in done else type(ds)(done)


def _dataset(ds: Dataset, annotator: ValenceAnnotator, batch_size: int, summary: Summary) -> Dataset:
    features = _features(ds, annotator)
    before = summary.seen
    plain = ds.with_format(None)
    if len(ds):
        with _bars_disabled():
            done = plain.map(
                annotator._with_summary(summary),
                batched=True,
                batch_size=batch_size,
                with_indices=True,
                features=features,
            )
    else:
        done = _empty(ds, features)
    if summary.seen == before:
        summary.skip(len(ds))
    shown = ds.format
    hidden = ds.features.keys() - shown["columns"]
    columns = [name for name in features if name not in hidden] if hidden else None
    return done.with_format(shown["type"], columns, shown["output_all_columns"], **shown["format_kwargs"])


def _stream(ds: IterableDataset, annotator: ValenceAnnotator, batch_size: int) -> IterableDataset:
    if ds.features is None:
        ds = ds._resolve_features()
    features = _features(ds, annotator)
    return _without_decoding(ds).map(
        annotator, batched=True, batch_size=batch_size, with_indices=True, features=features
    )


def _rows_per_call_streamed(annotator: ValenceAnnotator) -> int:
    return _ROWS_PER_CALL_STREAMED if annotator.segments_column is None else _ROWS_PER_CALL_STREAMED_WITH_SEGMENTS


def _features(ds: Dataset | IterableDataset, annotator: ValenceAnnotator) -> Features:
    """Types of all columns; raise SettingsError if a column that the annotator reads is missing."""
    check_column(annotator.audio_column, ds.features)
    if annotator.segments_column is not None:
        check_column(annotator.segments_column, ds.features, "segments")
    return Features({**ds.features, **annotator.features})


def _empty(ds: Dataset, features: Features) -> Dataset:
    """Add the columns to a dataset without rows, for which ``map`` would not."""
    info = ds.info.copy()
    info.features = features
    return Dataset.from_dict({name: [] for name in features}, info=info, split=ds.split)


def _are_bars_disabled() -> bool:
    return bool(datasets.are_progress_bars_disabled())


@contextmanager
def _bars_disabled() -> Iterator[None]:
    """Disable the progress bars of `datasets`: the summary has one that advances row by row, not batch by batch."""
    were_disabled = _are_bars_disabled()
    with warnings.catch_warnings():
        # HF_DATASETS_DISABLE_PROGRESS_BARS=0 prevents it.
        warnings.filterwarnings("ignore", "Cannot disable progress bars")
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            datasets.enable_progress_bars()


def _without_decoding(ds: IterableDataset) -> IterableDataset:
    """Disable the decoding of audio and images, which would happen before the function is called."""
    raw = {
        name: _RawAudio(decode=False) if isinstance(feature, Audio) else feature
        for name, feature in ds.features.items()
    }
    return ds.cast(Features(raw)).decode(False)


class _RawAudio(Audio):  # type: ignore[misc]
    """An `Audio` feature that passes bytes and paths through without torchcodec."""

    def encode_example(self, value: Any) -> Any:
        if isinstance(value, Mapping) and value.keys() & {"bytes", "path"}:
            return {"bytes": value.get("bytes"), "path": value.get("path")}
        if isinstance(value, (bytes, bytearray)):
            return {"bytes": bytes(value), "path": None}
        if isinstance(value, (str, os.PathLike)):
            return {"bytes": None, "path": os.fspath(value)}
        return super().encode_example(value)
