"""Outputs: a table (CSV, JSONL or Parquet, by suffix) or a folder, written atomically."""

from __future__ import annotations

import base64
import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO, TypeAlias

from valence_integrations.cli.advice import error_text
from valence_integrations.cli.files import atomic_path
from valence_integrations.cli.inputs import Inputs
from valence_integrations.cli.rows import Row
from valence_integrations.cli.text import escape_undecodable, safe_cell
from valence_integrations.errors import MissingDependencyError, SettingsError
from valence_integrations.results import EmotionPrediction

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PREFIX", "CsvOutput", "JsonlOutput", "Output", "Pair", "ParquetOutput", "atomic_path"]

Pair: TypeAlias = "tuple[Row, EmotionPrediction]"

PREFIX = "emotion"

#: Decimals in text outputs; a score has about seven significant digits.
_DECIMALS = 6

#: Number of rows in a Parquet row group.
_BATCH = 1_000


class Output(Protocol):
    """Destination of annotated rows.

    Attributes
    ----------
    path : Path
        Final path.
    skipped_rows : int
        Number of rows that could not be written.
    """

    path: Path
    skipped_rows: int

    def check(self, inputs: Inputs) -> None:
        """Read the columns of the inputs, and raise if they cannot be written."""
        ...

    def write(self, pairs: Iterable[Pair]) -> None:
        """Write all rows, then move the output to its final name."""
        ...


class _Table:
    skipped_rows = 0

    def __init__(self, path: Path, emotions: Sequence[str]) -> None:
        self.path = path
        self.emotions = emotions
        self.scores = [f"{PREFIX}_{emotion}" for emotion in emotions]
        self._own_columns = {PREFIX, *(f"{PREFIX}_{name}" for name in _FIELDS), *self.scores}

    def check(self, inputs: Inputs) -> None:
        """Accept any inputs."""

    def kept(self, names: Iterable[str]) -> list[str]:
        """Return the columns of the inputs that are not replaced."""
        return [name for name in names if name not in self._own_columns]


_FIELDS = ("confidence", "scores", "source", "error", "error_code", "timeline")


class CsvOutput(_Table):
    """CSV file: one column for each emotion's score, and the timeline as JSON in the last column."""

    def check(self, inputs: Inputs) -> None:
        """Collect all columns, which the CSV header requires.

        Raises
        ------
        SettingsError
            If two columns would have the same name.
        """
        if duplicates := {PREFIX, *(f"{PREFIX}_{name}" for name in _FIELDS)} & set(self.scores):
            raise SettingsError(
                f"these emotions would create two CSV columns {min(duplicates)!r}.",
                code="column_conflict",
                setting="emotions",
                remedy="Rename that emotion, or write .jsonl.",
            )
        self._names = self.kept(inputs.names())

    def write(self, pairs: Iterable[Pair]) -> None:
        """Write all rows, then move the output to its final name."""
        own = [PREFIX, f"{PREFIX}_confidence", *self.scores, *(f"{PREFIX}_{name}" for name in _FIELDS[2:])]
        # A file name that is not UTF-8 keeps its bytes.
        with (
            atomic_path(self.path) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            writer = csv.writer(_Lines(file), lineterminator=_Lines.END)
            writer.writerow(map(safe_cell, [*self._names, *own]))
            for row, prediction in pairs:
                kept = (_cell(row.values.get(name)) for name in self._names)
                writer.writerow(map(safe_cell, [*kept, *self._cells(prediction)]))

    def _cells(self, prediction: EmotionPrediction) -> list[Any]:
        scores = _scores(prediction, self.emotions)
        return [
            prediction.emotion,
            _number(prediction.confidence),
            *scores.values(),
            prediction.source,
            *_error(prediction),
            _json(_timeline(prediction)),
        ]


class _Lines:
    """End lines in a line feed; a writer that does so by itself leaves a carriage return in a cell unquoted."""

    END = "\r\n"

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, line: str) -> int:
        return self._file.write(line.removesuffix(self.END) + "\n")


class JsonlOutput(_Table):
    """JSONL file with the columns of the `datasets` integration."""

    def write(self, pairs: Iterable[Pair]) -> None:
        """Write all rows, then move the output to its final name."""
        with atomic_path(self.path) as temporary, temporary.open("w", encoding="utf-8") as file:
            for row, prediction in pairs:
                file.write(self.line(row.values, prediction))

    def line(self, values: Mapping[str, Any], prediction: EmotionPrediction) -> str:
        """Return the JSON line of a row."""
        kept = {name: _plain(values[name]) for name in self.kept(values)}
        text, code = _error(prediction)
        columns = {
            PREFIX: prediction.emotion,
            f"{PREFIX}_confidence": _number(prediction.confidence),
            f"{PREFIX}_scores": _scores(prediction, self.emotions),
            f"{PREFIX}_timeline": _timeline(prediction),
            f"{PREFIX}_source": prediction.source,
            f"{PREFIX}_error": text,
            f"{PREFIX}_error_code": code,
        }
        # ASCII, so that a file name that is not UTF-8 can be read back.
        return json.dumps({**kept, **columns}, default=_plain) + "\n"


class ParquetOutput(_Table):
    """Parquet file: the typed columns of the inputs, and those of the `datasets` integration."""

    def __init__(self, path: Path, emotions: Sequence[str]) -> None:
        try:
            import pyarrow as pa  # noqa: F401
        except ImportError:
            raise MissingDependencyError.of(f"Writing {path.name}", "datasets") from None
        super().__init__(path, emotions)

    def check(self, inputs: Inputs) -> None:
        """Collect all column types, which the Parquet schema requires."""
        import pyarrow as pa

        from valence_integrations._arrow.columns import Columns

        schema = inputs.schema()
        # Parquet has no type for a column without values.
        self._kept = {
            name: pa.string() if pa.types.is_null(schema.field(name).type) else schema.field(name).type
            for name in self.kept(schema.names)
        }
        self._columns = Columns(PREFIX, tuple(self.emotions), text=error_text)

    def write(self, pairs: Iterable[Pair]) -> None:
        """Write all rows, then move the output to its final name."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([*self._kept.items(), *self._columns.types])
        # Arrow cannot open a path that is not UTF-8.
        with (
            atomic_path(self.path) as temporary,
            temporary.open("wb") as file,
            pq.ParquetWriter(file, schema) as writer,
        ):
            remaining = iter(pairs)
            while batch := list(islice(remaining, _BATCH)):
                writer.write_table(self._table(batch))

    def _table(self, batch: Sequence[Pair]) -> pa.Table:
        import pyarrow as pa

        kept = {
            name: pa.array([escape_undecodable(row.values.get(name)) for row, _ in batch], kind)
            for name, kind in self._kept.items()
        }
        return pa.table({**kept, **self._columns.of([prediction for _, prediction in batch])})


def _scores(prediction: EmotionPrediction, emotions: Sequence[str]) -> dict[str, float | None]:
    if prediction.source is None:
        return dict.fromkeys(emotions)
    return {emotion: _number(prediction.scores.get(emotion, 0.0)) for emotion in emotions}


def _error(prediction: EmotionPrediction) -> tuple[str, str] | tuple[None, None]:
    error = prediction.error
    return (None, None) if error is None else (error_text(error), error.code)


def _timeline(prediction: EmotionPrediction) -> list[dict[str, Any]]:
    return [
        {
            "start": _number(part.start),
            "end": _number(part.end),
            "emotion": part.emotion,
            "confidence": _number(part.confidence),
        }
        for part in prediction.segments
    ]


def _number(number: float) -> float | None:
    return None if math.isnan(number) else round(number, _DECIMALS)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _cell(value: Any) -> Any:
    value = _plain(value)
    return _json(value) if isinstance(value, (dict, list)) else value


def _plain(value: Any) -> Any:
    """Convert a value for JSON and CSV; audio inside the table becomes its path."""
    if isinstance(value, Mapping) and "bytes" in value and "path" in value:
        return value["path"]
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, (str, int, float, dict, list)) or value is None:
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
