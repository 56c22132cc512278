"""Read batches of Ray Data in each of its formats."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from ray.data.block import BlockAccessor

from valence_integrations._arrow import tables

__all__ = ["check_column", "read_items", "read_segments", "table_of"]

#: Raises SettingsError if a column is missing; see `tables.check_column`.
check_column = partial(
    tables.check_column,
    remedy='{holds}_column="..." ("bytes" after ray.data.read_binary_files, "amplitude" after read_audio).',
)


def table_of(batch: Any) -> pa.Table:
    """Convert a batch to a table, as Ray itself does.

    Parameters
    ----------
    batch : dict of numpy.ndarray, pandas.DataFrame or pyarrow.Table
        As ``map_batches`` gives it.
    """
    if isinstance(batch, pa.Table):
        return batch
    if isinstance(batch, Mapping):
        return BlockAccessor.batch_to_arrow_block(dict(batch))
    if hasattr(batch, "iloc") and hasattr(batch, "columns"):
        return BlockAccessor.for_block(batch).to_arrow()
    raise TypeError(f"ValenceActor takes the batches of map_batches: a dict, DataFrame or Table, not {type(batch)}.")


def read_items(table: pa.Table, audio_column: str, rate_column: str) -> list[Any]:
    """Read the audio of each row.

    Parameters
    ----------
    table : pyarrow.Table
        The batch.
    audio_column : str
        Name of the audio column.
    rate_column : str
        Name of the optional column with the sampling rates of waveforms.

    Raises
    ------
    SettingsError
        If the audio column is missing.
    """
    check_column(audio_column, table.column_names)
    column = table[audio_column]
    if isinstance(column.type, pa.BaseExtensionType):
        items = list(BlockAccessor.for_block(table).to_numpy(audio_column))
    else:
        items = tables.items_of(column)
    if rate_column in table.column_names:
        rates = table[rate_column].to_pylist()
        items = [
            (item, rate) if isinstance(item, np.ndarray) and rate is not None else item
            for item, rate in zip(items, rates, strict=True)
        ]
    return items


def read_segments(table: pa.Table, segments_column: str) -> list[Any]:
    """Read the segments of each row.

    Raises
    ------
    SettingsError
        If the segments column is missing.
    """
    check_column(segments_column, table.column_names, "segments")
    segments: list[Any] = table[segments_column].to_pylist()
    return segments
