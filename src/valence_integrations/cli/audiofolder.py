"""Output folder in the AudioFolder layout of `datasets`: audio files, and columns in ``metadata.jsonl``."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from valence_integrations.cli.inputs import Inputs
from valence_integrations.cli.outputs import PREFIX, JsonlOutput, Pair, atomic_path
from valence_integrations.cli.rows import FILE, path_of
from valence_integrations.cli.tables import escape_undecodable
from valence_integrations.errors import SettingsError

__all__ = ["METADATA", "AudioFolder"]

METADATA = "metadata.jsonl"

#: The column from which `datasets` reads the audio, and the column that it creates.
_FILE_NAME, _AUDIO = "file_name", "audio"

#: Names that `datasets` would treat as splits, hidden files or URLs, and undecodable names.
_RESERVED_NAME = re.compile(
    r"(^|[._ 0-9-])(train|training|validation|valid|dev|val|test|testing|eval|evaluation)([._ 0-9-]|$)"
    r"|^\.|^__|:|[\\\x00-\x1f\ud800-\udfff]",
    re.IGNORECASE,
)


class AudioFolder(JsonlOutput):
    """A folder for ``load_dataset("audiofolder", data_dir=...)``.

    Files are hard links where the file system supports them, else copies. They keep their names, except for duplicate
    names and names that `datasets` would misinterpret, which become numbers. The column `file` holds the path of the
    original. A row without a file is skipped.
    """

    def check(self, inputs: Inputs) -> None:
        """Raise if the folder is not an earlier output, or if `datasets` could not load the columns."""
        if self.path.is_dir() and any(self.path.iterdir()) and not self._is_earlier_output():
            raise SettingsError(
                f"the folder {str(self.path)!r} contains other files.",
                code="output_invalid",
                remedy="Choose another folder for the output.",
            )
        self._replaced = {source.audio_column for source in inputs.sources} | {_FILE_NAME, _AUDIO, FILE}
        for name in self.kept(inputs.names()):
            if name not in self._replaced and name.endswith(("_file_name", "_file_names")):
                raise SettingsError(
                    f"datasets would treat the column {name!r} as audio.",
                    code="column_conflict",
                    remedy="Rename it, or write .parquet.",
                )

    def write(self, pairs: Iterable[Pair]) -> None:
        """Write all rows, then move the output to its final name."""
        with atomic_path(self.path) as temporary:
            temporary.mkdir()
            self._store(pairs, temporary)
            if self.path.is_dir():
                shutil.rmtree(self.path)

    def _store(self, pairs: Iterable[Pair], folder: Path) -> None:
        """Write the audio and the metadata line of each row to the folder.

        Failed rows come first: `datasets` infers column types from the first lines, which must contain error texts if
        there are any.
        """
        taken = {METADATA}
        self.skipped_rows = 0
        annotated = folder / "annotated"
        with (folder / METADATA).open("w+", encoding="utf-8") as first, annotated.open("w+", encoding="utf-8") as rest:
            for number, (row, prediction) in enumerate(pairs, 1):
                name = _free_name(PurePath(path_of(row.audio) or ""), number, taken)
                if not _store(row.audio, folder / name):
                    self.skipped_rows += 1
                    continue
                taken.add(name.casefold())
                kept = {key: value for key, value in row.values.items() if key not in self._replaced}
                values = escape_undecodable({_FILE_NAME: name, FILE: row.name, **kept})
                (rest if prediction.error is None else first).write(self.line(values, prediction))
            rest.seek(0)
            shutil.copyfileobj(rest, first)
        annotated.unlink()

    def _is_earlier_output(self) -> bool:
        """Return whether an earlier run wrote everything in the folder."""
        known = {METADATA}
        try:
            with (self.path / METADATA).open(encoding="utf-8") as file:
                for line in file:
                    values = json.loads(line)
                    known.add(values[_FILE_NAME])
                    values[f"{PREFIX}_timeline"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return {path.name for path in self.path.iterdir()} <= known


def _free_name(path: PurePath, number: int, taken: set[str]) -> str:
    suffix = path.suffix if path.suffix and not _RESERVED_NAME.search(path.suffix[1:]) else ".wav"
    numbered = (f"{n:06}{suffix}" for n in itertools.count(number))
    wanted = [path.name] if path.name and not _RESERVED_NAME.search(path.name) else []
    return next(name for name in itertools.chain(wanted, numbered) if name.casefold() not in taken)


def _store(audio: Any, target: Path) -> bool:
    data = audio.get("bytes") if isinstance(audio, Mapping) else audio
    if isinstance(data, bytes):
        target.write_bytes(data)
        return True
    if not isinstance(audio, str) or not Path(audio).is_file():
        return False
    try:
        os.link(Path(audio).resolve(), target)
    except OSError:
        shutil.copyfile(audio, target)
    return True
