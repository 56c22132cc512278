"""Sections of the report about the job itself: how items were sent, what it cost, and the settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass

from valence_integrations._format import clock
from valence_integrations._html.tag import Html, tag
from valence_integrations.report._summary import Summary, Way
from valence_integrations.report._table import folded, item_cell, more, table
from valence_integrations.settings import Settings

#: Ways that an item may take, in the order of the table.
_WAYS = {
    "discrete": "As they were, one call each",
    "padded": "Lengthened: shorter than 5.0 s",
    "truncated": "Cut off: only the first 15 s were sent",
    "chunk": "Cut into clips, near pauses",
    "asynch": "Uploaded to the AsynchAPI",
    "unknown": "Annotated; the way is not told",
    "skipped": "Skipped because of their length",
    "missing": "Missing: there was no audio",
    "failed": "Failed",
}

#: Ways whose items are listed by name.
_LISTED = ("padded", "truncated", "chunk", "asynch", "skipped", "missing")

#: Counters of an engine, as people read them.
_COUNTERS = {
    "calls": "Calls made to the service, those that were made again included",
    "retries": "of these, made again after a failure",
    "rate_limited": "Answers of 429: too many calls",
    "possibly_double_billed": "Calls that failed, were made again, and may have been billed twice",
    "cache_hits": "Answers from the cache, which cost nothing",
    "failures": "Items that failed for good",
}


def ways(summary: Summary) -> Html:
    """How items were sent."""
    known = [(name, summary.ways[name]) for name in _WAYS if name in summary.ways]
    rows = [
        (
            _WAYS[name],
            f"{way.items:,}",
            f"{way.segments:,}" if way.segments else "—",
            clock(round(way.seconds)) if way.seconds else "—",
            f"{way.cached:,}",
        )
        for name, way in known
    ]
    return tag(
        "div",
        table("How items were sent", ["Way", "Items#", "Segments#", "Audio#", "From the cache#"], rows),
        (_listed(name, way) for name, way in known if name in _LISTED),
    )


def _listed(name: str, way: Way) -> Html:
    return folded(
        f"{_WAYS[name].partition(':')[0]}: {way.items:,}",
        table(
            _WAYS[name],
            ["Item", "Length#", "Segments#"],
            [
                (
                    item_cell(item),
                    "—" if math.isnan(prediction.duration) else clock(prediction.duration),
                    len(prediction.segments) or "—",
                )
                for item, prediction in way.first
            ],
        ),
        more(way.items - len(way.first), "are in your results."),
    )


def calls(summary: Summary, stats: Mapping[str, float] | None) -> Html:
    """What the job cost."""
    cached = sum(way.cached for way in summary.ways.values())
    answered = sum(way.items for name, way in summary.ways.items() if name not in ("skipped", "missing", "failed"))
    rows = [("Items answered by new calls", f"{answered - cached:,}"), ("Items answered from the cache", f"{cached:,}")]
    if stats is not None:
        rows += [(label, f"{stats[name]:,.0f}") for name, label in _COUNTERS.items() if name in stats]
        if "audio_seconds" in stats:
            rows.append(("Audio sent", clock(round(stats["audio_seconds"]))))
        if "bytes_sent" in stats:
            rows.append(("Bytes sent", f"{stats['bytes_sent'] / 2**20:,.1f} MiB"))
    unknown = "The engine's counters were not given: calls and retries are not known." if stats is None else None
    return tag(
        "div",
        table("What it cost", ["What", "Count#"], rows, "narrow"),
        tag("p", unknown, class_="more") if unknown else None,
    )


def settings_used(settings: Settings | None) -> Html | None:
    """The settings, but never the key."""
    if settings is None:
        return None
    rows = [
        (tag("code", spec.name), tag("code", _value(getattr(settings, spec.name))))
        for spec in fields(settings)
        if spec.repr
    ]
    return tag(
        "div",
        table("Settings", ["Setting", "Value"], rows, "narrow"),
        tag("p", "The API key is not in this file.", class_="more"),
    )


def _value(value: object) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        return ", ".join(f"{name}={limit}" for name, limit in asdict(value).items())
    return str(value)
