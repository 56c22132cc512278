"""What is to be annotated: files, folders, globs, tables and saved datasets, read row by row."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from valence_integrations.cli.rows import FILE, Row, Source
from valence_integrations.cli.tables import open_table
from valence_integrations.errors import SettingsError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["AUDIO_SUFFIXES", "Files", "Inputs"]

#: Files that are taken from a folder; a file that is named itself is taken whatever it is called.
AUDIO_SUFFIXES = frozenset(
    {".aac", ".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".m4a", ".mka", ".mp3", ".mp4"}
    | {".oga", ".ogg", ".opus", ".w64", ".wav", ".webm", ".wma"}
)


class Files:
    """Files, and the audio files of folders, each once; folders in the order of their names.

    Parameters
    ----------
    paths : list of str
        Files and folders.
    leave_out : Path or None
        A folder that is not looked into: the output.
    """

    audio_column = FILE

    def __init__(self, paths: Sequence[str], leave_out: Path | None = None) -> None:
        self._paths = paths
        self._leave_out = None if leave_out is None else leave_out.resolve()

    def __iter__(self) -> Iterator[Row]:
        seen: set[str] = set()
        for path in self._found():
            absolute = str(Path(path).absolute())
            if absolute not in seen:
                seen.add(absolute)
                yield Row(path, path, {FILE: path})

    def count(self) -> int:
        """Count the files."""
        return sum(1 for _ in self)

    def names(self) -> list[str]:
        """Names of the columns."""
        return [FILE]

    def schema(self) -> pa.Schema:
        """Types of the columns."""
        import pyarrow as pa

        return pa.schema([(FILE, pa.string())])

    def _found(self) -> Iterator[str]:
        for path in self._paths:
            if Path(path).is_dir():
                yield from self._walk(path)
            else:
                yield path

    def _walk(self, folder: str) -> Iterator[str]:
        for root, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if self._is_wanted(root, name))
            for name in sorted(files):
                if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES:
                    yield str(Path(root, name))

    def _is_wanted(self, root: str, name: str) -> bool:
        return not name.startswith(".") and Path(root, name).resolve() != self._leave_out


class Inputs:
    """Everything that a command was given, as one sequence of rows that is read bit by bit.

    Parameters
    ----------
    paths : iterable of str
        Files, folders, globs, tables (CSV, JSONL, Parquet), saved datasets.
    audio_column : str, optional
        The column of the tables that holds the audio; by default one with a usual name.
    leave_out : Path, optional
        A folder that is not looked into: the output.

    Raises
    ------
    SettingsError
        If a path is not there, or a table has no such column.
    """

    def __init__(self, paths: Iterable[str], audio_column: str | None = None, leave_out: Path | None = None) -> None:
        self.sources: list[Source] = []
        plain: list[str] = []
        for path in _expanded(paths):
            table = open_table(path, audio_column)
            if table is None:
                plain.append(path)
                continue
            if plain:
                self.sources.append(Files(plain, leave_out))
                plain = []
            self.sources.append(table)
        if plain:
            self.sources.append(Files(plain, leave_out))
        if audio_column is not None and not any(not isinstance(source, Files) for source in self.sources):
            raise SettingsError(
                "is for tables, and there is none: name a CSV, JSONL or Parquet file.", setting="audio_column"
            )

    def __iter__(self) -> Iterator[Row]:
        for source in self.sources:
            yield from source

    def count(self) -> int:
        """Count the rows."""
        return sum(source.count() for source in self.sources)

    def names(self) -> list[str]:
        """Names of all columns."""
        return list(dict.fromkeys(name for source in self.sources for name in source.names()))

    def schema(self) -> pa.Schema:
        """Types of all columns.

        Raises
        ------
        SettingsError
            If a column has no type that holds all of its values.
        """
        import pyarrow as pa

        try:
            schemas = [source.schema().remove_metadata() for source in self.sources]
            return pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as error:
            raise SettingsError(
                f"a column of the inputs holds values of different types, which Parquet cannot ({error}).",
                code="input_invalid",
                remedy="Write .jsonl instead.",
            ) from None


def _expanded(paths: Iterable[str]) -> Iterator[str]:
    """Globs that no shell has expanded; a file that has such a name goes first."""
    for path in paths:
        if os.path.lexists(path):
            yield path
            continue
        found = sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) else []  # noqa: PTH207
        if not found:
            what = "nothing matches" if glob.has_magic(path) else "there is no file or folder"
            raise SettingsError(
                f"{what} {path!r}.", code="input_invalid", remedy=f"Check the path, from {str(Path.cwd())!r}."
            )
        yield from found
