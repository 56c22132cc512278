"""Build escaped HTML: all text that is not markup from this module is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

__all__ = ["Html", "tag"]

_VOID = {"br", "link", "meta"}


class Html(str):
    """Markup that is not escaped again. Create it only from literals of this library, never from input."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Create an element.

    Parameters
    ----------
    name : str
        Tag name, such as ``"p"``.
    *children : object
        Markup, or objects whose text is escaped. Iterables are flattened; None is skipped.
    **attributes : object
        ``class_`` becomes class, ``aria_label`` becomes aria-label; None is skipped.

    Examples
    --------
    >>> from valence_integrations._html.tag import tag
    >>> tag("p", "a < b", tag("b", 1), class_="note")
    '<p class="note">a &lt; b<b>1</b></p>'
    """
    given = "".join(
        f' {key.strip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    start = f"<{name}{given}>"
    return Html(start if name in _VOID else f"{start}{_inner(children)}</{name}>")


def _inner(children: Iterable[object]) -> str:
    return "".join(_markup(child) for child in children if child is not None)


def _markup(child: object) -> str:
    if isinstance(child, Html):
        return child
    if isinstance(child, Iterable) and not isinstance(child, str):
        return _inner(child)
    return html.escape(str(child))
