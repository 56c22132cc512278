"""Rows of the inputs, and their sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FILE", "Row", "Source", "path_of"]

#: Column of the paths if the input is not a table.
FILE = "file"


@dataclass(frozen=True, slots=True)
class Row:
    """One item.

    Attributes
    ----------
    name : str
        The path, or the table and row number.
    audio : object
        Audio, in a form that the engine accepts.
    values : dict
        Values of the input columns.
    """

    name: str
    audio: Any
    values: dict[str, Any]


class Source(Protocol):
    """Rows that can be iterated over repeatedly; they are not kept in memory.

    Attributes
    ----------
    audio_column : str
        Column that holds the audio.
    """

    audio_column: str

    @property
    def path(self) -> str | None:
        """Return the path of the table; None if the source is not a table."""
        ...

    def __iter__(self) -> Iterator[Row]:
        """Read the rows."""
        ...

    def count(self) -> int:
        """Count the rows, without reading audio."""
        ...

    def names(self) -> list[str]:
        """Return the names of the columns."""
        ...

    def schema(self) -> pa.Schema:
        """Return the types of the columns."""
        ...


def path_of(audio: Any) -> str | None:
    """Return the path of an item's audio, or None."""
    if isinstance(audio, Mapping):
        audio = audio.get("path")
    return audio if isinstance(audio, str) and audio else None
