"""Read the items of the rows that ``map`` passes to its function, in every mode and format."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from valence_integrations._arrow import tables
from valence_integrations._arrow.tables import items_of, table_of
from valence_integrations.errors import SettingsError

__all__ = ["Rows", "TypedColumns", "check_column", "read_rows", "read_segments"]

#: Raises SettingsError if a column is missing; see `tables.check_column`.
check_column = partial(
    tables.check_column,
    remedy='ValenceAnnotator({holds}_column="..."), or map(..., fn_kwargs={{"{holds}_column": "..."}}).',
)


#: Keys of a dict that is an item and not a row with columns.
_AUDIO_KEYS = frozenset({"array", "bytes", "path", "raw", "sampling_rate"})


@dataclass(frozen=True)
class Rows:
    """The rows of one call.

    Attributes
    ----------
    items : list
        The audio of each row.
    single : bool
        Whether it is a single row, whose columns hold values instead of lists.
    table : pyarrow.Table or None
        The rows, if they came as a table or part of one; the result must then be a table, too.
    has_columns : bool
        Whether the rows came with all their columns. With ``input_columns`` only the audio comes, and what follows may
        be further columns.
    """

    items: list[Any]
    single: bool = False
    table: pa.Table | None = None
    has_columns: bool = True


def read_rows(rows: Any, audio_column: str) -> Rows:
    """Read the items of a call.

    Parameters
    ----------
    rows : LazyRow, LazyBatch, dict, pyarrow.Table or DataFrame of pandas or polars
        A row, or a batch of them. With ``input_columns``: the audio alone, as a value, list, array or Series.
    audio_column : str
        Name of the audio column.

    Raises
    ------
    SettingsError
        If the column is missing, or the rows' format has damaged it.
    """
    if hasattr(rows, "keys_to_format"):
        return _from_lazy(rows, audio_column)
    if isinstance(rows, Mapping):
        return _from_mapping(rows, audio_column)
    if isinstance(rows, (pa.Array, pa.ChunkedArray)):
        return Rows(items_of(rows), table=pa.table({}), has_columns=False)
    table = table_of(rows)
    if table is not None:
        check_column(audio_column, table.column_names)
        return Rows(items_of(table[audio_column]), table=table)
    if hasattr(rows, "to_numpy"):
        return Rows(_check_bytes(list(rows), audio_column), table=pa.table({}), has_columns=False)
    return replace(_from_value(rows, (), audio_column), has_columns=False)


def read_segments(
    rows: Any, others: Sequence[Any], segments_column: str, found: Rows
) -> tuple[list[Any], Sequence[Any]]:
    """Read the segments of each row.

    Parameters
    ----------
    rows, others
        The positional arguments of the call; with ``input_columns``, the first of `others` holds the segments.
    segments_column : str
        Name of the segments column.
    found : Rows
        Result of `read_rows`.

    Returns
    -------
    list, sequence
        The segments of each row, as Python or numpy values; the rest of `others`.

    Raises
    ------
    SettingsError
        If the column is missing.
    """
    if hasattr(rows, "keys_to_format") and segments_column in rows.keys_to_format:
        return rows.pa_table[segments_column].to_pylist(), others
    if hasattr(rows, "keys_to_format") or (isinstance(rows, Mapping) and not rows.keys() <= _AUDIO_KEYS):
        check_column(segments_column, rows, "segments")
        return _listed(rows[segments_column], found), others
    if found.table is not None and found.table.column_names:
        check_column(segments_column, found.table.column_names, "segments")
        return found.table[segments_column].to_pylist(), others
    if not others:
        raise SettingsError(
            "The segments column was not passed.",
            code="column_not_found",
            setting="segments_column",
            remedy=f"map(..., input_columns=[<the audio>, {segments_column!r}]) passes it.",
        )
    return _listed(others[0], found), others[1:]


def _listed(value: Any, found: Rows) -> list[Any]:
    if isinstance(value, (pa.Array, pa.ChunkedArray)):
        listed: list[Any] = value.to_pylist()
        return listed
    return [value] if found.single else list(value)


def _from_lazy(rows: Any, audio_column: str) -> Rows:
    """Read a column from the table of a LazyRow or LazyBatch: indexing these would decode it."""
    from datasets.formatting.formatting import LazyRow

    check_column(audio_column, rows)
    single = isinstance(rows, LazyRow)
    if audio_column in rows.keys_to_format:
        return Rows(items_of(rows.pa_table[audio_column]), single)
    known = rows[audio_column]
    return Rows(_check_bytes([known] if single else list(known), audio_column), single)


def _from_mapping(rows: Mapping[str, Any], audio_column: str) -> Rows:
    if audio_column in rows:
        others = (value for name, value in rows.items() if name != audio_column)
        return _from_value(rows[audio_column], others, audio_column)
    if not rows.keys() <= _AUDIO_KEYS:
        check_column(audio_column, rows)
    return Rows([rows], single=True, has_columns=False)


def _from_value(value: Any, others: Iterable[Any], audio_column: str) -> Rows:
    single = not _is_batch(value, others)
    return Rows(_check_bytes([value] if single else list(value), audio_column), single)


def _is_batch(value: Any, others: Iterable[Any]) -> bool:
    """Whether a column's value is a batch of items and not a single item.

    Nested numbers may be a batch of waveforms or one waveform with channels: they are a batch if the other columns
    have the same length.
    """
    if not _is_sequence(value) or len(value) == 0:
        return False
    first = next((item for item in value if item is not None), None)
    if isinstance(first, numbers.Number) or getattr(first, "ndim", None) == 0:
        return isinstance(first, (str, bytes))
    return not _is_sequence(first) or all(_is_sequence(other) and len(other) == len(value) for other in others)


def _is_sequence(value: Any) -> bool:
    if getattr(value, "ndim", 1) == 0 or isinstance(value, (str, bytes, bytearray, memoryview, tuple)):
        return False
    return isinstance(value, (Sequence, np.ndarray)) or hasattr(value, "detach")


def _check_bytes(items: list[Any], audio_column: str) -> list[Any]:
    if any(isinstance(item, np.bytes_) for item in items):
        raise SettingsError(
            f"numpy stripped the NUL bytes at the end of the files in column {audio_column!r}, which damages them.",
            code="input_invalid",
            remedy='Call map before with_format("numpy"), or after with_format(None).',
        )
    return items


class TypedColumns(dict[str, pa.Array]):
    """Columns for the writer of ``Dataset.map``.

    The writer accepts typed Arrow arrays, so that a column has the right type even if all its values are None. But in
    batched mode ``map`` first checks the ``values()`` and accepts only lists.
    """

    def values(self) -> Any:
        """Columns as lists."""
        return [array.to_pylist() for array in super().values()]
