"""Tables of the report, and their cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from valence_integrations._html.pictures import bar
from valence_integrations._html.tag import Html, tag

__all__ = ["bar_cell", "details", "item_cell", "message_cell", "omitted_note", "table", "tail"]

#: Maximum length of the text in a cell, in characters: names and messages are user data.
_MAX_CELL = 240

#: Suffix of the headings of numeric columns.
_NUMBER = "#"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]], kind: str | None = None) -> Html:
    """Return a table; the first cell of a row is its heading.

    Parameters
    ----------
    caption : str
        Description, for screen readers only.
    head : sequence of str
        Headings of the columns; those of numeric columns end with ``#``.
    rows : iterable of sequence
        Cells.
    kind : str, optional
        CSS class of the table.
    """
    kinds = ["n" if name.endswith(_NUMBER) else None for name in head]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag(
                "thead",
                tag(
                    "tr",
                    (
                        tag("th", name.removesuffix(_NUMBER), scope="col", class_=kind)
                        for name, kind in zip(head, kinds, strict=True)
                    ),
                ),
            ),
            tag("tbody", (_row(row, kinds) for row in rows)),
            class_=kind,
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def _row(row: Sequence[object], kinds: Sequence[str | None]) -> Html:
    first, *rest = row
    return tag(
        "tr",
        tag("th", first, scope="row", class_=kinds[0]),
        (tag("td", cell, class_=kind) for cell, kind in zip(rest, kinds[1:], strict=True)),
    )


def details(summary: str, *content: object) -> Html:
    """Return a collapsed block."""
    return tag("details", tag("summary", summary), content)


def omitted_note(count: int, where: str) -> Html | None:
    """Return a note on omitted entries, or None if there are none."""
    return tag("p", f"{count:,} more {where}", class_="more") if count > 0 else None


def item_cell(name: str) -> Html:
    """Return the name of an item, with its writing direction isolated; a long name is cut to its end."""
    return tag("bdi", tail(name, _MAX_CELL), class_="name")


def tail(name: str, max_length: int = 80) -> str:
    """Return the last characters of a long name: they are more distinctive than the first ones."""
    return name if len(name) <= max_length else f"…{name[-max_length:]}"


def message_cell(message: str) -> str:
    """Capitalize a message, and cut it off if it is long."""
    message = f"{message[:1].upper()}{message[1:]}"
    return message if len(message) <= _MAX_CELL else f"{message[:_MAX_CELL]}…"


def bar_cell(share: float, emotion: str | None, number: str) -> Html:
    """Return a bar with its number."""
    return tag("span", tag("span", bar(share, emotion), class_="bar"), tag("span", number), class_="bar-cell")
