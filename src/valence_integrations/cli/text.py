"""Text that a format or a spreadsheet does not accept as it is."""

from __future__ import annotations

from typing import Any

__all__ = ["escape_undecodable", "safe_cell", "unsafe_cell"]

#: Characters with which a spreadsheet formula, or the white space before one, may begin; the last four are full-width.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def escape_undecodable(value: Any) -> Any:
    """Escape bytes that are not UTF-8 and halves of surrogate pairs, for formats that allow only Unicode."""
    if isinstance(value, str):
        if value.isascii():
            return value
        try:
            return value.encode(errors="surrogateescape").decode(errors="backslashreplace")
        except UnicodeEncodeError:  # half of a surrogate pair
            return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {escape_undecodable(key): escape_undecodable(part) for key, part in value.items()}
    return [escape_undecodable(part) for part in value] if isinstance(value, list) else value


def safe_cell(value: Any) -> Any:
    """Make a text harmless in a spreadsheet: a quote before what would be a formula, as OWASP recommends.

    Numbers stay as they are. A text that begins like the result gets another quote, so that `unsafe_cell` can tell.
    """
    if not isinstance(value, str):
        return value
    if value.lstrip("'").startswith(_FORMULA) and not _is_number(value):
        value = f"'{value}"
    if value.isascii() and "\0" not in value:
        return value
    try:
        value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        value = escape_undecodable(value)
    return value.replace("\0", r"\x00")  # Python 3.10 reads no NUL


def unsafe_cell(cell: str | None) -> str | None:
    """Undo `safe_cell`."""
    return cell[1:] if cell and cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
