"""Format durations, counts, sizes and percentages for display."""

from __future__ import annotations

__all__ = ["clock", "counted", "percent", "size", "span"]


def span(seconds: float, units: int = 4) -> str:
    """Format a duration with its `units` largest units.

    Examples
    --------
    >>> from valence_integrations._format import span
    >>> span(97_385), span(97_385, 2)
    ('1 d 3 h 3 min 5 s', '1 d 3 h')
    """
    left, parts = round(seconds), []
    for name, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if left >= length:
            parts.append(f"{left // length} {name}")
            left %= length
    return " ".join(parts[:units]) or "0 s"


def counted(number: int, thing: str) -> str:
    """Format a count with its noun, in singular or plural."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def size(number: float) -> str:
    """Format a number of bytes."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= least:
            return f"{number / least:,.1f} {unit}"
    return counted(round(number), "byte")


def percent(part: float, whole: float) -> str:
    """Format a share as a percentage; a part of the whole is never shown as 0% or 100%."""
    if not whole:
        return "—"
    share = part / whole
    if 0 < share < 0.001:
        return "< 0.1%"
    return f"{min(share, 0.999) if share < 1 else 1:.1%}"


def clock(seconds: float) -> str:
    """Format seconds as 0:05 or 1:02:03, with tenths if not whole."""
    tenths = round(seconds * 10)
    hours, minutes, rest = tenths // 36_000, tenths // 600 % 60, tenths % 600
    text = f"{rest // 10:02}" + (f".{rest % 10}" if rest % 10 else "")
    return f"{hours}:{minutes:02}:{text}" if hours else f"{minutes}:{text}"
