"""Journal: finished items in a ``.partial.jsonl`` file next to the output, from which the next run resumes."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from valence_integrations import errors
from valence_integrations._format import counted
from valence_integrations.cli.rows import Row
from valence_integrations.cli.text import escape_undecodable
from valence_integrations.results import EmotionPrediction, EmotionSegment
from valence_integrations.settings import ANSWER_SETTINGS, Settings

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Journal"]

#: Increment when the meaning of a line changes.
_SCHEMA = 2

#: How every line begins: a file that begins otherwise is not a journal.
_BEGINNING = b'{"name": '

#: Fields of an error in the journal, in addition to its type and its item.
_ERROR_FIELDS = ("message", "code", "setting", "remedy")


class Journal:
    """Predictions by row: one JSON line each, written immediately, with an index of the lines in memory.

    The key of a line includes the settings, so predictions with other settings are not reused. The file is locked, and
    only its owner can read it.

    Parameters
    ----------
    path : Path
        The file. An incomplete last line, from a killed process, is dropped.
    service : str
        Source of the answers.
    settings : Settings
        Settings of the answers.
    force : bool, default=False
        Whether to discard what other commands have written to the file.

    Raises
    ------
    SettingsError
        If another process is writing the file, or if it is not a journal.
    """

    def __init__(self, path: Path, service: str, settings: Settings, *, force: bool = False) -> None:
        self.path = path
        key_settings = [_SCHEMA, service, *(getattr(settings, name) for name in ANSWER_SETTINGS)]
        self._salt = json.dumps(key_settings).encode()
        self._force = force
        self._cleared = False
        self._lines: dict[str, int] = {}
        self._finished: set[str] = set()
        self._file = self._open()
        self._reader = path.open("rb")
        try:
            self._earlier = self._read_lines()
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the file; remove it if it is empty."""
        is_empty = self._cleared or not self._size()
        if fcntl is None:  # Windows does not remove open files
            self._close()
        if is_empty:
            # Before the lock is released: another process may be waiting to lock the same file.
            self.path.unlink(missing_ok=True)
        self._close()

    def resume(self, rows: Iterable[Row]) -> int:
        """Return how many rows an earlier run has finished.

        Raises
        ------
        SettingsError
            If the file contains finished items of another command, unless `force` is set.
        """
        if not self._earlier:
            return 0
        done, others = 0, set(self._finished)
        for row in rows:
            done += self.is_done(row)
            others.discard(self._key(row.audio))
        if others and not self._force:
            raise errors.SettingsError(
                f"{self.path.name} holds {counted(len(others), 'finished item')} of a command with other inputs or "
                "settings.",
                code="output_invalid",
                remedy="Run that command to continue it, choose another output, or discard them with --force.",
            )
        return done

    def clear(self) -> None:
        """Discard all predictions: the file is removed on exit."""
        self._cleared = True

    def add(self, row: Row, prediction: EmotionPrediction) -> None:
        """Write a prediction immediately."""
        key = self._key(row.audio)
        line = {"name": row.name, "key": key, "file": _file_state(row.audio), **_to_json(prediction)}
        remaining = memoryview(json.dumps(line).encode() + b"\n")
        start = self._size()
        try:
            while remaining:
                remaining = remaining[self._file.write(remaining) :]
        finally:
            if remaining:  # the disk is full
                self._file.truncate(start)
        self._lines[key] = start

    def find(self, row: Row) -> EmotionPrediction | None:
        """Return the prediction of a row, or None."""
        line = self._line(row)
        return None if line is None else _from_json(line)

    def is_done(self, row: Row) -> bool:
        """Return whether an earlier run annotated a row whose file has not changed since."""
        line = self._line(row, self._earlier) if self._earlier else None
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
            digest.update(b"path" + str(Path(audio).absolute()).encode(errors="surrogatepass"))
        elif isinstance(audio, Mapping) and isinstance(audio.get("bytes"), bytes):
            digest.update(b"bytes" + audio["bytes"])
        else:
            digest.update(b"value" + (audio if isinstance(audio, bytes) else repr(audio).encode()))
        return digest.hexdigest()

    def _close(self) -> None:
        self._reader.close()
        self._file.close()

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def _open(self) -> BinaryIO:
        """Open and lock the file."""
        while True:
            # Unbuffered: a line is in the file before the next item.
            file = open(self.path, "a+b", buffering=0, opener=_open_private)  # noqa: SIM115
            try:
                self._lock(file)
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise self._not_a_journal()
                # Another process may have removed the file before the lock was taken.
                if self.path.exists() and os.path.samestat(status, self.path.stat()):
                    return cast("BinaryIO", file)
            except BaseException:
                file.close()
                raise
            file.close()

    def _lock(self, file: Any) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise errors.SettingsError(
                f"another process is writing {self.path}.",
                code="output_invalid",
                remedy="Wait for it, or choose another output.",
            ) from None
        except OSError:
            pass  # the file system does not support locks

    def _not_a_journal(self) -> errors.SettingsError:
        return errors.SettingsError(
            f"{str(self.path)!r} is not a partial file of valence annotate, and a job needs this name.",
            code="output_invalid",
            remedy="Rename it, choose another output, or discard it with --force.",
        )

    def _read_lines(self) -> int:
        """Index the lines of earlier runs; return where they end."""
        beginning = self._reader.read(len(_BEGINNING))
        if not _BEGINNING.startswith(beginning):
            if not self._force:
                raise self._not_a_journal()
            self._file.truncate(0)
        with contextlib.suppress(OSError, AttributeError):  # not the owner; Windows
            os.fchmod(self._file.fileno(), 0o600)
        end = 0
        self._reader.seek(0)
        for line in self._reader:
            if not line.endswith(b"\n"):
                break
            self._index(line, end)
            end += len(line)
        self._file.truncate(end)
        return end

    def _index(self, line: bytes, start: int) -> None:
        try:
            values = json.loads(line)
            key, is_finished = values["key"], values["error"] is None
        except (ValueError, KeyError, TypeError):
            return  # damaged
        self._lines[key] = start
        if is_finished:
            self._finished.add(key)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)


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
    values = {
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
    # Not every output can hold what a service may answer.
    return dict(escape_undecodable(values))


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
