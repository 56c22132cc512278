"""What a process remembers of what it stored, in case the file is lost or cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

__all__ = ["Memory", "Place", "Row"]

#: A table and a key.
Place: TypeAlias = "tuple[str, str]"

#: Memory for rows that are in the file already: the answers of about an hour at the documented rate limit.
_RECENT_BYTES = 16_000_000

#: Size of a row besides its value.
_ROW_BYTES = 300


class Row(NamedTuple):
    """A value as JSON, None if the row is to be removed, and the time of its creation or, of a claim, its renewal."""

    value: str | None
    time: float | None


class Memory:
    """Rows still to be written, and the latest that were.

    Examples
    --------
    >>> from valence_integrations._store.memory import Memory, Row
    >>> memory = Memory()
    >>> memory.unsaved["answers", "key"] = Row('{"emotion": "sad"}', 0.0)
    >>> memory.saved()
    >>> memory.find("answers", "key")
    Row(value='{"emotion": "sad"}', time=0.0)
    >>> memory.unsaved
    {}
    >>> memory.lost()
    >>> list(memory.unsaved)
    [('answers', 'key')]
    """

    def __init__(self) -> None:
        self.unsaved: dict[Place, Row] = {}
        self._recent: dict[Place, Row] = {}
        self._bytes = 0

    def find(self, table: str, key: str) -> Row | None:
        """Return what was stored last under a key, if it is remembered."""
        place = (table, key)
        return self.unsaved.get(place) or self._recent.get(place)

    def latest(self) -> Place | None:
        """Return what was written last, if it is remembered."""
        return next(reversed(self._recent), None)

    def saved(self) -> None:
        """Note that all rows are in the file."""
        for place, row in self.unsaved.items():
            self._forget(place)
            if row.value is not None:
                self._recent[place] = row
                self._bytes += _ROW_BYTES + len(row.value)
        self.unsaved.clear()
        while self._bytes > _RECENT_BYTES:
            self._forget(next(iter(self._recent)))

    def lost(self) -> None:
        """Note that nothing is in the file any more."""
        self.unsaved = {**self._recent, **self.unsaved}
        self._recent.clear()
        self._bytes = 0

    def forget(self, is_gone: Callable[[Place, Row], bool]) -> None:
        """Forget rows that were deleted on purpose."""
        for place, row in [*self._recent.items(), *self.unsaved.items()]:
            if is_gone(place, row):
                self.unsaved.pop(place, None)
                self._forget(place)

    def _forget(self, place: Place) -> None:
        row = self._recent.pop(place, None)
        if row is not None and row.value is not None:
            self._bytes -= _ROW_BYTES + len(row.value)
