"""Output folder in the AudioFolder layout of `datasets`: audio files, and columns in ``metadata.jsonl``."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from valence_integrations.cli.files import atomic_path
from valence_integrations.cli.inputs import AUDIO_SUFFIXES, Inputs
from valence_integrations.cli.outputs import PREFIX, JsonlOutput, Pair
from valence_integrations.cli.rows import FILE, path_of
from valence_integrations.cli.text import escape_undecodable
from valence_integrations.errors import SettingsError

__all__ = ["METADATA", "AudioFolder"]

METADATA = "metadata.jsonl"

#: The column from which `datasets` reads the audio, and the column that it creates.
_FILE_NAME, _AUDIO = "file_name", "audio"

#: File systems allow 255 bytes, or a little less.
_MAX_NAME_BYTES = 200

#: Names that `datasets` would treat as splits, hidden files or URLs, that programs would treat as options, and
#: undecodable names.
_RESERVED_NAME = re.compile(
    r"(^|[._ 0-9-])(train|training|validation|valid|dev|val|test|testing|eval|evaluation)([._ 0-9-]|$)"
    r"|^[.-]|^__|:|[\\\x00-\x1f\ud800-\udfff]",
    re.IGNORECASE,
)


class AudioFolder(JsonlOutput):
    """A folder for ``load_dataset("audiofolder", data_dir=...)``.

    Files are hard links where the file system supports them, else copies. They keep their names, except for duplicate
    names and names that `datasets` would misinterpret, which become numbers. The column `file` holds the path of the
    original.

    The folder may be published, so it contains only what was opened as audio: `file_name` of a failed row is null. A
    row without audio is skipped.
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
        with (
            atomic_path(self.path, folder=True) as folder,
            (folder / METADATA).open("w", encoding="utf-8") as metadata,
            tempfile.TemporaryFile("w+", encoding="utf-8", dir=self.path.parent) as rest,
        ):
            # `datasets` infers the types of columns from the first lines: a failed row and an annotated one.
            first: dict[bool, str] = {}
            for failed, line in self._lines(pairs, folder):
                if first.setdefault(failed, line) is not line:
                    rest.write(line)
            metadata.writelines(first[failed] for failed in sorted(first, reverse=True))
            rest.seek(0)
            shutil.copyfileobj(rest, metadata)
            metadata.flush()
            os.fsync(metadata.fileno())

    def _lines(self, pairs: Iterable[Pair], folder: Path) -> Iterator[tuple[bool, str]]:
        """Store the audio of each row; yield whether the row failed, and its metadata line."""
        taken: set[str] = set()
        self.skipped_rows = 0
        for number, (row, prediction) in enumerate(pairs, 1):
            name = None
            if prediction.error is None and not math.isnan(prediction.duration):
                free = _free_name(PurePath(path_of(row.audio) or ""), number, taken)
                if _store(row.audio, folder / free):
                    taken.add(_folded(free))
                    name = free
            elif prediction.error is None:
                self.skipped_rows += 1
                continue
            kept = {key: value for key, value in row.values.items() if key not in self._replaced}
            values = escape_undecodable({_FILE_NAME: name, FILE: row.name, **kept})
            yield prediction.error is not None, self.line(values, prediction)

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
    # Without the suffix of an audio file, `datasets` would not see it, or would take it for metadata or an archive.
    is_audio = path.suffix.lower() in AUDIO_SUFFIXES
    numbered = (f"{n:06}{path.suffix if is_audio else '.wav'}" for n in itertools.count(number))
    keeps_name = is_audio and not _RESERVED_NAME.search(path.name) and len(path.name.encode()) <= _MAX_NAME_BYTES
    wanted = [path.name] if keeps_name else []
    return next(name for name in itertools.chain(wanted, numbered) if _folded(name) not in taken)


def _folded(name: str) -> str:
    """Return what equal names share on file systems that ignore case and the form of accents."""
    return unicodedata.normalize("NFC", name).casefold()


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
