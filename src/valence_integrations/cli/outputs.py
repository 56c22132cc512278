"""The output: a table (CSV, JSONL or Parquet, by its suffix) or a folder, which appears when it is whole."""

from __future__ import annotations

import base64
import contextlib
import csv
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from valence_integrations.cli.advice import described
from valence_integrations.cli.inputs import Inputs
from valence_integrations.cli.rows import Row
from valence_integrations.cli.tables import utf8
from valence_integrations.errors import MissingDependencyError, SettingsError
from valence_integrations.results import EmotionPrediction

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PREFIX", "CsvOutput", "JsonlOutput", "Output", "Pair", "ParquetOutput", "appearing"]

Pair: TypeAlias = "tuple[Row, EmotionPrediction]"

PREFIX = "emotion"

#: Decimals of what people read; a score has some seven digits.
_DECIMALS = 6

#: Rows of Parquet that are written at once.
_BATCH = 1_000


class Output(Protocol):
    """Where annotated rows go.

    Attributes
    ----------
    path : Path
        The final name.
    left_out : int
        Rows that could not be written.
    """

    path: Path
    left_out: int

    def check(self, inputs: Inputs) -> None:
        """Learn the columns, and raise if they cannot be written so."""
        ...

    def write(self, pairs: Iterable[Pair]) -> None:
        """Write everything, under the final name at the end."""
        ...


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Give another name in the same folder, which becomes `path` at the end if all goes well."""
    temporary = path.with_name(f".{path.name}.tmp")
    _remove(temporary)  # that of a killed process
    try:
        yield temporary
        if temporary.is_file():
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


class _Table:
    left_out = 0

    def __init__(self, path: Path, emotions: Sequence[str]) -> None:
        self.path = path
        self.emotions = emotions
        self.scores = [f"{PREFIX}_{emotion}" for emotion in emotions]
        self._own = {PREFIX, *(f"{PREFIX}_{name}" for name in _FIELDS), *self.scores}

    def check(self, inputs: Inputs) -> None:
        """Any inputs will do."""

    def kept(self, names: Iterable[str]) -> list[str]:
        """The inputs' columns that are not replaced."""
        return [name for name in names if name not in self._own]


_FIELDS = ("confidence", "scores", "source", "error", "error_code", "timeline")


class CsvOutput(_Table):
    """A CSV file for spreadsheets: a column for each emotion's score, and the timeline as JSON at the end."""

    def check(self, inputs: Inputs) -> None:
        """Learn the columns, of which a CSV file must know all at its beginning.

        Raises
        ------
        SettingsError
            If two columns would have the same name.
        """
        if twice := {PREFIX, *(f"{PREFIX}_{name}" for name in _FIELDS)} & set(self.scores):
            raise SettingsError(
                f"these emotions would give a CSV file two columns {min(twice)!r}.",
                code="column_conflict",
                setting="emotions",
                remedy="Give that emotion another name, or write .jsonl.",
            )
        self._names = self.kept(inputs.names())

    def write(self, pairs: Iterable[Pair]) -> None:
        """Write everything, under the final name at the end."""
        own = [PREFIX, f"{PREFIX}_confidence", *self.scores, *(f"{PREFIX}_{name}" for name in _FIELDS[2:])]
        # A name whose bytes are no UTF-8 keeps its bytes.
        with (
            appearing(self.path) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*self._names, *own])
            for row, prediction in pairs:
                writer.writerow([*(_cell(row.values.get(name)) for name in self._names), *self._cells(prediction)])

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


class JsonlOutput(_Table):
    """A JSON object on each line, with the columns of `datasets`."""

    def write(self, pairs: Iterable[Pair]) -> None:
        """Write everything, under the final name at the end."""
        with appearing(self.path) as temporary, temporary.open("w", encoding="utf-8") as file:
            for row, prediction in pairs:
                file.write(self.line(row.values, prediction))

    def line(self, values: Mapping[str, Any], prediction: EmotionPrediction) -> str:
        """Line of a row."""
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
        # ASCII: so a name whose bytes are no UTF-8 can be read back.
        return json.dumps({**kept, **columns}, default=_plain) + "\n"


class ParquetOutput(_Table):
    """A Parquet file: the columns of the inputs with their types, and those of `datasets`."""

    def __init__(self, path: Path, emotions: Sequence[str]) -> None:
        try:
            import pyarrow as pa  # noqa: F401
        except ImportError:
            raise MissingDependencyError.of(f"Writing {path.name}", "datasets") from None
        super().__init__(path, emotions)

    def check(self, inputs: Inputs) -> None:
        """Learn the types, of which a Parquet file must know all at its beginning."""
        import pyarrow as pa

        from valence_integrations._arrow.columns import Columns

        schema = inputs.schema()
        # A column without any value has no type that Parquet knows.
        self._kept = {
            name: pa.string() if pa.types.is_null(schema.field(name).type) else schema.field(name).type
            for name in self.kept(schema.names)
        }
        self._columns = Columns(PREFIX, tuple(self.emotions), text=described)

    def write(self, pairs: Iterable[Pair]) -> None:
        """Write everything, under the final name at the end."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([*self._kept.items(), *self._columns.types])
        with appearing(self.path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            remaining = iter(pairs)
            while batch := list(islice(remaining, _BATCH)):
                writer.write_table(self._table(batch))

    def _table(self, batch: Sequence[Pair]) -> pa.Table:
        import pyarrow as pa

        kept = {
            name: pa.array([utf8(row.values.get(name)) for row, _ in batch], kind) for name, kind in self._kept.items()
        }
        return pa.table({**kept, **self._columns.of([prediction for _, prediction in batch])})


def _scores(prediction: EmotionPrediction, emotions: Sequence[str]) -> dict[str, float | None]:
    if prediction.source is None:
        return dict.fromkeys(emotions)
    return {emotion: _number(prediction.scores.get(emotion, 0.0)) for emotion in emotions}


def _error(prediction: EmotionPrediction) -> tuple[str, str] | tuple[None, None]:
    error = prediction.error
    return (None, None) if error is None else (described(error), error.code)


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
    """What JSON and CSV can hold of a value; of audio in the table itself, the path."""
    if isinstance(value, Mapping) and "bytes" in value and "path" in value:
        return value["path"]
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, (str, int, float, dict, list)) or value is None:
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
