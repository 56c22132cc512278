from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import stat
import threading
import time
import warnings
from pathlib import Path

import pytest

from valence_integrations import Settings
from valence_integrations._store.cache import ResultCache, cache_directory, cache_key
from valence_integrations.errors import SettingsError

VALUE = {"segments": [{"emotion": "happy", "scores": {"happy": 0.7}}], "request_id": None}
FILE = "answers.sqlite3"


def test_values_persist_across_objects(tmp_path: Path) -> None:
    ResultCache(tmp_path / "new" / "deep").put("a", VALUE)
    cache = ResultCache(tmp_path / "new" / "deep")
    assert cache.get("a") == VALUE
    assert cache.get("b") is None
    cache.remove("a")
    assert cache.get("a") is None


def test_files_are_readable_only_by_their_owner(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "new" / "cache")
    cache.claim("key of a claim")
    cache.put("key of an answer", VALUE)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {
        "new": 0o700,
        "cache": 0o700,
        "answers.lock": 0o600,
        FILE: 0o600,
        f"{FILE}-wal": 0o600,
        f"{FILE}-shm": 0o600,
    }


def test_temporary_cache_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache = ResultCache(None)
    cache.put("a", VALUE)
    assert cache.get("a") == VALUE
    assert ResultCache(None).get("a") is None
    assert list(tmp_path.iterdir()) == []


def test_threads(tmp_path: Path) -> None:
    for cache in (ResultCache(tmp_path), ResultCache(None)):
        threads = [
            threading.Thread(target=lambda n=n, c=cache: [c.put(f"{n}-{i}", {"n": n, "i": i}) for i in range(50)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert all(cache.get(f"{n}-{i}") == {"n": n, "i": i} for n in range(4) for i in range(50))


def write_and_die(directory: Path, name: int) -> None:
    cache = ResultCache(directory)
    for number in range(100):
        cache.put(f"{name}-{number}", {"number": number})
    os._exit(1)


def test_killed_processes_lose_no_values(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_and_die, args=(tmp_path, name)) for name in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    cache = ResultCache(tmp_path)
    assert all(cache.get(f"{name}-{number}") == {"number": number} for name in range(2) for number in range(100))


def open_at(moment: float, directory: Path, name: int) -> None:
    warnings.simplefilter("error")
    time.sleep(max(moment - time.time(), 0))
    ResultCache(directory).put(str(name), {"name": name})


def test_processes_open_a_new_file_concurrently(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        pool.starmap(open_at, [(0.0, tmp_path / "warm", name) for name in range(4)], chunksize=1)
        for trial in range(15):
            directory = tmp_path / str(trial)
            pool.starmap(open_at, [(time.time() + 0.02, directory, name) for name in range(4)], chunksize=1)
            cache = ResultCache(directory)
            assert [cache.get(str(name)) for name in range(4)] == [{"name": name} for name in range(4)]
            assert not list(directory.glob("*.aside*"))


def test_corrupt_file_is_moved_aside(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is no database, and never was one" * 100)
    cache = ResultCache(tmp_path)
    with pytest.warns(UserWarning, match=r"cannot be used .*\.aside"):
        cache.put("a", VALUE)
    assert cache.get("a") == VALUE
    assert len(list(tmp_path.glob("*.aside"))) == 1


def test_foreign_database_is_moved_aside_unchanged(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as foreign:
        foreign.execute("CREATE TABLE answers (precious TEXT)")
        foreign.execute("INSERT INTO answers VALUES ('mine')")
    foreign.close()
    with pytest.warns(UserWarning, match="not a file of valence-integrations"):
        ResultCache(tmp_path).put("a", VALUE)
    (aside,) = tmp_path.glob("*.aside")
    kept = sqlite3.connect(aside)
    assert kept.execute("SELECT precious FROM answers").fetchall() == [("mine",)]
    kept.close()


def test_info_clear_and_export(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cache")
    for name in "abc":
        cache.put(name, {**VALUE, "request_id": name})
    info = cache.info()
    assert (info["answers"], info["path"]) == (3, str(tmp_path / "cache" / FILE))
    assert info["bytes"] > 0
    assert cache.export(tmp_path / "answers.jsonl") == 3
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [(row["key"], row["request_id"], row["segments"]) for row in rows] == [
        (n, n, VALUE["segments"]) for n in "abc"
    ]
    assert cache.clear(older_than=3_600) == 0
    assert cache.clear() == 3
    assert cache.info()["answers"] == 0
    assert cache.get("a") is None


def test_clear_keeps_what_a_running_job_needs(tmp_path: Path) -> None:
    job, other = ResultCache(tmp_path), ResultCache(tmp_path)
    receipt = cache_key(Settings(), "upload", "digest")
    job.put(receipt, {"request_id": "r1", "time": time.time()})
    job.put("paid", VALUE)
    job.put_recipe("recipe", {"parts": []})
    assert job.claim("asked")
    assert other.info()["answers"] == 1, "a receipt is not an answer"
    assert other.clear() == 1
    assert other.get("paid") is None
    assert job.get("paid") == VALUE, "the job does not pay for it again"
    assert ResultCache(tmp_path).get(receipt) == job.get(receipt)
    assert ResultCache(tmp_path).get(receipt) is not None
    assert not other.claim("asked")


def test_receipts_are_cleared_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    receipt = cache_key(Settings(), "upload", "digest")
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: now - 86_401)
        ResultCache(tmp_path).put(receipt, {"request_id": "r1"})
    cache = ResultCache(tmp_path)
    assert cache.get(receipt) == {"request_id": "r1"}
    assert cache.clear(older_than=1e9) == 0
    assert cache.get(receipt) is None


def test_export_is_atomic_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, target = ResultCache(tmp_path / "cache"), tmp_path / "answers.jsonl"
    cache.put("a", VALUE)
    target.write_text("earlier")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail_full)
        with pytest.raises(OSError, match="full"):
            cache.export(target)
    assert target.read_text() == "earlier"
    cache.export(target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert json.loads(target.read_text())["key"] == "a"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "cache"]


def fail_full(file: int) -> None:
    raise OSError("disk full")


def test_export_does_not_overwrite_the_cache(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path)
    cache.put("a", VALUE)
    (tmp_path / "link").symlink_to(tmp_path / FILE)
    (tmp_path / "same").hardlink_to(tmp_path / FILE)
    for name in (FILE, f"{FILE}-wal", "answers.lock", "link", "same"):
        with pytest.raises(SettingsError, match="file of the cache itself"):
            cache.export(tmp_path / name)
    assert ResultCache(tmp_path).get("a") == VALUE


@pytest.mark.parametrize(
    ("variable", "value", "left"), [("VALENCE_CACHE_MAX_AGE_DAYS", "2", 2), ("VALENCE_CACHE_MAX_MB", "0.00002", 1)]
)
def test_environment_variables_prune_the_oldest_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, left: int
) -> None:
    cache = ResultCache(tmp_path)
    now = time.time()
    for name, days in (("old", 3), ("middle", 1), ("new", 0)):
        with monkeypatch.context() as patch:
            patch.setattr("time.time", lambda days=days: now - days * 86_400)
            cache.put(name, {"a": 1})
    cache.close()
    monkeypatch.setenv(variable, value)
    receipt = cache_key(Settings(), "upload", "digest")
    cache.put(receipt, {"request_id": "r1"})
    cache.close()
    monkeypatch.setenv("VALENCE_CACHE_MAX_AGE_DAYS" if left == 1 else "VALENCE_CACHE_MAX_MB", "1000")
    again = ResultCache(tmp_path)
    assert again.get(receipt) == {"request_id": "r1"}
    assert [again.get(name) is not None for name in ("old", "middle", "new")] == [False, left == 2, True]


def test_cache_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_directory(Settings(cache=False)) is None
    assert cache_directory(Settings(cache=tmp_path)) == tmp_path
    monkeypatch.setenv("VALENCE_CACHE_DIR", str(tmp_path / "a"))
    assert cache_directory(Settings()) == tmp_path / "a"
    monkeypatch.delenv("VALENCE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert "valence-integrations" in str(cache_directory(Settings()))


def test_cache_key_depends_on_all_that_changes_the_answer() -> None:
    settings = [
        Settings(),
        Settings(model="7emotions"),
        Settings(base_url="http://127.0.0.1:1"),
        Settings(discrete_path="/v1/discrete/emotion"),
        Settings(payload="json"),
    ]
    keys = {cache_key(s, "discrete", "d") for s in settings} | {
        cache_key(Settings(), "asynch", "d"),
        cache_key(Settings(), "discrete", "e"),
    }
    assert len(keys) == 7
    assert cache_key(Settings(model="7emotions"), "asynch", "d") == cache_key(Settings(), "asynch", "d")
    same = [Settings(api_key="k"), Settings(concurrency=9), Settings(cache=False), Settings(short_audio="repeat")]
    assert {cache_key(s, "discrete", "d") for s in same} == {cache_key(Settings(), "discrete", "d")}
