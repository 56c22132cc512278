"""Whole datasets of every kind, mapped so that every column has its type and no audio is decoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
from datasets import Audio, Dataset, DatasetDict, Features, IterableDataset, IterableDatasetDict

from valence_integrations._datasets_rows import check_column

__all__ = ["map_dataset"]

#: Rows of a batch, for each call under way at once: the end of a batch is waited for, so batches are long; in a stream
#: they are short, since whoever takes ten rows pays for a whole batch.
_ROWS_A_CALL, _ROWS_A_CALL_STREAMED = 50, 4


def map_dataset(ds: Any, function: Callable[..., Any], audio_column: str, types: pa.Schema, calls: int) -> Any:
    """Map a function over a dataset, over each of several, or over a stream as it is read.

    Parameters
    ----------
    ds : Dataset, DatasetDict, IterableDataset or IterableDatasetDict
        Left as it is.
    function : callable
        For ``map``, batched and with indices.
    audio_column : str
        The column that it reads.
    types : pyarrow.Schema
        The columns that it adds.
    calls : int
        How many rows it works on at once.

    Returns
    -------
    Dataset, DatasetDict, IterableDataset or IterableDatasetDict
        The same kind.
    """
    if isinstance(ds, (DatasetDict, IterableDatasetDict)):
        return type(ds)({name: map_dataset(part, function, audio_column, types, calls) for name, part in ds.items()})
    if not isinstance(ds, (Dataset, IterableDataset)):
        raise TypeError(f"annotate_dataset takes a Dataset, an IterableDataset or a dict of them, not {type(ds)}.")
    if ds.features is None:
        ds = ds._resolve_features()
    check_column(audio_column, ds.features)
    features = Features({**ds.features, **Features.from_arrow_schema(types)})
    if isinstance(ds, IterableDataset):
        batches = {"batched": True, "batch_size": _ROWS_A_CALL_STREAMED * calls, "with_indices": True}
        return _unread(ds).map(function, features=features, **batches)
    batches = {"batched": True, "batch_size": _ROWS_A_CALL * calls, "with_indices": True}
    plain = ds.with_format(None)
    done = plain.map(function, features=features, desc="emotions", **batches) if len(ds) else _empty(ds, features)
    shown = ds.format
    hidden = ds.features.keys() - shown["columns"]
    columns = [name for name in features if name not in hidden] if hidden else None
    return done.with_format(shown["type"], columns, shown["output_all_columns"], **shown["format_kwargs"])


def _empty(ds: Dataset, features: Features) -> Dataset:
    """Make what ``map`` would, if it did anything without rows."""
    info = ds.info.copy()
    info.features = features
    return Dataset.from_dict({name: [] for name in features}, info=info, split=ds.split)


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
