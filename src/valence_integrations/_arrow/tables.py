"""Arrow tables: convert DataFrames, read a column as items, and add columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from valence_integrations.errors import SettingsError

__all__ = ["check_column", "items_of", "joined", "table_of"]


def check_column(name: str, names: Iterable[str], holds: str = "audio", *, remedy: str) -> None:
    """Raise SettingsError unless `name` is one of `names`; `remedy` is a template with ``{holds}``."""
    names = list(names)
    if name not in names:
        raise SettingsError(
            f"There is no column {name!r}; the columns are {', '.join(map(repr, names))}.",
            code="column_not_found",
            setting=f"{holds}_column",
            remedy=f"Name the one that holds the {holds}: {remedy.format(holds=holds)}",
        )


def table_of(rows: Any) -> pa.Table | None:
    if isinstance(rows, pa.Table):
        return rows
    if hasattr(rows, "iloc") and hasattr(rows, "columns"):
        return pa.Table.from_pandas(rows, preserve_index=False)
    if hasattr(rows, "to_arrow") and hasattr(rows, "columns"):
        # Indexed row by row: before polars 2, `to_arrow` gives the structs of a slice the wrong length.
        return rows[np.arange(len(rows))].to_arrow()
    return None


def items_of(column: Any) -> list[Any]:
    """Values of an Arrow column, without copying large ones."""
    return [_item(value) for value in column]


def _item(value: Any) -> Any:
    """Return a list of numbers as an array, which is faster; the engine converts other scalars when needed."""
    samples = value.values if isinstance(value, (pa.ListScalar, pa.LargeListScalar)) else None
    if samples is not None and (pa.types.is_floating(samples.type) or pa.types.is_integer(samples.type)):
        return samples.to_numpy(zero_copy_only=False)
    return value


def joined(table: pa.Table, columns: dict[str, pa.Array]) -> pa.Table:
    """Add columns to a table; they replace columns with the same names."""
    if not table.column_names:
        return pa.table(columns)
    for name, column in columns.items():
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
    return table
