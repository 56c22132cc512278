"""``valence report``: the report on what an earlier ``valence annotate`` has written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from valence_integrations._audio.routing import MIN_SECONDS
from valence_integrations.cli.audiofolder import METADATA
from valence_integrations.cli.outputs import PREFIX
from valence_integrations.cli.rows import Row, Source
from valence_integrations.cli.tables import open_table
from valence_integrations.cli.terminal import ExitCode, one_line, say
from valence_integrations.errors import Code, ItemError, SettingsError
from valence_integrations.report import write_report
from valence_integrations.results import EmotionPrediction, EmotionSegment

__all__ = ["read_output", "report"]

#: Columns that are no score, in a CSV file.
_NO_SCORES = tuple(f"{PREFIX}_{name}" for name in ("confidence", "source", "error", "error_code", "timeline"))

#: Characters of a code that are read: the file may be any.
_LONGEST_CODE = 40


def report(output: str, html: Path | None, *, audio_column: str | None) -> ExitCode:
    """Write the report of an output.

    Parameters
    ----------
    output : str
        What ``valence annotate -o`` was given.
    html : Path or None
        The report; by default it lies beside the output.
    audio_column : str or None
        The column of the names.
    """
    html = Path(output).with_suffix(".html") if html is None else html
    write_report(html, read_output(output, audio_column), title=f"Emotions in {output}")
    say(one_line(str(html)))
    return ExitCode.DONE


def read_output(output: str, audio_column: str | None = None) -> Iterator[tuple[str, EmotionPrediction]]:
    """Read names and predictions back from an output, bit by bit.

    Raises
    ------
    SettingsError
        If it is none.
    """
    path = Path(output) / METADATA if Path(output).is_dir() else Path(output)
    table = open_table(str(path), audio_column) if path.is_file() else None
    if table is None or PREFIX not in table.names():
        raise SettingsError(
            f"{output!r} is no output of valence annotate.",
            code="input_invalid",
            remedy="Name what you gave to its -o.",
        )
    return _rows(table)


def _rows(table: Source) -> Iterator[tuple[str, EmotionPrediction]]:
    for row in table:
        name = _name(row, table.audio_column)
        yield name, _prediction(name, row.values)


def _name(row: Row, column: str) -> str:
    name = row.values.get(column)
    return name if isinstance(name, str) and name else row.name


def _prediction(name: str, values: Mapping[str, Any]) -> EmotionPrediction:
    timeline = values.get(f"{PREFIX}_timeline") or []
    if isinstance(timeline, str):
        timeline = json.loads(timeline)
    segments = tuple(
        EmotionSegment(part["start"], part["end"], part["emotion"], _number(part["confidence"])) for part in timeline
    )
    source = values.get(f"{PREFIX}_source") or None
    duration = segments[-1].end if segments else math.nan
    return EmotionPrediction(
        emotion=values.get(PREFIX) or None,
        confidence=_number(values.get(f"{PREFIX}_confidence")),
        scores=_scores(values) if source else {},
        segments=segments,
        source=source,
        duration=duration,
        padded=source == "discrete" and duration < MIN_SECONDS,
        error=_error(name, values),
    )


def _error(name: str, values: Mapping[str, Any]) -> ItemError | None:
    """Error of a row; an output that was not written by this version may not have its code."""
    text = values.get(f"{PREFIX}_error")
    if not text:
        return None
    code = cast("Code", str(values.get(f"{PREFIX}_error_code") or "not_recorded")[:_LONGEST_CODE])
    error = ItemError(str(text).removeprefix(f"{name}: "), code=code)
    return error.named(name) if error.message != text else error


def _scores(values: Mapping[str, Any]) -> dict[str, float]:
    scores = values.get(f"{PREFIX}_scores")
    if scores is None:
        start = f"{PREFIX}_"
        scores = {
            name.removeprefix(start): score
            for name, score in values.items()
            if name.startswith(start) and name not in _NO_SCORES
        }
    return {name: _number(score) for name, score in scores.items()}


def _number(value: Any) -> float:
    return math.nan if value is None or value == "" else float(value)
