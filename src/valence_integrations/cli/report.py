"""``valence report``: write a report on an output of ``valence annotate``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from valence_integrations._audio.routing import MIN_SECONDS
from valence_integrations.cli.audiofolder import METADATA
from valence_integrations.cli.files import refuse_inputs
from valence_integrations.cli.outputs import PREFIX
from valence_integrations.cli.rows import Row, Source
from valence_integrations.cli.tables import open_table
from valence_integrations.cli.terminal import ExitCode, one_line, print_message
from valence_integrations.errors import Code, ItemError, SettingsError
from valence_integrations.report import write_report
from valence_integrations.results import EmotionPrediction, EmotionSegment

__all__ = ["read_output", "report"]

#: Columns of a CSV file that are not scores.
_NON_SCORE_COLUMNS = tuple(f"{PREFIX}_{name}" for name in ("confidence", "source", "error", "error_code", "timeline"))

#: Maximum length of a code: the file is untrusted.
_MAX_CODE_LENGTH = 40


def report(output: str, html: Path | None, *, audio_column: str | None) -> ExitCode:
    """Write the report on an output.

    Parameters
    ----------
    output : str
        The value of ``valence annotate -o``.
    html : Path or None
        Path of the report; by default next to the output.
    audio_column : str or None
        The column with the names of the items.
    """
    html = Path(output).with_suffix(".html") if html is None else html
    refuse_inputs([html], [output, str(Path(output) / METADATA)])
    write_report(html, read_output(output, audio_column), title=f"Emotions in {output}")
    print_message(one_line(str(html)))
    return ExitCode.DONE


def read_output(output: str, audio_column: str | None = None) -> Iterator[tuple[str, EmotionPrediction]]:
    """Read names and predictions from an output, lazily.

    Raises
    ------
    SettingsError
        If it is not an output.
    """
    path = Path(output) / METADATA if Path(output).is_dir() else Path(output)
    table = open_table(str(path), audio_column) if path.is_file() else None
    if table is None or PREFIX not in table.names():
        raise SettingsError(
            f"{output!r} is not an output of valence annotate.",
            code="input_invalid",
            remedy="Pass the value of its option -o.",
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
    """Return the error of a row; outputs of other versions may lack its code."""
    text = values.get(f"{PREFIX}_error")
    if not text:
        return None
    code = cast("Code", str(values.get(f"{PREFIX}_error_code") or "not_recorded")[:_MAX_CODE_LENGTH])
    error = ItemError(str(text).removeprefix(f"{name}: "), code=code)
    return error.named(name) if error.message != text else error


def _scores(values: Mapping[str, Any]) -> dict[str, float]:
    scores = values.get(f"{PREFIX}_scores")
    if scores is None:
        start = f"{PREFIX}_"
        scores = {
            name.removeprefix(start): score
            for name, score in values.items()
            if name.startswith(start) and name not in _NON_SCORE_COLUMNS
        }
    return {name: _number(score) for name, score in scores.items()}


def _number(value: Any) -> float:
    return math.nan if value is None or value == "" else float(value)
