"""Whatever happens to the file between any operations, nothing is raised, and no stored value is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from valence_integrations._store import guard
from valence_integrations._store.cache import ResultCache

FILE = "answers.sqlite3"
KEYS = st.sampled_from([f"key{number}" for number in range(6)])


class FaultyDisk(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(guard, "_BUSY_SECONDS", 0.02)
        self.patch.setattr(guard, "_FAILING_BUSY_SECONDS", 0.0)
        self.patch.setattr(guard, "_RETRY_SECONDS", 0.0)
        self.warned = warnings.catch_warnings()
        self.warned.__enter__()
        warnings.simplefilter("ignore")
        self.root = Path(tempfile.mkdtemp())
        self.directory = self.root / "cache"
        self.cache = ResultCache(self.directory)
        self.stored: dict[str, dict[str, int]] = {}
        self.lock: sqlite3.Connection | None = None

    def teardown(self) -> None:
        self.unlock()
        # Where the directory is usable again, another process finds all that was stored.
        self.remove_obstacle()
        self.cache.close()
        self.cache.get("opened again")
        other = ResultCache(self.directory)
        assert {key: other.get(key) for key in self.stored} == self.stored
        self.cache.close()
        other.close()
        shutil.rmtree(self.root)
        self.warned.__exit__(None, None, None)
        self.patch.undo()

    @rule(key=KEYS, number=st.integers())
    def put(self, key: str, number: int) -> None:
        self.cache.put(key, {"number": number})
        self.stored[key] = {"number": number}

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        self.cache.remove(key)
        self.stored.pop(key, None)

    @rule(key=KEYS)
    def claim(self, key: str) -> None:
        assert isinstance(self.cache.claim(key), bool)

    @rule(key=KEYS)
    def release(self, key: str) -> None:
        self.cache.release(key)

    @rule()
    def renew(self) -> None:
        self.cache.renew([f"key{number}" for number in range(6)])

    @rule()
    def close(self) -> None:
        self.cache.close()

    @rule()
    def delete(self) -> None:
        with contextlib.suppress(OSError):
            (self.directory / FILE).unlink()

    @rule()
    def delete_directory(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    @rule(start=st.integers(0, 20_000), size=st.integers(1, 20_000))
    def overwrite(self, start: int, size: int) -> None:
        """As a failing disk does; what is in the write-ahead log is not affected."""
        with contextlib.suppress(OSError), (self.directory / FILE).open("r+b") as file:
            size = min(size, os.fstat(file.fileno()).st_size - start)
            if size > 0:
                file.seek(start)
                file.write(b"\xa5" * size)

    @rule(content=st.binary(max_size=200))
    def replace(self, content: bytes) -> None:
        with contextlib.suppress(OSError):
            (self.root / "other").write_bytes(content)
            (self.root / "other").replace(self.directory / FILE)

    @rule()
    def obstruct(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.directory.write_text("in the way")

    @rule()
    def remove_obstacle(self) -> None:
        if self.directory.is_file():
            self.directory.unlink()

    @precondition(lambda self: self.lock is None)
    @rule()
    def hold_lock(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.lock = sqlite3.connect(f"file:{self.directory / FILE}?mode=rw", uri=True, isolation_level=None)
            self.lock.execute("BEGIN IMMEDIATE")

    @rule()
    def unlock(self) -> None:
        if self.lock is not None:
            with contextlib.suppress(sqlite3.Error):
                self.lock.execute("ROLLBACK")
            self.lock.close()
            self.lock = None

    @invariant()
    def nothing_is_lost(self) -> None:
        assert {key: self.cache.get(key) for key in self.stored} == self.stored


TestFaultyDisk = FaultyDisk.TestCase
TestFaultyDisk.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
