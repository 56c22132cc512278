"""HTML page of the report, and the order of its sections."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from urllib.parse import urlsplit

from valence_integrations._format import clock
from valence_integrations._html.tag import Html, tag
from valence_integrations._version import __version__
from valence_integrations.report import _account, _sections
from valence_integrations.report._summary import Summary
from valence_integrations.settings import Settings

#: The page loads and runs nothing, whatever its content.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)

#: Hosts of a local sandbox.
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


def page(summary: Summary, settings: Settings | None, stats: Mapping[str, float] | None, title: str) -> str:
    """Build the page."""
    sections = [
        ("emotions", "Emotions", _sections.emotions(summary)),
        ("confidence", "Confidence", _sections.confidence(summary, settings)),
        ("timelines", "Timelines", _sections.timelines(summary)),
        ("least-certain", "Least certain", _sections.least_certain(summary)),
        ("failures", "Failures", _sections.failures(summary)),
        ("routes", "How items were sent", _account.routes(summary)),
        ("cost", "Calls", _account.calls(summary, stats)),
        ("settings", "Settings", _account.settings_used(settings)),
    ]
    shown = [section for section in sections if section[2] is not None]
    made = datetime.now().astimezone()
    body = tag(
        "body",
        tag("a", "Skip to the results", class_="skip", href="#emotions"),
        tag(
            "header",
            tag("h1", title),
            tag("p", f"{summary.items:,} items · ", tag("time", f"{made:%Y-%m-%d %H:%M}", datetime=made.isoformat())),
            _sandbox_notice(settings),
            _tiles(summary, stats),
            tag("nav", (tag("a", heading, href=f"#{name}") for name, heading, _ in shown), aria_label="Sections"),
        ),
        tag(
            "main",
            (
                tag("section", tag("h2", heading, id=f"{name}-h"), content, id=name, aria_labelledby=f"{name}-h")
                for name, heading, content in shown
            ),
        ),
        tag("footer", tag("p", f"Made by valence-integrations {__version__}. This file contains no audio and no key.")),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_CONTENT_SECURITY_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(files(__package__).joinpath("style.css").read_text(encoding="utf-8"))),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _sandbox_notice(settings: Settings | None) -> Html | None:
    if settings is None or urlsplit(settings.base_url).hostname not in _LOCAL_HOSTS:
        return None
    return tag(
        "p",
        tag("strong", "Not from Valence. "),
        f"The answers came from {settings.base_url}, a local stand-in, not an emotion model.",
        class_="notice",
    )


def _tiles(summary: Summary, stats: Mapping[str, float] | None) -> Html:
    without = summary.items - summary.annotated - summary.failed
    cached = sum(route.cached for route in summary.routes.values())
    numbers = {
        "with an emotion": f"{summary.annotated:,}",
        "without an emotion": f"{without:,}",
        "failed": f"{summary.failed:,}",
        "of audio": _hours(summary.seconds),
        "calls made": f"{stats['calls']:,.0f}" if stats and "calls" in stats else None,
        "from the cache": f"{cached:,}",
    }
    return tag(
        "dl",
        (
            tag(
                "div", tag("dt", what), tag("dd", number), class_="bad" if what == "failed" and summary.failed else None
            )
            for what, number in numbers.items()
            if number is not None
        ),
        class_="tiles",
    )


def _hours(seconds: float) -> str:
    if not seconds:
        return "—"
    return clock(round(seconds)) if seconds < 100 * 3600 else f"{seconds / 3600:,.0f} h"
