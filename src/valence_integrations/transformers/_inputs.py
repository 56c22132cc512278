"""Distinguish inputs of a pipeline that are one item from collections of items."""

from __future__ import annotations

import dataclasses
import numbers
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from valence_integrations._audio.missing import is_missing

__all__ = ["is_item", "items_of"]

#: Methods that only items have: file objects, decoders, tensors, scalars of pyarrow.
_ITEM_METHODS = ("read", "get_all_samples", "detach", "as_py")

#: Attributes with the dataset and the column name of a view on one column: of a ``KeyDataset`` of transformers or a
#: ``DatasetColumn`` of evaluate, and of a ``Column`` of datasets.
_VIEWS = (("dataset", "key"), ("source", "column_name"))


def is_item(inputs: Any) -> bool:
    """Whether the inputs are one item. A list or tuple is a collection, but a waveform if it holds numbers."""
    if is_missing(inputs) or isinstance(inputs, (str, bytes, bytearray, memoryview, os.PathLike, Mapping)):
        return True
    if _column_of(inputs) is not None:
        return False
    if isinstance(inputs, np.ndarray):
        return inputs.dtype.kind not in "OUST"
    if isinstance(inputs, (list, tuple)):
        with_rate = isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[1], numbers.Number)
        # An empty list, or one of missing items only, is not a waveform.
        waveform = all(isinstance(sample, numbers.Number) for sample in inputs) and not all(map(is_missing, inputs))
        return with_rate or waveform
    return any(hasattr(inputs, method) for method in _ITEM_METHODS)


def items_of(inputs: Any) -> Iterable[Any]:
    """Iterate lazily over the items of a collection.

    Raises
    ------
    TypeError
        If the inputs are not a collection of items.
    """
    column = _column_of(inputs)
    if column is not None:
        return _undecoded(*column)
    if hasattr(inputs, "collate_fn"):
        # A torch DataLoader: a batch of waveforms would be mistaken for the channels of one.
        raise TypeError(f"a {type(inputs).__name__} yields batches, not items: pass its dataset.")
    if isinstance(inputs, Iterable):
        return inputs
    if hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"):
        # A torch dataset, whose indexing may not stop at its end.
        return (inputs[index] for index in range(len(inputs)))
    raise TypeError(f"inputs must be audio or a collection of audio, not {type(inputs).__name__}.")


def _column_of(inputs: Any) -> tuple[Any, str] | None:
    """Dataset and column name, if the inputs are a dataset of `datasets` or a view on one column of it."""
    if _is_dataset(inputs):
        return inputs, _audio_column(inputs)
    for dataset, name in _VIEWS:
        if hasattr(inputs, name) and _is_dataset(getattr(inputs, dataset, None)):
            return getattr(inputs, dataset), getattr(inputs, name)
    return None


def _is_dataset(candidate: Any) -> bool:
    return hasattr(candidate, "cast_column") and not isinstance(candidate, Mapping)


def _audio_column(dataset: Any) -> str:
    names: list[str] = [name for name, feature in (dataset.features or {}).items() if _is_audio(feature)]
    if len(names) == 1:
        return names[0]
    raise TypeError(
        f"a dataset must have one Audio column, not {len(names)}: give the column that holds the audio, "
        "such as dataset['audio']."
    )


def _undecoded(dataset: Any, name: str) -> Iterable[Any]:
    """Iterate over a column; audio comes as bytes and paths, which need no decoder."""
    feature: Any = (dataset.features or {}).get(name)
    if getattr(dataset, "format", {}).get("type") == "custom":
        # A user's transform may need other columns.
        return (row[name] for row in dataset)
    if _is_audio(feature):
        raw = dataset.select_columns([name]).with_format(None)
        dataset = raw.cast_column(name, dataclasses.replace(feature, decode=False))
    column: Iterable[Any] = dataset[name]
    return column


def _is_audio(feature: Any) -> bool:
    return type(feature).__name__ == "Audio"
