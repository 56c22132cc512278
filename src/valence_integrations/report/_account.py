"""Sections of the report about the job: how items were sent, the cost, and the settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass

from valence_integrations._format import clock, size
from valence_integrations._html.tag import Html, tag
from valence_integrations.report._summary import Route, Summary
from valence_integrations.report._table import details, item_cell, omitted_note, table
from valence_integrations.settings import Settings

#: Headings of the routes, in the order of the table.
_ROUTES = {
    "discrete": "Unchanged, one call each",
    "padded": "Padded: shorter than 5.0 s",
    "truncated": "Truncated: only the first 15 s were sent",
    "chunk": "Cut into clips near pauses",
    "asynch": "Uploaded to the AsynchAPI",
    "unknown": "Annotated, route unknown",
    "skipped": "Skipped because of their duration",
    "missing": "Missing: no audio",
    "failed": "Failed",
}

#: Routes whose items are listed by name.
_LISTED = ("padded", "truncated", "chunk", "asynch", "skipped", "missing")

#: Labels of the engine's counters.
_COUNTERS = {
    "calls": "Calls to the service, including retries",
    "retries": "Retries after a failure",
    "rate_limited": "Rate-limited answers (429)",
    "possibly_double_billed": "Retried calls that may have been billed twice",
    "cache_hits": "Answers from the cache, free of charge",
    "failures": "Failed items",
}


def routes(summary: Summary) -> Html:
    """Return the section on how items were sent."""
    known = [(name, summary.routes[name]) for name in _ROUTES if name in summary.routes]
    rows = [
        (
            _ROUTES[name],
            f"{route.items:,}",
            f"{route.segments:,}" if route.segments else "—",
            clock(round(route.seconds)) if route.seconds else "—",
            f"{route.cached:,}",
        )
        for name, route in known
    ]
    return tag(
        "div",
        table("How items were sent", ["Route", "Items#", "Segments#", "Audio#", "From the cache#"], rows),
        (_listed(name, route) for name, route in known if name in _LISTED),
    )


def _listed(name: str, route: Route) -> Html:
    return details(
        f"{_ROUTES[name].partition(':')[0]}: {route.items:,}",
        table(
            _ROUTES[name],
            ["Item", "Duration#", "Segments#"],
            [
                (
                    item_cell(item),
                    "—" if math.isnan(prediction.duration) else clock(prediction.duration),
                    len(prediction.segments) or "—",
                )
                for item, prediction in route.first
            ],
        ),
        omitted_note(route.items - len(route.first), "are in your results."),
    )


def calls(summary: Summary, stats: Mapping[str, float] | None) -> Html:
    """Return the section on the cost of the job."""
    cached = sum(route.cached for route in summary.routes.values())
    answered = sum(
        route.items for name, route in summary.routes.items() if name not in ("skipped", "missing", "failed")
    )
    rows = [("Items answered by new calls", f"{answered - cached:,}"), ("Items answered from the cache", f"{cached:,}")]
    if stats is not None:
        rows += [(label, f"{stats[name]:,.0f}") for name, label in _COUNTERS.items() if name in stats]
        if "audio_seconds" in stats:
            rows.append(("Audio sent", clock(round(stats["audio_seconds"]))))
        if "bytes_sent" in stats:
            rows.append(("Bytes sent", size(stats["bytes_sent"])))
    unknown = "The engine's counters were not passed: calls and retries are unknown." if stats is None else None
    return tag(
        "div",
        table("Cost", ["Counter", "Count#"], rows, "narrow"),
        tag("p", unknown, class_="more") if unknown else None,
    )


def settings_used(settings: Settings | None) -> Html | None:
    """Return the section on the settings, without the key."""
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
        tag("p", "This file does not contain the API key.", class_="more"),
    )


def _value(value: object) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        return ", ".join(f"{name}={limit}" for name, limit in asdict(value).items())
    return str(value)
