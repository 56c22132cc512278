"""A folder in the AudioFolder layout of `datasets`: the audio, and its columns in ``metadata.jsonl``."""

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
from valence_integrations.cli.outputs import PREFIX, JsonlOutput, Pair, appearing
from valence_integrations.cli.rows import FILE, path_of
from valence_integrations.cli.tables import utf8
from valence_integrations.errors import SettingsError

__all__ = ["METADATA", "AudioFolder"]

METADATA = "metadata.jsonl"

#: The column that `datasets` reads as the audio, and the name that it gives it.
_FILE_NAME, _AUDIO = "file_name", "audio"

#: Names that `datasets` would take for those of splits, for hidden ones or for addresses, and what is no text.
_MISTAKEN = re.compile(
    r"(^|[._ 0-9-])(train|training|validation|valid|dev|val|test|testing|eval|evaluation)([._ 0-9-]|$)"
    r"|^\.|^__|:|[\\\x00-\x1f\ud800-\udfff]",
    re.IGNORECASE,
)


class AudioFolder(JsonlOutput):
    """A folder for ``load_dataset("audiofolder", data_dir=...)``.

    Files are linked (hard links) where the file system can, else copied. They keep their names, except those that
    `datasets` would take for something else and those that are taken already, which become a number. The column
    `file` has the path of the original. A row without a file is left out.
    """

    def check(self, inputs: Inputs) -> None:
        """Make sure that nothing but an earlier output is replaced, and that the columns can be loaded."""
        if self.path.is_dir() and any(self.path.iterdir()) and not self._is_earlier_output():
            raise SettingsError(
                f"the folder {str(self.path)!r} holds other files.",
                code="output_invalid",
                remedy="Choose another one for the output.",
            )
        self._replaced = {source.audio_column for source in inputs.sources} | {_FILE_NAME, _AUDIO, FILE}
        for name in self.kept(inputs.names()):
            if name not in self._replaced and name.endswith(("_file_name", "_file_names")):
                raise SettingsError(
                    f"datasets would take the column {name!r} for audio.",
                    code="column_conflict",
                    remedy="Rename it, or write .parquet.",
                )

    def write(self, pairs: Iterable[Pair]) -> None:
        """Write everything, under the final name at the end."""
        with appearing(self.path) as temporary:
            temporary.mkdir()
            self._store(pairs, temporary)
            if self.path.is_dir():
                shutil.rmtree(self.path)

    def _store(self, pairs: Iterable[Pair], folder: Path) -> None:
        """Put the audio and the line of each row into the folder.

        Rows that failed come first: `datasets` takes the types of the columns from the first lines, and must find a
        text where there are any.
        """
        taken = {METADATA}
        self.left_out = 0
        annotated = folder / "annotated"
        with (folder / METADATA).open("w+", encoding="utf-8") as first, annotated.open("w+", encoding="utf-8") as rest:
            for number, (row, prediction) in enumerate(pairs, 1):
                name = _free_name(PurePath(path_of(row.audio) or ""), number, taken)
                if not _store(row.audio, folder / name):
                    self.left_out += 1
                    continue
                taken.add(name.casefold())
                kept = {key: value for key, value in row.values.items() if key not in self._replaced}
                values = utf8({_FILE_NAME: name, FILE: row.name, **kept})
                (rest if prediction.error is None else first).write(self.line(values, prediction))
            rest.seek(0)
            shutil.copyfileobj(rest, first)
        annotated.unlink()

    def _is_earlier_output(self) -> bool:
        """Whether everything in the folder was put there by an earlier run."""
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
    suffix = path.suffix if path.suffix and not _MISTAKEN.search(path.suffix[1:]) else ".wav"
    numbered = (f"{n:06}{suffix}" for n in itertools.count(number))
    wanted = [path.name] if path.name and not _MISTAKEN.search(path.name) else []
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
