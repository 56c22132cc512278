"""Whole datasets of every kind, mapped so that every column has its type and no audio is decoded."""

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

from valence_integrations._arrow.tables import check_column
from valence_integrations.datasets._annotator import ValenceAnnotator
from valence_integrations.datasets._summary import Report
from valence_integrations.settings import DEFAULT_CONCURRENCY

__all__ = ["annotated"]

#: Rows of a batch, for each call under way at once: the end of a batch is waited for, so batches are long; in a stream
#: they are short, since whoever takes ten rows pays for a whole batch. A row with segments is many calls by itself.
_ROWS_A_CALL, _ROWS_A_CALL_STREAMED, _ROWS_A_CALL_STREAMED_WITH_SEGMENTS = 50, 4, 1

_log = logging.getLogger("valence_integrations")


def annotated(ds: Any, annotator: ValenceAnnotator, batch_size: int | None, *, progress: bool) -> Any:
    """Map an annotator over a dataset, over each of several, or over a stream as it is read.

    Parameters
    ----------
    ds : Dataset, DatasetDict, IterableDataset or IterableDatasetDict
        Left as it is.
    annotator : ValenceAnnotator
        Its columns are added.
    batch_size : int or None
        Rows of a batch.
    progress : bool
        Whether a bar and a summary are wanted.

    Returns
    -------
    Dataset, DatasetDict, IterableDataset or IterableDatasetDict
        The same kind.
    """
    splits = ds if isinstance(ds, (DatasetDict, IterableDatasetDict)) else {None: ds}
    for split in splits.values():
        if not isinstance(split, (Dataset, IterableDataset)):
            raise TypeError(f"annotate_dataset takes a Dataset, an IterableDataset or a dict of them, not {type(ds)}.")
    calls = annotator.engine.settings.concurrency or DEFAULT_CONCURRENCY
    finite = [split for split in splits.values() if isinstance(split, Dataset)]
    report = Report(annotator.engine, sum(map(len, finite)), show=progress and not _are_bars_off())
    done = {}
    try:
        for name, split in splits.items():
            if isinstance(split, IterableDataset):
                done[name] = _stream(split, annotator, batch_size or calls * _rows_a_call_streamed(annotator))
            else:
                report.split = name
                done[name] = _dataset(split, annotator, batch_size or calls * _ROWS_A_CALL, report)
    finally:
        report.close()
    if finite:
        _log.info("%s", report)
        if progress:
            tqdm.write(str(report), file=sys.stderr)
    return done[None] if None in done else type(ds)(done)


def _dataset(ds: Dataset, annotator: ValenceAnnotator, batch_size: int, report: Report) -> Dataset:
    features = _features(ds, annotator)
    before = report.seen
    plain = ds.with_format(None)
    if len(ds):
        with _bars_off():
            done = plain.map(
                annotator._reporting(report), batched=True, batch_size=batch_size, with_indices=True, features=features
            )
    else:
        done = _empty(ds, features)
    if report.seen == before:
        report.keep(len(ds))
    shown = ds.format
    hidden = ds.features.keys() - shown["columns"]
    columns = [name for name in features if name not in hidden] if hidden else None
    return done.with_format(shown["type"], columns, shown["output_all_columns"], **shown["format_kwargs"])


def _stream(ds: IterableDataset, annotator: ValenceAnnotator, batch_size: int) -> IterableDataset:
    if ds.features is None:
        ds = ds._resolve_features()
    features = _features(ds, annotator)
    return _unread(ds).map(annotator, batched=True, batch_size=batch_size, with_indices=True, features=features)


def _rows_a_call_streamed(annotator: ValenceAnnotator) -> int:
    return _ROWS_A_CALL_STREAMED if annotator.segments_column is None else _ROWS_A_CALL_STREAMED_WITH_SEGMENTS


def _features(ds: Dataset | IterableDataset, annotator: ValenceAnnotator) -> Features:
    """Types of all columns, of which those must be there that the annotator reads."""
    check_column(annotator.audio_column, ds.features)
    if annotator.segments_column is not None:
        check_column(annotator.segments_column, ds.features, "segments")
    return Features({**ds.features, **annotator.features})


def _empty(ds: Dataset, features: Features) -> Dataset:
    """Make what ``map`` would, if it did anything without rows."""
    info = ds.info.copy()
    info.features = features
    return Dataset.from_dict({name: [] for name in features}, info=info, split=ds.split)


def _are_bars_off() -> bool:
    return bool(datasets.are_progress_bars_disabled())


@contextmanager
def _bars_off() -> Iterator[None]:
    """Turn off the bars of `datasets`: the report has one, which moves with each row, and not with each batch."""
    were_off = _are_bars_off()
    with warnings.catch_warnings():
        # Where HF_DATASETS_DISABLE_PROGRESS_BARS says otherwise, they stay.
        warnings.filterwarnings("ignore", "Cannot disable progress bars")
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not were_off:
            datasets.enable_progress_bars()


def _unread(ds: IterableDataset) -> IterableDataset:
    """Turn off the decoding of audio and images, which is done before a function gets to see them."""
    raw = {
        name: _RawAudio(decode=False) if isinstance(feature, Audio) else feature
        for name, feature in ds.features.items()
    }
    return ds.cast(Features(raw)).decode(False)


class _RawAudio(Audio):  # type: ignore[misc]
    """Audio as it comes, as bytes or a path; `Audio` would need torchcodec even to let it through."""

    def encode_example(self, value: Any) -> Any:
        if isinstance(value, Mapping) and value.keys() & {"bytes", "path"}:
            return {"bytes": value.get("bytes"), "path": value.get("path")}
        if isinstance(value, (bytes, bytearray)):
            return {"bytes": bytes(value), "path": None}
        if isinstance(value, (str, os.PathLike)):
            return {"bytes": None, "path": os.fspath(value)}
        return super().encode_example(value)
