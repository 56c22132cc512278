"""The partial file beside the output: what is finished, kept line by line, so that the next run goes on from there."""

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

#: What is kept of an error, beside its type and its item.
_OF_ERROR = ("message", "code", "setting", "remedy")


class Journal:
    """Predictions by row: a JSON line for each, written at once, and an index of the lines in memory.

    A line belongs to an item and the settings it was annotated with, so one of other settings is not taken for it.

    Parameters
    ----------
    path : Path
        The file. A last line that is not whole, as a killed process leaves it, is dropped.
    service : str
        Where the answers come from.
    settings : Settings
        How they are made.

    Raises
    ------
    SettingsError
        If another process writes it.
    """

    def __init__(self, path: Path, service: str, settings: Settings) -> None:
        self.path = path
        asked = [_SCHEMA, service, *(getattr(settings, name) for name in ANSWER_SETTINGS)]
        self._salt = json.dumps(asked).encode()
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
        """Close the file; an empty one is removed."""
        self._reader.close()
        self._file.close()
        if not self._end:
            self.path.unlink(missing_ok=True)

    @property
    def has_earlier(self) -> bool:
        """Whether there is anything from an earlier run."""
        return self._earlier > 0

    def clear(self) -> None:
        """Forget everything, as the output is written: the file is removed at the end."""
        self._end = 0

    def add(self, row: Row, prediction: EmotionPrediction) -> None:
        """Keep a prediction, at once."""
        key = self._key(row.audio)
        line = {"name": row.name, "key": key, "file": _state(row.audio), **_written(prediction)}
        data = json.dumps(line).encode() + b"\n"
        self._file.write(data)
        self._lines[key] = self._end
        self._end += len(data)

    def find(self, row: Row) -> EmotionPrediction | None:
        """Return the prediction of a row, if there is one."""
        line = self._line(row)
        return None if line is None else _read(line)

    def is_done(self, row: Row) -> bool:
        """Whether an earlier run has annotated a row, and its file is the same since."""
        line = self._line(row, self._earlier) if self.has_earlier else None
        return line is not None and line["error"] is None and line["file"] == _state(row.audio)

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
            pass  # a file system without locks

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


def _state(audio: Any) -> list[int] | None:
    """What tells whether a file has changed."""
    if not isinstance(audio, str):
        return None
    try:
        status = os.stat(audio)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def _written(prediction: EmotionPrediction) -> dict[str, Any]:
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
            **{name: getattr(error, name) for name in _OF_ERROR},
        },
    }


def _read(line: Mapping[str, Any]) -> EmotionPrediction:
    known = {field.name: line[field.name] for field in dataclasses.fields(EmotionPrediction)}
    error = known["error"]
    if error is not None:
        known["error"] = getattr(errors, error["type"], errors.ItemError)(**{name: error[name] for name in _OF_ERROR})
        known["error"].item = error["item"]
    for name in ("confidence", "duration"):
        known[name] = math.nan if known[name] is None else known[name]
    known["segments"] = tuple(EmotionSegment(**segment) for segment in known["segments"])
    return EmotionPrediction(**known)


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else number
