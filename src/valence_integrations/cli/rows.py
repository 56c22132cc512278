"""What is annotated: rows, and where they are read from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FILE", "Row", "Source", "path_of"]

#: The column of the paths, where the input is no table.
FILE = "file"


@dataclass(frozen=True, slots=True)
class Row:
    """One item.

    Attributes
    ----------
    name : str
        What it is called: its path, or its table and number.
    audio : object
        What the engine takes.
    values : dict
        The columns that it comes with.
    """

    name: str
    audio: Any
    values: dict[str, Any]


class Source(Protocol):
    """Rows that can be read again and again; none is kept.

    Attributes
    ----------
    audio_column : str
        Which column holds the audio.
    """

    audio_column: str

    def __iter__(self) -> Iterator[Row]:
        """Read the rows."""
        ...

    def count(self) -> int:
        """Count the rows, without reading audio."""
        ...

    def names(self) -> list[str]:
        """Names of the columns."""
        ...

    def schema(self) -> pa.Schema:
        """Types of the columns."""
        ...


def path_of(audio: Any) -> str | None:
    """Path of an item's audio, if it has one."""
    if isinstance(audio, Mapping):
        audio = audio.get("path")
    return audio if isinstance(audio, str) and audio else None
