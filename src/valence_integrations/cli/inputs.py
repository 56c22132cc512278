"""Inputs of a command: files, folders, globs, tables and saved datasets, read row by row."""

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

#: Suffixes of the files that are read from a folder; a file that is named explicitly may have any suffix.
AUDIO_SUFFIXES = frozenset(
    {".aac", ".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".m4a", ".mka", ".mp3", ".mp4"}
    | {".oga", ".ogg", ".opus", ".w64", ".wav", ".webm", ".wma"}
)


class Files:
    """Files, and audio files in folders, without duplicates; folders are sorted by name.

    Parameters
    ----------
    paths : list of str
        Files and folders.
    exclude : Path or None
        A folder to skip: the output.
    """

    audio_column = FILE
    path = None

    def __init__(self, paths: Sequence[str], exclude: Path | None = None) -> None:
        self._paths = paths
        self._exclude = None if exclude is None else exclude.resolve()

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
        """Return the names of the columns."""
        return [FILE]

    def schema(self) -> pa.Schema:
        """Return the types of the columns."""
        import pyarrow as pa

        return pa.schema([(FILE, pa.string())])

    def _found(self) -> Iterator[str]:
        for path in self._paths:
            if Path(path).is_dir():
                yield from self._walk(path)
            else:
                yield path

    def _walk(self, folder: str) -> Iterator[str]:
        for root, folders, files in os.walk(folder, onerror=_raise):
            folders[:] = sorted(name for name in folders if self._is_included(root, name))
            for name in sorted(files):
                if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES:
                    yield str(Path(root, name))

    def _is_included(self, root: str, name: str) -> bool:
        return not name.startswith(".") and Path(root, name).resolve() != self._exclude


class Inputs:
    """All inputs of a command, as one sequence of rows that is read lazily.

    Parameters
    ----------
    paths : iterable of str
        Files, folders, globs, tables (CSV, JSONL, Parquet), saved datasets.
    audio_column : str, optional
        Column of the tables that holds the audio; by default one with a common name.
    exclude : Path, optional
        A folder to skip: the output.

    Raises
    ------
    SettingsError
        If a path does not exist, or a table has no such column.
    """

    def __init__(self, paths: Iterable[str], audio_column: str | None = None, exclude: Path | None = None) -> None:
        self.sources: list[Source] = []
        plain: list[str] = []
        for path in _expand_globs(paths):
            table = open_table(path, audio_column)
            if table is None:
                plain.append(path)
                continue
            if plain:
                self.sources.append(Files(plain, exclude))
                plain = []
            self.sources.append(table)
        if plain:
            self.sources.append(Files(plain, exclude))
        if audio_column is not None and not any(not isinstance(source, Files) for source in self.sources):
            raise SettingsError(
                "applies to tables, and there are none: name a CSV, JSONL or Parquet file.", setting="audio_column"
            )

    def __iter__(self) -> Iterator[Row]:
        for source in self.sources:
            yield from source

    def paths(self) -> Iterator[str]:
        """Return the paths of all tables and audio files."""
        for source in self.sources:
            if source.path is not None:
                yield source.path
            for row in source:
                if isinstance(row.audio, str):
                    yield row.audio

    def count(self) -> int:
        """Count the rows."""
        return sum(source.count() for source in self.sources)

    def names(self) -> list[str]:
        """Return the names of all columns."""
        return list(dict.fromkeys(name for source in self.sources for name in source.names()))

    def schema(self) -> pa.Schema:
        """Return the types of all columns.

        Raises
        ------
        SettingsError
            If the values of a column have incompatible types.
        """
        import pyarrow as pa

        try:
            schemas = [source.schema().remove_metadata() for source in self.sources]
            return pa.unify_schemas(schemas, promote_options="permissive")
        except (pa.ArrowException, OverflowError) as error:
            raise SettingsError(
                f"a column of the inputs contains values of different types, which Parquet does not support ({error}).",
                code="input_invalid",
                remedy="Write .jsonl instead.",
            ) from None


def _raise(error: OSError) -> None:
    raise error


def _expand_globs(paths: Iterable[str]) -> Iterator[str]:
    """Expand globs; a file whose name looks like a glob takes precedence."""
    for path in paths:
        if os.path.lexists(path):
            yield path
            continue
        found = sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) else []  # noqa: PTH207
        if not found:
            what = "nothing matches" if glob.has_magic(path) else "there is no file or folder"
            raise SettingsError(
                f"{what} {path!r}.", code="input_invalid", remedy=f"Check the path, relative to {str(Path.cwd())!r}."
            )
        yield from found
