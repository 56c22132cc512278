"""HTML representation of a prediction in notebooks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from valence_integrations._format import clock
from valence_integrations._html.pictures import bar, downsample, emotion_text, legend, merge_segments, strip
from valence_integrations._html.tag import Html, tag

if TYPE_CHECKING:
    from valence_integrations.results import EmotionPrediction

#: Maximum number of pieces of a strip in a notebook.
_MAX_PIECES = 120

_FRAME = "max-width:42em;font-family:system-ui,sans-serif;line-height:1.4;margin:.4em 0"
_CELL = "padding:.1em .7em .1em 0;text-align:left;border:0;background:none;font-weight:normal"


def picture(prediction: EmotionPrediction) -> Html:
    """Draw the scores of a short item, or the timeline of a long one."""
    pieces = downsample(merge_segments(prediction.segments), _MAX_PIECES) if len(prediction.segments) > 1 else []
    return tag(
        "div",
        tag("div", tag("strong", _headline(prediction)), tag("span", _details(prediction), style="opacity:.8")),
        (
            strip(pieces, "the item"),
            legend(dict.fromkeys(piece.emotion for piece in pieces if piece.label != "nothing")),
        )
        if pieces
        else _scores(prediction),
        style=_FRAME,
    )


def _headline(prediction: EmotionPrediction) -> str:
    if prediction.error is not None:
        return type(prediction.error).__name__
    return emotion_text(prediction.emotion, prediction.confidence)


def _details(prediction: EmotionPrediction) -> str:
    if prediction.error is not None:
        return f" · {prediction.error}"
    details = [
        "" if math.isnan(prediction.duration) else clock(prediction.duration),
        prediction.source or "not sent",
        "padded" if prediction.padded else "",
        "from the cache" if prediction.cached else "",
    ]
    return "".join(f" · {word}" for word in details if word)


def _scores(prediction: EmotionPrediction) -> Html | None:
    if not prediction.scores:
        return None
    return tag(
        "table",
        (
            tag(
                "tr",
                tag("th", emotion, scope="row", style=_CELL),
                tag("td", bar(score, emotion), style=f"{_CELL};width:16em"),
                tag("td", f"{score:.2f}", style=f"{_CELL};font-variant-numeric:tabular-nums"),
            )
            for emotion, score in sorted(prediction.scores.items(), key=lambda pair: -pair[1])
        ),
        style="border-collapse:collapse;margin:.3em 0;border:0",
    )
