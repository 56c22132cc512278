"""What the inputs of a pipeline may be: one item, or many."""

from __future__ import annotations

import dataclasses
import numbers
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from valence_integrations._audio.missing import is_missing

__all__ = ["is_item", "items_of"]

#: What only an item has: a file object, a decoder, a tensor, a scalar of pyarrow.
_ITEM_METHODS = ("read", "get_all_samples", "detach", "as_py")

#: Where a view on one column keeps its dataset and the column's name: a ``KeyDataset`` of transformers and a
#: ``DatasetColumn`` of evaluate, a ``Column`` of datasets.
_VIEWS = (("dataset", "key"), ("source", "column_name"))


def is_item(inputs: Any) -> bool:
    """Whether it is one item. A list or tuple is many, but one of numbers is a waveform."""
    if is_missing(inputs) or isinstance(inputs, (str, bytes, bytearray, memoryview, os.PathLike, Mapping)):
        return True
    if _column_of(inputs) is not None:
        return False
    if isinstance(inputs, np.ndarray):
        return inputs.dtype.kind not in "OUST"
    if isinstance(inputs, (list, tuple)):
        with_rate = isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[1], numbers.Number)
        # Nothing, or nothing but missing items, is no waveform.
        waveform = all(isinstance(sample, numbers.Number) for sample in inputs) and not all(map(is_missing, inputs))
        return with_rate or waveform
    return any(hasattr(inputs, method) for method in _ITEM_METHODS)


def items_of(inputs: Any) -> Iterable[Any]:
    """The items of many, read only when they are asked for.

    Raises
    ------
    TypeError
        If it is no collection of items.
    """
    column = _column_of(inputs)
    if column is not None:
        return _undecoded(*column)
    if hasattr(inputs, "collate_fn"):
        # Of torch. A batch of waveforms would be taken for the channels of one.
        raise TypeError(f"a {type(inputs).__name__} gives batches, not items: give its dataset.")
    if isinstance(inputs, Iterable):
        return inputs
    if hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"):
        # A torch dataset: indexing may go on beyond its end.
        return (inputs[index] for index in range(len(inputs)))
    raise TypeError(f"inputs must be audio, or many items of it, not {type(inputs).__name__}.")


def _column_of(inputs: Any) -> tuple[Any, str] | None:
    """The dataset of `datasets` behind the inputs, and the column that is meant."""
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
    """A column; one of audio as bytes and paths, which need no decoder to be installed."""
    feature: Any = (dataset.features or {}).get(name)
    if getattr(dataset, "format", {}).get("type") == "custom":
        # A transform of one's own, which may need other columns.
        return (row[name] for row in dataset)
    if _is_audio(feature):
        raw = dataset.select_columns([name]).with_format(None)
        dataset = raw.cast_column(name, dataclasses.replace(feature, decode=False))
    column: Iterable[Any] = dataset[name]
    return column


def _is_audio(feature: Any) -> bool:
    return type(feature).__name__ == "Audio"
