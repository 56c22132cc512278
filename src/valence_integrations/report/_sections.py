"""Sections of the report about the results: emotions, confidence, timelines, least certain items, failures."""

from __future__ import annotations

import math

from valence_integrations._format import clock, percent
from valence_integrations._html.pictures import (
    NO_EMOTION,
    Cell,
    describe,
    downsample,
    legend,
    merge_segments,
    paint,
    strip,
    swatch,
)
from valence_integrations._html.tag import Html, tag
from valence_integrations.report._summary import BINS, MAX_STRIPS, Failures, Summary
from valence_integrations.report._table import bar_cell, details, item_cell, message_cell, omitted_note, table, tail
from valence_integrations.results import EmotionPrediction
from valence_integrations.settings import Settings

#: The vendor recommends dropping emotions below this confidence [quickstart].
_RECOMMENDED = 0.38

#: Maximum number of pieces over all timelines, which limits the file size; minimum and maximum for each timeline.
_MAX_TOTAL_PIECES, _MIN_PIECES, _MAX_PIECES = 5_000, 50, 240


def emotions(summary: Summary) -> Html:
    """Return the section on the frequency of each emotion."""
    known = summary.ranked
    if not known:
        return tag("p", "No item has an emotion.")
    total = sum(found.items for found in known.values())
    largest = max(found.items for found in known.values())
    rows = [
        (
            swatch(emotion),
            bar_cell(found.items / largest, emotion, percent(found.items, total)),
            f"{found.items:,}",
            f"{found.confidence / found.items:.2f}",
            clock(round(found.seconds)) if found.seconds else "—",
        )
        for emotion, found in known.items()
    ]
    dropped = f"“{NO_EMOTION}”: the confidence is below min_confidence." if None in known else None
    return tag(
        "div",
        table("Items by emotion", ["Emotion", "Share", "Items#", "Mean confidence#", "Audio#"], rows),
        tag("p", dropped, class_="more") if dropped else None,
    )


def confidence(summary: Summary, settings: Settings | None) -> Html | None:
    """Return the section on the distribution of confidences."""
    known = summary.ranked
    if not known:
        return None
    sums = [sum(found.bins[at] for found in known.values()) for at in range(BINS)]
    total, highest = sum(sums), max(sums)
    least = settings.min_confidence if settings is not None else None
    line = _RECOMMENDED if least is None else least
    columns = (
        tag(
            "span",
            (
                tag(
                    "span",
                    title=f"{_range(at)} {emotion or NO_EMOTION}: {found.bins[at]:,}",
                    style=f"flex:{found.bins[at]} 0 0;{paint(emotion)}",
                )
                for emotion, found in known.items()
                if found.bins[at]
            ),
            style=f"height:{count / highest:.2%}",
        )
        for at, count in enumerate(sums)
    )
    line_label = "min_confidence" if least is not None else "the vendor recommends dropping emotions below it"
    peak = sums.index(highest)
    label = f"Distribution of {total:,} confidences. The highest bar is {_range(peak)}: {highest:,} items."
    return tag(
        "figure",
        legend(known),
        tag(
            "div",
            tag("span", f"{highest:,}", class_="highest", aria_hidden="true"),
            tag("div", columns, class_="columns", role="img", aria_label=label),
            tag("span", class_="line", style=f"left:{line:.1%}"),
            class_="histogram",
        ),
        tag("div", (tag("span", f"{tick:g}") for tick in (0, 0.25, 0.5, 0.75, 1)), class_="ticks", aria_hidden="true"),
        tag("figcaption", f"Confidence in each item's emotion, 0 to 1. The dashed line is at {line:g}: {line_label}."),
        details(
            "Confidence as a table",
            table(
                "Items by confidence",
                ["Confidence", *(f"{emotion or NO_EMOTION}#" for emotion in known), "All#", "Share#"],
                [
                    (
                        _range(at),
                        *(f"{found.bins[at]:,}" for found in known.values()),
                        f"{count:,}",
                        percent(count, total),
                    )
                    for at, count in enumerate(sums)
                    if count
                ],
            ),
        ),
    )


def _range(at: int) -> str:
    return f"{at / BINS:.2f} to {(at + 1) / BINS:.2f}"


def timelines(summary: Summary) -> Html | None:
    """Return the section with a timeline of each long item."""
    if not summary.strips:
        return None
    max_pieces = min(max(_MAX_TOTAL_PIECES // len(summary.strips), _MIN_PIECES), _MAX_PIECES)
    drawn = [(name, merge_segments(prediction.segments)) for name, prediction in summary.strips]
    names = dict.fromkeys(piece.emotion for _, pieces in drawn for piece in pieces if not math.isnan(piece.confidence))
    left_out = "long items are in your results; draw them with EmotionPrediction.plot()."
    return tag(
        "div",
        tag("p", "Hover over a segment, or open the table below it, for its times and confidence."),
        legend(names),
        (_timeline(name, pieces, max_pieces) for name, pieces in drawn if pieces),
        omitted_note(summary.long_items - MAX_STRIPS, left_out),
    )


def _timeline(name: str, segments: list[Cell], max_pieces: int) -> Html:
    pieces = downsample(segments, max_pieces)
    end = pieces[-1].end
    shortened = (
        f" The shortest of its {len(segments):,} segments are only in your results."
        if len(segments) > max_pieces
        else ""
    )
    return tag(
        "figure",
        tag("h3", item_cell(name)),
        strip(pieces, tail(name)),
        tag("div", tag("span", "0:00"), tag("span", clock(end)), class_="ticks", aria_hidden="true"),
        tag("figcaption", f"{describe(segments)}.{shortened}"),
        details(
            f"Table of {len(pieces)} segments",
            table(
                f"Timeline of {tail(name)}",
                ["Start#", "End#", "Emotion", "Confidence#"],
                [
                    (
                        clock(piece.start),
                        clock(piece.end),
                        piece.label,
                        "" if math.isnan(piece.confidence) else f"{piece.confidence:.2f}",
                    )
                    for piece in pieces
                ],
            ),
        ),
        class_="timeline",
    )


def least_certain(summary: Summary) -> Html | None:
    """Return the section on the least certain items."""
    least_certain_items = summary.least_certain
    if not least_certain_items:
        return None
    rows = [
        (
            item_cell(name),
            swatch(prediction.emotion),
            bar_cell(prediction.confidence, prediction.emotion, f"{prediction.confidence:.2f}"),
            _other_scores(prediction),
        )
        for name, prediction in least_certain_items
    ]
    known = sum(found.items for found in summary.emotions.values())
    return tag(
        "div",
        tag("p", "Items with the lowest confidence: listen to these first."),
        table("Least certain items", ["Item", "Emotion", "Confidence", "Other scores"], rows, "items"),
        omitted_note(known - len(rows), "are in your results: sort them by confidence."),
    )


def _other_scores(prediction: EmotionPrediction) -> str:
    """Format the two largest scores of other emotions, the largest first."""
    others = sorted(
        ((score, emotion) for emotion, score in prediction.scores.items() if emotion != prediction.emotion),
        reverse=True,
    )
    return ", ".join(f"{emotion} {score:.2f}" for score, emotion in others[:2])


def failures(summary: Summary) -> Html:
    """Return the section on failures, by cause and with remedies."""
    if not summary.failures:
        return tag("p", "No item failed.")
    ranked = sorted(summary.failures.items(), key=lambda pair: -pair[1].items)
    return tag("div", (_cause(cause.title, cause.remedy, found) for cause, found in ranked))


def _cause(title: str, remedy: str, found: Failures) -> Html:
    count = "1 item" if found.items == 1 else f"{found.items:,} items"
    return tag(
        "article",
        tag("h3", message_cell(title), " ", tag("span", count, class_="count")),
        tag("p", tag("strong", "How to fix: "), remedy),
        tag("p", "Error code: ", ", ".join(found.codes), class_="more"),
        details(
            "Failed items" if found.items == len(found.first) else f"The first {len(found.first)} items",
            table(
                f"Failed: {message_cell(title)}",
                ["Item", "Message"],
                [(item_cell(name), message_cell(message)) for name, message in found.first],
            ),
            omitted_note(found.items - len(found.first), "are in your results, with their errors."),
        ),
        class_="cause",
    )
