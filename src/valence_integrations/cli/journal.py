"""Journal: finished items in a ``.partial.jsonl`` file next to the output, from which the next run resumes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from valence_integrations import errors
from valence_integrations.cli.rows import Row
from valence_integrations.results import EmotionPrediction, EmotionSegment
from valence_integrations.settings import ANSWER_SETTINGS, Settings

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Journal"]

#: Increment when the meaning of a line changes.
_SCHEMA = 2

#: Fields of an error in the journal, in addition to its type and its item.
_ERROR_FIELDS = ("message", "code", "setting", "remedy")


class Journal:
    """Predictions by row: one JSON line each, written immediately, with an index of the lines in memory.

    The key of a line includes the settings, so predictions with other settings are not reused.

    Parameters
    ----------
    path : Path
        The file. An incomplete last line, from a killed process, is dropped.
    service : str
        Source of the answers.
    settings : Settings
        Settings of the answers.

    Raises
    ------
    SettingsError
        If another process is writing the file.
    """

    def __init__(self, path: Path, service: str, settings: Settings) -> None:
        self.path = path
        key_settings = [_SCHEMA, service, *(getattr(settings, name) for name in ANSWER_SETTINGS)]
        self._salt = json.dumps(key_settings).encode()
        self._file = path.open("a+b", buffering=0)
        self._lock()
        self._reader = path.open("rb")
        self._lines: dict[str, int] = {}
        self._end = 0
        self._read_lines()
        self._earlier = self._end

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the file; remove it if it is empty."""
        self._reader.close()
        self._file.close()
        if not self._end:
            self.path.unlink(missing_ok=True)

    @property
    def has_earlier_run(self) -> bool:
        """Whether the file contains predictions of an earlier run."""
        return self._earlier > 0

    def clear(self) -> None:
        """Discard all predictions: the file is removed on exit."""
        self._end = 0

    def add(self, row: Row, prediction: EmotionPrediction) -> None:
        """Write a prediction immediately."""
        key = self._key(row.audio)
        line = {"name": row.name, "key": key, "file": _file_state(row.audio), **_to_json(prediction)}
        data = json.dumps(line).encode() + b"\n"
        self._file.write(data)
        self._lines[key] = self._end
        self._end += len(data)

    def find(self, row: Row) -> EmotionPrediction | None:
        """Return the prediction of a row, or None."""
        line = self._line(row)
        return None if line is None else _from_json(line)

    def is_done(self, row: Row) -> bool:
        """Return whether an earlier run annotated a row whose file has not changed since."""
        line = self._line(row, self._earlier) if self.has_earlier_run else None
        return line is not None and line["error"] is None and line["file"] == _file_state(row.audio)

    def _line(self, row: Row, before: float = math.inf) -> dict[str, Any] | None:
        start = self._lines.get(self._key(row.audio))
        if start is None or start >= before:
            return None
        self._reader.seek(start)
        return dict(json.loads(self._reader.readline()))

    def _key(self, audio: Any) -> str:
        digest = hashlib.blake2b(self._salt, digest_size=16)
        if isinstance(audio, str):
            digest.update(b"path" + os.fsencode(Path(audio).absolute()))
        elif isinstance(audio, Mapping) and isinstance(audio.get("bytes"), bytes):
            digest.update(b"bytes" + audio["bytes"])
        else:
            digest.update(b"value" + (audio if isinstance(audio, bytes) else repr(audio).encode()))
        return digest.hexdigest()

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise errors.SettingsError(
                f"another process is writing {self.path}.",
                code="output_invalid",
                remedy="Wait for it, or choose another output.",
            ) from None
        except OSError:
            pass  # the file system does not support locks

    def _read_lines(self) -> None:
        for line in self._reader:
            try:
                key = json.loads(line)["key"] if line.endswith(b"\n") else None
            except (ValueError, KeyError, TypeError):
                key = None
            if key is None:
                break
            self._lines[key] = self._end
            self._end += len(line)
        self._file.truncate(self._end)


def _file_state(audio: Any) -> list[int] | None:
    """Return size and modification time of a file, to detect changes."""
    if not isinstance(audio, str):
        return None
    try:
        status = os.stat(audio)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def _to_json(prediction: EmotionPrediction) -> dict[str, Any]:
    fields = {field.name: getattr(prediction, field.name) for field in dataclasses.fields(prediction)}
    error = prediction.error
    return {
        **fields,
        "confidence": _or_none(prediction.confidence),
        "duration": _or_none(prediction.duration),
        "segments": [dataclasses.asdict(segment) for segment in prediction.segments],
        "error": None
        if error is None
        else {
            "type": type(error).__name__,
            "item": getattr(error, "item", None),
            **{name: getattr(error, name) for name in _ERROR_FIELDS},
        },
    }


def _from_json(line: Mapping[str, Any]) -> EmotionPrediction:
    known = {field.name: line[field.name] for field in dataclasses.fields(EmotionPrediction)}
    error = known["error"]
    if error is not None:
        known["error"] = getattr(errors, error["type"], errors.ItemError)(
            **{name: error[name] for name in _ERROR_FIELDS}
        )
        known["error"].item = error["item"]
    for name in ("confidence", "duration"):
        known[name] = math.nan if known[name] is None else known[name]
    known["segments"] = tuple(EmotionSegment(**segment) for segment in known["segments"])
    return EmotionPrediction(**known)


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else number
