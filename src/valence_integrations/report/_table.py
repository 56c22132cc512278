"""Tables of the report, and what stands in their cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from valence_integrations._html.pictures import bar
from valence_integrations._html.tag import Html, tag

__all__ = ["bar_cell", "folded", "item_cell", "message_cell", "more", "table", "tail"]

#: Longest text in a cell, in characters: names and messages come from elsewhere.
_LONGEST = 240

#: Columns whose heading ends with this hold numbers.
_NUMBER = "#"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]], kind: str | None = None) -> Html:
    """Make a table; the first cell of a row is its heading.

    Parameters
    ----------
    caption : str
        What it shows; for screen readers only.
    head : sequence of str
        Headings of the columns; those of numbers end with ``#``.
    rows : iterable of sequence
        Cells.
    kind : str, optional
        Class of the table, for its style.
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


def folded(summary: str, *content: object) -> Html:
    """Make something that opens when it is asked for."""
    return tag("details", tag("summary", summary), content)


def more(count: int, where: str) -> Html | None:
    """Say what is left out, and where it is."""
    return tag("p", f"{count:,} more {where}", class_="more") if count > 0 else None


def item_cell(name: str) -> Html:
    """Name of an item, as it was given; of a very long one its end. Its direction of writing stays within it."""
    return tag("bdi", tail(name, _LONGEST), class_="name")


def tail(name: str, longest: int = 80) -> str:
    """Name, or its end, which tells more than its beginning."""
    return name if len(name) <= longest else f"…{name[-longest:]}"


def message_cell(message: str) -> str:
    """Message, or its beginning."""
    message = f"{message[:1].upper()}{message[1:]}"
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…"


def bar_cell(share: float, emotion: str | None, number: str) -> Html:
    """Make a bar with its number beside it."""
    return tag("span", tag("span", bar(share, emotion), class_="bar"), tag("span", number), class_="bar-cell")
