"""Tables with an audio column: CSV, JSONL, Parquet, and datasets saved to disk."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from valence_integrations.cli.rows import Row, Source, path_of
from valence_integrations.cli.text import escape_undecodable, unsafe_cell
from valence_integrations.errors import MissingDependencyError, SettingsError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["open_table"]

#: Common names of audio columns, the most likely first.
_COMMON_AUDIO_COLUMNS = (
    "audio",
    "file",
    "file_name",
    "filename",
    "path",
    "audio_path",
    "audio_file",
    "file_path",
    "filepath",
    "wav",
)

#: Column with the split of a dataset.
_SPLIT = "split"

#: Number of rows read at once; small, because rows may contain audio.
_BATCH = 64

#: Columns that show that a CSV file was written by `safe_cell`.
_OWN_COLUMNS = frozenset({"emotion", "emotion_source", "emotion_error", "emotion_timeline"})

#: The default limit of 128 kB is too small for the timeline of a long call.
csv.field_size_limit(2**31 - 1)


def open_table(path: str, audio_column: str | None) -> Source | None:
    """Open a table; return None if the path is not a table.

    Raises
    ------
    SettingsError
        If it has no such audio column, or cannot be read.
    """
    kind = _KINDS.get(Path(path).suffix.lower())
    if Path(path).is_dir():
        if not any((Path(path) / name).is_file() for name in ("state.json", "dataset_dict.json")):
            return None
        kind = _Saved
    return None if kind is None else kind(path, audio_column)


class _Table(ABC):
    """Rows of a table. Relative paths are resolved against its folder, then against the working directory.

    Subclasses implement `_records`.
    """

    def __init__(self, path: str, audio_column: str | None) -> None:
        self.path = path
        self.audio_column = _audio_column(path, self.names(), audio_column)

    def __iter__(self) -> Iterator[Row]:
        for number, values in enumerate(self._records(), 1):
            audio = self._resolve(values.get(self.audio_column))
            yield Row(path_of(audio) or f"{self.path}, row {number}", audio, values)

    def count(self) -> int:
        """Count the rows."""
        return sum(1 for _ in self._records())

    def names(self) -> list[str]:
        """Return the names of the columns."""
        return list(self.schema().names)

    @abstractmethod
    def schema(self) -> pa.Schema:
        """Return the types of the columns."""

    @abstractmethod
    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield the rows as they are in the table."""

    def _resolve(self, audio: Any) -> Any:
        if isinstance(audio, Mapping) and audio.get("bytes") is None:
            audio = audio.get("path")
        if not isinstance(audio, str):
            return audio
        if not audio:
            return None
        if "://" in audio:
            return audio
        beside = Path(self.path).parent / audio
        return audio if not _exists(beside) and _exists(Path(audio)) else str(beside)


class _Csv(_Table):
    def names(self) -> list[str]:
        with self._open() as file:
            return self._header(self._reader(file))

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema([(name, pa.string()) for name in self.names()])

    def _open(self) -> Any:
        # Keep bytes that are not UTF-8: they may be part of a file name.
        return Path(self.path).open(encoding="utf-8-sig", errors="surrogateescape", newline="")

    def _reader(self, file: Any) -> csv.DictReader[str]:
        first = file.readline()
        file.seek(0)
        return csv.DictReader(file, delimiter=max(",;\t", key=first.count))

    def _header(self, reader: csv.DictReader[str]) -> list[str]:
        try:
            names = [escape_undecodable(name) for name in reader.fieldnames or ()]
        except csv.Error as error:
            raise self._invalid(reader, error) from None
        return [str(unsafe_cell(name)) for name in names] if _OWN_COLUMNS.issubset(names) else names

    def _invalid(self, reader: csv.DictReader[str], error: csv.Error) -> SettingsError:
        return SettingsError(
            f"{self.path}, line {reader.line_num} is not valid CSV: {error}.",
            code="input_invalid",
            remedy="Save it again.",
        )

    def _records(self) -> Iterator[dict[str, Any]]:
        with self._open() as file:
            reader = self._reader(file)
            reader.fieldnames = names = self._header(reader)
            is_own = _OWN_COLUMNS.issubset(names)
            try:
                for record in reader:
                    if None in record:
                        raise SettingsError(
                            f"{self.path}, line {reader.line_num}: more cells than the header has.",
                            code="input_invalid",
                            remedy="Quote values that contain a comma.",
                        )
                    yield {name: unsafe_cell(cell) for name, cell in record.items()} if is_own else record
            except csv.Error as error:
                raise self._invalid(reader, error) from None


class _Jsonl(_Table):
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for record in self._records() for name in record))

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        # Larger than _BATCH, because the rows contain paths, not audio.
        names = self.names()
        schemas = [
            pa.table({name: [escape_undecodable(row.get(name)) for row in rows] for name in names}).schema
            for rows in _batches(self._records(), 1_000)
        ]
        return pa.unify_schemas(schemas, promote_options="permissive")

    def _records(self) -> Iterator[dict[str, Any]]:
        with Path(self.path).open(encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise SettingsError(
                        f"{self.path}, line {number} is not JSON: {error}.", code="input_invalid"
                    ) from None
                if not isinstance(record, dict):
                    raise SettingsError(
                        f"{self.path}, line {number} is not a JSON object.",
                        code="input_invalid",
                        remedy="Write {...} on each line.",
                    )
                yield {escape_undecodable(name): value for name, value in record.items()}


class _Parquet(_Table):
    def count(self) -> int:
        import pyarrow.parquet as pq

        with self._open() as file:
            return int(pq.read_metadata(file).num_rows)

    def schema(self) -> pa.Schema:
        import pyarrow.parquet as pq

        with self._open() as file:
            return pq.read_schema(file)

    def _open(self) -> BinaryIO:
        # Arrow cannot open a path that is not UTF-8.
        return Path(self.path).open("rb")

    def _records(self) -> Iterator[dict[str, Any]]:
        import pyarrow.parquet as pq

        with self._open() as file, pq.ParquetFile(file) as table:
            for batch in table.iter_batches(_BATCH):
                yield from batch.to_pylist()

    def __init__(self, path: str, audio_column: str | None) -> None:
        try:
            import pyarrow as pa
        except ImportError:
            raise MissingDependencyError.of(f"Reading {path}", "datasets") from None
        try:
            super().__init__(path, audio_column)
        except pa.ArrowException as error:
            raise SettingsError(f"{path} cannot be read as Parquet: {error}", code="input_invalid") from None


class _Saved(_Table):
    """Dataset saved to disk; splits are read one after the other."""

    def __init__(self, path: str, audio_column: str | None) -> None:
        try:
            import datasets
        except ImportError:
            raise MissingDependencyError.of(f"Reading the saved dataset {path}", "datasets") from None
        saved = datasets.load_from_disk(path)
        self._splits = dict(saved) if isinstance(saved, datasets.DatasetDict) else {None: saved}
        if audio_column is None:
            features = next(iter(self._splits.values())).features.items()
            audio_column = next((name for name, kind in features if isinstance(kind, datasets.Audio)), None)
        super().__init__(path, audio_column)

    def count(self) -> int:
        return sum(map(len, self._splits.values()))

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        schema = pa.unify_schemas([rows.features.arrow_schema.remove_metadata() for rows in self._splits.values()])
        return (
            schema if None in self._splits or _SPLIT in schema.names else schema.append(pa.field(_SPLIT, pa.string()))
        )

    def _records(self) -> Iterator[dict[str, Any]]:
        for split, rows in self._splits.items():
            # The Arrow format decodes nothing.
            for table in rows.with_format("arrow").iter(_BATCH):
                for record in table.to_pylist():
                    yield record if split is None else {_SPLIT: split, **record}


_KINDS: dict[str, type[_Table]] = {
    ".csv": _Csv,
    ".tsv": _Csv,
    ".jsonl": _Jsonl,
    ".ndjson": _Jsonl,
    ".parquet": _Parquet,
}


def _audio_column(path: str, names: list[str], wanted: str | None) -> str:
    if wanted is not None:
        if wanted in names:
            return wanted
        raise SettingsError(
            f"{path} has no column {wanted!r}; its columns are {_quoted(names)}.",
            code="column_not_found",
            setting="audio_column",
            remedy="Name one of them: --audio-column NAME.",
        )
    lowered = {name.lower(): name for name in reversed(names)}
    for name in _COMMON_AUDIO_COLUMNS:
        if name in lowered:
            return lowered[name]
    raise SettingsError(
        f"{path} has no column with a common name for audio; its columns are {_quoted(names)}.",
        code="column_not_found",
        setting="audio_column",
        remedy="Name the audio column: --audio-column NAME.",
    )


def _quoted(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _batches(records: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    batch = []
    for record in records:
        batch.append(record)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # it cannot be the name of a file
        return False
