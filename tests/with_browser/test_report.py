"""Test the report in a real browser: no requests, no console messages, and accessibility."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from valence_integrations import EmotionPrediction, EmotionSegment, Settings, errors
from valence_integrations._html.palette import COLORS
from valence_integrations.report import write_report

from .browser import Browser, open_browser

HOSTILE = "\"><script>console.error('hacked')</script><img src=https://evil.example/x onerror=console.error(1)>.wav"

#: Contrast of every visible text with its background, lowest first [WCAG 2.2, 1.4.3].
CONTRASTS = """
(() => {
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = color => color.match(/[\\d.]+/g).map(Number);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const color = numbers(getComputedStyle(element).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return numbers(getComputedStyle(document.documentElement).backgroundColor);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    const [one, two] = [numbers(getComputedStyle(element).color), behind(element)].map(luminance).sort((a, b) => a - b);
    found.push([(two + 0.05) / (one + 0.05), walker.currentNode.textContent]);
  }
  return found.sort((a, b) => a[0] - b[0]);
})()
"""

#: Elements that overflow the page and are not in a scrolling box.
OVERFLOWING = """
[...document.querySelectorAll("body *")]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll") && e.checkVisibility())
  .map(e => e.outerHTML.slice(0, 200))
"""


def prediction(rng: random.Random, emotion: str, seconds: float, source: str) -> EmotionPrediction:
    segments = []
    for start in range(0, int(seconds), 5):
        emotion = rng.choice([emotion, emotion, emotion, *COLORS])
        scores = {name: rng.uniform(0.05, 0.4) for name in COLORS} | {emotion: rng.uniform(0.3, 0.95)}
        segments.append(EmotionSegment(start, min(start + 5.0, seconds), emotion, scores[emotion], scores))
    return EmotionPrediction.from_segments(segments, source=source, duration=seconds).with_min_confidence(0.35)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a report with every kind of content, and with names that try to inject HTML."""
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("report") / "report.html"
    items = [(f"clips/{n}.wav", prediction(rng, emotion, 5.0, "discrete")) for n, emotion in enumerate([*COLORS] * 20)]
    items += [(f"calls/{n} {HOSTILE}", prediction(rng, "neutral", 60.0 + 200 * n, "asynch")) for n in range(6)]
    items += [(HOSTILE, EmotionPrediction(error=errors.ValenceError(f"{HOSTILE}: {HOSTILE}"))) for _ in range(30)]
    items += [("long_" * 60 + ".wav", EmotionPrediction(duration=2.0)), ("", EmotionPrediction())]
    write_report(path, items, settings=Settings(base_url="http://127.0.0.1:1"), stats={"calls": 220}, title=HOSTILE)
    return path


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def browser(started: Browser, page: Path) -> Browser:
    started.set_window(1100)
    started.open(page)
    return started


def test_report_makes_no_requests_and_logs_nothing(browser: Browser, page: Path) -> None:
    browser.run("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.run("document.title").startswith('">')
    assert browser.run("document.querySelectorAll('script, img').length") == 0
    assert browser.requests == [page.as_uri()]
    assert browser.console_messages == []


def test_browser_records_requests_and_console_messages(started: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('hacked')</script>")
    started.open(bad)
    assert started.requests == [bad.as_uri(), "http://127.0.0.1:9/x.png"]
    assert any("hacked" in message for message in started.console_messages)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrast_meets_wcag_aa(browser: Browser, scheme: str) -> None:
    browser.set_window(1100, scheme=scheme)
    browser.run("document.querySelectorAll('details').forEach(each => each.open = true)")
    contrasts = browser.run(CONTRASTS)
    assert len(contrasts) > 1000
    least, text = contrasts[0]
    assert least >= 4.5, text
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]


@pytest.mark.parametrize("width", [320, 360, 768, 1100])
def test_nothing_overflows_the_page(browser: Browser, width: int) -> None:
    browser.set_window(width)
    browser.run("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.run("document.documentElement.scrollWidth") == width
    assert browser.run(OVERFLOWING) == []


def test_strip_widths_are_proportional_to_time(browser: Browser) -> None:
    shares = browser.run("""
      [...document.querySelectorAll(".timeline [role=img]")].map(strip => {
        const pieces = [...strip.children].map(e => [parseFloat(e.style.flex), e.getBoundingClientRect().width]);
        const [time, width] = [0, 1].map(at => pieces.reduce((sum, piece) => sum + piece[at], 0));
        return Math.max(...pieces.map(([t, w]) => Math.abs(t / time - w / width)));
      })
    """)
    assert len(shares) == 6
    assert max(shares) < 0.002


def test_keyboard_reaches_sections_and_opens_tables(browser: Browser) -> None:
    browser.press("Tab")
    assert browser.run("document.activeElement.textContent") == "Skip to the results"
    assert browser.run("document.activeElement.getBoundingClientRect().left") >= 0
    reached = []
    for _ in range(15):
        browser.press("Tab")
        reached.append(browser.run("document.activeElement.tagName"))
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        if reached[-1] == "SUMMARY":
            break
    assert reached.count("A") == 8
    assert reached[-1] == "SUMMARY"
    browser.press("Enter")
    assert browser.run("document.activeElement.parentElement.open") is True


def test_accessibility_tree_has_names_and_tables(browser: Browser) -> None:
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    seen = [node for node in nodes if not node["ignored"]]

    def names(role: str) -> list[str]:
        return [node.get("name", {}).get("value", "") for node in seen if node["role"]["value"] == role]

    (histogram,) = (name for name in names("image") if not name.startswith("Timeline of "))
    assert histogram.startswith("Distribution of 226 confidences. The highest bar is 0.")
    assert len(names("image")) == 7
    assert {"Items by emotion", "Least certain items", "How items were sent", "Cost", "Settings"} <= set(names("table"))
    assert "Sections" in names("navigation")
    assert all(names(role) and all(names(role)) for role in ("heading", "region", "link", "columnheader"))


def test_printing_logs_nothing(browser: Browser) -> None:
    assert len(browser.call("Page.printToPDF", printBackground=True)["data"]) > 10_000
    assert browser.console_messages == []
